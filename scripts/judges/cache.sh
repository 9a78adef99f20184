#!/usr/bin/env bash
# One cache, two programs: what mes downloads must be found, listed and verified by
# Python's huggingface_hub, and the other way round, also while both write.
#
#   scripts/judges/cache.sh                      against a fresh `mes hub serve`
#   HF_TOKEN=… scripts/judges/cache.sh ADDRESS REPO   against a hub that runs; REPO is made and deleted
#
# MES names the program, default bin/mes; HF the `hf` of huggingface_hub 2.4.0, which
# else is installed.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
hf=${HF:-$(python_client hf-2.4.0)/bin/hf}
if [ $# -eq 0 ]; then
	hub_start
	export HF_TOKEN=$TOKEN
	repo=acme/cache-judge
else
	HUB=$1 repo=$2
fi
export HF_ENDPOINT=$HUB HF_HUB_DISABLE_TELEMETRY=1 HF_HUB_DISABLE_PROGRESS_BARS=1 HF_HUB_DISABLE_XET=1

fail() {
	echo "cache judge: $*" >&2
	exit 1
}
python() { "$hf" "$@" 2>"$WORK/hf.log" || { cat "$WORK/hf.log" >&2; fail "hf $* failed"; }; }

# same compares the files of two folders, links followed.
same() { diff -r -x .cache -x .gitattributes "$1" "$2" >/dev/null || fail "$1 and $2 differ"; }

# where prints the snapshot's folder of one program, asking nobody.
where() {
	case $1 in
	mes) HF_HUB_OFFLINE=1 "$MES" download "$repo" ;;
	hf) HF_HUB_OFFLINE=1 "$hf" download --quiet "$repo" 2>/dev/null ;;
	esac
}

src=$WORK/src
mkdir -p "$src/deep/er"
head -c 40000000 /dev/urandom >"$src/model.safetensors"
head -c 5000 /dev/urandom >"$src/deep/er/small.bin"
printf 'ein Text\n' >"$src/deep/Datei mit Umlaut ä #1.txt"
: >"$src/empty.txt"
for n in $(seq 30); do echo "$n" >"$src/deep/$n.txt"; done
export HF_HOME=$WORK/uploader
"$MES" upload -private "$repo" "$src" >/dev/null
"$MES" repo tag "$repo" v1 >/dev/null

echo "mes downloads, Python reads"
export HF_HOME=$WORK/one
dir=$("$MES" download "$repo")
"$MES" download -revision v1 "$repo" >/dev/null
same "$src" "$dir"
[ "$(where hf)" = "$dir" ] || fail "Python finds $(where hf), not $dir"
python cache verify "$repo" >/dev/null
python cache ls --format json >"$WORK/ls.json"
grep -q "$repo" "$WORK/ls.json" || fail "hf cache ls does not list $repo: $(cat "$WORK/ls.json")"
! grep -qi corrupt "$WORK/hf.log" || fail "hf cache ls: $(cat "$WORK/hf.log")"

echo "Python downloads, mes reads"
export HF_HOME=$WORK/two
python download "$repo" >/dev/null
python download "$repo" --revision v1 >/dev/null
dir=$(where mes)
same "$src" "$dir"
"$MES" cache verify "$repo" | grep -q ' 0 differ, 0 not downloaded' || fail "mes cache verify disagrees"
"$MES" cache ls | grep -q "main v1\|v1 main" || fail "mes cache ls: $("$MES" cache ls)"
diff <(cd "$WORK/one/hub" && find . ! -path './.locks*' ! -name '*.json' | sort) <(cd "$WORK/two/hub" && find . ! -path './.locks*' ! -name '*.json' | sort) ||
	fail "the folders that both wrote differ"

echo "both leave the same modes and links"
# Python's own notes aside: when it looked for news, its lists (0600; ours have the mode of
# the rest), and the list that it also keeps in a folder of plain files.
modes() { (cd "$1" && find . ! -name '.check_for*' ! -path '*/trees/*.json' ! -path '*/huggingface/trees' -printf '%y %m %P %l\n' | sort -k3); }
for mask in 022 002 077; do
	(
		umask "$mask"
		HF_HOME=$WORK/mes-$mask "$MES" download "$repo" >/dev/null
		HF_HOME=$WORK/hf-$mask python download "$repo" >/dev/null
		HF_HOME=$WORK/mes-$mask "$MES" download -local-dir "$WORK/mes-$mask/folder" "$repo" >/dev/null
		HF_HOME=$WORK/hf-$mask python download "$repo" --local-dir "$WORK/hf-$mask/folder" >/dev/null
	)
	diff <(modes "$WORK/mes-$mask") <(modes "$WORK/hf-$mask") || fail "with umask $mask the modes differ"
done

echo "Python downloads one file, mes reads it and names what is missing"
export HF_HOME=$WORK/part
python download "$repo" deep/1.txt >/dev/null
cmp "$src/deep/1.txt" "$(HF_HUB_OFFLINE=1 "$MES" download "$repo" deep/1.txt)" || fail "mes does not find the file"
! HF_HUB_OFFLINE=1 "$MES" download "$repo" deep/2.txt 2>"$WORK/part.log" || fail "mes finds a file that is not there"
grep -q 'deep/2.txt' "$WORK/part.log" || fail "what is missing is not named: $(cat "$WORK/part.log")"
"$MES" download "$repo" deep/2.txt >/dev/null
[ "$(HF_HUB_OFFLINE=1 "$hf" download --quiet "$repo" deep/2.txt 2>/dev/null)" != "" ] || fail "hf does not find what mes added"

echo "both at once"
export HF_HOME=$WORK/three
"$MES" download "$repo" >/dev/null &
mes=$!
python download "$repo" >/dev/null
wait $mes
same "$src" "$(where mes)"
python cache verify "$repo" >/dev/null
"$MES" cache verify "$repo" >/dev/null

echo "a damaged blob is seen by both"
blob=$(find "$HF_HOME/hub" -path '*/blobs/*' -size +1M)
printf damaged! | dd of="$blob" bs=1 seek=1000 conv=notrunc status=none
! "$MES" cache verify "$repo" >/dev/null 2>&1 || fail "mes does not see it"
! "$hf" cache verify "$repo" >/dev/null 2>&1 || fail "hf does not see it"

echo "a folder of plain files"
python download "$repo" --local-dir "$WORK/local" >/dev/null
[ "$("$MES" download -dry-run -local-dir "$WORK/local" "$repo" | grep -c 'to download$')" = 0 ] || fail "mes would download what hf has"
"$MES" download -local-dir "$WORK/local2" "$repo" >/dev/null
same "$src" "$WORK/local2"

echo "what mes deletes, Python no longer finds"
"$MES" cache rm -yes "$repo" >/dev/null 2>&1
! where hf >/dev/null || fail "hf still finds it"
"$MES" repo delete -yes "$repo" >/dev/null
echo "cache judge: passed"
