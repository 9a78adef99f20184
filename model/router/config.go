package router

// Granularity says how often the router decides.
type Granularity string

// The three granularities of a swarm's router.
const (
	PerChunk    Granularity = "chunk"    // at every multiple of ChunkLength
	PerToken    Granularity = "token"    // at every token (chunk with length 1)
	PerSequence Granularity = "sequence" // once, at token SequenceDecision
)

// Config holds the router's part of a swarm's config.json; the JSON key is given
// with each field. The zero value is not usable.
type Config struct {
	NumEncoders      int         // num_encoders: E
	EncodersPerToken int         // num_encoders_per_token: k, 1 to E
	Granularity      Granularity // router_granularity
	ChunkLength      int         // router_chunk_length: C in tokens
	SequenceDecision int         // router_sequence_position: token at which PerSequence decides; default 64
	Dim              int         // router_dim: width of the router's embedding, default 64
	HalfLives        []float64   // router_half_lives in tokens, default 16, 128, 1024
	Temperature      float64     // router_temperature: tau > 0, default 1
	Hysteresis       float64     // router_hysteresis: delta >= 0, default 0.02
	DefaultEncoders  []int       // default_encoders: k distinct encoders for the text before the first decision
	Domains          []string    // encoder_domains: one name per encoder; may be empty
}
