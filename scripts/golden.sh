#!/usr/bin/env bash
# Runs the tests that have golden files, with -update, in the packages that
# define the flag.
set -euo pipefail
cd "$(dirname "$0")/.."
packages=$(grep -rl --include='*_test.go' 'flag.Bool("update"' . | grep -v '^./\.deps/' | xargs -n 1 dirname | sort -u)
go test -vet=off $packages -update
git status --short
