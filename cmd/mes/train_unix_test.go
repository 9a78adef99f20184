//go:build unix

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mamba-encoder-swarm/mes/internal/backend"
	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/ckpt"
)

// trainConfig is a swarm of a generalist and two specialists.
const trainConfig = `{"model_type": "mamba_swarm", "base_model_type": "mamba2", "vocab_size": 270, "hidden_size": 16, "num_hidden_layers": 2,
"state_size": 4, "num_heads": 4, "head_dim": 8, "n_groups": 1, "tie_word_embeddings": true, "num_encoders": 3, "num_encoders_per_token": 2,
"num_encoder_layers": 1, "router_chunk_length": 4, "router_dim": 4, "aggregator_dim": 4, "encoder_domains": ["general", "birds", "law"]}`

// trainPlan has a checkpoint after every other step.
const trainPlan = `{"seed": 1, "seq_len": 16, "batch": 4, "capacity": 3, "log_every": 1, "checkpoint_every": 2, "phases": [
{"phase": "seed", "tokens": 768, "lr": 0.01}, {"phase": "branch", "tokens": 384, "lr": 0.01},
{"phase": "joint", "tokens": 512, "lr": 0.01, "losses": {"domain": 0.1, "balance": 0.01}, "bias_rate": 0.001}]}`

// trainSteps is how many steps the plan has.
const trainSteps = 12 + 2*6 + 8

// trainings is a folder with data, in which runs are made.
type trainings struct {
	t   *testing.T
	dir string
	mes string // this program
	run string // folder of the run that a test makes
}

func newTrainings(t *testing.T) *trainings {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED with -short: it starts many processes")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := &trainings{t: t, dir: t.TempDir()}
	r.mes = filepath.Join(r.dir, "mes") // under this name TestMain runs the program
	if err := os.Symlink(self, r.mes); err != nil {
		t.Fatal(err)
	}
	r.write("config.json", trainConfig)
	r.write("plan.json", trainPlan)
	for i, name := range []string{"birds", "law"} {
		rng := rand.New(rand.NewPCG(uint64(i), 7))
		var text strings.Builder
		for range 10 {
			text.WriteString(`{"text": "`)
			for range 40 {
				fmt.Fprintf(&text, "%s%c ", name, 'a'+rune(rng.IntN(6)))
			}
			text.WriteString("\"}\n")
		}
		r.write("texts/"+name+".jsonl", text.String())
	}
	r.do("tokenizer", "train", "-vocab", "270", "-o", r.path("tok"), r.path("texts/birds.jsonl"))
	r.do("data", "prepare", "-tokenizer", r.path("tok"), "-o", r.path("data"), "-valid", "0", "-test", "0", r.path("texts"))
	return r
}

func (r *trainings) path(name string) string { return filepath.Join(r.dir, name) }

func (r *trainings) write(name, text string) {
	r.t.Helper()
	if err := os.MkdirAll(filepath.Dir(r.path(name)), 0o777); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(r.path(name), []byte(text), 0o666); err != nil {
		r.t.Fatal(err)
	}
}

// do runs a command that must succeed.
func (r *trainings) do(args ...string) {
	r.t.Helper()
	if out, err := exec.Command(r.mes, args...).CombinedOutput(); err != nil {
		r.t.Fatalf("mes %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// args are those of a run in a folder.
func (r *trainings) args(out string) []string {
	return []string{"train", "-backend", "go", "-config", r.path("config.json"), "-plan", r.path("plan.json"), "-data", r.path("data"), "-o", r.path(out)}
}

// process is a run in a process of its own.
type process struct {
	*exec.Cmd
	messages bytes.Buffer
	done     chan error // what Wait returned, once it has ended
}

// start begins a run, or goes on with it.
func (r *trainings) start(out string) *process {
	r.t.Helper()
	return r.begin(exec.Command(r.mes, r.args(out)...))
}

// begin starts a command.
func (r *trainings) begin(cmd *exec.Cmd) *process {
	r.t.Helper()
	p := &process{Cmd: cmd, done: make(chan error, 1)}
	p.Stderr = &p.messages
	if err := p.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = p.Process.Kill() }) // one that has ended is none
	go func() { p.done <- p.Wait() }()
	return p
}

// killed holds that a process that has ended was killed.
func (r *trainings) killed(p *process) {
	r.t.Helper()
	if p.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		r.t.Fatalf("it ended by itself: %s", &p.messages)
	}
}

// through tells whether a test's run has done its last step, and then begins a new one:
// it was quicker than what should have broken it off, and shows nothing.
func (r *trainings) through() bool {
	r.t.Helper()
	if strings.Count(r.progress(), "\n") < trainSteps {
		return false
	}
	if err := os.RemoveAll(r.path(r.run)); err != nil {
		r.t.Fatal(err)
	}
	return true
}

