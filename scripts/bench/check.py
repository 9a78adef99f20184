"""Check that llama.cpp and transformers compute the same network from the same weights.

    LLAMA_CPP_LIB_PATH=build/bin PYTHONPATH=llama-cpp-python-source python check.py DIR

For each model of weights.py llama.cpp takes 48 prompt tokens in one batch and 16 greedy
ones step by step; transformers then reads the whole text at once. At each of the 16
places both must choose the same token, and every logit must be finite and equal to 1e-4.
One exit code for all: 0 when they agree, 1 when not.
"""

import ctypes
import os
import sys

import llama_cpp
import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM

PROMPT, NEW, TOLERANCE = 48, 16, 1e-4
QUIET = llama_cpp.llama_log_callback(lambda level, text, data: None)


def prompt(vocab):
    return np.random.default_rng(7).integers(0, vocab, PROMPT).tolist()


def llama_run(file):
    """Greedy tokens, and the logits that chose each [NEW, V]."""
    model = llama_cpp.llama_model_load_from_file(file.encode(), llama_cpp.llama_model_default_params())
    if not model:
        sys.exit(f"check: llama.cpp does not load {file}")
    params = llama_cpp.llama_context_default_params()
    params.n_ctx, params.n_threads, params.n_threads_batch = 512, 2, 2
    context = llama_cpp.llama_init_from_model(model, params)
    vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    feed, rows, chosen = prompt(vocab), [], []
    for _ in range(NEW):
        tokens = (llama_cpp.llama_token * len(feed))(*feed)  # named: the batch only points at it
        if llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(tokens, len(tokens))) != 0:
            sys.exit(f"check: llama.cpp does not decode with {file}")
        logits = ctypes.cast(llama_cpp.llama_get_logits_ith(context, -1), ctypes.POINTER(ctypes.c_float))
        rows.append(np.ctypeslib.as_array(logits, (vocab,)).copy())
        chosen.append(int(rows[-1].argmax()))
        feed = [chosen[-1]]
    llama_cpp.llama_free(context)
    llama_cpp.llama_model_free(model)
    return chosen, np.stack(rows)


def transformers_run(folder, chosen):
    """The logits at the same places, from one pass over prompt and chosen tokens [NEW, V]."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.tensor([prompt(model.config.vocab_size) + chosen[:-1]])
    with torch.inference_mode():
        return model(ids, use_cache=False, logits_to_keep=NEW).logits[0].numpy()


def main(root):
    torch.set_num_threads(2)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    llama_cpp.llama_log_set(QUIET, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    good = True
    for name in ("mamba-130m", "mamba2-130m"):
        chosen, got = llama_run(os.path.join(root, f"{name}-f32.gguf"))
        want = transformers_run(os.path.join(root, name), chosen)
        same = chosen == want.argmax(-1).tolist()
        finite = bool(np.isfinite(got).all())
        error = float(np.abs(got - want).max())
        ok = same and finite and error <= TOLERANCE
        good &= ok
        print(f"check: {name}: {'agrees' if ok else 'DIFFERS'}: greedy tokens equal {same} "
              f"({len(set(chosen))} distinct of {NEW}), largest logit difference {error:.1e}, "
              f"logits up to {np.abs(want).max():.2f}, finite {finite}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
