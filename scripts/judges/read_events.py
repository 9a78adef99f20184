"""Compares what TensorBoard reads from a run's event files with its metrics.jsonl.

    python read_events.py RUN
"""
import json
import math
import struct
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

run = Path(sys.argv[1])
records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
events = EventAccumulator(str(run / "events"), size_guidance={"tensors": 0, "scalars": 0, "histograms": 0}, purge_orphaned_data=True)
events.Reload()
tags = events.Tags()


def f32(value):
    return math.nan if value is None else struct.unpack("f", struct.pack("f", value))[0]


def same(a, b):
    return a == b or math.isnan(b) and not math.isfinite(a)


def expect(record):
    """The scalars of a record, by tag."""
    for key, value in record.items():
        if key in ("step", "steps", "time", "phase", "encoder_use") or isinstance(value, str):
            continue
        if isinstance(value, dict):
            for name, part in value.items():
                yield f"{key}/{name}", f32(part)
        else:
            yield key, f32(value)


want = {}
for record in records:
    for tag, value in expect(record):
        want.setdefault(tag, []).append((record["step"], value))
assert set(want) == set(tags["scalars"]), set(want) ^ set(tags["scalars"])
count = 0
for tag, points in want.items():
    got = [(e.step, e.value) for e in events.Scalars(tag)]
    assert [s for s, _ in got] == [s for s, _ in points], f"{tag}: steps {got[:3]}... instead of {points[:3]}..."
    for (step, value), (_, wanted) in zip(got, points):
        assert same(value, wanted), f"{tag} of step {step}: {value} instead of {wanted}"
    count += len(got)

uses = [(r["step"], r["encoder_use"]) for r in records if "encoder_use" in r]
assert tags["histograms"] == ["encoder_use"], tags["histograms"]
histograms = events.Histograms("encoder_use")
assert [h.step for h in histograms] == [step for step, _ in uses]
for h, (step, use) in zip(histograms, uses):
    assert list(h.histogram_value.bucket) == use, step
    assert math.isclose(h.histogram_value.num, sum(use)), step
print(f"{len(records)} records, {len(want)} tags, {count} scalars, {len(uses)} histograms as recorded")
