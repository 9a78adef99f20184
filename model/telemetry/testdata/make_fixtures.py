"""Writes events.tfevents with TensorBoard's own messages and record writer.

    pip install -r requirements.txt && python make_fixtures.py
"""
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

WALL = 1772366400.25  # 2026-03-01 12:00:00.25 UTC

with open("events.tfevents", "wb") as f:
    out = RecordWriter(f)

    def write(**fields):
        out.write(event_pb2.Event(wall_time=WALL, **fields).SerializeToString())

    write(file_version="brain.Event:2")
    write(step=41, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))
    values = [
        ("loss", 2.5),
        ("losses/balance", 0.0),
        ("losses/cross_entropy", float("nan")),
        ("domain_loss/poésie", -1.25),
        ("lr", 3e-4),
        ("tokens", 163840.0),
        ("grad_norm", float("inf")),
        ("tokens_per_s", 410000.0),
        ("memory_bytes", 6.1e9),
        ("router_agreement", 0.9375),
        ("dropped", 0.0),
        ("seconds/step", 1.5),
        ("skipped", 2.0),
    ]
    summary = summary_pb2.Summary()
    for tag, value in values:
        summary.value.add(tag=tag, simple_value=value)
    use = [0.5, 0.0, 0.25, 0.25]
    histogram = summary_pb2.HistogramProto(
        min=-0.5,
        max=3.5,
        num=sum(use),
        sum=sum(u * i for i, u in enumerate(use)),
        sum_squares=sum(u * i * i for i, u in enumerate(use)),
        bucket_limit=[i + 0.5 for i in range(4)],
        bucket=use,
    )
    summary.value.add(tag="encoder_use", histo=histogram)
    write(step=60, summary=summary)
