package trainer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gomlx/compute"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/queue"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
	"github.com/mamba-encoder-swarm/mes/model/telemetry"
)

// branching is a plan of branches alone, of twelve steps each.
func branching() Plan {
	p := phases()
	p.Save = 2
	p.Phases = []Phase{{Kind: Branch, Tokens: 12 * 4 * 16, LR: 0.01}}
	return p
}

// testModel stands in for the reader of a config.json.
func testModel(text []byte) (swarm.Config, error) {
	if string(text) != `{"model":"trained"}` {
		return swarm.Config{}, fmt.Errorf("an unknown model %s", text)
	}
	return trained(), nil
}

// open starts a queue and connects to it.
func open(t *testing.T) (server *queue.Server, boss *queue.Queue) {
	t.Helper()
	server, err := queue.Serve(queue.ServerConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return server, connect(t, server, "boss", nil)
}

func connect(t *testing.T, s *queue.Server, name string, log *slog.Logger) *queue.Queue {
	t.Helper()
	q, err := queue.Connect(t.Context(), queue.Config{URL: s.URL, Token: s.Token, Name: name, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.Close)
	return q
}

// spreadOver is a coordinator.
func spreadOver(b compute.Backend, q *queue.Queue, folder string, plan Plan) Config {
	return Config{Backend: b, Model: trained(), Plan: plan, Data: folder, Start: Init(trained(), 1),
		Spread: &Spread{Queue: q, Model: []byte(`{"model": "trained"}`), Lease: 5 * time.Second, Attempts: 2}}
}

// finish runs a coordinator to its end.
func finish(t *testing.T, c Config) (Params, []telemetry.Record, error) {
	t.Helper()
	var records []telemetry.Record
	c.Record = func(r telemetry.Record) error {
		records = append(records, r)
		return nil
	}
	tr, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	p, err := tr.Run(t.Context())
	return p, records, err
}

// work starts a worker in this process; its error comes out of the channel.
func work(ctx context.Context, c WorkerConfig) <-chan error {
	ended := make(chan error, 1)
	if c.Model == nil {
		c.Model = testModel
	}
	go func() { ended <- Work(ctx, c) }()
	return ended
}

// sameParams compares to the bit.
func sameParams(t *testing.T, want, got Params) {
	t.Helper()
	if len(want) != len(got) {
		t.Errorf("%d tensors, want %d", len(got), len(want))
	}
	for name, p := range want {
		if !slices.Equal(p.Values, got[name].Values) {
			t.Errorf("%s differs from that of one process", name)
		}
	}
}

// TestSpread: workers train what one process does, to the bit, in a plan of all
// phases, with the same records in the same order.
func TestSpread(t *testing.T) {
	testkit.Backends(t, func(t *testing.T, b compute.Backend) {
		if testing.Short() {
			t.Skip("SKIPPED with -short: it compiles a dozen programs")
		}
		folder, plan, workers := prepared(t), phases(), 2
		if b.String() != "go" {
			plan.Phases, workers = plan.Phases[1:2], 1 // compiling is most of the time there
		}
		server, boss := open(t)
		c := spreadOver(b, boss, folder, plan)
		if b.String() == "go" {
			c.Start = nil
		}
		alone := c
		alone.Spread = nil
		want, records, err := finish(t, alone)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var ended []<-chan error
		for i := range workers {
			ended = append(ended, work(ctx, WorkerConfig{Backend: b, Queue: connect(t, server, fmt.Sprint("w", i), nil), Data: folder}))
		}
		got, told, err := finish(t, c)
		cancel()
		for _, e := range ended {
			if err := <-e; !errors.Is(err, context.Canceled) {
				t.Errorf("worker: %v", err)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		sameParams(t, want, got)
		for i, r := range records {
			if len(told) != len(records) || told[i].Step != r.Step || told[i].Loss != r.Loss || told[i].Phase != r.Phase || told[i].Tokens != r.Tokens {
				t.Fatalf("record %d of %d: %+v\nin one process %d: %+v", i, len(told), told[i], len(records), r)
			}
		}
	})
}

// TestWorkerStops: a worker that is told to end leaves a checkpoint of where it is; when
// that is corrupt the next one begins anew. Either way the result is the same to the bit.
func TestWorkerStops(t *testing.T) {
	b := testkit.Backend(t, "go")
	folder := prepared(t)
	plan := branching()
	plan.Save = 100
	for name, spoil := range map[string]bool{"goes on": false, "begins anew": true} {
		t.Run(name, func(t *testing.T) {
			server, boss := open(t)
			c := spreadOver(b, boss, folder, plan)
			alone := c
			alone.Spread = nil
			want, _, err := finish(t, alone)
			if err != nil {
				t.Fatal(err)
			}
			result := make(chan Params, 1)
			go func() {
				p, _, err := finish(t, c)
				if err != nil {
					t.Error(err)
				}
				result <- p
			}()
			ctx, cancel := context.WithCancel(t.Context())
			ended := work(ctx, WorkerConfig{Backend: b, Queue: connect(t, server, "w1", nil), Data: folder, Record: func(r telemetry.Record) {
				if r.Step == 5 {
					cancel()
				}
			}})
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Fatalf("worker: %v", err)
			}
			if spoil {
				spoilObjects(t, server, "leg-0/")
			}
			log, text := logged()
			ctx, cancel = context.WithCancel(t.Context())
			ended = work(ctx, WorkerConfig{Backend: b, Queue: connect(t, server, "w2", nil), Data: folder, Logger: log})
			sameParams(t, want, <-result)
			cancel()
			<-ended
			if spoil != strings.Contains(text.text(), "begins anew") || spoil == strings.Contains(text.text(), "from_step=5") {
				t.Errorf("log:\n%s", text.text())
			}
		})
	}
}

// reach connects to a server past the queue.
func reach(t *testing.T, s *queue.Server) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(s.URL, nats.Token(s.Token))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// spoilObjects replaces the bytes of objects whose names begin with prefix.
func spoilObjects(t *testing.T, s *queue.Server, prefix string) {
	t.Helper()
	js := reach(t, s)
	spoiled := 0
	names := js.ObjectStoreNames(t.Context())
	for bucket := range names.Name() {
		store, err := js.ObjectStore(t.Context(), bucket)
		if err != nil {
			t.Fatal(err)
		}
		objects, err := store.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range objects {
			if strings.HasPrefix(object.Name, prefix) {
				if _, err := store.PutString(t.Context(), object.Name, "spoiled"); err != nil {
					t.Fatal(err)
				}
				spoiled++
			}
		}
	}
	if spoiled == 0 {
		t.Fatalf("no object begins with %s", prefix)
	}
}

// TestBranchFails: what keeps a branch from being trained ends the run with a sentence
// that says what, after the attempts allowed.
func TestBranchFails(t *testing.T) {
	b := testkit.Backend(t, "go")
	folder := prepared(t)
	other := func([]byte) (swarm.Config, error) {
		c := trained()
		c.Router.Temperature *= 2
		return c, nil
	}
	damaged := Init(trained(), 1)
	damaged["backbone.norm_f.weight"].Values[0] = float32(math.NaN())
	for name, tt := range map[string]struct {
		start Params
		model func([]byte) (swarm.Config, error)
		want  string
	}{
		"not finite":   {damaged, testModel, "failed 2 times in a row, last on worker w1: the gradient was not finite in 10 steps"},
		"other config": {Init(trained(), 1), other, "mean something else here"},
		"no config":    {Init(trained(), 1), func([]byte) (swarm.Config, error) { return swarm.Config{}, errors.New("what is this") }, "the job's model: what is this"},
	} {
		server, boss := open(t)
		ctx, cancel := context.WithCancel(t.Context())
		ended := work(ctx, WorkerConfig{Backend: b, Queue: connect(t, server, "w1", nil), Data: folder, Model: tt.model})
		c := spreadOver(b, boss, folder, branching())
		c.Start = tt.start
		if _, _, err := finish(t, c); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, tt.want)
		}
		cancel()
		<-ended
	}
}

// changed is a copy of a data folder whose data.json is another.
func changed(t *testing.T, folder string, edit func(map[string]any)) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(dir, os.DirFS(folder)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "data.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	edit(m)
	if text, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o666); err != nil {
		t.Fatal(err)
	}
	return dir
}

