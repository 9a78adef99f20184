package telemetry

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestLine compares a record with the line that the format's description asks for.
func TestLine(t *testing.T) {
	r := Record{
		Step: 20, Steps: 100, Time: time.Date(2026, 3, 1, 12, 0, 0, 5e8, time.UTC), Phase: "joint", Tokens: 655360, Loss: math.NaN(),
		Losses: map[string]float64{"b": math.Inf(-1), "a": 0.5}, LR: 0.003, GradNorm: 1, TokensPerSecond: 4e5, MemoryBytes: 1 << 30,
		DomainLoss: map[string]float64{"law": 2}, EncoderUse: []float64{0.25, 0.75}, RouterAgreement: new(0.5), Dropped: new(0.0),
		Seconds: map[string]float64{"data": 0.1}, Extra: map[string]any{"note": "<x>", "odd": math.NaN(), "n": 3},
	}
	line, err := r.line()
	must(t, err)
	const want = `{"step":20,"steps":100,"time":"2026-03-01T12:00:00.5Z","phase":"joint","tokens":655360,"loss":null,"losses":{"a":0.5,"b":null},` +
		`"lr":0.003,"grad_norm":1,"tokens_per_s":400000,"memory_bytes":1073741824,"domain_loss":{"law":2},"encoder_use":[0.25,0.75],` +
		`"router_agreement":0.5,"dropped":0,"seconds":{"data":0.1},"n":3,"note":"<x>","odd":null}` + "\n"
	if string(line) != want {
		t.Errorf("line\n%swant\n%s", line, want)
	}
	back, err := ReadRecords(bytes.NewReader(line))
	must(t, err)
	r.Losses["b"], r.Extra["n"], r.Extra["odd"] = math.NaN(), 3.0, nil // JSON knows no more
	if diff := cmp.Diff([]Record{r}, back, cmpopts.EquateNaNs()); diff != "" {
		t.Error(diff)
	}
}

func TestReadRecords(t *testing.T) {
	const one, two = `{"step":1,"loss":3}` + "\n", `{"step":2,"loss":2}` + "\n"
	cases := []struct {
		name, text string
		want       int
		fault      string
	}{
		{"empty", "", 0, ""},
		{"two", one + two, 2, ""},
		{"same step twice", one + one, 2, ""},
		{"torn", one + two[:9], 1, ""},
		{"torn at a line end", one + `{"step":2,` + "\n", 1, ""},
		{"zeros of a power cut", one + "\x00\x00\x00", 1, ""},
		{"bad line", one + "x\n" + two, 1, "line 2 is no record"},
		{"empty line", one + "\n" + two, 1, "line 2 is no record"},
		{"wrong type", `{"step":"a"}` + "\n" + two, 0, "line 1 is no record"},
		{"key twice", `{"step":1,"step":1}` + "\n" + two, 0, "line 1 is no record"},
		{"going back", two + one, 1, "line 2 is of step 1, after step 2"},
		{"huge line", one + strings.Repeat(" ", maxLine+1<<17), 1, "line 2: it has more than"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			records, err := ReadRecords(strings.NewReader(c.text))
			if c.fault == "" && err != nil || c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)) {
				t.Errorf("error %v, want %q", err, c.fault)
			}
			if len(records) != c.want {
				t.Errorf("%d records, want %d", len(records), c.want)
			}
		})
	}
}

// FuzzRecords reads any text; what it accepts it writes and reads again unchanged.
func FuzzRecords(f *testing.F) {
	for _, r := range run(40, 3)[34:36] {
		line, _ := r.line()
		f.Add(line)
	}
	f.Add([]byte(`{"step":1,"loss":null,"losses":{"a":null},"x":{"y":[1,null]}}` + "\n{}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		records, err := ReadRecords(bytes.NewReader(data))
		if err != nil {
			return
		}
		var again []byte
		for _, r := range records {
			line, err := r.line()
			if err != nil {
				return // a time after the year 9999 cannot be written
			}
			again = append(again, line...)
		}
		back, err := ReadRecords(bytes.NewReader(again))
		if err != nil {
			t.Fatalf("%v\n%s", err, again)
		}
		if diff := cmp.Diff(records, back, cmpopts.EquateNaNs(), cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
	})
}
