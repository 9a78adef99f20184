#!/usr/bin/env bash
# Builds the demo from the Space's source/ into a folder that run.sh starts from:
#
#   build.sh FOLDER
#
# The Dockerfile runs it; scripts/space.sh does so without Docker.
set -euo pipefail
mkdir -p "$1"
app=$(cd "$1" && pwd)
cd "$(dirname "$0")"
cp run.sh "$app/run.sh"
cd source
bash scripts/setup.sh # files of a Space are not executable
GOEXPERIMENT=simd CGO_LDFLAGS="-L$PWD/.deps/lib" go build -trimpath -o "$app/mes" ./cmd/mes
# Without a plugin the program runs on its own back end, more slowly.
if [ -e .deps/pjrt/pjrt_c_api_cpu_plugin.so ]; then
	mkdir -p "$app/pjrt"
	cp -L .deps/pjrt/pjrt_c_api_cpu_plugin.so "$app/pjrt/"
fi