func otherVocabulary(m map[string]any) {
	m["tokenizer"].(map[string]any)["sha256"] = strings.Repeat("0", 64)
}

// otherText changes the first shard of birds in a split: 0 is train, 1 is valid.
func otherText(split int) func(map[string]any) {
	return func(m map[string]any) {
		part := m["splits"].([]any)[split].(map[string]any)["domains"].([]any)[0].(map[string]any)
		part["shards"].([]any)[0].(map[string]any)["sha256"] = strings.Repeat("0", 64)
	}
}

// TestOtherData: a worker with other data refuses, says what differs, and its job is not
// counted as tried.
func TestOtherData(t *testing.T) {
	b := testkit.Backend(t, "go")
	folder := prepared(t)
	server, boss := open(t)
	result := make(chan error, 1)
	go func() {
		_, _, err := finish(t, spreadOver(b, boss, folder, branching()))
		result <- err
	}()
	for want, dir := range map[string]string{
		"have the vocabulary":            changed(t, folder, otherVocabulary),
		"have other text in train/birds": changed(t, folder, otherText(0)),
	} {
		for range 3 { // more often than a job may fail
			err := <-work(t.Context(), WorkerConfig{Backend: b, Queue: connect(t, server, "w1", nil), Data: dir})
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), dir) {
				t.Errorf("error %v, want one with %q", err, want)
			}
		}
	}
	if err := <-work(t.Context(), WorkerConfig{Backend: b, Data: t.TempDir()}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no data: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := work(ctx, WorkerConfig{Backend: b, Queue: connect(t, server, "w2", nil), Data: folder})
	if err := <-result; err != nil {
		t.Error(err)
	}
	cancel()
	<-ended
}

// TestLegOf: a name that jobName does not make is none.
func TestLegOf(t *testing.T) {
	if leg, err := legOf(jobName(12)); leg != 12 || err != nil {
		t.Errorf("leg %d, %v", leg, err)
	}
	for _, name := range []string{"leg--1", "leg-01", "leg-1x", "leg-", "", "job-1", "leg-99999999999999999999"} {
		if leg, err := legOf(name); err == nil {
			t.Errorf("%q is leg %d", name, leg)
		}
	}
}

func FuzzParseBranchSpec(f *testing.F) {
	f.Add([]byte(`{"format":"mes-branch/1","run":"ab","plan":{"seq_len":16},"model":{},"seed":[{"name":"a","shape":[2],"object":"seed/x"}]}`))
	f.Add([]byte(`{"format":"mes-branch/2"}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := parseBranchSpec(text)
		if err != nil {
			return
		}
		if s.Format != branchFormat {
			t.Errorf("format %q", s.Format)
		}
		if s.Plan.Check(trained()) == nil {
			s.Plan.legs(trained(), s.Domains) // must not panic
		}
	})
}
