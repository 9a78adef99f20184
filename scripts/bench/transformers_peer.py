"""Time transformers on a model folder and print the result as JSON.

    python transformers_peer.py DIR -prefill 512 -decode 64 -repeat 3 -threads 2

The keys are those of `mes bench -json`: medians, in milliseconds. float32 on the CPU.
"""

import argparse
import json
import statistics
import time

import torch
from transformers import AutoModelForCausalLM


def measure(model, prefill, decode):
    """One prompt of prefill tokens, then decode greedy tokens on its cache; ms for each."""
    ids = torch.randint(0, model.config.vocab_size, (1, prefill))
    with torch.inference_mode():
        start = time.perf_counter()
        out = model(ids, use_cache=True, logits_to_keep=1)
        token = out.logits[:, -1:].argmax(-1)
        prompt_ms = 1e3 * (time.perf_counter() - start)
        start = time.perf_counter()
        for _ in range(decode):
            out = model(token, use_cache=True, cache_params=out.cache_params)
            token = out.logits[:, -1:].argmax(-1)
        decode_ms = 1e3 * (time.perf_counter() - start) / decode
    return prompt_ms, decode_ms


def main():
    p = argparse.ArgumentParser()
    p.add_argument("dir")
    p.add_argument("-prefill", type=int, default=512)
    p.add_argument("-decode", type=int, default=64)
    p.add_argument("-repeat", type=int, default=3)
    p.add_argument("-threads", type=int, default=2)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    model = AutoModelForCausalLM.from_pretrained(a.dir, dtype=torch.float32).eval()
    measure(model, 16, 2)
    prompt_ms, decode_ms = zip(*(measure(model, a.prefill, a.decode) for _ in range(a.repeat)))
    print(json.dumps({
        "model": a.dir, "backend": f"transformers, torch {torch.__version__}", "dtype": "f32",
        "prefill_tokens": a.prefill, "prefill_ms": statistics.median(prompt_ms),
        "decode_ms_per_token": statistics.median(decode_ms),
    }))


if __name__ == "__main__":
    main()
