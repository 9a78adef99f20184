#!/usr/bin/env bash
# Train two models on the same data, several seeds of each, and compare them on
# held-out documents: how weights/mes-mini and its comparison were made.
#
#   scripts/train/report.sh DATA OUT [DENSE SWARM]
#
# DATA is a folder of mes data prepare. DENSE and SWARM, by default those of
# scripts/train/mes-mini, are written CONFIG:PLAN. OUT gets a run NAME-SEED for each, its
# evaluation NAME-SEED.json, and report.md. Called again after a stop it goes on.
#
# SEEDS="1 2 3"    the plans' seeds
# JOBS=1           runs at a time, which share the devices
# MES=bin/mes      the program
# MES_FLAGS=       flags of every train and eval, such as "-backend xla:cuda"
# EVAL_FLAGS=      flags of every eval, such as "-max-bytes 20000"
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mini=$here/mes-mini
if (($# != 2 && $# != 4)); then
	echo "report: want DATA OUT, or DATA OUT DENSE SWARM with CONFIG:PLAN each" >&2
	exit 2
fi
data=$1 out=$2
dense=${3:-$mini/dense.json:$mini/dense-plan.json}
swarm=${4:-$mini/config.json:$mini/plan.json}
mes=${MES:-bin/mes}
read -ra seeds <<<"${SEEDS:-1 2 3}"
read -ra mes_flags <<<"${MES_FLAGS:-}"
read -ra eval_flags <<<"${EVAL_FLAGS:-}"
mkdir -p "$out"

# one KIND CONFIG:PLAN SEED trains and measures; what is done already is not done again.
one() {
	local name=$1-$3
	[[ ! -f $out/$name.json ]] || return 0
	if [[ ! -d $out/$name/model ]]; then
		sed "s/\"seed\": [0-9]*/\"seed\": $3/" "${2#*:}" >"$out/$name-plan.json"
		"$mes" train "${mes_flags[@]}" -config "${2%%:*}" -plan "$out/$name-plan.json" -data "$data" -tokenizer "$data/tokenizer" -o "$out/$name"
	fi
	"$mes" eval "${mes_flags[@]}" "${eval_flags[@]}" -model "$out/$name/model" -data "$data" -o "$out/$name.json"
}

# Each run is a group of processes, which a stop interrupts: it saves, and goes on when called again.
set -m
trap 'for job in $(jobs -p); do kill -INT -- "-$job" 2>/dev/null || true; done; wait' EXIT
trap 'exit 130' INT TERM
for seed in "${seeds[@]}"; do
	for kind in dense swarm; do
		while (($(jobs -rp | wc -l) >= ${JOBS:-1})); do wait -n || true; done
		echo "report: $kind, seed $seed: $out/$kind-$seed.log" >&2
		one "$kind" "${!kind}" "$seed" >"$out/$kind-$seed.log" 2>&1 &
	done
done
wait

against=() reports=()
for seed in "${seeds[@]}"; do
	for kind in dense swarm; do
		[[ -f $out/$kind-$seed.json ]] && continue
		echo "report: $kind, seed $seed, failed: see $out/$kind-$seed.log, then run this again" >&2
		exit 1
	done
	against+=(-against "$out/dense-$seed.json")
	reports+=("$out/swarm-$seed.json")
done
"$mes" eval "${against[@]}" -o "$out/report.json" "${reports[@]}"
