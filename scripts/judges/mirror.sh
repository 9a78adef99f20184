#!/usr/bin/env bash
# Python's huggingface_hub downloads through a hub that mirrors another one, also
# when that is gone.
. "$(dirname "$0")/lib.sh"
venv=$(python_client hf-2.4.0)
hf=$venv/bin/hf
hub_start
export HF_TOKEN=$TOKEN HF_HUB_DISABLE_PROGRESS_BARS=1 HF_HUB_DISABLE_TELEMETRY=1
python3 scripts/judges/xet/files.py "$WORK/files"
{
	HF_ENDPOINT=$HUB HF_HOME=$WORK/home "$hf" upload alice/open "$WORK/files" . &&
		HF_ENDPOINT=$HUB HF_HOME=$WORK/home "$hf" upload alice/closed "$WORK/files/README.md" README.md --private
} >"$WORK/cli.log" 2>&1 || { cat "$WORK/cli.log" >&2; exit 1; }

# mirror_start MAX serves a mirror whose cache has up to MAX bytes.
mirror_stop() {
	[ -z "$BESIDE" ] || { kill "$BESIDE" 2>/dev/null || true; wait "$BESIDE" 2>/dev/null || true; }
	BESIDE=
}
mirror_start() {
	mirror_stop
	: >"$WORK/mirror.address"
	"$MES" hub serve -data "$WORK/mirror" -addr 127.0.0.1:0 -upstream "$HUB" -mirror-max "$1" >"$WORK/mirror.address" 2>>"$WORK/hub.log" &
	BESIDE=$!
	listens "$WORK/mirror.address" "$BESIDE"
	HF_ENDPOINT=$(head -n 1 "$WORK/mirror.address")
	export HF_ENDPOINT
}
mirror_start 1G

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
HF_HOME=$WORK/home "$venv/bin/python" -W ignore scripts/judges/mirror.py here
say "info, revision, tree, paths-info, refs, commits, raw: as there"
hub_stop
HF_HOME=$WORK/home "$venv/bin/python" -W ignore scripts/judges/mirror.py gone
say "the other hub is gone: the same answers"
download alice/open "" || { cat "$WORK/cli.log" >&2; exit 1; }
same
refused download alice/closed "$TOKEN"
say "the other hub is gone: the public repo is served, the private one is not"

mirror_start 1G # what was kept is found again, and hashed
download alice/open "" || { cat "$WORK/cli.log" >&2; exit 1; }
same
largest=$(ls -S "$WORK/mirror/mirror/files" | head -n 1)
mirror_stop
printf 'spoiled' | dd of="$WORK/mirror/mirror/files/$largest" bs=1 seek=1000 conv=notrunc status=none
mirror_start 1G
refused download alice/open ""
say "a file that changed on the mirror's disk: not served"

mirror_start 5M
HUB_ADDR=${HUB#http://} hub_start
download alice/open "" || { cat "$WORK/cli.log" >&2; exit 1; }
same
kept=$(du -sb "$WORK/mirror/mirror" | cut -f 1)
[ "$kept" -lt 6000000 ] || { echo "the cache has $kept bytes, allowed are 5 MB" >&2; exit 1; }
say "a cache smaller than the repo: same, and $kept bytes kept"
