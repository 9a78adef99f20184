#!/usr/bin/env bash
# transformers and datasets: models and data pushed to the hub and loaded from it by
# name, a published swarm among them. TRANSFORMERS_PYTHON names a Python that has
# both (with torch), which else are installed here, several GB.
. "$(dirname "$0")/lib.sh"
hub_start
python=${TRANSFORMERS_PYTHON:-$CACHE/transformers/bin/python}
if [ -z "${TRANSFORMERS_PYTHON:-}" ] && [ ! -x "$CACHE/transformers/installed" ]; then
	python3 -m venv "$CACHE/transformers"
	"$CACHE/transformers/bin/pip" install -q torch==2.15.0 transformers==5.23.0 datasets 2>"$CACHE/pip.log" || { cat "$CACHE/pip.log" >&2; exit 1; }
	install -m 755 /dev/null "$CACHE/transformers/installed"
fi
export HF_ENDPOINT=$HUB HF_TOKEN=$TOKEN HF_HOME=$WORK/hf HF_HUB_DISABLE_PROGRESS_BARS=1 HF_HUB_DISABLE_TELEMETRY=1
"$MES" grow -encoders 3 -layers 2 -o "$WORK/swarm" "$ROOT/weights/mamba2-mini" >/dev/null 2>&1
"$MES" upload alice/swarm "$WORK/swarm" >/dev/null 2>&1
prompt="The history of"
"$MES" generate -model "$WORK/swarm" -backend go -temperature 0 -max-tokens 12 "$prompt" >"$WORK/ours" 2>/dev/null
PROMPT=$prompt OURS=$WORK/ours "$python" -W ignore scripts/judges/load_by_name.py
hub_fsck
say "transformers: all as expected"
