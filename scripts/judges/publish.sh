#!/usr/bin/env bash
# A swarm's publication by deploy_to_hf.sh, what is read of it, and the same by hand
# with git and git-lfs.
. "$(dirname "$0")/lib.sh"
need git-lfs
hub_start
export HOME=$WORK HF_HOME=$WORK/hf HF_ENDPOINT=$HUB GIT_CONFIG_NOSYSTEM=1 GIT_TERMINAL_PROMPT=0

say "a swarm of 8 encoders"
"$MES" grow -encoders 8 -layers 2 -o "$WORK/swarm" "$ROOT/weights/mamba2-mini" >/dev/null
cp "$ROOT/deploy_to_hf.sh" "$WORK/deploy_to_hf.sh"
sed -i 's/your-username/alice/' "$WORK/deploy_to_hf.sh"
deploy() { (cd "$WORK" && MES=$MES HF_TOKEN=$TOKEN ./deploy_to_hf.sh --endpoint "$HUB" --model "$WORK/swarm" -source "$ROOT" "$@"); }
encoders() { find "$1" -name 'model-encoder-*' | wc -l; }
git_head() { git ls-remote "$HUB/$1" refs/heads/main | cut -f1; }

say "a dry run prints every call and makes nothing"
deploy --dry-run >"$WORK/dry"
grep -q "POST $HUB/api/repos/create space alice/mamba-swarm-demo public docker" "$WORK/dry"
grep -q '^  lfsFile model-encoder-00007.safetensors' "$WORK/dry"
refused git ls-remote "$HUB/alice/mamba-swarm-model"

say "publication, and a second run that changes nothing"
deploy >"$WORK/first"
[ "$(grep -c ': commit ' "$WORK/first")" = 3 ]
before=$(git_head alice/mamba-swarm-model)
deploy >"$WORK/second"
[ "$(grep -c ': unchanged$' "$WORK/second")" = 3 ]
[ "$(git_head alice/mamba-swarm-model)" = "$before" ]
curl -sf "$HUB/alice/mamba-swarm-model/resolve/main/README.md" >"$WORK/card"
grep -q "($HUB/alice/mamba-swarm-weights)" "$WORK/card"

say "pull brings the core and two encoders, a text what it needs"
"$MES" pull alice/mamba-swarm-model >"$WORK/pulled"
grep -q '2 of 8 encoders: 0, 1$' "$WORK/pulled"
folder=$(tail -n 1 "$WORK/pulled")
[ "$(encoders "$folder")" = 2 ]
text=$(head -c 2000 "$ROOT/README.md")
wanted=$("$MES" route -model "$WORK/swarm" -json "$text" | grep -o '"encoder":[0-9]*,"domain":"","weight"' | sort -u | wc -l)
answer=$("$MES" generate -model alice/mamba-swarm-model -max-tokens 4 "$text")
[ "$(encoders "$folder")" = "$wanted" ]
[ "$wanted" -lt 8 ]
"$MES" convert -dtype bf16 -o "$WORK/bf16" "$WORK/swarm" >/dev/null
[ "$answer" = "$("$MES" generate -model "$WORK/bf16" -max-tokens 4 "$text")" ]

say "fewer encoders: what was published before goes, what somebody added stays"
printf 'mine' >"$WORK/mine.txt"
HF_TOKEN=$TOKEN "$MES" upload alice/mamba-swarm-model "$WORK/mine.txt" >/dev/null
rm -rf "$WORK/swarm"
"$MES" grow -encoders 3 -layers 2 -o "$WORK/swarm" "$ROOT/weights/mamba2-mini" >/dev/null
deploy >"$WORK/third"
grep -q 'deleted model-encoder-00003.safetensors' "$WORK/third"
[ "$(curl -sf "$HUB/alice/mamba-swarm-model/resolve/main/mine.txt")" = mine ]
refused curl -sf "$HUB/alice/mamba-swarm-model/resolve/main/model-encoder-00007.safetensors"

say "the same by hand: create, clone, copy, add, commit, push"
git config --global user.name Alice
git config --global user.email alice@example.org
git lfs install >/dev/null
"$MES" publish -o "$WORK/out" -owner alice -name by-hand -endpoint "$HUB" -source "$ROOT" "$WORK/swarm" >/dev/null
auth=${HUB/:\/\//:\/\/alice:$TOKEN@}
HF_TOKEN=$TOKEN "$MES" repo create alice/by-hand-model >/dev/null
HF_TOKEN=$TOKEN "$MES" repo create -sdk docker spaces/alice/by-hand-demo >/dev/null
by_hand() {
	git clone -q "$auth/$1" "$WORK/clone"
	cp -R "$2/." "$WORK/clone"
	(cd "$WORK/clone" && git add . && git commit -qm 'first files' && git push -q origin HEAD:main)
	rm -rf "$WORK/clone"
}
by_hand alice/by-hand-model "$WORK/out/by-hand-model"
by_hand spaces/alice/by-hand-demo "$WORK/out/by-hand-demo"
"$MES" pull -all alice/by-hand-model | grep -q '3 of 3 encoders'
cmp "$WORK/out/by-hand-model/model-core.safetensors" "$("$MES" pull alice/by-hand-model | tail -n 1)/model-core.safetensors"
curl -sf "$HUB/spaces/alice/by-hand-demo/resolve/main/Dockerfile" | grep -q 'useradd -m -u 1000'

hub_fsck
