package trainer

import . "github.com/gomlx/gomlx/core/graph"

// spare is how much more room an encoder has in validation, where nothing is to be
// dropped.
const spare = 4

// compileScore measures a batch without learning from it.
func (l *learner) compileScore() (*named, error) {
	c := l.learnerConfig
	c.Teach = false
	if !c.Model.Plain() {
		c.Learn.Capacity = min(c.Learn.Capacity*spare, float64(c.Model.Router.NumEncoders))
	}
	return l.compile("score", l.measureInputs(), func(in func(name string) *Node, out *outputs) {
		m := c.measureFrom(in)
		out.add("rows", m.rows)
		out.add("stats", m.stats)
	})
}

// score returns the cross-entropy of each text of a batch, and the batch's counts.
func (l *learner) score(batch rowsOfBatch) (rows, stats []float32, err error) {
	if l.scorer == nil {
		if l.scorer, err = l.compileScore(); err != nil {
			return nil, nil, err
		}
	}
	if err := l.put(batch); err != nil {
		return nil, nil, err
	}
	out, err := l.scorer.run(l.Devices, l.state)
	if err != nil {
		return nil, nil, err
	}
	defer out.finalize()
	if rows, err = read[float32](out["rows"], l.Batch); err != nil {
		return nil, nil, err
	}
	stats, err = read[float32](out["stats"], numStats)
	return rows, stats, err
}
