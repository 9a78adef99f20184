#!/usr/bin/env bash
# Tokens by name: what `mes login` stores `hf auth` lists and switches, and the other
# way round, and hf's login by the browser. HF names the `hf` of huggingface_hub 2.4.0, which else is installed.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
hf=${HF:-$(python_client hf-2.4.0)/bin/hf}
fail() {
	echo "login judge: $*" >&2
	exit 1
}
# says runs a command and looks for a text in what it writes. A pipe to grep would end
# the command when grep has found it.
says() {
	local text=$1
	shift
	"$@" >"$WORK/said" 2>&1 || fail "$* fails: $(cat "$WORK/said")"
	grep -q -- "$text" "$WORK/said" || fail "$* does not say '$text': $(cat "$WORK/said")"
}
hub_start
unset HF_TOKEN
export HF_ENDPOINT=$HUB HF_HOME=$WORK/home HF_HUB_DISABLE_TELEMETRY=1

say "mes stores, hf reads"
"$MES" login -name 'my laptop' <<<"$TOKEN" >/dev/null
"$MES" login -name bob <<<"$BOB" >/dev/null
says bob "$hf" auth whoami
says 'my laptop' "$hf" auth list
"$hf" auth switch --token-name 'my laptop' >/dev/null 2>&1
says '^alice' "$MES" whoami

say "hf stores, mes reads"
rm -r "$HF_HOME"
"$hf" auth login --token "$TOKEN" >/dev/null 2>&1
"$hf" auth login --token "$BOB" >/dev/null 2>&1
says '^bob' "$MES" whoami
"$MES" login -name third <<<"$TOKEN" >/dev/null
[ "$("$MES" login -list | wc -l)" -ge 2 ] || fail "mes login -list: $("$MES" login -list)"
says third "$hf" auth list
"$MES" login -list -json | grep -q "$TOKEN" && fail "mes shows a token"

say "hf logs in by the browser, and renews its token"
rm -r "$HF_HOME"
PYTHONUNBUFFERED=1 "$hf" auth login --force </dev/null >"$WORK/browser.log" 2>&1 &
BESIDE=$!
for _ in $(seq 1200); do
	grep -q 'enter the code' "$WORK/browser.log" && break
	sleep 0.1
done
code=$(grep -oE '[B-Z]{4}-[B-Z]{4}$' "$WORK/browser.log" | tail -n 1)
page=$(grep -oE "$HUB/oauth/device\\?code=[A-Z-]+" "$WORK/browser.log")
[ "$(curl -s -o /dev/null -w '%{http_code}' "$page")" = 401 ] || fail "the page asks nobody who they are"
says "$code" curl -sf -u "alice:$TOKEN" "$page"
says 'let in' curl -sf -u "alice:$TOKEN" --data-urlencode "code=$code" -d answer=allow "$HUB/oauth/answer"
wait "$BESIDE" || fail "hf auth login: $(cat "$WORK/browser.log")"
BESIDE=
says alice "$hf" auth whoami
says '^alice' "$MES" whoami
was=$(cat "$HF_HOME/token") refresh=$(sed -n 's/^refresh_token = //p' "$HF_HOME/stored_tokens")
"$hf" auth whoami >/dev/null 2>&1
[ "$(cat "$HF_HOME/token")" = "$was" ] || fail "a new token though the old one lives long"
sed -i 's/^expires_at = .*/expires_at = 1/' "$HF_HOME/stored_tokens" # as if its life was over
says alice "$hf" auth whoami
[ "$(cat "$HF_HOME/token")" != "$was" ] || fail "hf did not renew its token"
grep -q "^hf_token = $(cat "$HF_HOME/token")$" "$HF_HOME/stored_tokens" || fail "hf stored another token"
says '^alice' "$MES" whoami
says invalid_grant curl -s -d grant_type=refresh_token --data-urlencode "refresh_token=$refresh" "$HUB/oauth/token"
sed -i -e 's/^expires_at = .*/expires_at = 1/' -e "s/^refresh_token = .*/refresh_token = $refresh/" "$HF_HOME/stored_tokens"
says 'hf auth login' "$hf" auth whoami

say "login: all as expected"
