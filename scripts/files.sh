#!/usr/bin/env bash
# Prints the source files of a kind that people wrote: files.sh go|templ.
set -euo pipefail
cd "$(dirname "$0")/.."
git ls-files --cached --others --exclude-standard -- "*.$1" | while read -r file; do
	case $file in *_templ.go) continue ;; esac
	if [ -f "$file" ]; then echo "$file"; fi
done
