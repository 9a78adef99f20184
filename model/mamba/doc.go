// Package mamba builds the graph of Mamba language models: embedding, causal
// convolution, selective state space, gate and projections, for Mamba-1,
// Mamba-2 and Falcon-Mamba. It holds graph-building code only: no files, no
// text, no sampling.
//
// # Letters
//
//	B  batch             d  hidden size (DModel)     H  heads (Mamba-2)
//	T  tokens            di inner size (DInner)      P  head dim (Mamba-2)
//	V  vocabulary        N  state size (DState)      G  groups of B and C (Mamba-2)
//	K  conv kernel       R  dt_rank (Mamba-1)        Q  chunk of the SSD algorithm
//
// # One layer
//
//	x [B,T,d] ─ norm ─ in_proj ─┬─ conv1d ─ SiLU ─ selective scan ─ y ─┐
//	  │                         └─ z ────────────────────────────── gate ─ out_proj ─ + ─ x'
//	  └──────────────────────────────────────────────────────────────────────────────┘
//
// [Config.Enter] is norm and in_proj, [Config.Scan] everything that carries a
// state, [Config.Leave] gate and out_proj. The split is where a swarm's encoders
// differ: they own what Enter and Leave use and share what Scan uses.
//
// The same functions compute a whole sequence, the continuation of a sequence
// from a [State], and one step (T = 1). States are explicit values. Positions
// that a [Span] masks change nothing: they are zeroed before and after the
// convolution and have delta = 0.
//
// # Sources
//
//   - Gu & Dao 2023, "Mamba: Linear-Time Sequence Modeling with Selective State
//     Spaces": §3.2 and Algorithm 2 (S6), §3.6 (parameterisation of delta).
//   - Dao & Gu 2024, "Transformers are SSMs": §6 and Listing 1 (SSD).
//   - Names of tensors and numerical conventions are those of HuggingFace
//     transformers (MambaForCausalLM, Mamba2ForCausalLM, FalconMambaForCausalLM).
//
// Differences: B is discretised by Euler's rule (delta*B), as in every published
// implementation, not by the zero-order hold of the paper. Not included:
// dropout, and fused kernels of one vendor.
package mamba