// tries is how often a run is begun to break it off before its end.
const tries = 40

// breakOff kills a run that has some checkpoints.
func (r *trainings) breakOff() {
	r.t.Helper()
	for range tries {
		p := r.start(r.run)
		r.until("checkpoints", func() bool {
			return len(p.done) > 0 || strings.Contains(r.names(r.run+"/checkpoints/steps"), " ")
		})
		_ = p.Process.Kill()
		if err := <-p.done; err != nil {
			r.killed(p)
		}
		if !r.through() {
			return
		}
	}
	r.t.Fatal("the run is always through before it can be killed")
}

// until waits for something that a run does; it fails if that never happens.
func (r *trainings) until(what string, happens func() bool) {
	r.t.Helper()
	for end := time.Now().Add(5 * time.Minute); !happens(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("%s: not in five minutes", what)
		}
	}
}

// names lists what lies in a folder of a run.
func (r *trainings) names(folder string) string {
	list, _ := os.ReadDir(r.path(folder)) // one that is not there yet has nothing
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// losses reads the loss of every step.
func (r *trainings) losses(out string) []float64 {
	r.t.Helper()
	f, err := os.Open(r.path(out + "/metrics.jsonl"))
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	var all []float64
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var rec struct {
			Step int
			Loss float64
		}
		if err := json.Unmarshal(lines.Bytes(), &rec); err != nil || rec.Step != len(all)+1 {
			r.t.Fatalf("%s: %q after %d records: %v", out, lines.Text(), len(all), err)
		}
		all = append(all, rec.Loss)
	}
	return all
}

// same compares a run with the one called whole, to the bit.
func (r *trainings) same(out string) {
	r.t.Helper()
	want, got := r.losses("whole"), r.losses(out)
	if len(want) != trainSteps || len(got) != len(want) {
		r.t.Fatalf("%d losses, %d of the whole run, want %d", len(got), len(want), trainSteps)
	}
	for i := range want {
		if got[i] != want[i] {
			r.t.Fatalf("step %d: loss %v, of the whole run %v", i+1, got[i], want[i])
		}
	}
	files, err := filepath.Glob(r.path("whole/model/*.safetensors"))
	if err != nil || len(files) != 4 {
		r.t.Fatalf("weights %v, %v", files, err)
	}
	for _, file := range files {
		a, err := os.ReadFile(file)
		if err != nil {
			r.t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(r.path(out), "model", filepath.Base(file)))
		if err != nil || !bytes.Equal(a, b) {
			r.t.Errorf("%s differs from that of the whole run: %v", filepath.Base(file), err)
		}
	}
}

