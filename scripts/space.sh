#!/usr/bin/env bash
# Builds and starts the demo's Space as its Dockerfile does, without Docker: the same
# scripts, in a clean folder, as a user without rights, with a fresh environment and
# files that are not executable. Then asks the server that it starts.
#
#   scripts/space.sh [SWARM]   a swarm's folder; default weights/mes-mini
#
# Needs bin/mes (make build). The tokenizer library and the plugin of .deps/ are used
# where they are, since their download is not what is tested. With SPACE_CHECK set, it
# is run with the server's address while the server is up: the browser test, say.
#
# Exit codes: 0 the server answered, 1 it did not.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh # again

say() { echo "space: $*" >&2; }
die() {
	say "$*"
	exit 1
}

model=${1:-weights/mes-mini}
port=${PORT:-7861}
[ -x bin/mes ] || die 'bin/mes is missing: make build'
[ -f "$model/config.json" ] || die "$model holds no config.json: name a swarm"

work=$(mktemp -d)
server=''
stop() {
	if [ -n "$server" ]; then
		kill "$server" 2>/dev/null || true
		wait "$server" 2>/dev/null || true
	fi
	chmod -R u+w "$work"
	rm -rf "$work"
}
trap stop EXIT

# What git or the hub's calls keep of files: their content, not that one is a program.
bin/mes publish -o "$work/repos" -owner alice "$model" >/dev/null
mkdir "$work/home"
cp -R "$work/repos/mamba-swarm-demo" "$work/home/space"
cp -R "$work/repos/mamba-swarm-model" "$work/home/model"
find "$work/home/space" -type f -exec chmod 644 {} +
for part in .deps/lib .deps/pjrt; do
	[ -d $part ] || continue
	mkdir -p "$work/home/space/source/.deps"
	cp -RL $part "$work/home/space/source/.deps/"
done

# as runs a command as the Dockerfile's user, in the home that it has there.
user=()
if [ "$(id -u)" = 0 ]; then
	chown -R 1000:1000 "$work"
	chmod 755 "$work"
	user=(setpriv --reuid=1000 --regid=1000 --clear-groups)
fi
as() { (become "$@"); }
# become is as, in place of this shell: the id of what it starts is that of the command.
become() {
	cd "$work/home" && exec "${user[@]}" env -i HOME="$work/home" PATH="$(dirname "$(command -v go)"):/usr/bin:/bin" \
		GOPROXY="$(go env GOPROXY)" GONOSUMDB="$(go env GONOSUMDB)" GOFLAGS=-modcacherw GOTOOLCHAIN=local "$@"
}

say "building as user $(as id -u)"
again as bash space/build.sh app
say 'starting'
become env PORT="$port" MES_MODEL="$work/home/model" bash app/run.sh >"$work/log" 2>&1 &
server=$!
for _ in $(seq 600); do
	if curl --silent --fail "http://127.0.0.1:$port/healthz" >/dev/null; then break; fi
	kill -0 "$server" 2>/dev/null || { cat "$work/log" >&2; die 'the server ended'; }
	sleep 0.5
done
answer=$(curl --silent --show-error --fail --no-buffer --max-time 600 "http://127.0.0.1:$port/api/generate" \
	--header 'Content-Type: application/json' --data '{"prompt":"The history of","max_tokens":4}')
case $answer in
*'event: routing'*'event: token'*'event: done'*) say 'the server answers' ;;
*) cat "$work/log" >&2; die "the server answered: $answer" ;;
esac
if [ -n "${SPACE_CHECK:-}" ]; then $SPACE_CHECK "http://127.0.0.1:$port"; fi
