#!/usr/bin/env bash
# TensorBoard reads the event files of a run that was resumed. MES_TEST_TENSORBOARD names
# a Python that has it; without it one is made.
. "$(dirname "$0")/lib.sh"
if [ -z "${MES_TEST_TENSORBOARD:-}" ]; then
	venv=$CACHE/tensorboard
	if [ ! -x "$venv/bin/tensorboard" ]; then
		python3 -m venv "$venv"
		again "$venv/bin/pip" install -q --timeout 60 -r model/telemetry/testdata/requirements.txt 2>"$CACHE/pip.log" || { cat "$CACHE/pip.log" >&2; exit 1; }
	fi
	MES_TEST_TENSORBOARD=$venv/bin/python
fi
export MES_TEST_TENSORBOARD
go test -count=1 -vet=off -v -run '^TestTensorBoard$' ./model/telemetry | tee "$WORK/tensorboard.log" | grep 'as recorded' ||
	{ cat "$WORK/tensorboard.log" >&2; exit 1; }
say "tensorboard: all as expected"
