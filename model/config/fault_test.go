package config

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Each case is one error of the parser or of one field.
func TestFaults(t *testing.T) {
	for name, c := range map[string]struct {
		file string
		want []string
	}{
		"no model type":         {`{}`, []string{"model_type: missing; supported: mamba, mamba2, falcon_mamba, mamba_swarm, and the original layout of state-spaces/mamba, which has d_model and no model_type"}},
		"unknown model type":    {`{"model_type": "llama"}`, []string{`model_type: "llama" is not supported; supported: mamba, mamba2, falcon_mamba, mamba_swarm, and the original layout of state-spaces/mamba, which has d_model and no model_type`}},
		"no base type":          {`{"model_type": "mamba_swarm"}`, []string{"base_model_type: missing; supported: mamba, mamba2, falcon_mamba"}},
		"bad base type":         {`{"model_type": "mamba_swarm", "base_model_type": 3}`, []string{"base_model_type: 3 is not supported; supported: mamba, mamba2, falcon_mamba"}},
		"bad original layer":    {`{"d_model": 8, "ssm_cfg": {"layer": "S4"}}`, []string{`ssm_cfg.layer: "S4" is not supported; supported: Mamba1, Mamba2`}},
		"negative":              {plain(`"vocab_size": -3`), []string{"vocab_size: -3 is below 1"}},
		"zero":                  {plain(`"num_hidden_layers": 0`), []string{"num_hidden_layers: 0 is below 1"}},
		"too large":             {plain(`"hidden_size": 200000`), []string{"hidden_size: 200000 exceeds 131072"}},
		"overflow":              {plain(`"hidden_size": 99999999999999999999`), []string{"hidden_size: 99999999999999999999 does not fit an integer"}},
		"fraction":              {plain(`"expand": 1.5`), []string{"expand: must be an integer, is 1.5"}},
		"string for integer":    {plain(`"expand": "2"`), []string{`expand: must be an integer, is "2"`}},
		"null for integer":      {plain(`"expand": null`), []string{"expand: must be an integer, is null"}},
		"infinite integer":      {plain(`"expand": Infinity`), []string{"expand: must be an integer, is Infinity"}},
		"list for bool":         {plain(`"use_bias": [1]`), []string{"use_bias: must be true or false, is a list"}},
		"NaN":                   {plain(`"layer_norm_epsilon": NaN`), []string{"layer_norm_epsilon: must be a number, is NaN"}},
		"object for number":     {plain(`"layer_norm_epsilon": {}`), []string{"layer_norm_epsilon: must be a number, is an object"}},
		"negative number":       {plain(`"layer_norm_epsilon": -1e-5`), []string{"layer_norm_epsilon: -1e-05 is below 0"}},
		"large number":          {plain(`"layer_norm_epsilon": 2`), []string{"layer_norm_epsilon: 2 exceeds 1"}},
		"activation":            {plain(`"hidden_act": "gelu"`), []string{`hidden_act: "gelu" is not supported; supported: "silu"`}},
		"rank":                  {plain(`"time_step_rank": "big"`), []string{`time_step_rank: must be an integer or "auto", is "big"`}},
		"dtype":                 {plain(`"dtype": 16`), []string{"torch_dtype: must be a string, is 16"}},
		"token id":              {plain(`"bos_token_id": "x", "eos_token_id": [0, -2], "pad_token_id": -2`), []string{`bos_token_id: must be an integer, is "x"`, "eos_token_id: element 1: -2 is below 0", "pad_token_id: -2 is below -1"}},
		"token above vocab":     {plain(`"vocab_size": 8, "bos_token_id": 9, "eos_token_id": [1, 8]`), []string{"bos_token_id: 9 is not below vocab_size 8", "eos_token_id: 8 is not below vocab_size 8"}},
		"architectures":         {plain(`"architectures": "X"`), []string{`architectures: must be a list of class names, is "X"`}},
		"architectures element": {plain(`"architectures": [1]`), []string{"architectures: must be a list of class names, is 1"}},
		"model too large":       {`{"model_type": "mamba", "hidden_size": 131072, "expand": 8, "num_hidden_layers": 4096, "time_step_rank": 9000}`, []string{"num_hidden_layers: the sizes make a model of 1.8e+15 parameters, more than 3.5e+13"}},
		"mixer too wide":        {plain(`"hidden_size": 131072, "expand": 64`), []string{"hidden_size: the mixer's width is 8388608, more than 1048576"}},
		"heads":                 {`{"model_type": "mamba2", "hidden_size": 384}`, []string{"num_heads: 128 heads of 64 channels are not the mixer's width 768"}},
		"groups":                {`{"model_type": "mamba2", "n_groups": 5}`, []string{"n_groups: 5 does not divide num_heads 128"}},
		"norm groups":           {`{"model_type": "mamba2", "norm_group_size": 3}`, []string{"norm_group_size: 3 does not divide the mixer's width 8192"}},
		"limit order":           {`{"model_type": "mamba2", "time_step_limit": [2, 1]}`, []string{"time_step_limit: the least value 2 is above the greatest 1"}},
		"limit length":          {`{"model_type": "mamba2", "time_step_limit": [2]}`, []string{"time_step_limit: must be a list of two numbers, is a list"}},
		"limit NaN":             {`{"model_type": "mamba2", "time_step_limit": [0, {"__float__": "NaN"}]}`, []string{"time_step_limit: element 1: must be a number, is NaN"}},
		"limit tag":             {`{"model_type": "mamba2", "time_step_limit": [0, {"__float__": "Inf"}]}`, []string{"time_step_limit: element 1: must be a number, is an object"}},
		"limit negative":        {`{"model_type": "mamba2", "time_step_limit": [-Infinity, 1]}`, []string{"time_step_limit: element 0: -Inf is below 0"}},
		"swarm keys missing":    {`{"model_type": "mamba_swarm", "base_model_type": "mamba"}`, []string{"num_encoders: missing", "num_encoders_per_token: missing", "num_encoder_layers: missing"}},
		"more active than E":    {grownFile(`"num_encoders": 8, "num_encoders_per_token": 12`), []string{"num_encoders_per_token: 12 exceeds num_encoders 8"}},
		"too many layers":       {grownFile(`"num_encoder_layers": 40`), []string{"num_encoder_layers: 40 exceeds num_hidden_layers 32"}},
		"too many encoders":     {grownFile(`"num_encoders": 16384, "num_encoder_layers": 100, "num_hidden_layers": 100`), []string{"num_encoders: num_encoders × num_encoder_layers is 1638400, more than 1048576"}},
		"granularity":           {grownFile(`"router_granularity": "word"`), []string{`router_granularity: "word" is not supported; supported: chunk, token, sequence`}},
		"half-lives empty":      {grownFile(`"router_half_lives": []`), []string{"router_half_lives: must hold 1 to 16 numbers, holds 0"}},
		"half-lives zero":       {grownFile(`"router_half_lives": [1, 0]`), []string{"router_half_lives: element 1: 0 is not above 0"}},
		"half-lives infinite":   {grownFile(`"router_half_lives": [Infinity]`), []string{"router_half_lives: element 0: must be finite, is +Inf"}},
		"temperature":           {grownFile(`"router_temperature": 0`), []string{"router_temperature: 0 is not above 0"}},
		"hysteresis":            {grownFile(`"router_hysteresis": -0.1`), []string{"router_hysteresis: -0.1 is below 0"}},
		"defaults too few":      {grownFile(`"default_encoders": [0]`), []string{"default_encoders: has 1 encoders for num_encoders_per_token 2"}},
		"defaults twice":        {grownFile(`"default_encoders": [1, 1]`), []string{"default_encoders: names encoder 1 twice"}},
		"defaults outside":      {grownFile(`"default_encoders": [1, 4]`), []string{"default_encoders: encoder 4 does not exist, num_encoders is 4"}},
		"domains":               {grownFile(`"encoder_domains": ["a"]`), []string{"encoder_domains: has 1 names for num_encoders 4"}},
		"domain name":           {grownFile(`"encoder_domains": ["a", ""]`), []string{`encoder_domains: element 1: must be a name, is ""`}},
		"state":                 {grownFile(`"encoder_state": "keep"`), []string{`encoder_state: "keep" is not supported; supported: handoff, reset`}},
		"fusion":                {grownFile(`"encoder_fusion": "sum"`), []string{`encoder_fusion: "sum" is not supported; supported: attention, weights`}},
		"auto_map":              {grownFile(`"auto_map": 1`), []string{"auto_map: must be an object, is 1"}},
		"all at once": {grownFile(`"vocab_size": 0, "expand": true, "num_encoders_per_token": 5, "encoder_state": null`), []string{
			"vocab_size: 0 is below 1", "expand: must be an integer, is true",
			"encoder_state: null is not supported; supported: handoff, reset", "num_encoders_per_token: 5 exceeds num_encoders 4"}},
		"original inner":     {`{"d_model": 0, "ssm_cfg": {"d_state": 0, "expand": "x"}}`, []string{"d_model: 0 is below 1", "ssm_cfg.d_state: 0 is below 1", `ssm_cfg.expand: must be an integer, is "x"`}},
		"original ssm_cfg":   {`{"d_model": 8, "ssm_cfg": 1}`, []string{"ssm_cfg: must be an object, is 1"}},
		"original heads":     {`{"d_model": 24, "ssm_cfg": {"layer": "Mamba2", "headdim": 32}}`, []string{"ssm_cfg.headdim: 1 heads of 32 channels are not the mixer's width 48"}},
		"original attention": {`{"d_model": 8, "attn_layer_idx": [3]}`, []string{"attn_layer_idx: a list is not supported; supported: []"}},
		"original MLP":       {`{"d_model": 8, "d_intermediate": 16}`, []string{"d_intermediate: 16 is not supported; supported: 0"}},
		"original layernorm": {`{"d_model": 8, "rms_norm": false}`, []string{"rms_norm: false is not supported; supported: true"}},
		"original d_ssm":     {`{"d_model": 64, "ssm_cfg": {"layer": "Mamba2", "d_ssm": 64, "D_has_hdim": true}}`, []string{"ssm_cfg.d_ssm: 64 is not supported; supported: null", "ssm_cfg.D_has_hdim: true is not supported; supported: false"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(c.file))
			var faults *FaultError
			if !errors.As(err, &faults) {
				t.Fatalf("got %v, want a FaultError", err)
			}
			var got []string
			for _, f := range faults.Faults {
				got = append(got, f.Field+": "+f.Message)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
			if want := strings.Join(c.want, "; "); err.Error() != want {
				t.Errorf("the error says %q, want %q", err, want)
			}
		})
	}
}

