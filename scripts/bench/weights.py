"""Write one set of random weights as a HuggingFace folder and as a GGUF file.

    python weights.py DIR        writes DIR/mamba-130m/, DIR/mamba-130m-f32.gguf,
                                 DIR/mamba2-130m/, DIR/mamba2-130m-f32.gguf

The sizes are those of the published 130M models. Both files of a model hold the
same numbers, so that every program measured computes the same network. Ranges
follow the papers' initialization, so that activations stay ordinary numbers.
What exists is left alone. A tokenizer is not needed and not written.
"""

import json
import os
import shutil
import sys

import gguf
import numpy as np
from safetensors.numpy import save_file

LAYERS, D, DI, K, EPS = 24, 768, 1536, 4, 1e-5  # layers, hidden, inner, convolution, norm epsilon
SEED = 20240

COMMON = {
    "torch_dtype": "float32", "hidden_size": D, "num_hidden_layers": LAYERS, "expand": 2, "conv_kernel": K,
    "hidden_act": "silu", "layer_norm_epsilon": EPS, "residual_in_fp32": True, "use_bias": False, "use_conv_bias": True,
    "tie_word_embeddings": True, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "use_cache": True,
}
CONFIGS = {
    "mamba": COMMON | {
        "model_type": "mamba", "architectures": ["MambaForCausalLM"],
        "vocab_size": 50280, "state_size": 16, "intermediate_size": DI, "time_step_rank": 48,
    },
    "mamba2": COMMON | {
        "model_type": "mamba2", "architectures": ["Mamba2ForCausalLM"],
        "vocab_size": 50288, "state_size": 128, "num_heads": 24, "head_dim": 64, "n_groups": 1, "chunk_size": 256,
        "norm_before_gate": False, "rms_norm": True,
    },
}


