package trainer

import (
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/mamba-encoder-swarm/mes/model/mamba"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// Losses are the weights of what is added to the cross-entropy; zero leaves a part
// out of what is minimised, but it is reported all the same. Where a step's texts are
// shared out to several runs, each part is the mean of the runs' (docs/decisions/0089).
type Losses struct {
	Balance    float64 `json:"balance"`    // E·Σ f_e P_e, use and probability of each encoder
	Z          float64 `json:"z"`          // mean of logsumexp(z)²
	Aggregator float64 `json:"aggregator"` // KL(p‖alpha), p from the encoders' early exits
	Domain     float64 `json:"domain"`     // cross-entropy of the text's own encoder given z
}

// The parts of the loss and the counts of a batch, in the order of the programs'
// output "stats".
const (
	statLoss = iota // what is minimised
	statCE          // cross-entropy, nats a token
	statBalance
	statZ
	statAggregator
	statDomain
	statDropped // chunks
	statHits    // decisions after settleTokens that rank the text's encoder first
	statJudged  // decisions after settleTokens of texts that have an encoder
	numStats
)

// settleTokens is how much of a text the router may read before it is judged.
const settleTokens = 128

// noWeight is far below the weight of a text that counts: texts of which none does have a
// loss of 0.
const noWeight = 1e-30

// exitStride: one position in so many goes to the early exits of the aggregator's loss.
const exitStride = 16

// batchNodes are the inputs of a batch.
type batchNodes struct {
	ids     *Node // [B, T+1] int32
	encoder *Node // [B] int32, the encoder of each text's domain, -1 for none
	runs    *Node // [B] int32, the encoder that runs where the phase teaches, -1 for the router's choice
	weight  *Node // [B] f32, the domain's weight
}

// measured is what the loss graph gives of a batch.
type measured struct {
	loss  *Node // scalar
	stats *Node // [numStats]
	rows  *Node // [B], cross-entropy of each text
	load  *Node // [E], chunks of each encoder; nil for a plain model
}

// measure builds the forward pass and all losses.
// w holds all tensors by full name.
func (c *learnerConfig) measure(w mamba.Weights, in batchNodes) measured {
	g, T := in.ids.Graph(), in.ids.Shape().Dimensions[1]-1
	net := c.network()
	backbone := w.In("backbone.")
	head := w
	if net.Base.TieWordEmbedding {
		head = func(string) *Node { return backbone("embeddings.weight") }
	}
	x, target := Slice(in.ids, AxisRange(), AxisRange(0, T)), Slice(in.ids, AxisRange(), AxisRange(1))
	var prescribed *Node
	if !net.Plain() && c.Teach {
		prescribed = OneHot(in.runs, net.Router.NumEncoders, dtypes.Float32) // [B, E], zero for -1
	}
	l := net.Learn(backbone, x, prescribed, c.Learn)
	ce, _ := mamba.CrossEntropy(net.Base.Head(backbone, head, l.Hidden), target) // [B, T]
	m := measured{rows: StopGradient(ReduceMean(ce, 1))}
	m.loss = Div(ReduceAllSum(Mul(ReduceMean(ce, 1), in.weight)), MaxScalar(ReduceAllSum(in.weight), noWeight))
	zero := ScalarZero(g, dtypes.Float32)
	stats := make([]*Node, numStats)
	for i := range stats {
		stats[i] = zero
	}
	stats[statCE] = m.loss
	if !net.Plain() {
		parts := c.routing(net, l, in)
		parts[statAggregator] = zero
		if l.Alpha != nil {
			parts[statAggregator] = aggregation(net, backbone, head, l, target)
		}
		for _, part := range []struct {
			stat   int
			weight float64
		}{{statBalance, c.Losses.Balance}, {statZ, c.Losses.Z}, {statAggregator, c.Losses.Aggregator}, {statDomain, c.Losses.Domain}} {
			if part.weight > 0 {
				m.loss = Add(m.loss, MulScalar(parts[part.stat], part.weight))
			}
		}
		for i, n := range parts {
			stats[i] = n
		}
		stats[statDropped] = l.Dropped
		m.load = StopGradient(ReduceSum(Slice(l.Decisions.Slots, AxisRange(), AxisRange(1)), 0, 1, 2))
	}
	stats[statLoss] = m.loss
	for i, n := range stats {
		stats[i] = Reshape(n, 1)
	}
	m.stats = StopGradient(Concatenate(stats, 0))
	return m
}

// routing returns the losses and counts of the router's decisions.
func (c *learnerConfig) routing(net swarm.Config, l swarm.Learned, in batchNodes) map[int]*Node {
	d := l.Decisions.Logits.Shape().Dimensions
	B, n, E, k, g := d[0], d[1]-1, d[2], net.Slots(), in.ids.Graph()
	past := func(x *Node) *Node { return Slice(x, AxisRange(), AxisRange(1)) } // decisions 1 to n
	z, s := past(l.Decisions.Logits), past(l.Decisions.Scores)                 // [B, n, E]

	use := MulScalar(ReduceSum(past(l.Decisions.Slots), 0, 1, 2), 1/float64(B*n*k)) // [E], sum 1
	share := Div(s, AddScalar(ReduceAndKeep(s, ReduceSum, -1), 1e-9))
	balance := MulScalar(ReduceAllSum(Mul(use, ReduceMean(share, 0, 1))), float64(E))
	lse := func(x *Node) *Node { // [B, n]
		top := StopGradient(ReduceAndKeep(x, ReduceMax, -1))
		return Add(Log(ReduceSum(Exp(Sub(x, top)), -1)), Reshape(top, B, n))
	}
	// Encoders without a domain of their own, such as a generalist, take no part in
	// telling domains apart.
	barred := make([]float32, E)
	for e := range barred {
		if !c.owned[e] {
			barred[e] = -1e9
		}
	}
	among := Add(z, Reshape(Const(g, barred), 1, 1, E))
	labelled := ConvertDType(GreaterOrEqual(in.encoder, ScalarZero(g, dtypes.Int32)), dtypes.Float32) // [B]
	own := OneHot(in.encoder, E, dtypes.Float32)                                                      // [B, E]
	ownZ := ReduceSum(Mul(z, Reshape(own, B, 1, E)), -1)                                              // [B, n]
	domain := ReduceAllSum(Mul(Sub(lse(among), ownZ), Reshape(labelled, B, 1)))
	domain = Div(domain, MaxScalar(MulScalar(ReduceAllSum(labelled), float64(n)), 1))

	settled := make([]float32, n)
	for j := range settled {
		if (j+1)*net.Router.NextDecision(0) >= settleTokens {
			settled[j] = 1
		}
	}
	judged := Mul(Reshape(labelled, B, 1), Reshape(Const(g, settled), 1, n)) // [B, n]
	hit := ConvertDType(GreaterOrEqual(ownZ, ReduceMax(among, -1)), dtypes.Float32)
	return map[int]*Node{
		statBalance: balance, statZ: ReduceAllMean(Square(lse(z))), statDomain: domain,
		statHits: ReduceAllSum(Mul(hit, judged)), statJudged: ReduceAllSum(judged),
	}
}

// aggregation is KL(p‖alpha), with p_i ∝ exp(-CE_i) and CE_i the cross-entropy of a head
// on encoder i's output alone, on one position in exitStride; p has no gradient.
func aggregation(net swarm.Config, backbone, head mamba.Weights, l swarm.Learned, target *Node) *Node {
	some := func(x *Node) *Node {
		spec := []SliceAxisSpec{AxisRange(), AxisRange().Stride(exitStride)}
		for len(spec) < x.Rank() {
			spec = append(spec, AxisRange())
		}
		return Slice(x, spec...)
	}
	exits := make([]*Node, len(l.Outputs))
	for i, u := range l.Outputs {
		ce, _ := mamba.CrossEntropy(net.Base.Head(backbone, head, some(u)), some(target))
		exits[i] = Neg(ce)
	}
	p := StopGradient(Softmax(Stack(exits, 2), -1)) // [B, T/16, k]
	alpha := some(l.Alpha)
	log := func(x *Node) *Node { return Log(MaxScalar(x, 1e-9)) }
	return ReduceAllMean(ReduceSum(Mul(p, Sub(log(p), log(alpha))), -1))
}
