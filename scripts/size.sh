#!/usr/bin/env bash
# Lines of Go by package: code, tests, generated; blank lines counted.
set -euo pipefail
cd "$(dirname "$0")/.."
git ls-files --cached --others --exclude-standard -- '*.go' | while read -r file; do
	[ -f "$file" ] || continue
	case $file in
	*_test.go) kind=test ;;
	*_templ.go) kind=generated ;;
	*) kind=code ;;
	esac
	echo "$(dirname "$file") $kind $(wc -l <"$file")"
done | awk '
	{ lines[$1, $2] += $3; total[$2] += $3; seen[$1] = 1 }
	END {
		format = "%-24s %8d %8d %10d\n"
		printf "%-24s %8s %8s %10s\n", "package", "code", "test", "generated"
		for (p in seen) printf format, p, lines[p, "code"], lines[p, "test"], lines[p, "generated"] | "sort"
		close("sort")
		printf format, "total", total["code"], total["test"], total["generated"]
	}'