func plain(members string) string { return `{"model_type": "mamba", ` + members + `}` }

// grownFile is a swarm of 4 encoders whose keys the members replace.
func grownFile(members string) string {
	for _, m := range []string{`"num_encoders": 4`, `"num_encoders_per_token": 2`, `"num_encoder_layers": 2`} {
		if key, _, _ := strings.Cut(m, ":"); !strings.Contains(members, key+":") {
			members += ", " + m
		}
	}
	return `{"model_type": "mamba_swarm", "base_model_type": "mamba", ` + members + `}`
}

// Text that is not a JSON object.
func TestSyntaxErrors(t *testing.T) {
	for name, c := range map[string]struct{ file, want string }{
		"empty":          {"", "line 1, column 1: the text ends where a value should be"},
		"not an object":  {"[1]", "holds a list, not an object"},
		"invalid UTF-8":  {"{\"a\": \"\xff\"}", "not UTF-8 text"},
		"byte order":     {"\ufeff{}", "line 1, column 1: no JSON value starts here"},
		"after the end":  {"{} x", "line 1, column 4: text after the end of the object"},
		"twice":          {"{\"a\": 1,\n  \"a\": 2}", `line 2, column 3: key "a" appears twice`},
		"twice inside":   {`{"a": {"b": 1, "\u0062": 2}}`, `line 1, column 16: key "b" appears twice`},
		"no key":         {"{1: 2}", "line 1, column 2: a quoted key should be here"},
		"trailing comma": {`{"a": 1,}`, "line 1, column 9: a quoted key should be here"},
		"no colon":       {`{"a" 1}`, "line 1, column 6: a colon should be here"},
		"no comma":       {`{"a": 1 "b": 2}`, "line 1, column 9: a comma or } should be here"},
		"list end":       {`{"a": [1 2]}`, "line 1, column 10: a comma or ] should be here"},
		"open string":    {`{"a`, "line 1, column 2: a string without closing quote"},
		"bad escape":     {`{"a": "\x"}`, "line 1, column 7: a string with a bad escape or control character"},
		"control":        {"{\"a\": \"\n\"}", "line 1, column 7: a string with a bad escape or control character"},
		"number":         {`{"a": 01}`, `line 1, column 7: "01" is not a number`},
		"minus NaN":      {`{"a": -NaN}`, `line 1, column 7: "-" is not a number`},
		"word":           {`{"a": yes}`, "line 1, column 7: no JSON value starts here"},
		"ends":           {`{"a": `, "line 1, column 7: the text ends where a value should be"},
		"too deep":       {`{"a": ` + strings.Repeat("[", 100), "line 1, column 71: nested deeper than 64 levels"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(c.file))
			if want := "parse config: " + c.want; err == nil || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
}

// Marshal refuses what Parse would refuse.
func TestMarshalValidates(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"size":         {func(c *Config) { c.Swarm.Base.DModel = 0 }, "hidden_size: 0 is below 1"},
		"half-lives":   {func(c *Config) { c.Swarm.Router.HalfLives = nil }, "router_half_lives: must hold 1 to 16 numbers, holds 0"},
		"model type":   {func(c *Config) { c.ModelType = "gpt2" }, `model_type: "gpt2" is not supported; supported: mamba, mamba2, falcon_mamba, mamba_swarm`},
		"no kind":      {func(c *Config) { c.Swarm.Base.Kind = "" }, `base_model_type: "" is not supported; supported: mamba, mamba2, falcon_mamba`},
		"type of base": {func(c *Config) { c.ModelType = "mamba" }, "model_type: mamba does not have the blocks of mamba2; model_type: mamba cannot have encoders"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Default()
			c.change(cfg)
			_, err := cfg.Marshal()
			var faults *FaultError
			if !errors.As(err, &faults) || err.Error() != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestGrowFaults(t *testing.T) {
	plain, err := Load(mini)
	if err != nil {
		t.Fatal(err)
	}
	_, err = plain.Grow(4, 5, 13, "x")
	want := "num_encoders_per_token: 5 exceeds num_encoders 4; num_encoder_layers: 13 exceeds num_hidden_layers 12"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err := Default().Grow(2, 1, 1, "x"); err == nil || !strings.Contains(err.Error(), "a swarm already") {
		t.Errorf("growing a swarm: %v", err)
	}
}
