#!/usr/bin/env bash
# Publishes a swarm on the HuggingFace Hub, or on any hub of its kind, as three repos:
# mamba-swarm-model, mamba-swarm-weights and the Space mamba-swarm-demo. First say who
# you are, and have a token that may write (HF_TOKEN, or `mes login`):
#
#   sed -i 's/your-username/alice/' deploy_to_hf.sh
#   ./deploy_to_hf.sh --dry-run   # print every call and change nothing
#   ./deploy_to_hf.sh             # a second run changes nothing; a failed one goes on
#
#   --dry-run        print every call and change nothing
#   --endpoint URL   another hub, such as that of `mes hub serve`
#   --model FOLDER   the swarm; default weights/mes-mini
#   --run FOLDER     the swarm's training run (`mes train -o`): its newest checkpoint goes
#                    into mamba-swarm-weights, and training goes on from there
#
# Further arguments go to `mes publish` (`mes help publish` lists them). MES names a
# program that is built already.
set -euo pipefail
cd "$(dirname "$0")"

HF_USERNAME="${HF_USERNAME:-your-username}"

die() {
	echo "deploy: $*" >&2
	exit 1
}

dry_run=false endpoint=${HF_ENDPOINT:-} model=weights/mes-mini more=()
while [ $# -gt 0 ]; do
	case $1 in
	--dry-run) dry_run=true ;;
	--endpoint | --model)
		[ $# -gt 1 ] || die "$1 needs a value"
		if [ "$1" = --endpoint ]; then endpoint=$2; else model=$2; fi
		shift
		;;
	--endpoint=*) endpoint=${1#*=} ;;
	--model=*) model=${1#*=} ;;
	-h | --help)
		sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
		exit
		;;
	*) more+=("$1") ;;
	esac
	shift
done

# The name is written so that the sed above does not change this line.
case $HF_USERNAME in
'' | your-?sername) die "say who you are: sed -i 's/your-""username/NAME/' $0, or HF_USERNAME=NAME $0" ;;
*[!A-Za-z0-9._-]*) die "'$HF_USERNAME' is not a user name of a hub" ;;
esac

token_file=${HF_TOKEN_PATH:-${HF_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/huggingface}/token}
if [ -z "${HF_TOKEN:-}" ] && [ ! -s "$token_file" ] && [ $dry_run = false ]; then
	die "there is no token: make one that may write on the hub's page of settings, and export HF_TOKEN or run mes login"
fi

if [ -z "${MES:-}" ]; then
	for tool in make go; do
		command -v $tool >/dev/null || die "$tool is missing, which builds mes: install it, or name a program that is built in MES"
	done
	make --no-print-directory build >&2 || die 'mes could not be built: the message is above'
	MES=bin/mes
fi
command -v "$MES" >/dev/null || die "there is no program $MES: MES names it"

[ -f "$model/config.json" ] || die "$model holds no config.json: --model names a swarm's folder"

args=(-owner "$HF_USERNAME")
if [ $dry_run = true ]; then args+=(-dry-run); fi
if [ -n "$endpoint" ]; then args+=(-endpoint "$endpoint"); fi
exec "$MES" publish "${args[@]}" ${more[@]+"${more[@]}"} "$model"
