"""Run mes and its peers in turn on the same weights and print one table of medians and ratios.

    python compare.py DIR -mes bin/mes -llama-bench PATH -python PATH [-rounds 3]

In every round each program runs once for each model, in reversed order every second
round, so that a change in the machine's speed meets all of them. A ratio is the peer's
time divided by that of mes: above 1, mes is faster. In brackets its range over the rounds.
Without -mes only the peers run. Raw results go to DIR/results.json.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time

MODELS = {"Mamba-1": "mamba-130m", "Mamba-2": "mamba2-130m"}
LLAMA_FILE = {"f32": "f32", "int8": "q8_0"}  # dtype of mes -> the peer's file of that kind
# (what, dtype, program) -> least ratio wanted, for Mamba-1 and Mamba-2
AIMS = {
    ("decode", "f32", "llama.cpp"): (1.0, 1.0),
    ("decode", "int8", "llama.cpp"): (1.0, 1.0),
    ("prefill", "f32", "llama.cpp"): (3.0, 2.2),
    ("prefill", "f32", "transformers"): (5.0, 5.0),
}


def output(command):
    """Standard output of a command; its messages are shown only when it ends badly."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"bench_peers: {' '.join(command)} ended with code {done.returncode}:\n{done.stderr.strip()[-2000:]}")
    return done.stdout


def run_mes(a, folder, dtype):
    got = json.loads(output([a.mes, "bench", "-model", folder, "-dtype", dtype, "-prefill", str(a.prefill),
                             "-decode", str(a.decode), "-repeat", str(a.repeat), "-json"]))
    return {"prefill": got["prefill_ms"], "decode": got["decode_ms_per_token"]}


def run_llama(a, folder, dtype):
    got = json.loads(output([a.llama_bench, "-m", f"{folder}-{LLAMA_FILE[dtype]}.gguf", "-t", str(a.threads),
                             "-p", str(a.prefill), "-n", str(a.decode), "-r", str(a.repeat), "-o", "json"]))
    out = {}
    for test in got:
        ms = statistics.median(test["samples_ns"]) / 1e6
        if test["n_gen"]:
            out["decode"] = ms / test["n_gen"]
        else:
            out["prefill"] = ms
    return out


def run_transformers(a, folder, dtype):
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "transformers_peer.py")
    got = json.loads(output([a.python, script, folder, "-prefill", str(a.prefill), "-decode", str(a.decode),
                             "-repeat", str(a.repeat), "-threads", str(a.threads)]))
    return {"prefill": got["prefill_ms"], "decode": got["decode_ms_per_token"]}


RUN = {"mes": run_mes, "llama.cpp": run_llama, "transformers": run_transformers}


def plan(a):
    """(model, dtype, program) of one round."""
    for model in MODELS:
        for dtype in ("f32", "int8"):
            for program in RUN:
                if (program == "mes" and not a.mes) or (program == "transformers" and dtype != "f32"):
                    continue
                yield model, dtype, program


def measure(a):
    """(model, dtype, program) -> [{"prefill": ms, "decode": ms a token}] by round."""
    results = {key: [] for key in plan(a)}
    for n in range(a.rounds):
        for key in list(results) if n % 2 == 0 else reversed(results):
            model, dtype, program = key
            print(f"round {n + 1}/{a.rounds}: {model} {dtype}, {program}", file=sys.stderr)
            results[key].append(RUN[program](a, os.path.join(a.dir, MODELS[model]), dtype))
    return results


def cell(results, model, dtype, program, what):
    times = [r[what] for r in results.get((model, dtype, program), [])]
    return f"{statistics.median(times):.1f}" if times else "–"


def ratio(results, model, dtype, program, what):
    """Peer over mes: ratio of the medians, its range over the rounds, and whether the aim is met."""
    mes = [r[what] for r in results.get((model, dtype, "mes"), [])]
    peer = [r[what] for r in results.get((model, dtype, program), [])]
    if not mes or not peer:
        return "–"
    value, rounds = statistics.median(peer) / statistics.median(mes), [p / m for p, m in zip(peer, mes)]
    text = f"{value:.2f}× ({min(rounds):.2f}–{max(rounds):.2f})"
    if (what, dtype, program) in AIMS:
        aim = AIMS[what, dtype, program][list(MODELS).index(model)]
        text += f", aim {aim:g}: {'met' if value >= aim else 'MISSED'}"
    return text


def cpu():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            return next(line.split(":", 1)[1].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def table(a, results, load):
    """The results as a Markdown table."""
    lines = [
        f"{time.strftime('%Y-%m-%d')}, {cpu()}, {a.threads} threads, {a.rounds} rounds of {a.repeat} runs, medians, "
        f"load average before and after {load[0]:.1f} and {load[1]:.1f}. llama.cpp runs q8_0 where mes runs int8.",
        "",
        "| milliseconds | mes | llama.cpp | ratio | transformers | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for model in MODELS:
        for dtype in ("f32", "int8"):
            for what, label in (("prefill", f"prefill {a.prefill}"), ("decode", "decode, a token")):
                row = [f"{model} {dtype} {label}", cell(results, model, dtype, "mes", what)]
                for program in ("llama.cpp", "transformers"):
                    row += [cell(results, model, dtype, program, what), ratio(results, model, dtype, program, what)]
                lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("dir")
    p.add_argument("-mes", default="")
    p.add_argument("-llama-bench", dest="llama_bench", required=True)
    p.add_argument("-python", required=True)
    p.add_argument("-rounds", type=int, default=3)
    p.add_argument("-repeat", type=int, default=3)
    p.add_argument("-prefill", type=int, default=512)
    p.add_argument("-decode", type=int, default=64)
    p.add_argument("-threads", type=int, default=2)
    a = p.parse_args()
    before = os.getloadavg()[0]
    if before > 1:
        print(f"bench_peers: the machine is busy (load {before:.1f}): programs that spin while they wait, "
              "as llama.cpp does, lose most by it", file=sys.stderr)
    results = measure(a)
    raw = [{"model": m, "dtype": d, "program": g, "rounds_ms": r} for (m, d, g), r in results.items()]
    with open(os.path.join(a.dir, "results.json"), "w", encoding="utf-8") as f:
        json.dump(raw, f, indent=1)
    print(table(a, results, (before, os.getloadavg()[0])))


if __name__ == "__main__":
    main()
