#!/usr/bin/env bash
# transformers and datasets: models and data pushed to the hub and loaded from it by
# name, a published swarm among them. TRANSFORMERS_PYTHON names a Python that has
# both (with torch), which else are installed, 6 GB.
. "$(dirname "$0")/lib.sh"
python=${TRANSFORMERS_PYTHON:-$(python_client transformers)/bin/python}
hub_start
export HF_ENDPOINT=$HUB HF_TOKEN=$TOKEN HF_HOME=$WORK/hf HF_HUB_DISABLE_PROGRESS_BARS=1 HF_HUB_DISABLE_TELEMETRY=1
"$MES" grow -encoders 3 -layers 2 -o "$WORK/swarm" "$ROOT/weights/mamba2-mini" >/dev/null 2>&1
"$MES" upload alice/swarm "$WORK/swarm" >/dev/null 2>&1
prompt="The history of"
"$MES" generate -model "$WORK/swarm" -backend go -temperature 0 -max-tokens 12 "$prompt" >"$WORK/ours" 2>/dev/null
PROMPT=$prompt OURS=$WORK/ours "$python" -W ignore scripts/judges/load_by_name.py
hub_fsck
say "transformers: all as expected"
