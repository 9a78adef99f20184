// Package trainer makes weights: it trains a plain Mamba, or a swarm in phases, from
// prepared data.
//
//	seed    a plain model, all tensors
//	branch  one specialist for each domain, from the seed: its own tensors only
//	router  router and aggregator only
//	joint   everything, with routing losses; alone it is training from scratch
//
// Data flows one way: a [Plan] says what to do, [Trainer.Run] goes through its phases,
// a learner holds a phase's tensors on the device and runs two programs a step:
// gradients of the losses (loss.go), and AdamW (optimizer.go). Between phases, and in
// checkpoints, a model is [Params]: tensors on the host, under the names of a
// checkpoint in HuggingFace's layout.
//
// Sources: Loshchilov & Hutter 2019 (AdamW); Fedus et al. 2021, "Switch Transformers"
// (load balance); Zoph et al. 2022, "ST-MoE" (z-loss); Wang et al. 2024,
// "Auxiliary-Loss-Free Load Balancing" (balance bias); Li et al. 2022,
// "Branch-Train-Merge" (branch); Hu et al. 2024, "MiniCPM" (schedule wsd).
package trainer