class Random:
    """Seeded float32 arrays."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def linear(self, rows, cols):
        return self.rng.standard_normal((rows, cols), dtype=np.float32) / np.float32(np.sqrt(cols))

    def embedding(self, rows, cols):
        return self.rng.standard_normal((rows, cols), dtype=np.float32) * np.float32(0.02)

    def uniform(self, low, high, *shape):
        return self.rng.uniform(low, high, shape).astype(np.float32)

    def near_one(self, *shape):
        return self.uniform(0.9, 1.1, *shape)

    def dt_bias(self, n):
        """Inverse softplus of steps between 0.001 and 0.1, evenly in the logarithm."""
        dt = np.exp(self.rng.uniform(np.log(1e-3), np.log(0.1), n))
        return (dt + np.log(-np.expm1(-dt))).astype(np.float32)


def mamba_layer(r, c):
    """Tensors of a Mamba-1 layer, HuggingFace name -> array."""
    n, rank = c["state_size"], c["time_step_rank"]
    return {
        "norm.weight": r.near_one(D),
        "mixer.in_proj.weight": r.linear(2 * DI, D),
        "mixer.conv1d.weight": r.uniform(-0.5, 0.5, DI, 1, K),
        "mixer.conv1d.bias": r.uniform(-0.1, 0.1, DI),
        "mixer.x_proj.weight": r.linear(rank + 2 * n, DI),
        "mixer.dt_proj.weight": r.linear(DI, rank),
        "mixer.dt_proj.bias": r.dt_bias(DI),
        "mixer.A_log": np.log(np.tile(np.arange(1, n + 1, dtype=np.float32), (DI, 1))),
        "mixer.D": r.near_one(DI),
        "mixer.out_proj.weight": r.linear(D, DI),
    }


def mamba2_layer(r, c):
    """Tensors of a Mamba-2 layer, HuggingFace name -> array."""
    heads, conv = c["num_heads"], DI + 2 * c["n_groups"] * c["state_size"]
    return {
        "norm.weight": r.near_one(D),
        "mixer.in_proj.weight": r.linear(DI + conv + heads, D),
        "mixer.conv1d.weight": r.uniform(-0.5, 0.5, conv, 1, K),
        "mixer.conv1d.bias": r.uniform(-0.1, 0.1, conv),
        "mixer.dt_bias": r.dt_bias(heads),
        "mixer.A_log": np.log(r.uniform(1, 16, heads)),
        "mixer.D": r.near_one(heads),
        "mixer.norm.weight": r.near_one(DI),
        "mixer.out_proj.weight": r.linear(D, DI),
    }


LAYER = {"mamba": mamba_layer, "mamba2": mamba2_layer}


def tensors(arch):
    """Every tensor of the model under the names that transformers uses; the head is tied."""
    r, c = Random(SEED), CONFIGS[arch]
    out = {"backbone.embeddings.weight": r.embedding(c["vocab_size"], D)}
    for i in range(LAYERS):
        for name, value in LAYER[arch](r, c).items():
            out[f"backbone.layers.{i}.{name}"] = value
    out["backbone.norm_f.weight"] = r.near_one(D)
    return out


# HuggingFace layer tensor -> GGUF layer tensor.
GGUF_LAYER = {
    "norm.weight": "attn_norm.weight",
    "mixer.in_proj.weight": "ssm_in.weight",
    "mixer.conv1d.weight": "ssm_conv1d.weight",
    "mixer.conv1d.bias": "ssm_conv1d.bias",
    "mixer.x_proj.weight": "ssm_x.weight",
    "mixer.dt_proj.weight": "ssm_dt.weight",
    "mixer.out_proj.weight": "ssm_out.weight",
    "mixer.dt_proj.bias": "ssm_dt.bias",
    "mixer.dt_bias": "ssm_dt.bias",
    "mixer.A_log": "ssm_a",
    "mixer.D": "ssm_d",
    "mixer.norm.weight": "ssm_norm.weight",
}


def gguf_tensor(arch, name, value):
    """The GGUF name and array of a HuggingFace tensor."""
    if name == "backbone.embeddings.weight":
        return "token_embd.weight", value
    if name == "backbone.norm_f.weight":
        return "output_norm.weight", value
    layer, name = name.removeprefix("backbone.layers.").split(".", 1)
    if name == "mixer.A_log":
        value = -np.exp(value)  # GGUF keeps A itself
    if name == "mixer.conv1d.weight":
        value = value[:, 0, :]
    if arch == "mamba2" and name in ("mixer.A_log", "mixer.D"):
        value = value[:, None]
    if name == "mixer.norm.weight":
        value = value[None, :]  # [groups, inner/groups]
    return f"blk.{layer}.{GGUF_LAYER[name]}", value


def write_gguf(path, arch, weights):
    c = CONFIGS[arch]
    w = gguf.GGUFWriter(path, arch)
    w.add_name(f"{arch}-130m random")
    w.add_context_length(2**20)
    w.add_embedding_length(D)
    w.add_feed_forward_length(0)
    w.add_head_count(0)
    w.add_block_count(LAYERS)
    w.add_vocab_size(c["vocab_size"])
    w.add_ssm_conv_kernel(K)
    w.add_ssm_inner_size(DI)
    w.add_ssm_state_size(c["state_size"])
    w.add_ssm_time_step_rank(c["time_step_rank"] if arch == "mamba" else c["num_heads"])
    if arch == "mamba":
        w.add_ssm_dt_b_c_rms(False)
    else:
        w.add_ssm_group_count(c["n_groups"])
    w.add_layer_norm_rms_eps(EPS)
    w.add_file_type(gguf.LlamaFileType.ALL_F32)
    w.add_tokenizer_model("no_vocab")
    for name, value in weights.items():
        name, value = gguf_tensor(arch, name, value)
        w.add_tensor(name, np.ascontiguousarray(value, dtype=np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def write_folder(path, arch, weights):
    os.makedirs(path)
    with open(os.path.join(path, "config.json"), "w", encoding="utf-8") as f:
        json.dump(CONFIGS[arch], f, indent=2, sort_keys=True)
        f.write("\n")
    save_file(weights, os.path.join(path, "model.safetensors"), metadata={"format": "pt"})


def main(root):
    os.makedirs(root, exist_ok=True)
    for arch in CONFIGS:
        folder = os.path.join(root, f"{arch}-130m")
        file = os.path.join(root, f"{arch}-130m-f32.gguf")
        if os.path.isdir(folder) and os.path.isfile(file):
            continue
        weights = tensors(arch)
        shutil.rmtree(folder + ".part", ignore_errors=True)
        write_folder(folder + ".part", arch, weights)
        write_gguf(file + ".part", arch, weights)
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(folder + ".part", folder)
        os.replace(file + ".part", file)
        print(f"wrote {folder} and {file}", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1])
