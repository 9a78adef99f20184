#!/usr/bin/env bash
# Fails if a Go or templ file is not formatted, and names it.
set -euo pipefail
cd "$(dirname "$0")/.."
bad=$(scripts/files.sh go | xargs gofmt -l)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for file in $(scripts/files.sh templ); do
	cp "$file" "$work/file.templ"
	go tool -modfile=tools.mod templ fmt "$work/file.templ" >"$work/log" 2>&1 || {
		cat "$work/log" >&2
		exit 1
	}
	cmp -s "$file" "$work/file.templ" || bad="$bad $file"
done
if [ -n "$bad" ]; then
	echo "not formatted, run make fmt:" $bad >&2
	exit 1
fi
