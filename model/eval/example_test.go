package eval_test

import (
	"fmt"
	"strings"

	"github.com/mamba-encoder-swarm/mes/model/eval"
)

func ExampleParseTasks() {
	set, err := eval.ParseTasks("capitals", strings.NewReader(`{"context": "The capital of France is", "choices": ["Paris", "Oslo"], "gold": 0}`))
	fmt.Println(set.Kind, set.Items[0].Choices[set.Items[0].Gold], err)
	_, err = eval.ParseTasks("capitals", strings.NewReader(`{"context": "The capital of France is", "choices": ["Paris", "Oslo"], "gold": 2}`))
	fmt.Println(err)
	// Output:
	// multiple choice Paris <nil>
	// read tasks capitals:1: gold is 2, but the choices are 0 to 1
}

func ExampleCompare() {
	report := func(name string, nats float64) *eval.Report {
		f := eval.Figures{NatsPerToken: nats, BitsPerByte: nats / 2, Bytes: 100}
		return &eval.Report{Model: eval.Model{Name: name}, Data: &eval.Data{TextSHA256: "the same"},
			Text: &eval.Text{Mean: f, Domains: []eval.DomainFigures{{Domain: "law", Figures: f}}}}
	}
	c, err := eval.Compare(
		eval.Side{Name: "swarm", Reports: []*eval.Report{report("swarm-0", 2.6), report("swarm-1", 2.7)}},
		eval.Side{Name: "dense", Reports: []*eval.Report{report("dense-0", 2.75)}},
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("perplexity %.3f ± %.3f of the dense model's\n", c.Mean.Ratio.Mean, c.Mean.Ratio.Deviation)
	// Output: perplexity 0.905 ± 0.064 of the dense model's
}
