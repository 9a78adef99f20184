#!/usr/bin/env bash
# Tokens by name: what `mes login` stores `hf auth` lists and switches, and the other
# way round. HF names the `hf` of huggingface_hub 2.4.0, which else is installed.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
hf=${HF:-$(python_client hf-2.4.0)/bin/hf}
fail() {
	echo "login judge: $*" >&2
	exit 1
}
hub_start
unset HF_TOKEN
export HF_ENDPOINT=$HUB HF_HOME=$WORK/home HF_HUB_DISABLE_TELEMETRY=1

say "mes stores, hf reads"
"$MES" login -name 'my laptop' <<<"$TOKEN" >/dev/null
"$MES" login -name bob <<<"$BOB" >/dev/null
"$hf" auth whoami 2>/dev/null | grep -q bob || fail "hf is not bob"
"$hf" auth list 2>/dev/null | grep -q 'my laptop' || fail "hf auth list: $("$hf" auth list)"
"$hf" auth switch --token-name 'my laptop' >/dev/null 2>&1
"$MES" whoami | grep -q '^alice' || fail "mes is not alice"

say "hf stores, mes reads"
rm -r "$HF_HOME"
"$hf" auth login --token "$TOKEN" >/dev/null 2>&1
"$hf" auth login --token "$BOB" >/dev/null 2>&1
"$MES" whoami | grep -q '^bob' || fail "mes is not bob"
"$MES" login -name third <<<"$TOKEN" >/dev/null
[ "$("$MES" login -list | wc -l)" -ge 2 ] || fail "mes login -list: $("$MES" login -list)"
"$hf" auth list 2>/dev/null | grep -q third || fail "hf auth list after mes: $("$hf" auth list)"
"$MES" login -list -json | grep -q "$TOKEN" && fail "mes shows a token"
say "login: all as expected"
