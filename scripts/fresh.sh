#!/usr/bin/env bash
# Fails if a generated file is not what its generator writes, and names it.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

# generated prints the sha256 of each generated file.
generated() {
	{
		git ls-files --cached --others --exclude-standard -- '*_templ.go'
		echo config.json
		echo configuration_mamba_swarm.json
	} | sort -u | while read -r file; do
		if [ -f "$file" ]; then echo "$(sha256 <"$file") $file"; else echo "missing $file"; fi
	done
}

before=$(generated)
make --no-print-directory gen
after=$(generated)
if [ "$before" != "$after" ]; then
	echo "generated files were stale, commit what make gen has written:" >&2
	diff <(echo "$before") <(echo "$after") | awk '/^[<>]/ { print "  " $3 }' | sort -u >&2
	exit 1
fi
