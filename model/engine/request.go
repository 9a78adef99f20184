package engine

// Request asks for a continuation of a prompt. Zero values mean: MaxTokens 0 the
// engine's default, Temperature 0 greedy, TopK/TopP/MinP 0 off,
// RepetitionPenalty 0 or 1 off, PresencePenalty 0 off.
type Request struct {
	Prompt    string
	Domain    string   // optional hint: name of an encoder's domain, used before the router's first decision
	MaxTokens int      // tokens to generate at most
	Stop      []string // the answer ends before the first of these
	Logprobs  int      // top alternatives reported per token, 0 none
	// NoSpecialTokens leaves out what the tokenizer's file adds to a text, for a
	// prompt that a chat template made.
	NoSpecialTokens bool
	Sampling
}

// Sampling holds the controls of how a token is drawn from the logits.
type Sampling struct {
	Temperature       float64 // >= 0; 0 is greedy
	TopK              int     // keep the k likeliest; 0 all
	TopP              float64 // nucleus in (0, 1]; 0 or 1 all
	MinP              float64 // keep tokens at least MinP times as likely as the best; 0 all
	RepetitionPenalty float64 // > 1 makes tokens seen less likely (Keskar et al. 2019); 0 or 1 off
	PresencePenalty   float64 // subtracted from the logit of every generated token; 0 off
	Seed              uint64  // the same seed gives the same text
}

// Event is one step of a running request, in order: routing of the prompt, then
// tokens, each possibly with a new chunk.
type Event struct {
	Text    string         // decoded text that became final; may be empty
	Token   int            // id of the generated token, -1 for events without one
	Logprob float64        // natural logarithm of the token's probability
	Top     []TokenLogprob // alternatives, best first, if asked for
	Chunks  []Chunk        // routing decisions that started with this event
}

// TokenLogprob is one alternative at a position.
type TokenLogprob struct {
	Token   int     `json:"token"`
	Text    string  `json:"text"`
	Logprob float64 `json:"logprob"`
}

// Chunk is a routing decision as shown to people: which tokens it covers, and
// which encoders ran with which weight. A later chunk with the same Start
// replaces an earlier one (a chunk grows while it is generated).
type Chunk struct {
	Start    int          `json:"start"`    // first token, counted over prompt and answer
	End      int          `json:"end"`      // one past the last token
	Text     string       `json:"text"`     // the tokens' text
	Prompt   bool         `json:"prompt"`   // the chunk began inside the prompt
	Encoders []EncoderUse `json:"encoders"` // one per slot; empty for a plain model
	Reason   string       `json:"reason"`   // default, domain, kept, swapped
}

// EncoderUse is one active encoder of a chunk.
type EncoderUse struct {
	Slot    int     `json:"slot"`
	Encoder int     `json:"encoder"`
	Domain  string  `json:"domain"` // empty if the model names none
	Weight  float64 `json:"weight"` // router gate, the weights of a chunk sum to 1
	Changed bool    `json:"changed"`
	Always  bool    `json:"always,omitempty"` // it runs whatever the router reads: a generalist
}

// FinishReason says why a generation ended.
type FinishReason string

// Reasons for the end of a generation.
const (
	FinishLength    FinishReason = "length"    // MaxTokens reached
	FinishStop      FinishReason = "stop"      // an end-of-sequence token or a stop string
	FinishCancelled FinishReason = "cancelled" // the caller's context ended
)

// Result is the summary of a finished request.
type Result struct {
	Text             string       `json:"text"`
	PromptTokens     int          `json:"prompt_tokens"`
	CompletionTokens int          `json:"completion_tokens"`
	FinishReason     FinishReason `json:"finish_reason"`
	Chunks           []Chunk      `json:"chunks,omitempty"`
	FirstTokenMS     float64      `json:"first_token_ms"`    // request to first token
	TokensPerSecond  float64      `json:"tokens_per_second"` // decoding only, first token excluded
	EncoderSwaps     int          `json:"encoder_swaps"`     // slots whose encoder changed, prompt included
	Seed             uint64       `json:"seed"`
}

// Info describes the model that an engine runs, for cards and `mes inspect`.
type Info struct {
	Name             string   `json:"name"`
	ModelType        string   `json:"model_type"`
	BaseModelType    string   `json:"base_model_type"`
	Parameters       int64    `json:"parameters"`        // all tensors
	ActiveParameters int64    `json:"active_parameters"` // those that one token uses
	NumEncoders      int      `json:"num_encoders"`
	EncodersPerToken int      `json:"num_encoders_per_token"`
	NumEncoderLayers int      `json:"num_encoder_layers"`
	NumLayers        int      `json:"num_hidden_layers"`
	HiddenSize       int      `json:"hidden_size"`
	VocabSize        int      `json:"vocab_size"`
	ChunkLength      int      `json:"router_chunk_length"`
	Granularity      string   `json:"router_granularity"`
	Domains          []string `json:"encoder_domains"`
	DType            string   `json:"dtype"`   // of the weight matrices in memory
	Backend          string   `json:"backend"` // for example "xla:cpu"
	// GrownFrom names the plain model that every encoder is still a copy of; empty
	// for a trained swarm and for a plain model.
	GrownFrom string `json:"grown_from,omitempty"`
}
