#!/usr/bin/env bash
# Runs the Go benchmarks of the working tree and of a base commit, in turn on
# the same machine, and compares them with benchstat. Called by make, which sets
# the build's variables: bench.sh [commit [regexp [packages]]].
set -euo pipefail
cd "$(dirname "$0")/.."
base=$(git rev-parse --verify --quiet "${1:-HEAD}^{commit}") || {
	echo "bench: no commit ${1:-HEAD}" >&2
	exit 2
}
pattern=${2:-.}
packages=${3:-./...}
old=$PWD/.deps/bench-base
results=$PWD/.deps/bench
mkdir -p "$results"
git worktree add --quiet --force --detach "$old" "$base"
trap 'git worktree remove --force "$old"' EXIT
ln -sfn "$PWD/.deps" "$old/.deps"
for round in 1 2 3; do
	for side in base work; do
		dir=$PWD
		[ "$side" = work ] || dir=$old
		[ "$round" != 1 ] || : >"$results/$side.txt"
		(cd "$dir" && go test -vet=off -run '^$' -bench "$pattern" -count 2 $packages) | tee -a "$results/$side.txt"
	done
done
go tool -modfile=tools.mod benchstat "base=$results/base.txt" "work=$results/work.txt"
