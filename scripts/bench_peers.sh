#!/usr/bin/env bash
# Measure mes beside its peers (llama.cpp and transformers) on Mamba-130m shapes with
# random weights, and print one table of medians and ratios.
#
#   scripts/bench_peers.sh          set up what is missing, then measure (needs bin/mes: make build)
#   scripts/bench_peers.sh setup    set up only: Python environment, llama.cpp, weights
#   scripts/bench_peers.sh check    show that the peers compute the same network
#   scripts/bench_peers.sh peers    measure the peers without mes
#
# ROUNDS=3         rounds, every program once in each
# THREADS=2        threads of every program; all run on this many cores
# PEERS_PYTHON=    a Python with the packages of scripts/bench/requirements.txt, instead of a new environment
#
# Everything lands in .deps/peers. The first set-up takes about ten minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly peers=$PWD/.deps/peers
readonly rounds=${ROUNDS:-3} threads=${THREADS:-2}
readonly version=0.3.36
readonly archive_sha256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
readonly source=$peers/llama_cpp_python-$version
readonly build=$peers/llama-build
python=${PEERS_PYTHON:-$peers/venv/bin/python}

die() {
	echo "bench_peers: $*" >&2
	exit 1
}

need() {
	command -v "$1" >/dev/null || die "$1 is missing: install it (Debian: apt install $2)"
}

# An environment of our own, unless PEERS_PYTHON names one.
setup_python() {
	if [[ -n ${PEERS_PYTHON:-} ]]; then
		"$python" -c 'import diskcache, gguf, safetensors, torch, transformers' ||
			die "PEERS_PYTHON lacks a package: $python -m pip install -r scripts/bench/requirements.txt"
		return
	fi
	if cmp -s scripts/bench/requirements.txt "$peers/venv/requirements.txt"; then return; fi
	need python3 python3-venv
	echo "bench_peers: installing torch and transformers (several GB)" >&2
	python3 -m venv "$peers/venv"
	"$python" -m pip install --quiet -r scripts/bench/requirements.txt
	cp scripts/bench/requirements.txt "$peers/venv/requirements.txt"
}

# llama.cpp's source travels in the source archive of llama-cpp-python.
setup_llama() {
	if [[ -x $build/bin/llama-bench && -x $build/bin/llama-quantize ]]; then return; fi
	need cmake cmake
	need c++ g++
	local archive=$peers/dl/llama_cpp_python-$version.tar.gz
	if [[ ! -f $archive ]]; then
		"$python" -m pip download --quiet --no-deps --no-binary llama-cpp-python \
			-d "$peers/dl" "llama-cpp-python==$version"
	fi
	echo "$archive_sha256  $archive" | sha256sum --check --quiet ||
		die "$archive is not the pinned file: remove it and run again"
	tar -xzf "$archive" -C "$peers"
	echo "bench_peers: building llama.cpp (about five minutes)" >&2
	cmake -S "$source/vendor/llama.cpp" -B "$build" -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON \
		-DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF \
		-DLLAMA_OPENSSL=OFF -DLLAMA_USE_PREBUILT_UI=OFF >"$peers/build.log" 2>&1 &&
		cmake --build "$build" --target llama-bench llama-quantize -j "$threads" >>"$peers/build.log" 2>&1 ||
		die "llama.cpp does not build: see $peers/build.log"
}

# The same random numbers as HuggingFace folders and as GGUF, f32 and q8_0.
setup_weights() {
	"$python" scripts/bench/weights.py "$peers"
	local name
	for name in mamba-130m mamba2-130m; do
		if [[ -f $peers/$name-q8_0.gguf ]]; then continue; fi
		"$build/bin/llama-quantize" "$peers/$name-f32.gguf" "$peers/$name-q8_0.part" q8_0 "$threads" \
			>"$peers/quantize.log" 2>&1 || die "llama-quantize fails: see $peers/quantize.log"
		mv "$peers/$name-q8_0.part" "$peers/$name-q8_0.gguf"
	done
}

setup() {
	mkdir -p "$peers"
	setup_python
	setup_llama
	setup_weights
}

check() {
	LLAMA_CPP_LIB_PATH=$build/bin PYTHONPATH=$source "$python" scripts/bench/check.py "$peers"
}

# The arguments go to compare.py. taskset gives every program the same cores.
measure() {
	local pin=()
	if command -v taskset >/dev/null && (($(nproc) > threads)); then pin=(taskset -c "0-$((threads - 1))"); fi
	"${pin[@]}" "$python" scripts/bench/compare.py "$peers" -llama-bench "$build/bin/llama-bench" \
		-python "$python" -rounds "$rounds" -threads "$threads" "$@"
}

case ${1:-all} in
setup) setup ;;
check) setup && check ;;
peers) setup && measure ;;
all)
	[[ -x bin/mes ]] || die "bin/mes is missing: build it with 'make build'"
	setup
	measure -mes "$PWD/bin/mes"
	;;
*) die "unknown command '$1': use setup, check, peers or nothing" ;;
esac
