#!/usr/bin/env bash
# npm's @huggingface/hub, through LFS.
. "$(dirname "$0")/lib.sh"
npm=$(npm_client)
hub_start
cp scripts/judges/npm.mjs "$npm/judge.mjs"
HF_ENDPOINT=$HUB HF_TOKEN=$TOKEN HF_HOME=$WORK/home "$MES" repo create alice/js-paged >/dev/null
long_history alice/js-paged 1100
SAFETENSORS=$ROOT/weights/mamba2-mini/model.safetensors node "$npm/judge.mjs"
hub_fsck
say "npm: all as expected"
