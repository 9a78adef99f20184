package eval

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// Lengths of a text with a needle, in tokens.
const (
	minNeedle = 128
	maxNeedle = 1 << 20
)

// needleDepths are where the needle stands, as parts of the text.
var needleDepths = []float64{0, 0.25, 0.5, 0.75, 1}

// Needle is retrieval from a text of one length: a sentence with a number stands
// somewhere in held-out text, at whose end the number is asked for.
type Needle struct {
	Length int           `json:"length"` // tokens, question and answer included
	Exact  float64       `json:"exact"`  // the number's tokens were the likeliest, all of them
	Gain   float64       `json:"gain"`   // nats by which the number is likelier than after another number's sentence
	Depths []NeedleDepth `json:"depths"`
}

// NeedleDepth is that with the needle in one place.
type NeedleDepth struct {
	Depth float64 `json:"depth"` // 0: at the beginning of the text
	Exact bool    `json:"exact"`
	Gain  float64 `json:"gain"`
}

// needles measures all lengths, each read once for each place, and once more with
// another number in the needle.
func (e *evaluator) needles(ctx context.Context, r *Report) error {
	filler := e.filler()
	if len(filler) == 0 {
		return errNoText
	}
	rng := rand.New(rand.NewPCG(e.Seed, 2))
	for _, length := range e.Needle {
		var texts []swarm.Text
		var answers []int // tokens of each answer
		for _, depth := range needleDepths {
			numbers := [2]int{10000 + rng.IntN(90000), 10000 + rng.IntN(90000)}
			for _, inNeedle := range numbers {
				ids, answer, err := e.haystack(filler, length, depth, inNeedle, numbers[0])
				if err != nil {
					return err
				}
				texts, answers = append(texts, swarm.Text{IDs: ids}), append(answers, answer)
			}
		}
		judged, err := e.judge(ctx, fmt.Sprintf("needle in %d tokens", length), e.Model, texts)
		if err != nil {
			return err
		}
		r.Needle = append(r.Needle, found(length, answers, judged))
	}
	return nil
}

// found makes figures of the texts with the needle and without, which follow each other
// for every depth; answers are how many ids at the end are the number.
func found(length int, answers []int, judged []swarm.Judged) Needle {
	n := Needle{Length: length}
	for i, depth := range needleDepths {
		with, without := judged[2*i], judged[2*i+1]
		from := length - answers[2*i]
		d := NeedleDepth{Depth: depth, Gain: without.Sum(from, length) - with.Sum(from, length)}
		d.Exact = !slices.Contains(with.Best[from-1:], false)
		n.Depths = append(n.Depths, d)
		n.Gain += d.Gain / float64(len(needleDepths))
		if d.Exact {
			n.Exact += 1 / float64(len(needleDepths))
		}
	}
	return n
}

// filler is held-out text of all domains in turn, without the ids that begin a text.
func (e *evaluator) filler() []int32 {
	var ids []int32
	for i := 0; ; i++ {
		more := false
		for _, d := range e.texts {
			if i < len(d.docs) {
				more = true
				ids = append(ids, d.docs[i].IDs[min(1, len(d.docs[i].IDs)):]...)
			}
		}
		if !more || len(ids) >= maxNeedle {
			return ids
		}
	}
}

// haystack is a text of length ids whose needle names one number and whose end another;
// the second result is how many ids the answer has.
func (e *evaluator) haystack(filler []int32, length int, depth float64, inNeedle, answer int) ([]int32, int, error) {
	parts := make([][]int32, 3)
	for i, text := range []string{
		fmt.Sprintf(" The secret number of Oslo is %d. Remember it.", inNeedle),
		" The secret number of Oslo is", fmt.Sprintf(" %d", answer),
	} {
		ids, err := e.Tokenizer.EncodePlain(text)
		if err != nil {
			return nil, 0, err
		}
		parts[i] = ids
	}
	needle, question, number := parts[0], parts[1], parts[2]
	begin, err := e.Tokenizer.Encode("")
	if err != nil {
		return nil, 0, err
	}
	hay := length - len(begin) - len(needle) - len(question) - len(number)
	if hay < 0 {
		return nil, 0, wrong("a needle's text of %d tokens is too short for this tokenizer: needle and question alone have %d", length, length-hay)
	}
	before := int(depth * float64(hay))
	ids := append(slices.Clone(begin), cycled(filler, 0, before)...)
	ids = append(append(ids, needle...), cycled(filler, before, hay)...)
	ids = append(append(ids, question...), number...)
	return ids, len(number), nil
}

// cycled is [from, to) of ids that go round.
func cycled(ids []int32, from, to int) []int32 {
	out := make([]int32, 0, to-from)
	for i := from; i < to; i++ {
		out = append(out, ids[i%len(ids)])
	}
	return out
}
