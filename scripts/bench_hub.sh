#!/usr/bin/env bash
# Times mes and Python's `hf` (huggingface_hub with hf_xet) against a fresh `mes hub
# serve` on this machine, in turn, and prints seconds, ratios and peak resident memory.
# Wants 15 GB of disk for the usual sizes, and nothing else running.
#
#   scripts/bench_hub.sh [WHAT...]   WHAT of: big small binary many list; none is all
#
#   big     a file of BIG bytes, random, up and down
#   small   SMALL files of 2 KB of text, up and down
#   binary  the same of random bytes, which the server takes as large files (LFS)
#   many    100 files of 16 MB, downloaded all at once
#   list    the list of a repo of 100,000 files from a server just started
#
# BIG=2000000000 SMALL=10000 ROUNDS=2   sizes, and how often all is done
# MES=        the program, default bin/mes
# HF_PYTHON=  a Python with huggingface_hub and hf_xet, instead of a new environment
# RUN=        what is put before each program, as "nice -n -15" on a machine with others
# BENCH_DIR=  where files go, default a new folder in TMPDIR; it is deleted
set -euo pipefail
cd "$(dirname "$0")/.."
[ -x "${MES:-bin/mes}" ] || { echo "bench_hub: no bin/mes: run make build first" >&2; exit 1; }
python=${HF_PYTHON:-}
if [ -z "$python" ]; then
	venv=$PWD/.deps/judges/xet
	python=$venv/bin/python
	if [ ! -x "$venv/bin/hf" ]; then
		python3 -m venv "$venv"
		"$venv/bin/pip" install -q -r scripts/judges/xet/requirements.txt
	fi
fi
[ -x "$(dirname "$python")/hf" ] || { echo "bench_hub: no hf beside $python" >&2; exit 1; }
if [ -z "${BENCH_DIR:-}" ]; then
	BENCH_DIR=$(mktemp -d)
else
	mkdir "$BENCH_DIR"
fi
trap 'rm -rf "$BENCH_DIR"' EXIT
export BENCH_DIR
"$python" -W ignore scripts/bench/hub.py "$@"
