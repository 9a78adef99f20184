#!/usr/bin/env bash
# Runs every judge, or those named: run.sh git hf. Fails if one of them does.
set -euo pipefail
cd "$(dirname "$0")"
[ $# -gt 0 ] || set -- $(ls ./*.sh | grep -v -e /run.sh -e /lib.sh | sed 's|^\./||; s|\.sh$||')
failed=
for judge in "$@"; do
	echo "$judge"
	"./$judge.sh" || failed="$failed $judge"
done
[ -z "$failed" ] || { echo "failed:$failed" >&2; exit 1; }
