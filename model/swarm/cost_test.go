package swarm_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/mamba-encoder-swarm/mes/model/config"
	"github.com/mamba-encoder-swarm/mes/model/router"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

func loadConfig(t *testing.T, dir string) *config.Config {
	t.Helper()
	c, err := config.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestFLOPs compares with torch.utils.flop_counter of torch 2.15 over transformers
// 5.23, run on 8 tokens: mm are the linear layers, a token; convolution has 2 for each
// weight and output (11 outputs for 8 tokens with K = 4, of which 8 are kept). Its
// bmm of Mamba-1 is y = C·h, 2 of the 7 operations of the scan.
func TestFLOPs(t *testing.T) {
	for _, c := range []struct {
		dir  string
		want int64
	}{
		{"../../weights/mamba2-mini", 28_815_360 + 118_272*8/11 + 5*768*64*12},
		{"../mamba/testdata/mamba1", 33_792 + 1_408*8/11 + 2_048/2*7},
		{"../mamba/testdata/mamba2", 31_744 + 1_760*8/11 + 5*64*8*2},
	} {
		if got := loadConfig(t, c.dir).Swarm.FLOPs(); got != c.want {
			t.Errorf("%s: %d operations, want %d", filepath.Base(c.dir), got, c.want)
		}
	}
}

// TestFLOPsSwarm: what a swarm adds, worked out by hand. The fixture mamba1 has d 32,
// di 64, N 8, V 64 and 2 layers; one of them is 2·(128·32 + 64·4 + 18·64 + 64·2 +
// 32·64) + 7·64·8 = 18,944 operations.
func TestFLOPsSwarm(t *testing.T) {
	const layer, head = 18_944, 2 * 64 * 32
	base := loadConfig(t, "../mamba/testdata/mamba1")
	if got := base.Swarm.FLOPs(); got != 2*layer+head {
		t.Fatalf("the plain model has %d operations, want %d", got, 2*layer+head)
	}
	grown, err := base.Grow(10, 3, 1, "base")
	if err != nil {
		t.Fatal(err)
	}
	const values = 64 * 3 // the router's averages
	const averages, decision = 3 * values, 2 * 10 * values
	const aggregator = 2*64*32 + 3*(2*64+4)*32
	const merged = 2 * 3 * (32 + 128*32 + 32*64) // norm, in_proj and out_proj of 3 encoders
	for name, c := range map[string]struct {
		change func(c *swarm.Config)
		want   int64
	}{
		"chunk":    {func(c *swarm.Config) {}, head + 4*layer + aggregator + averages + decision/16},
		"token":    {func(c *swarm.Config) { c.Router.Granularity = router.PerToken }, head + 4*layer + aggregator + averages + decision},
		"sequence": {func(c *swarm.Config) { c.Router.Granularity = router.PerSequence }, head + 4*layer + aggregator + averages},
		"weights":  {func(c *swarm.Config) { c.Fusion = swarm.FuseWeights }, head + 2*layer + averages + (decision+merged)/16},
	} {
		cfg := grown.Swarm
		c.change(&cfg)
		if got := cfg.FLOPs(); got != c.want {
			t.Errorf("%s: %d operations, want %d", name, got, c.want)
		}
	}
}

// TestMemoryBytes: sizes of the fixture mamba1 worked out by hand. Its matrices have
// 2·(128·32 + 32·64) values in in_proj and out_proj (2·160 rows), 2·(18·64 + 64·2) in
// x_proj and dt_proj, 64·32 in the embedding.
func TestMemoryBytes(t *testing.T) {
	const matrices, rows, small, embedding, rest = 2 * 6144, 2 * 160, 2 * 1280, 2048, 2*(32+256+64+64+512+64) + 32
	c := loadConfig(t, "../mamba/testdata/mamba1").Swarm
	for precision, want := range map[swarm.Precision]int64{
		swarm.F32:  4 * (matrices + small + embedding + rest),
		swarm.BF16: 2*(matrices+small+embedding) + 4*rest,
		swarm.Int8: matrices + 4*rows + 2*(small+embedding) + 4*rest + embedding + 4*64, // and the head
	} {
		if got := c.MemoryBytes(precision); got != want {
			t.Errorf("%s: %d bytes, want %d", precision, got, want)
		}
	}
}

func ExampleConfig_FLOPs() {
	c, err := config.Load("../../weights/mamba2-mini")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%.1f MFLOP a token\n", float64(c.Swarm.FLOPs())/1e6)
	// Output: 31.9 MFLOP a token
}
