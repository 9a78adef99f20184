#!/usr/bin/env bash
# Large files in parts: Python's `hf` without Xet, and mes, against a hub that wants
# files from 100 MB on in parts. HF names the `hf` of huggingface_hub 2.4.0, which
# else is installed.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
hf=${HF:-$(python_client hf-2.4.0)/bin/hf}
hub_start -multipart 100000000
export HF_ENDPOINT=$HUB HF_TOKEN=$TOKEN HF_HUB_DISABLE_TELEMETRY=1 HF_HUB_DISABLE_PROGRESS_BARS=1 HF_HUB_DISABLE_XET=1
folder=$WORK/folder
mkdir "$folder"
head -c 150000000 /dev/urandom >"$folder/weights.bin" # two parts of 64 MiB and a rest
head -c 20000 /dev/urandom >"$folder/small.bin"       # in one piece, in the same answer

# parts counts the parts that the hub took since it was last asked.
parts() {
	grep -c 'PUT.*/_lfs/.*' "$WORK/hub.log" || true
}

for who in hf mes; do
	say "$who sends in parts"
	export HF_HOME=$WORK/$who
	before=$(parts)
	case $who in
	hf) "$hf" upload "alice/$who" "$folder" . >"$WORK/hf.log" 2>&1 || { cat "$WORK/hf.log" >&2; exit 1; } ;;
	mes) "$MES" upload "alice/$who" "$folder" >/dev/null ;;
	esac
	sent=$(($(parts) - before))
	[ "$sent" = 4 ] || { echo "$who sent $sent objects and parts, want 4" >&2; exit 1; }
done
for who in hf mes; do
	"$MES" download -local-dir "$WORK/down-$who" "alice/$who" >/dev/null
	for file in weights.bin small.bin; do cmp "$folder/$file" "$WORK/down-$who/$file"; done
done
hub_fsck
say "multipart: all as expected"
