#!/usr/bin/env bash
# Judges uploads through Xet by the stock Python and npm clients against a fresh
# `mes hub serve`. MES names the program, default bin/mes.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
hf=$(python_client hf-2.4.0)/bin/hf
npm=$(npm_client)

fail() {
	echo "xet judge: $*" >&2
	exit 1
}

cp scripts/judges/xet/upload.mjs "$npm/"

hub_start
export HF_ENDPOINT=$HUB HF_TOKEN=$TOKEN HF_HOME=$WORK/home
export HF_HUB_DISABLE_TELEMETRY=1 HF_HUB_DISABLE_PROGRESS_BARS=1

head_of() {
	curl -sf -H "Authorization: Bearer $TOKEN" "$HUB/api/models/$1" | sed 's/.*"sha":"\([0-9a-f]*\)".*/\1/'
}

upload() { "$hf" upload "$1" "$2" . >"$WORK/out" 2>&1 || fail "hf upload $1: $(cat "$WORK/out")"; }

# same downloads a repo with another cache and compares it with a folder.
same() {
	rm -rf "$WORK/down"
	HF_HOME=$WORK/home-down "$hf" download "$1" --local-dir "$WORK/down" >"$WORK/out" 2>&1 || fail "hf download $1: $(cat "$WORK/out")"
	diff -r -x .cache -x .gitattributes "$2" "$WORK/down" || fail "$1: the download differs"
}

shards() { grep -c 'method=POST path=/_cas/[0-9a-f]*/v[12]/shards status=200' "$WORK/hub.log" || true; }

python3 scripts/judges/xet/files.py "$WORK/files"

upload alice/python "$WORK/files"
[ "$(shards)" -gt 0 ] || fail "hf upload did not go through Xet"
same alice/python "$WORK/files"
say "hf upload, hf download: same"

before=$(head_of alice/python)
upload alice/python "$WORK/files"
[ "$(head_of alice/python)" = "$before" ] || fail "a second upload of the same files made a commit"
say "hf upload again: no commit"

# The client remembers what it sent: a changed file, and the same for another repo,
# must not refer to what is no longer there.
rm -rf "$WORK/data/xet/"*
printf 'changed' | dd of="$WORK/files/mixed.bin" bs=1 seek=30000000 conv=notrunc status=none
upload alice/python "$WORK/files"
same alice/python "$WORK/files"
rm -rf "$WORK/data/xet/"*
upload alice/second "$WORK/files"
same alice/second "$WORK/files"
say "hf upload of a changed file, and for another repo: same"

# A file of 100 MB, changed in the middle, to the same repo and to another, while the
# client believes that most of its chunks are here.
mkdir "$WORK/big"
head -c 100000000 /dev/urandom >"$WORK/big/big.bin"
for round in first changed; do
	upload alice/big "$WORK/big"
	upload "alice/big-$round" "$WORK/big"
	for repo in alice/big "alice/big-$round"; do
		rm -rf "$WORK/down"
		HF_HOME=$WORK/home-down "$hf" download "$repo" big.bin --local-dir "$WORK/down" >"$WORK/out" 2>&1 || fail "hf download $repo: $(cat "$WORK/out")"
		[ "$(sha256sum <"$WORK/big/big.bin")" = "$(sha256sum <"$WORK/down/big.bin")" ] || fail "$repo, $round: another sha256"
	done
	printf 'changed' | dd of="$WORK/big/big.bin" bs=1 seek=50000000 conv=notrunc status=none
done
rm -rf "$WORK/big" "$WORK/down"
say "100 MB, changed in the middle, to the same repo and to another: same sha256"

# Who may not write proposes: the client opens a pull request and adds to it.
count=$(shards)
HF_TOKEN=$BOB HF_HOME=$WORK/home-bob "$hf" upload alice/python "$WORK/files/mixed.bin" of-bob.bin --create-pr >"$WORK/out" 2>&1 || fail "hf upload --create-pr of a file: $(cat "$WORK/out")"
HF_TOKEN=$BOB HF_HOME=$WORK/home-bob "$hf" upload alice/python "$WORK/files" of-bob --create-pr >"$WORK/out" 2>&1 || fail "hf upload --create-pr of a folder: $(cat "$WORK/out")"
[ "$(shards)" -gt "$count" ] || fail "hf upload --create-pr did not go through Xet"
for path in refs%2Fpr%2F1/of-bob.bin refs%2Fpr%2F2/of-bob/mixed.bin; do
	[ "$(curl -sfL "$HUB/alice/python/resolve/$path" | sha256sum)" = "$(sha256sum <"$WORK/files/mixed.bin")" ] || fail "$path: another sha256"
done
say "hf upload --create-pr by another user: same"

count=$(shards)
node "$npm/upload.mjs" alice/npm "$WORK/files"
[ "$(shards)" -gt "$count" ] || fail "the npm client did not go through Xet"
same alice/npm "$WORK/files"
count=$(shards)
node "$npm/upload.mjs" alice/npm-lfs "$WORK/files" lfs
[ "$(shards)" = "$count" ] || fail "the npm client went through Xet though told not to"
same alice/npm-lfs "$WORK/files"
say "npm upload through Xet and through LFS: same"

if [ -r "/proc/$HUB_PID/status" ]; then
	# Pages of the program's own file, 60 MB of the peak, are not what an upload takes.
	peak=$(awk '/VmHWM/ { print $2 }' "/proc/$HUB_PID/status")
	own=$((peak - $(awk '/RssFile/ { print $2 }' "/proc/$HUB_PID/status")))
	[ "$own" -lt 60000 ] || fail "the server took $own kB of memory beside its program, allowed are 60000"
	say "memory of the server: $peak kB at most, $own without the program's own pages"
fi
hub_fsck || fail "mes hub fsck finds faults"
echo "xet judge: passed"
