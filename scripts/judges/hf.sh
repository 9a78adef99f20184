#!/usr/bin/env bash
# Python's huggingface_hub, newest and 1.19, without Xet: API, command line, file system.
. "$(dirname "$0")/lib.sh"
hub_start
for version in 2.4.0 1.19.0; do
	venv=$(python_client "hf-$version")
	export HF_ENDPOINT=$HUB HF_TOKEN=$TOKEN HF_HUB_DISABLE_XET=1 HF_HUB_DISABLE_PROGRESS_BARS=1 HF_HUB_DISABLE_TELEMETRY=1
	export HF_HOME=$WORK/home-$version PATH=$venv/bin:$PATH NAME=m-${version//./-}
	say "huggingface_hub $version: API"
	"$MES" repo create "alice/$NAME-paged" >/dev/null
	long_history "alice/$NAME-paged" 1100
	"$venv/bin/python" -W ignore scripts/judges/hf.py
	say "huggingface_hub $version: command line"
	folder=$WORK/folder-$version
	mkdir -p "$folder/sub"
	printf -- '---\nlicense: mit\n---\n# Card\n' >"$folder/README.md"
	head -c 3000000 /dev/urandom >"$folder/model.safetensors"
	echo text >"$folder/sub/a b ü#%.txt"
	{
		hf upload "alice/cli-$NAME" "$folder" . &&
			hf upload "alice/cli-$NAME" "$folder" . &&
			hf upload "alice/cli-$NAME" "$folder/README.md" notes.md &&
			hf download "alice/cli-$NAME" --local-dir "$WORK/down-$version" &&
			hf download "alice/cli-$NAME"
	} >"$WORK/cli.log" 2>&1 || { cat "$WORK/cli.log" >&2; exit 1; }
	for file in README.md model.safetensors "sub/a b ü#%.txt"; do cmp "$folder/$file" "$WORK/down-$version/$file"; done
	commits=$(curl -sf -H "Authorization: Bearer $TOKEN" "$HUB/api/models/alice/cli-$NAME/commits/main" | grep -o '"id":' | wc -l)
	[ "$commits" = 3 ] || { echo "$commits commits, want 3: an unchanged folder must make none" >&2; exit 1; }
	if hf collections --help >/dev/null 2>&1; then
		{
			hf collections create "CLI $NAME" --description "by command"
			slug=$(curl -sf "$HUB/api/collections?owner=alice" | sed 's/.*"slug":"\(alice\/cli-[^"]*\)".*/\1/')
			hf collections add-item "$slug" "alice/cli-$NAME" model --note "a note"
			hf collections info "$slug" | grep -q "alice/cli-$NAME"
			hf collections ls --owner alice | grep -q "CLI $NAME"
			hf collections update "$slug" --title "CLI again"
			hf collections delete "$slug"
		} >"$WORK/cli.log" 2>&1 || { cat "$WORK/cli.log" >&2; exit 1; }
	fi
	hf cache ls >/dev/null 2>&1 || hf cache scan >/dev/null
	if hf cache verify --help >/dev/null 2>&1; then hf cache verify "alice/cli-$NAME" >/dev/null; fi
done
hub_fsck
say "hf: all as expected"
