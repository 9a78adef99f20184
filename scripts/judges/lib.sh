# shellcheck shell=bash
# What the judges share: each runs a real client, which nobody here wrote, against
# a fresh `mes hub serve` on a free port. Source it, call hub_start, and use
# HUB (address), TOKEN (alice, may write), BOB (another user), WORK (a folder).
# HUB_ADDR, when set, is the host:port to listen on again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
ROOT=$PWD
MES=${MES:-$ROOT/bin/mes}
# Clients are installed here, once.
CACHE=$ROOT/.deps/judges
mkdir -p "$CACHE"
. scripts/lib.sh # again
[ -x "$MES" ] || { echo "no $MES: run make build first" >&2; exit 1; }

# need stops a judge that lacks a tool, with 77, which run.sh counts as skipped.
need() {
	case $1 in
	git-lfs) ! git lfs version || return 0 ;;
	npm) ! npm --version || return 0 ;;
	python3-venv) ! python3 -c 'import ensurepip, venv' || return 0 ;;
	esac >/dev/null 2>&1
	echo "  SKIPPED: there is no $1, see scripts/setup.sh --judges" >&2
	exit 77
}

# python_client prints the folder of a venv with the packages of requirements/NAME.txt.
python_client() {
	local venv=$CACHE/$1 wanted=scripts/judges/requirements/$1.txt
	if ! cmp -s "$wanted" "$venv/installed"; then
		need python3-venv
		echo "  installing $1" >&2
		rm -rf "$venv"
		python3 -m venv "$venv" &&
			again "$venv/bin/python" -m pip install -q --disable-pip-version-check --timeout 60 -r "$wanted" >&2 &&
			cp "$wanted" "$venv/installed" || exit 1
	fi
	echo "$venv"
}

# npm_client prints a folder with the packages of npm/package-lock.json.
npm_client() {
	local folder=$CACHE/npm lock=scripts/judges/npm/package-lock.json
	need npm
	if ! cmp -s "$lock" "$folder/installed"; then
		rm -rf "$folder"
		mkdir -p "$folder"
		cp scripts/judges/npm/package.json "$lock" "$folder" &&
			(cd "$folder" && again npm ci --silent --no-audit --no-fund >&2) &&
			cp "$lock" "$folder/installed" || exit 1
	fi
	echo "$folder"
}

WORK=$(mktemp -d)
HUB_PID=
BESIDE= # ids of what else a judge started and finish ends
hub_stop() {
	[ -z "$HUB_PID" ] || { kill "$HUB_PID" 2>/dev/null || true; wait "$HUB_PID" 2>/dev/null || true; }
	HUB_PID=
}
finish() {
	local code=$?
	hub_stop
	# shellcheck disable=SC2086
	[ -z "$BESIDE" ] || kill $BESIDE 2>/dev/null || true
	if [ "$code" != 0 ] && [ -f "$WORK/hub.log" ]; then
		echo "--- the hub's last lines" >&2
		tail -n 8 "$WORK/hub.log" >&2
	fi
	rm -rf "$WORK"
	exit "$code"
}
trap finish EXIT

# listens FILE ID waits until a hub has written its address into a file, or has ended.
listens() {
	for _ in $(seq 1200); do
		if [ -s "$1" ] || ! kill -0 "$2" 2>/dev/null; then break; fi
		sleep 0.1
	done
}

# hub_start [FLAG...] serves the hub, with more flags of `mes hub serve`.
hub_start() {
	local data=$WORK/data
	if [ ! -d "$data" ]; then
		"$MES" hub user add -data "$data" alice >/dev/null
		"$MES" hub user add -data "$data" bob >/dev/null
		"$MES" hub org add -data "$data" -members alice:admin acme >/dev/null
		TOKEN=$("$MES" hub token add -data "$data" -user alice)
		BOB=$("$MES" hub token add -data "$data" -user bob)
	fi
	: >"$WORK/hub.address"
	"$MES" hub serve -data "$data" -addr "${HUB_ADDR:-127.0.0.1:0}" "$@" >"$WORK/hub.address" 2>>"$WORK/hub.log" &
	HUB_PID=$!
	listens "$WORK/hub.address" "$HUB_PID"
	HUB=$(head -n 1 "$WORK/hub.address")
	[ -n "$HUB" ] || { echo "the hub did not start" >&2; exit 1; }
	export HUB TOKEN BOB WORK
}

# long_history REPO COUNT pushes so many commits to the branch `long` of alice's repo.
long_history() {
	local dir
	dir=$(mktemp -d "$WORK/long.XXXXXX")
	git init -q "$dir"
	for n in $(seq "$2"); do
		printf 'commit refs/heads/long\ncommitter alice <alice@example.org> %d +0000\ndata <<END\ncommit %d\nEND\n' $((1700000000 + n)) "$n"
		printf 'M 100644 inline n.txt\ndata <<END\n%d\nEND\n' "$n"
	done | git -C "$dir" fast-import --quiet
	git -C "$dir" push -q "${HUB/:\/\//://alice:$TOKEN@}/$1" long
}

# hub_fsck checks what the judge left behind.
hub_fsck() { "$MES" hub fsck -data "$WORK/data" -full >/dev/null; }

# refused runs a command that must fail.
refused() {
	if "$@" >"$WORK/refused.log" 2>&1; then
		echo "should have been refused: $*" >&2
		exit 1
	fi
}

say() { echo "  $*"; }