// TestTrainTiny trains scripts/train/tiny as it stands, on three domains of its names: what
// is held out is read ever better, and the swarm generates.
func TestTrainTiny(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED with -short: it trains for a minute")
	}
	testkit.Backend(t, backend.XLACPU) // skips where there is none
	root, err := testkit.Root()
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(root) // where the program finds the plugin
	r := newTrainings(t)
	for domain, kind := range map[string]string{"biology": "birds", "fiction": "law", "code-go": "code"} {
		writeTexts(t, r.path("tiny/train/"+domain), kind, 60)
		writeTexts(t, r.path("tiny/valid/"+domain), kind, 8)
	}
	began := time.Now()
	r.do("data", "prepare", "-tokenizer", "weights/mamba2-mini", "-o", r.path("tinydata"), r.path("tiny"))
	r.do("train", "-backend", backend.XLACPU, "-config", "scripts/train/tiny/config.json", "-plan", "scripts/train/tiny/plan.json",
		"-data", r.path("tinydata"), "-tokenizer", "weights/mamba2-mini", "-o", r.path("tinyrun"))
	t.Logf("prepared and trained in %v", time.Since(began))
	text, err := os.ReadFile(r.path("tinyrun/metrics.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var held []float64
	for line := range bytes.Lines(text) {
		var record struct {
			Held float64 `json:"valid_loss"`
		}
		if err := json.Unmarshal(line, &record); err != nil {
			t.Fatal(err)
		}
		if record.Held > 0 {
			held = append(held, record.Held)
		}
	}
	t.Logf("held-out loss %.2f", held)
	if len(held) < 4 || !(held[len(held)-1] < held[0]/2) {
		t.Errorf("held-out loss %.2f, want it to fall to less than half", held)
	}
	out, err := exec.Command(r.mes, "generate", "-backend", "go", "-model", r.path("tinyrun/model"), "-max-tokens", "12", "The heron nests").CombinedOutput()
	if err != nil || len(out) < 5 {
		t.Errorf("generated %q: %v", out, err)
	}
}

// TestTrain breaks runs off in several ways. All go on to the losses and weights of one
// that was left alone.
func TestTrain(t *testing.T) {
	r := newTrainings(t)
	r.do(r.args("whole")...)
	for _, sub := range []struct {
		name string
		test func(*trainings)
	}{
		{"killed", trainKilled}, {"interrupted", trainInterrupted}, {"two at once", trainTwo},
		{"full disk", trainFullDisk}, {"no room to save", trainStoppedFull}, {"other run", trainOtherRun},
	} {
		t.Run(sub.name, func(t *testing.T) {
			own := *r
			own.t, own.run = t, strings.ReplaceAll(sub.name, " ", "-")
			sub.test(&own)
		})
	}
}

// trainKilled kills the whole process again and again: at any moment, and while a
// checkpoint is written. It ends with the losses and weights of a run that lived.
func trainKilled(r *trainings) {
	rng := rand.New(rand.NewPCG(3, 3))
	killed, writing := 0, 0
	for try := 0; try < tries && killed < 12; try++ {
		left, steps := r.names(r.run+"/checkpoints/tmp"), r.names(r.run+"/checkpoints/steps")
		p := r.start(r.run)
		begun := func() bool { // a file of a checkpoint, other than those of the killed process
			now := r.names(r.run + "/checkpoints/tmp")
			return now != "" && now != left
		}
		r.until("a checkpoint", func() bool {
			return len(p.done) > 0 || try%2 == 0 && begun() || try%2 == 1 && r.names(r.run+"/checkpoints/steps") != steps
		})
		if try%2 == 1 {
			time.Sleep(time.Duration(rng.IntN(30)) * time.Millisecond)
		}
		_ = p.Process.Kill()
		if err := <-p.done; err == nil {
			if killed >= 4 && writing >= 2 || !r.through() {
				break
			}
			continue
		}
		r.killed(p)
		killed++
		if begun() {
			writing++
		}
	}
	if killed < 4 || writing < 2 {
		r.t.Errorf("killed %d times, %d times within a write: that shows little", killed, writing)
	}
	if _, err := os.Stat(r.path(r.run + "/model")); err != nil {
		r.do(r.args(r.run)...)
	}
	r.same(r.run)
}

// trainInterrupted presses Ctrl-C once, then again and again.
func trainInterrupted(r *trainings) {
	once, twice := false, false
	for try := 0; try < tries && !once; try++ {
		p := r.start(r.run)
		r.until("a checkpoint", func() bool { return len(p.done) > 0 || r.names(r.run+"/checkpoints/steps") != "" })
		_ = p.Process.Signal(os.Interrupt)
		err := <-p.done
		if r.through() {
			continue
		}
		once = true
		if code, text := p.ProcessState.ExitCode(), p.messages.String(); code != exitInterrupted ||
			!strings.Contains(text, "stopped and saved; the same command goes on from here") || !strings.HasSuffix(text, "mes: interrupted\n") {
			r.t.Errorf("Ctrl-C: %v, %s", err, text)
		}
	}
	for try := 0; try < tries && !twice; try++ { // one that is quick with its last checkpoint needs no second Ctrl-C
		records := r.progress()
		p := r.start(r.run)
		r.until("a step", func() bool { return len(p.done) > 0 || r.progress() != records })
		r.until("its end", func() bool { _ = p.Process.Signal(os.Interrupt); return len(p.done) > 0 })
		<-p.done
		twice = !r.through() && p.ProcessState.Sys().(syscall.WaitStatus).Signal() == syscall.SIGINT
	}
	if !once || !twice {
		r.t.Errorf("ended by one Ctrl-C: %v, at once by more: %v", once, twice)
	}
	r.do(r.args(r.run)...)
	r.same(r.run)
}

// progress is the file of a run's records.
func (r *trainings) progress() string {
	text, _ := os.ReadFile(r.path(r.run + "/metrics.jsonl")) // not there yet: none
	return string(text)
}

// trainTwo starts a second trainer on the folder of one that runs.
func trainTwo(r *trainings) {
	first := r.holder()
	second := r.start(r.run)
	err := <-second.done
	want := fmt.Sprintf("used by process %d on ", first.Process.Pid)
	if text := second.messages.String(); second.ProcessState.ExitCode() != exitFailed || !strings.Contains(text, want) || !strings.Contains(text, "stop it or choose another folder") {
		r.t.Errorf("the second: %v, %s", err, text)
	}
	_ = first.Process.Signal(syscall.SIGCONT)
	if err := <-first.done; err != nil {
		r.t.Errorf("the first: %v", err)
	}
}

// holder starts a run and stops its process for a while where it has the folder.
func (r *trainings) holder() *process {
	r.t.Helper()
	for range tries {
		p := r.start(r.run)
		r.until("the lock", func() bool { text, _ := os.ReadFile(r.path(r.run + "/checkpoints/lock")); return len(text) > 0 })
		_ = p.Process.Signal(syscall.SIGSTOP)
		m, err := ckpt.Open(ckpt.Config{Dir: r.path(r.run + "/checkpoints")})
		if err != nil { // the process has it
			return p
		}
		if err := m.Close(); err != nil {
			r.t.Fatal(err)
		}
		_ = p.Process.Signal(syscall.SIGCONT)
		<-p.done
		r.through()
	}
	r.t.Fatal("the run is always through before it can be stopped")
	return nil
}

// trainFullDisk lets no file grow beyond a few bytes, after some checkpoints. What
// stands there is good, and the run goes on when there is room again.
func trainFullDisk(r *trainings) {
	r.breakOff()
	full := exec.Command("sh", append([]string{"-c", `ulimit -f 8; exec "$@"`, "sh", r.mes}, r.args(r.run)...)...)
	out, err := full.CombinedOutput()
	if full.ProcessState.ExitCode() != exitFailed || !strings.Contains(string(out), "file too large") || !strings.Contains(string(out), "is intact") {
		r.t.Errorf("a full disk: %v, %s", err, out)
	}
	r.do(r.args(r.run)...)
	r.same(r.run)
}

// trainStoppedFull presses Ctrl-C where the disk has no room for the checkpoint: nothing is
// said to be saved.
func trainStoppedFull(r *trainings) {
	long := strings.NewReplacer(`"log_every": 1, "checkpoint_every": 2`, `"log_every": 1000`, `"tokens": 768`, `"tokens": 7680000`)
	r.write("long.json", long.Replace(trainPlan))
	args := append(r.args(r.run), "-plan", r.path("long.json"))
	p := r.begin(exec.Command("sh", append([]string{"-c", `ulimit -f 8; exec "$@"`, "sh", r.mes}, args...)...))
	r.until("its records", func() bool { _, err := os.Stat(r.path(r.run + "/metrics.jsonl")); return len(p.done) > 0 || err == nil })
	_ = p.Process.Signal(os.Interrupt)
	err := <-p.done
	if text := p.messages.String(); p.ProcessState.ExitCode() != exitFailed || strings.Contains(text, "stopped and saved") || !strings.Contains(text, "file too large") {
		r.t.Errorf("Ctrl-C and a full disk: %v, %s", err, text)
	}
}

// trainOtherRun goes on with other data, another configuration or another plan.
func trainOtherRun(r *trainings) {
	r.breakOff()
	r.write("other/birds.jsonl", `{"text": "`+strings.Repeat("other words ", 200)+"\"}\n")
	r.write("other/law.jsonl", `{"text": "`+strings.Repeat("more of them ", 200)+"\"}\n")
	r.do("data", "prepare", "-tokenizer", r.path("tok"), "-o", r.path("data2"), "-valid", "0", "-test", "0", r.path("other"))
	r.do("tokenizer", "train", "-vocab", "265", "-o", r.path("tok3"), r.path("texts/law.jsonl"))
	r.do("data", "prepare", "-tokenizer", r.path("tok3"), "-o", r.path("data3"), "-valid", "0", "-test", "0", r.path("texts"))
	r.write("config2.json", strings.Replace(trainConfig, `"state_size": 4`, `"state_size": 8`, 1))
	r.write("plan2.json", strings.Replace(trainPlan, `"lr": 0.01`, `"lr": 0.02`, 1))
	for _, tt := range []struct{ flag, file, want string }{
		{"-data", "data2", "go on with the same data and settings, or start anew"},
		{"-data", "data3", "go on with the same data and settings, or start anew"},
		{"-config", "config2.json", "the checkpoints are of another model or plan"},
		{"-plan", "plan2.json", "the checkpoints are of another model or plan"},
	} {
		args := r.args(r.run)
		for i, arg := range args {
			if arg == tt.flag {
				args[i+1] = r.path(tt.file)
			}
		}
		other := exec.Command(r.mes, args...)
		out, err := other.CombinedOutput()
		if other.ProcessState.ExitCode() != exitFailed || !strings.Contains(string(out), tt.want) {
			r.t.Errorf("%s %s: %v, %s", tt.flag, tt.file, err, out)
		}
	}
	r.do(r.args(r.run)...) // nothing of it did harm
}
