package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/hub/safetensors"
	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/config"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
	"github.com/mamba-encoder-swarm/mes/model/tokenizer"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata/script")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"mes": main})
}

// TestScripts runs testdata/script: one file for each feature, its first lines say
// what it shows. Beside testscript's own commands there are
//
//	exits CODE COMMAND...    runs a command that must end with the code
//	fails CODE COMMAND...    the same, and it writes one line to standard error and
//	                         nothing to standard output
//	tiny DIR [KEY=VALUE...]  makes a random Mamba-2 with a byte tokenizer; the pairs
//	                         change its config.json
//	tensor FILE NAME CHANGE  changes a tensor: drop, nan, int32 or flat
//	cut FILE BYTES           shortens a file
//	fill FILE BYTES          makes a file of the letter a
//	config FILE KEY=VALUE... changes a config.json alone
//	race COMMAND...          runs a command three times at once, of which one must win
//	mode OCTAL FILE          checks the permissions of a file
//	write FILE TEXT          makes a file
//	keep NAME                puts what the last command wrote into $NAME
//	listen NAME              occupies a port and puts its address into $NAME
//	hub NAME                 starts a hub with the user alice and puts its address into
//	                         $NAME, alice's tokens into ${NAME}_WRITE and ${NAME}_READ
//	deploy DIR               makes a folder with deploy_to_hf.sh and source that fits it
func TestScripts(t *testing.T) {
	root, err := testkit.Root()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:           filepath.Join("testdata", "script"),
		UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			env.Setenv("MINI", filepath.Join(root, "weights", "mamba2-mini"))
			env.Setenv("REPO", root)
			env.Setenv("HF_HUB_OFFLINE", "1") // until a script has a hub of its own
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":  func(ts *testscript.TestScript, _ bool, args []string) { exits(ts, args) },
			"fails":  fails,
			"tiny":   func(ts *testscript.TestScript, _ bool, args []string) { ts.Check(tiny(ts.MkAbs(args[0]), args[1:])) },
			"tensor": changeTensor,
			"cut": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(os.Truncate(ts.MkAbs(args[0]), int64(number(ts, args[1]))))
			},
			"fill": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), bytes.Repeat([]byte("a"), number(ts, args[1])), 0o644))
			},
			"config": func(ts *testscript.TestScript, _ bool, args []string) {
				path := ts.MkAbs(args[0])
				ts.Check(os.WriteFile(path, []byte(withKeys(ts.ReadFile(args[0]), args[1:])), 0o644))
			},
			"race": race,
			"hub": func(ts *testscript.TestScript, _ bool, args []string) {
				h, stop, err := newHub(ts.MkAbs("." + args[0]))
				ts.Check(err)
				ts.Defer(stop)
				ts.Setenv(args[0], h.url)
				ts.Setenv(args[0]+"_WRITE", h.write)
				ts.Setenv(args[0]+"_READ", h.read)
			},
			"deploy": func(ts *testscript.TestScript, _ bool, args []string) {
				dir := ts.MkAbs(args[0])
				ts.Check(writeSource(dir))
				ts.Check(copyFile(filepath.Join(root, "deploy_to_hf.sh"), filepath.Join(dir, "deploy_to_hf.sh")))
			},
			"mode": func(ts *testscript.TestScript, _ bool, args []string) {
				info, err := os.Stat(ts.MkAbs(args[1]))
				ts.Check(err)
				if got := strconv.FormatUint(uint64(info.Mode().Perm()), 8); got != args[0] {
					ts.Fatalf("mode %s, want %s", got, args[0])
				}
			},
			"write": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(args[1]), 0o600))
			},
			"keep": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
			},
			"listen": func(ts *testscript.TestScript, _ bool, args []string) {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				ts.Check(err)
				ts.Defer(func() { l.Close() })
				ts.Setenv(args[0], l.Addr().String())
			},
		},
	})
}

// exits runs a command that must end with a code.
func exits(ts *testscript.TestScript, args []string) {
	want, code := number(ts, args[0]), 0
	err := ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		code = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

func fails(ts *testscript.TestScript, _ bool, args []string) {
	exits(ts, args)
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("a command that fails wrote %q to standard output", out)
	}
	message := ts.ReadFile("stderr")
	if !strings.HasPrefix(message, "mes: ") || strings.Count(message, "\n") != 1 || !strings.HasSuffix(message, "\n") {
		ts.Fatalf("%q is not one line that begins with \"mes: \"", message)
	}
}

