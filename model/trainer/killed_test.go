package trainer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gomlx/compute"

	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/ckpt"
	"github.com/mamba-encoder-swarm/mes/model/queue"
	"github.com/mamba-encoder-swarm/mes/model/telemetry"
)

// process is the test binary as a worker or coordinator.
type process struct {
	*exec.Cmd
	mu  sync.Mutex
	log bytes.Buffer
	out *bufio.Scanner
}

// environment of a process.
const (
	envRole   = "MES_TEST_SPREAD" // worker or coordinator
	envURL    = "MES_TEST_SPREAD_URL"
	envData   = "MES_TEST_SPREAD_DATA"
	envDir    = "MES_TEST_SPREAD_DIR"  // of a coordinator
	envHang   = "MES_TEST_SPREAD_HANG" // step of a worker's job after which it only gives signs of life
	testToken = "t0ken"
)

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

func (p *process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// spawn starts a process.
func spawn(t *testing.T, role string, env ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(os.Args[0], "-test.run=^TestProcess$", "-test.timeout=10m")}
	p.Env = append(os.Environ(), append(env, envRole+"="+role)...)
	p.Stderr = p
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewScanner(out)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Process.Kill()
		p.Wait()
		if t.Failed() {
			t.Logf("%s %d:\n%s", role, p.Process.Pid, p.text())
		}
	})
	return p
}

// says waits for a line.
func (p *process) says(t *testing.T, line string) {
	t.Helper()
	for p.out.Scan() {
		if p.out.Text() == line {
			return
		}
	}
	t.Fatalf("the process ended without %q", line)
}

// kill is kill -9.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.Wait()
}

// TestProcess is no test by itself: it is what spawn starts.
func TestProcess(t *testing.T) {
	role := os.Getenv(envRole)
	if role == "" {
		return
	}
	b := testkit.Backend(t, "go")
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if role == "coordinator" {
		coordinate(t, b, log)
		return
	}
	q, err := queue.Connect(t.Context(), queue.Config{URL: os.Getenv(envURL), Token: testToken, Name: fmt.Sprint("process ", os.Getpid()), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	first := int64(-1)
	record := func(r telemetry.Record) {
		if first < 0 {
			first = r.Step - 1
		}
		if fmt.Sprint(r.Step-first) == os.Getenv(envHang) {
			fmt.Println("hangs")
			select {}
		}
	}
	t.Fatal(Work(t.Context(), WorkerConfig{Backend: b, Queue: q, Data: os.Getenv(envData), Model: testModel, Logger: log, Record: record}))
}

// TestWorkerKilled: the branch of a worker that is killed goes on in another process from
// its last checkpoint, and the result is that of one process to the bit.
func TestWorkerKilled(t *testing.T) {
	b := testkit.Backend(t, "go")
	folder := prepared(t)
	server, err := queue.Serve(queue.ServerConfig{Dir: t.TempDir(), Token: testToken})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	c := spreadOver(b, connect(t, server, "boss", nil), folder, branching())
	alone := c
	alone.Spread = nil
	want, _, err := finish(t, alone)
	if err != nil {
		t.Fatal(err)
	}
	first := spawn(t, "worker", envURL+"="+server.URL, envData+"="+folder, envHang+"=7")
	result := make(chan Params, 1)
	go func() {
		p, _, err := finish(t, c)
		if err != nil {
			t.Error(err)
		}
		result <- p
	}()
	first.says(t, "hangs")
	arrived(t, server, 6) // the checkpoint that was under way
	first.kill(t)
	second := spawn(t, "worker", envURL+"="+server.URL, envData+"="+folder)
	sameParams(t, want, <-result)
	if !strings.Contains(second.text(), "from_step=6") || strings.Count(second.text(), "from_step=0") != 2 {
		t.Errorf("the second worker did not go on from step 6:\n%s", second.text())
	}
}

// arrived waits until the status of a branch names the checkpoint of a step.
func arrived(t *testing.T, s *queue.Server, step int64) {
	t.Helper()
	js := reach(t, s)
	var bucket string
	for name := range js.KeyValueStoreNames(t.Context()).Name() {
		bucket = name
	}
	statuses, err := js.KeyValue(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	watcher, err := statuses.WatchAll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer watcher.Stop()
	for entry := range watcher.Updates() {
		if entry == nil { // behind those that were there
			continue
		}
		var status queue.Status
		if err := json.Unmarshal(entry.Value(), &status); err != nil {
			t.Fatal(err)
		}
		if status.Step == step && status.Checkpoint != "" {
			return
		}
	}
	t.Fatalf("no checkpoint of step %d arrives", step)
}

// TestCoordinatorKilled: a coordinator that is killed with its queue goes on where it was
// when it is started again; the worker waits for it.
func TestCoordinatorKilled(t *testing.T) {
	b := testkit.Backend(t, "go")
	folder, dir := prepared(t), t.TempDir()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	env := []string{envURL + "=nats://" + address, envData + "=" + folder, envDir + "=" + dir}
	coordinator := spawn(t, "coordinator", env...)
	worker := spawn(t, "worker", env...)
	coordinator.says(t, "record 17") // of the second branch
	coordinator.kill(t)
	for !strings.Contains(worker.text(), "the queue is gone") {
		time.Sleep(10 * time.Millisecond)
	}
	coordinator = spawn(t, "coordinator", env...)
	coordinator.says(t, "done")
	alone := Config{Backend: b, Model: trained(), Plan: branching(), Data: folder, Start: Init(trained(), 1)}
	want, _, err := finish(t, alone)
	if err != nil {
		t.Fatal(err)
	}
	m, err := ckpt.Open(ckpt.Config{Dir: filepath.Join(dir, "checkpoints")})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	alone.Checkpoints = m
	got, _, err := finish(t, alone) // reads the last checkpoint, and has nothing left to do
	if err != nil {
		t.Fatal(err)
	}
	sameParams(t, want, got)
	if n := strings.Count(worker.text(), "from_step=0"); n > 3 {
		t.Errorf("branches began %d times, want 3 at most:\n%s", n, worker.text())
	}
}

// coordinate is the process of a coordinator with a queue of its own.
func coordinate(t *testing.T, b compute.Backend, log *slog.Logger) {
	dir := os.Getenv(envDir)
	server, err := queue.Serve(queue.ServerConfig{Dir: filepath.Join(dir, "queue"), Address: strings.TrimPrefix(os.Getenv(envURL), "nats://"), Token: testToken, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	m, err := ckpt.Open(ckpt.Config{Dir: filepath.Join(dir, "checkpoints")})
	if err != nil {
		t.Fatal(err)
	}
	c := spreadOver(b, connect(t, server, "boss", log), os.Getenv(envData), branching())
	c.Checkpoints, c.Logger = m, log
	c.Record = func(r telemetry.Record) error {
		fmt.Println("record", r.Step)
		return nil
	}
	tr, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	fmt.Println("done")
}

// logged is a logger and what it wrote.
func logged() (*slog.Logger, *process) {
	p := &process{}
	return slog.New(slog.NewTextHandler(p, nil)), p
}
