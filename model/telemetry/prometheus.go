package telemetry

import (
	"fmt"
	"strconv"
	"strings"
)

// prometheusNames gives each scalar of a record the name, the label of its group's
// members, and what it says.
var prometheusNames = map[string]struct{ name, label, help string }{
	"loss":             {"mes_train_loss", "", "Loss that is minimized, in nats."},
	"losses":           {"mes_train_loss_part", "part", "Parts of the loss."},
	"domain_loss":      {"mes_train_domain_loss", "domain", "Cross-entropy by domain, in nats a token."},
	"lr":               {"mes_train_learning_rate", "", "Learning rate."},
	"tokens":           {"mes_train_tokens", "", "Tokens read since the run began."},
	"grad_norm":        {"mes_train_grad_norm", "", "Global norm of the gradient before clipping."},
	"tokens_per_s":     {"mes_train_tokens_per_second", "", "Tokens a second."},
	"memory_bytes":     {"mes_train_memory_bytes", "", "Memory in use."},
	"router_agreement": {"mes_train_router_agreement", "", "Share of decisions that name the text's own domain."},
	"dropped":          {"mes_train_dropped", "", "Share of chunks that found no room at their encoder."},
	"seconds":          {"mes_train_stage_seconds", "stage", "Time by stage since the record before."},
}

// labelText escapes what a label may not hold.
var labelText = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// prometheusText writes a record in Prometheus's text format 0.0.4. All are gauges, as a
// resumed run may fall back.
func prometheusText(r *Record) string {
	var b strings.Builder
	last := ""
	sample := func(name, help, label, value string, v float64) {
		if name != last {
			fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name)
			last = name
		}
		if label != "" {
			name += fmt.Sprintf(`{%s="%s"}`, label, labelText.Replace(value))
		}
		fmt.Fprintf(&b, "%s %s\n", name, strconv.FormatFloat(v, 'g', -1, 64))
	}
	sample("mes_train_step", "Optimizer steps done.", "", "", float64(r.Step))
	for _, s := range r.scalars() {
		group, member, _ := strings.Cut(s.name, "/")
		p := prometheusNames[group]
		sample(p.name, p.help, p.label, member, s.value)
	}
	for i, use := range r.EncoderUse {
		sample("mes_train_encoder_use", "Share of the router's choices that fell on each encoder.", "encoder", strconv.Itoa(i), use)
	}
	return b.String()
}
