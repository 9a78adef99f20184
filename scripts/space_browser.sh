#!/usr/bin/env bash
# The browser test of a server that runs at an address; scripts/space.sh calls it.
set -euo pipefail
cd "$(dirname "$0")/.."
MES_TEST_ADDRESS=$1 go test -vet=off -count=1 -run '^TestBrowserAddress$' ./web
