#!/usr/bin/env bash
# Runs every judge, or those named: run.sh git hf. Fails if one of them does; where
# CI=true, also if one is skipped because it lacks a tool.
set -euo pipefail
cd "$(dirname "$0")"
if [ $# -eq 0 ]; then
	for judge in *.sh; do
		case $judge in lib.sh | run.sh) ;; *) set -- "$@" "${judge%.sh}" ;; esac
	done
fi
passed=0 failed='' skipped=''
for judge in "$@"; do
	echo "$judge"
	began=$SECONDS code=0
	"./$judge.sh" || code=$?
	case $code in
	0) passed=$((passed + 1)) ;;
	77) skipped="$skipped $judge" ;;
	*) failed="$failed $judge" ;;
	esac
	echo "$judge: $((SECONDS - began)) s"
done
echo "judges: $passed passed, failed:${failed:- none}, skipped:${skipped:- none}"
[ -z "$failed" ] && { [ -z "$skipped" ] || [ "${CI:-}" != true ]; }
