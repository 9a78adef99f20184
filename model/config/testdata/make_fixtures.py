"""Writes the configuration fixtures of this folder with transformers.

    pip install transformers==5.23.0 torch==2.15.0
    python make_fixtures.py
"""

import json
import pathlib
import shutil
import tempfile

import torch
from transformers import AutoModelForCausalLM, FalconMambaConfig, GenerationConfig, Mamba2Config, MambaConfig

HERE = pathlib.Path(__file__).parent


def save(config, name):
    """Saves a configuration as transformers does and keeps the one file."""
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        (file,) = pathlib.Path(folder).glob("*.json")
        shutil.copyfile(file, HERE / name)


def save_with_shapes(config, name):
    """Saves a configuration, and the names and shapes of the weights that it asks for."""
    save(config, name + ".json")
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    shapes = {key: list(weight.shape) for key, weight in sorted(model.named_parameters())}
    (HERE / (name + ".shapes.json")).write_text(json.dumps(shapes, indent=1) + "\n")


save(MambaConfig(), "mamba.json")
save(Mamba2Config(), "mamba2.json")
save(FalconMambaConfig(), "falcon_mamba.json")
save_with_shapes(
    FalconMambaConfig(
        hidden_size=64, intermediate_size=128, expand=16, num_hidden_layers=4, vocab_size=512, time_step_rank=6,
        mixer_rms_eps=1e-5, eos_token_id=[11, 7], pad_token_id=None, dtype="bfloat16", use_bias=True,
    ),
    "falcon_small",
)
save_with_shapes(
    MambaConfig(
        hidden_size=40, num_hidden_layers=1, vocab_size=96, state_size=8, conv_kernel=3, expand=3, use_bias=True, use_conv_bias=False,
        tie_word_embeddings=False,
    ),
    "mamba_small",
)
save_with_shapes(
    Mamba2Config(
        hidden_size=64, num_heads=8, head_dim=16, n_groups=2, state_size=16, num_hidden_layers=2, vocab_size=512, use_bias=True,
        time_step_limit=(0.001, float("inf")), tie_word_embeddings=True,
    ),
    "mamba2_small",
)
save(GenerationConfig(), "generation_default.json")
save(
    GenerationConfig(
        do_sample=True, temperature=0.7, top_k=40, top_p=0.9, min_p=0.05, repetition_penalty=1.1,
        bos_token_id=0, eos_token_id=[0, 2], pad_token_id=0, max_new_tokens=64,
    ),
    "generation.json",
)
