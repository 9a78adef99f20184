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
[ -x "$MES" ] || { echo "no $MES: run make build first" >&2; exit 1; }

WORK=$(mktemp -d)
HUB_PID=
hub_stop() {
	[ -z "$HUB_PID" ] || { kill "$HUB_PID" 2>/dev/null || true; wait "$HUB_PID" 2>/dev/null || true; }
	HUB_PID=
}
finish() {
	local code=$?
	hub_stop
	[ "$code" = 0 ] || { echo "--- the hub's last lines" >&2; tail -n 8 "$WORK/hub.log" >&2 || true; }
	rm -rf "$WORK"
	exit "$code"
}
trap finish EXIT

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
	for _ in $(seq 100); do
		[ -s "$WORK/hub.address" ] && break
		sleep 0.1
	done
	HUB=$(head -n 1 "$WORK/hub.address")
	[ -n "$HUB" ] || { echo "the hub did not start" >&2; exit 1; }
	export HUB TOKEN BOB WORK
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
