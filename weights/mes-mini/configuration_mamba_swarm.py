"""Configuration of a Mamba encoder swarm: config.json as `mes` writes it.

configuration_mamba_swarm.json of the MES project describes every key; a key that is absent has the
default that `mes` takes for it.
"""

import math

from transformers import PreTrainedConfig

STACK = dict(
    vocab_size=50280, hidden_size=768, num_hidden_layers=32, state_size=16, conv_kernel=4, expand=2,
    use_bias=False, use_conv_bias=True, hidden_act="silu", layer_norm_epsilon=1e-5, tie_word_embeddings=True,
    bos_token_id=0, eos_token_id=0, pad_token_id=0, use_cache=True, initializer_range=0.02,
)  # fmt: skip
BASES = {
    "mamba": dict(STACK, time_step_rank="auto"),
    "falcon_mamba": dict(STACK, time_step_rank="auto", mixer_rms_eps=1e-6),
    "mamba2": dict(
        STACK, vocab_size=32768, hidden_size=4096, num_hidden_layers=64, state_size=128, num_heads=128, head_dim=64,
        n_groups=8, chunk_size=256, time_step_limit=(0.0, math.inf), norm_before_gate=False, rms_norm=True,
        tie_word_embeddings=False, eos_token_id=2, pad_token_id=1,
    ),
}  # fmt: skip
SWARM = dict(
    num_encoders=1, num_encoders_per_token=1, num_encoder_layers=1, router_granularity="chunk", router_chunk_length=16,
    router_sequence_position=64, router_dim=64, router_half_lives=(16.0, 128.0, 1024.0), router_temperature=1.0,
    router_hysteresis=0.02, encoder_state="handoff", encoder_fusion="attention", aggregator_dim=64, encoder_domains=(),
)  # fmt: skip


class MambaSwarmConfig(PreTrainedConfig):
    model_type = "mamba_swarm"

    def __init__(self, base_model_type="mamba2", quantization_config=None, **kwargs):
        if base_model_type not in BASES:
            raise ValueError(f"base_model_type {base_model_type!r} is not supported; supported: {', '.join(BASES)}")
        values = {**BASES[base_model_type], **SWARM, **kwargs, "base_model_type": base_model_type}
        values["intermediate_size"] = values.get("intermediate_size") or values["expand"] * values["hidden_size"]
        if values.get("time_step_rank") == "auto":
            values["time_step_rank"] = math.ceil(values["hidden_size"] / 16)
        if base_model_type == "mamba2" and not values.get("norm_group_size"):
            values["norm_group_size"] = values["intermediate_size"] // values["n_groups"]
        if values.get("default_encoders") is None:
            values["default_encoders"] = list(range(values["num_encoders_per_token"]))
        if values.get("rescale_prenorm_residual"):
            raise ValueError("rescale_prenorm_residual is set: `mes convert -o NEW FOLDER` writes the weights rescaled")
        # Weights that `mes convert -dtype int8` wrote are widened when they are loaded, which needs no
        # quantization package; so transformers must not see that key. Any other is left to transformers.
        int8 = (quantization_config or {}).get("format") == "int-quantized"
        values["int8_weights"] = int8 or values.get("int8_weights", False)
        if quantization_config and not int8:
            values["quantization_config"] = quantization_config
        super().__init__(**values)
        for key in ("use_cache", "bos_token_id", "eos_token_id", "pad_token_id"):
            setattr(self, key, values[key])  # transformers takes them for settings of generate() and drops them


__all__ = ["MambaSwarmConfig"]
