#!/usr/bin/env bash
# Starts the demo beside which it lies. Settings of the Space may name another model,
# a repo or a folder, in MES_MODEL; a private repo needs the secret HF_TOKEN.
set -euo pipefail
app=$(cd "$(dirname "$0")" && pwd)
export PJRT_PLUGIN_LIBRARY_PATH="${PJRT_PLUGIN_LIBRARY_PATH:-$app/pjrt}"
exec "$app/mes" serve -model "${MES_MODEL:-{{.Model}}}" -addr "0.0.0.0:${PORT:-7860}" -frame-ancestor https://huggingface.co
