package telemetry

import (
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mamba-encoder-swarm/mes/internal/testkit"
)

// TestEvents compares a file with what TensorBoard's own writer makes of the same events.
func TestEvents(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 25e7, time.UTC)
	dir := t.TempDir()
	w, err := newEventWriter(dir, at)
	must(t, err)
	must(t, w.begin(41, at))
	must(t, w.add(&Record{
		Step: 60, Time: at, Loss: 2.5, Losses: map[string]float64{"cross_entropy": math.NaN(), "balance": 0}, DomainLoss: map[string]float64{"poésie": -1.25},
		LR: 3e-4, Tokens: 163840, GradNorm: math.Inf(1), TokensPerSecond: 410e3, MemoryBytes: 6.1e9, RouterAgreement: new(0.9375), Dropped: new(0.0),
		Seconds: map[string]float64{"step": 1.5}, Extra: map[string]any{"skipped": uint8(2), "note": "text", "nothing": nil}, EncoderUse: []float64{0.5, 0, 0.25, 0.25},
	}))
	must(t, w.file.Close())
	got, err := os.ReadFile(filepath.Join(dir, "events.out.tfevents.1772366400.250000000.mes"))
	must(t, err)
	want, err := os.ReadFile("testdata/events.tfevents")
	must(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestMaskedCRC uses the checksums of RFC 3720, B.4, unmasked.
func TestMaskedCRC(t *testing.T) {
	ascending := make([]byte, 32)
	for i := range ascending {
		ascending[i] = byte(i)
	}
	for crc, data := range map[uint32][]byte{0x8a9136aa: make([]byte, 32), 0x46dd794e: ascending, 0xe3069283: []byte("123456789")} {
		rotated := maskedCRC(data) - 0xa282ead8
		if got := rotated>>17 | rotated<<15; got != crc {
			t.Errorf("checksum %08x, want %08x", got, crc)
		}
	}
}

// TestTensorBoard has TensorBoard read a run that was resumed. MES_TEST_TENSORBOARD names
// a Python that has it; scripts/judges/tensorboard.sh makes one.
func TestTensorBoard(t *testing.T) {
	python := os.Getenv("MES_TEST_TENSORBOARD")
	if python == "" {
		t.Skip("TENSORBOARD NOT ASKED: set MES_TEST_TENSORBOARD, or run scripts/judges/tensorboard.sh")
	}
	root, err := testkit.Root()
	must(t, err)
	dir := t.TempDir()
	records := run(200, 19)
	r := opened(t, RecorderConfig{Dir: dir})
	addAll(t, r, records[:150])
	must(t, r.Close())
	time.Sleep(10 * time.Millisecond) // the second file needs another name
	r = opened(t, RecorderConfig{Dir: dir, Step: records[99].Step})
	addAll(t, r, records[100:])
	must(t, r.Close())
	out, err := exec.CommandContext(t.Context(), python, filepath.Join(root, "scripts/judges/read_events.py"), dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
