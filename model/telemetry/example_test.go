package telemetry_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/mamba-encoder-swarm/mes/model/telemetry"
)

// A trainer records what it knows, shows it, and has it drawn.
func Example() {
	dir, err := os.MkdirTemp("", "run")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	recorder, err := telemetry.OpenRecorder(telemetry.RecorderConfig{Dir: dir})
	if err != nil {
		fmt.Println(err)
		return
	}
	progress := telemetry.Progress{Writer: os.Stdout}
	for step := int64(1); step <= 3; step++ {
		r := telemetry.Record{Step: step, Steps: 3, Phase: "seed", Loss: 6 / float64(step), LR: 1e-3}
		if err := recorder.Add(r); err != nil {
			fmt.Println(err)
		}
		if step == 3 {
			progress.Show(r)
		}
	}
	progress.Finish()
	for _, figure := range telemetry.Figures(recorder.History()) {
		path, err := figure.Save(dir, telemetry.SVG)
		fmt.Println(filepath.Base(path), err)
	}
	fmt.Println(recorder.Close())
	// Output:
	// seed step 3/3  loss 2.0000
	// loss.svg <nil>
	// optimizer.svg <nil>
	// <nil>
}
