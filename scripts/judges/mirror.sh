#!/usr/bin/env bash
# Python's huggingface_hub downloads through a hub that mirrors another one, also
# when that is gone.
. "$(dirname "$0")/lib.sh"
hf=$(python_client hf-2.4.0)/bin/hf
hub_start
export HF_TOKEN=$TOKEN HF_HUB_DISABLE_PROGRESS_BARS=1 HF_HUB_DISABLE_TELEMETRY=1
python3 scripts/judges/xet/files.py "$WORK/files"
{
	HF_ENDPOINT=$HUB HF_HOME=$WORK/home "$hf" upload alice/open "$WORK/files" . &&
		HF_ENDPOINT=$HUB HF_HOME=$WORK/home "$hf" upload alice/closed "$WORK/files/README.md" README.md --private
} >"$WORK/cli.log" 2>&1 || { cat "$WORK/cli.log" >&2; exit 1; }

"$MES" hub serve -data "$WORK/mirror" -addr 127.0.0.1:0 -upstream "$HUB" >"$WORK/mirror.address" 2>>"$WORK/hub.log" &
BESIDE=$!
for _ in $(seq 100); do
	[ -s "$WORK/mirror.address" ] && break
	sleep 0.1
done
HF_ENDPOINT=$(head -n 1 "$WORK/mirror.address")
export HF_ENDPOINT

# download REPO TOKEN gets a repo with a cache of its own into $WORK/down.
download() {
	rm -rf "$WORK/down" "$WORK/home-down"
	HF_TOKEN=$2 HF_HOME=$WORK/home-down "$hf" download "$1" --local-dir "$WORK/down" >"$WORK/cli.log" 2>&1
}
same() { diff -r -x .cache -x .gitattributes "$WORK/files" "$WORK/down"; }

download alice/open "" || { cat "$WORK/cli.log" >&2; exit 1; }
same
say "through the mirror: same"
download alice/closed "$TOKEN" || { cat "$WORK/cli.log" >&2; exit 1; }
cmp "$WORK/files/README.md" "$WORK/down/README.md"
refused download alice/closed ""
refused download alice/closed "$BOB"
say "a private repo: by its owner's token alone"
hub_stop
download alice/open "" || { cat "$WORK/cli.log" >&2; exit 1; }
same
refused download alice/closed "$TOKEN"
say "the other hub is gone: the public repo is served, the private one is not"
