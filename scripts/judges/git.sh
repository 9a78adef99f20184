#!/usr/bin/env bash
# git and git-lfs: clone, push, pull, a large file, and pushes that must be refused.
. "$(dirname "$0")/lib.sh"
need git-lfs
hub_start
export HOME=$WORK GIT_CONFIG_NOSYSTEM=1 GIT_TERMINAL_PROMPT=0
git config --global user.name Alice
git config --global user.email alice@example.org
git config --global init.defaultBranch main
git lfs install >/dev/null
AUTH=${HUB/:\/\//:\/\/alice:$TOKEN@}
BOBAUTH=${HUB/:\/\//:\/\/bob:$BOB@}
create() { curl -sf -o /dev/null -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d "$1" "$HUB/api/repos/create"; }
create '{"name":"m"}'
create '{"name":"secret","private":true}'
create '{"name":"page","type":"space","sdk":"docker"}'

say "clone, commit, push with a file of 100 MB"
cd "$WORK"
git clone -q "$AUTH/alice/m" one
cd one
head -c 100000000 /dev/urandom >weights.bin
mkdir -p deep/er
echo "# A card" >README.md
echo "ein Text" >"deep/er/Datei mit Umlaut ä.txt"
git add . && git commit -qm "first files"
git push -q origin main

say "another clone has the same bytes"
git clone -q "$HUB/alice/m" "$WORK/two"
cmp weights.bin "$WORK/two/weights.bin"
cmp "deep/er/Datei mit Umlaut ä.txt" "$WORK/two/deep/er/Datei mit Umlaut ä.txt"
[ "$(git rev-parse HEAD)" = "$(git -C "$WORK/two" rev-parse HEAD)" ]
git -C "$WORK/two" fsck --strict >/dev/null
git lfs fsck >/dev/null

say "the API sees what was pushed"
curl -sf "$HUB/alice/m/resolve/main/weights.bin" | cmp - weights.bin
curl -sf "$HUB/api/models/alice/m/tree/main" | grep -q '"path":"weights.bin"'

say "branches, tags, shallow clones, pull"
git checkout -qb side && echo side >side.txt && git add . && git commit -qm side
git tag v1 && git tag -a v2 -m "the second" && git push -q origin side v1 v2
git clone -q --depth 1 --branch side "$HUB/alice/m" "$WORK/shallow"
[ "$(git -C "$WORK/shallow" rev-list --count HEAD)" = 1 ]
[ "$(git ls-remote "$HUB/alice/m" 'refs/tags/*' | wc -l)" = 3 ]
git push -q origin :side
git checkout -q main && echo more >>README.md && git commit -qam more && git push -q origin main
git -C "$WORK/two" pull -q && cmp README.md "$WORK/two/README.md"
git commit -q --amend -m "rewritten" && git push -q --force origin main

say "a Space by git"
git clone -q "$AUTH/spaces/alice/page" "$WORK/page"
(cd "$WORK/page" && echo "FROM scratch" >Dockerfile && git add . && git commit -qm docker && git push -q)
curl -sf "$HUB/spaces/alice/page/resolve/main/Dockerfile" | grep -q scratch

say "pushes that are refused"
git checkout -qb bad main
ln -s /etc/passwd link && git add link && git commit -qm link
refused git push origin bad
grep -q "link or a submodule" "$WORK/refused.log"
git reset -q --hard main
head -c 11000000 /dev/zero | tr '\0' 'x' >long.txt && git add long.txt && git commit -qm long
refused git push origin bad
grep -q "git-lfs" "$WORK/refused.log"
git reset -q --hard main
sha=$(printf secret | sha256sum | cut -d' ' -f1)
printf 'version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 6\n' "$sha" >stolen.txt
git add stolen.txt && git commit -qm pointer
refused git push --no-verify origin bad
grep -q "was not sent to this repo" "$WORK/refused.log"
git reset -q --hard main
refused git push origin :main
refused git push "$HUB/alice/m" main:refs/heads/anonymous
refused git push "$BOBAUTH/alice/m" main:refs/heads/other

say "a warning of names that are one file on other systems"
git checkout -qb alike main
echo one >names.txt && echo two >Names.txt && git add . && git commit -qm alike
git push -q origin alike 2>"$WORK/alike.log"
grep -q 'remote: warning: "Names.txt" and "names.txt" differ only in case' "$WORK/alike.log"
git checkout -q main

say "a pull request's author pushes to it without write access, and to nothing else"
as_bob() { curl -sf -H "Authorization: Bearer $BOB" -H 'Content-Type: application/json' -d "$2" "$HUB/api/models/alice/m/$1"; }
as_bob discussions '{"title":"a change","pullRequest":true}' | grep -q '"num":1'
git clone -q "$BOBAUTH/alice/m" "$WORK/bob"
(
	cd "$WORK/bob"
	git fetch -q origin refs/pr/1 && git checkout -q FETCH_HEAD
	head -c 20000000 /dev/urandom >proposed.bin
	git add . && git commit -qm 'proposed by bob'
	git push -q origin HEAD:refs/pr/1
	curl -sf "$HUB/alice/m/resolve/refs%2Fpr%2F1/proposed.bin" | cmp - proposed.bin
	refused git push origin HEAD:refs/heads/main
	grep -q 'own open pull requests' "$WORK/refused.log"
	refused git push origin HEAD:refs/heads/bob
)
git fetch -q origin refs/pr/1
[ "$(git rev-parse FETCH_HEAD)" = "$(git -C "$WORK/bob" rev-parse HEAD)" ]
as_bob discussions/1/status '{"status":"closed"}' >/dev/null
(cd "$WORK/bob" && git commit -q --allow-empty -m late && refused git push origin HEAD:refs/pr/1)

say "a private repo is not there for others"
git clone -q "$AUTH/alice/secret" "$WORK/secret"
for repo in secret absent; do
	refused git clone "$HUB/alice/$repo" "$WORK/x"
	sed "s/$repo/NAME/g" "$WORK/refused.log" >"$WORK/anonymous.$repo"
	refused git clone "$BOBAUTH/alice/$repo" "$WORK/x"
	sed "s/$repo/NAME/g" "$WORK/refused.log" >"$WORK/bob.$repo"
done
cmp "$WORK/anonymous.secret" "$WORK/anonymous.absent"
cmp "$WORK/bob.secret" "$WORK/bob.absent"

for repo in "$WORK"/data/git/*/*.git; do git -C "$repo" fsck --strict >/dev/null; done
hub_fsck
say "git: all as expected"