// race starts a command three times and demands that one succeeds and the others say
// that the folder is taken.
func race(ts *testscript.TestScript, _ bool, args []string) {
	var runs [3]*exec.Cmd
	var messages [len(runs)]bytes.Buffer
	for i := range runs {
		runs[i] = exec.Command(args[0], args[1:]...)
		runs[i].Dir, runs[i].Stderr = ts.MkAbs("."), &messages[i]
		ts.Check(runs[i].Start())
	}
	won := 0
	for i, run := range runs {
		err := run.Wait()
		switch {
		case err == nil:
			won++
		case run.ProcessState.ExitCode() != exitFailed || !strings.Contains(messages[i].String(), hub.ErrExists.Error()):
			ts.Fatalf("%v: %s", err, messages[i].String())
		}
	}
	if won != 1 {
		ts.Fatalf("%d of %d succeeded", won, len(runs))
	}
}

func number(ts *testscript.TestScript, s string) int {
	n, err := strconv.Atoi(s)
	ts.Check(err)
	return n
}

// tinyConfig fits the tokenizer of tiny: 256 bytes, two special tokens and merges.
const tinyConfig = `{
  "model_type": "mamba2",
  "vocab_size": 264,
  "hidden_size": 16,
  "num_hidden_layers": 3,
  "state_size": 4,
  "num_heads": 4,
  "head_dim": 8,
  "n_groups": 1,
  "eos_token_id": 0,
  "tie_word_embeddings": true
}
`

// tiny writes a model folder.
func tiny(dir string, keys []string) error {
	cfg, err := config.Parse([]byte(withKeys(tinyConfig, keys)))
	if err != nil {
		return err
	}
	text := func(yield func(string, error) bool) { yield("the cat and the hat and the mat on the cat", nil) }
	learnt, err := tokenizer.Train(context.Background(), text, tokenizer.TrainConfig{VocabSize: 260, MinFrequency: 2, SpecialTokens: []string{"<|endoftext|>", "<|pad|>"}})
	if err != nil {
		return err
	}
	files, err := os.MkdirTemp("", "mes-tokenizer")
	if err != nil {
		return err
	}
	defer os.RemoveAll(files)
	if err := learnt.Save(files); err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(1, 0))
	return hub.SavePretrained(context.Background(), hub.SaveOptions{Dir: dir, Config: cfg, FilesFrom: files,
		Origin: func(spec swarm.TensorSpec) hub.Origin {
			return hub.Origin{Values: cfg.Swarm.Base.Init(spec.Name, spec.Shape, rng)}
		}})
}

// withKeys sets top-level keys of an indented JSON object to scalars: KEY=VALUE; no
// value removes the key, which must not be the last.
func withKeys(object string, pairs []string) string {
	for _, pair := range pairs {
		key, value, _ := strings.Cut(pair, "=")
		line := regexp.MustCompile(`(?m)^  ` + strconv.Quote(key) + `: ([^,\n]*)(,?)\n`)
		switch {
		case value == "":
			object = line.ReplaceAllString(object, "")
		case line.MatchString(object):
			object = line.ReplaceAllString(object, fmt.Sprintf("  %q: %s$2\n", key, value))
		default:
			object = strings.Replace(object, "{\n", fmt.Sprintf("{\n  %q: %s,\n", key, value), 1)
		}
	}
	return object
}

// changeTensor writes a safetensors file anew with one tensor changed.
func changeTensor(ts *testscript.TestScript, _ bool, args []string) {
	path, name, change := ts.MkAbs(args[0]), args[1], args[2]
	f, err := safetensors.Open(path)
	ts.Check(err)
	defer f.Close()
	if _, ok := f.Tensor(name); !ok {
		ts.Fatalf("%s has no tensor %s", path, name)
	}
	var specs []safetensors.Spec
	data := map[string][]byte{}
	for _, n := range f.Names() {
		t, _ := f.Tensor(n)
		values, err := t.Bytes()
		ts.Check(err)
		spec := safetensors.Spec{Name: n, DType: t.DType, Shape: t.Shape}
		data[n] = bytes.Clone(values)
		if n == name {
			switch change {
			case "drop":
				continue
			case "nan":
				nan := math.Float32bits(float32(math.NaN()))
				copy(data[n], []byte{byte(nan), byte(nan >> 8), byte(nan >> 16), byte(nan >> 24)})
			case "int32":
				spec.DType = safetensors.I32
			case "flat":
				spec.Shape = []int{int(t.NumElements())}
			default:
				ts.Fatalf("unknown change %q", change)
			}
		}
		specs = append(specs, spec)
	}
	ts.Check(safetensors.WriteFile(context.Background(), path, specs, f.Metadata(), func(name string) (io.Reader, error) {
		return bytes.NewReader(data[name]), nil
	}))
}
