#!/usr/bin/env bash
# npm's @huggingface/hub, through LFS.
. "$(dirname "$0")/lib.sh"
hub_start
npm=$CACHE/npm
if [ ! -d "$npm/node_modules/@huggingface/hub" ]; then
	mkdir -p "$npm"
	npm install --silent --no-audit --no-fund --prefix "$npm" @huggingface/hub@2.17.5 >"$CACHE/npm.log" 2>&1 || { cat "$CACHE/npm.log" >&2; exit 1; }
fi
cp scripts/judges/npm.mjs "$npm/judge.mjs"
SAFETENSORS=$ROOT/weights/mamba2-mini/model.safetensors node "$npm/judge.mjs"
hub_fsck
say "npm: all as expected"
