#!/usr/bin/env bash
# Runs every fuzz target for a time: fuzz.sh 20s.
set -euo pipefail
cd "$(dirname "$0")/.."
grep -rno --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | grep -v '^./\.deps/' |
	while IFS=: read -r file _ name; do
		name=${name#func }
		echo "$(dirname "$file") $name"
		go test -vet=off -run '^$' -fuzz "^$name\$" -fuzztime "${1:-20s}" "$(dirname "$file")" </dev/null
	done
