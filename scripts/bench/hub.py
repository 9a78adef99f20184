"""What scripts/bench_hub.sh runs: mes and hf against `mes hub serve`, in turn."""

import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

BIG = int(os.environ.get("BIG", 2_000_000_000))
SMALL = int(os.environ.get("SMALL", 10_000))
ROUNDS = int(os.environ.get("ROUNDS", 2))
RUN = shlex.split(os.environ.get("RUN", ""))
MES = str(Path(os.environ.get("MES", "bin/mes")).resolve())
HF = str(Path(sys.executable).parent / "hf")
WORK = Path(os.environ["BENCH_DIR"])
LISTED = 100_000

results = {}  # (what, who) -> list of measures


class Hub:
    """A hub with the user alice, in a folder of its own."""

    def __init__(self, name):
        self.data = WORK / name
        admin = [MES, "hub"]
        subprocess.run(admin + ["user", "add", "-data", self.data, "alice"], check=True, stdout=subprocess.DEVNULL)
        self.token = subprocess.run(admin + ["token", "add", "-data", self.data, "-user", "alice"], check=True, capture_output=True, text=True).stdout.strip()
        self.start()

    def start(self):
        serve = RUN + [MES, "hub", "serve", "-quiet", "-data", self.data, "-addr", "127.0.0.1:0"]
        self.process = subprocess.Popen(serve, stdout=subprocess.PIPE, text=True)
        self.address = self.process.stdout.readline().strip()

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def peak(self):
        """Peak resident memory since reset, in MB."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024

    def reset(self):
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def call(self, method, path, body=b"", kind="application/json"):
        headers = {"Authorization": "Bearer " + self.token, "Content-Type": kind}
        request = urllib.request.Request(self.address + path, data=body, method=method, headers=headers)
        with urllib.request.urlopen(request) as answer:
            return answer.read()


def measure(hub, what, who, command):
    """Runs a command with a cache of its own and notes seconds and memory."""
    home = WORK / "home"
    shutil.rmtree(home, ignore_errors=True)
    env = dict(os.environ, HF_ENDPOINT=hub.address, HF_TOKEN=hub.token, HF_HOME=str(home), HF_XET_CACHE=str(home / "xet"),
               HF_HUB_DISABLE_TELEMETRY="1", HF_HUB_DISABLE_PROGRESS_BARS="1")
    os.sync()
    hub.reset()
    with open(WORK / "out", "wb") as out:
        start = time.monotonic()
        process = subprocess.Popen(RUN + command, env=env, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - start
    if status != 0:
        sys.exit(f"{shlex.join(command)}: status {status}\n{(WORK / 'out').read_text()[-2000:]}")
    one = {"s": seconds, "cpu": usage.ru_utime + usage.ru_stime, "client": usage.ru_maxrss / 1024, "hub": hub.peak()}
    results.setdefault((what, who), []).append(one)
    print(f"  {what:12} {who:4} {seconds:7.2f} s, processor {one['cpu']:6.2f} s, client {one['client']:4.0f} MB, hub {one['hub']:4.0f} MB", flush=True)


def up(who, repo, folder):
    return [MES, "upload", repo, str(folder)] if who == "mes" else [HF, "upload", repo, str(folder), "."]


def down(who, repo):
    return [MES, "download", repo] if who == "mes" else [HF, "download", repo]


def both(hub, what, round_, fill):
    """Each program uploads a folder of its own and downloads it."""
    order = ["mes", "hf"] if round_ % 2 == 0 else ["hf", "mes"]
    for who in order:
        folder = WORK / "source"
        folder.mkdir()
        fill(folder)
        measure(hub, what + " up", who, up(who, f"alice/{what}-{who}", folder))
        shutil.rmtree(folder)
    for who in order:
        measure(hub, what + " down", who, down(who, f"alice/{what}-{who}"))


def big(folder):
    with open(folder / "weights.bin", "wb") as f:
        for at in range(0, BIG, 1 << 24):
            f.write(os.urandom(min(1 << 24, BIG - at)))


def small(folder, binary=False):
    for n in range(SMALL):
        path = folder / f"{n // 100:03}" / f"{n:05}.dat"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(os.urandom(2048) if binary else os.urandom(1024).hex().encode())


def many(hub):
    """100 downloads at once, of one process."""
    folder = WORK / "source"
    folder.mkdir()
    for n in range(100):
        (folder / f"{n:03}.bin").write_bytes(os.urandom(1 << 24))
    subprocess.run([MES, "upload", "-endpoint", hub.address, "alice/many", folder], check=True, stdout=subprocess.DEVNULL,
                   env=dict(os.environ, HF_TOKEN=hub.token, HF_HUB_DISABLE_PROGRESS_BARS="1"))
    shutil.rmtree(folder)
    measure(hub, "many down", "mes", [MES, "download", "-workers", "100", "alice/many"])
    measure(hub, "many down", "hf", [HF, "download", "--max-workers", "100", "alice/many"])


def listing(hub):
    """The list of a repo of many files, from a server just started."""
    hub.call("POST", "/api/repos/create", json.dumps({"name": "list", "type": "model"}).encode())
    for first in range(0, LISTED, 5000):
        lines = [{"key": "header", "value": {"summary": "files"}}]
        for n in range(first, first + 5000):
            lines.append({"key": "file", "value": {"path": f"{n % 4}/{n // 1000}/{n:06}.txt", "content": "eA==", "encoding": "base64"}})
        hub.call("POST", "/api/models/alice/list/commit/main", "\n".join(map(json.dumps, lines)).encode(), "application/x-ndjson")
    api = f"from huggingface_hub import HfApi; n = len(HfApi().list_repo_files('alice/list')); assert n > {LISTED}, n"
    for who, command in [("mes", [MES, "repo", "files", "alice/list"]), ("hf", [sys.executable, "-c", api])]:
        hub.stop()
        hub.start()
        measure(hub, "list", who, command)


def table():
    print("\n| | mes, s | hf, s | hf / mes | mes, MB | hub with mes, MB | hub with hf, MB |\n|---|---|---|---|---|---|---|")
    for what in dict.fromkeys(what for what, _ in results):
        ours, theirs = results[what, "mes"], results[what, "hf"]
        times = [", ".join(f"{m['s']:.2f}" for m in side) for side in (ours, theirs)]
        ratio = statistics.median(m["s"] for m in theirs) / statistics.median(m["s"] for m in ours)
        peaks = [max(m["client"] for m in ours), max(m["hub"] for m in ours), max(m["hub"] for m in theirs)]
        print(f"| {what} | {times[0]} | {times[1]} | {ratio:.2f} | " + " | ".join(f"{p:.0f}" for p in peaks) + " |")


def main():
    wanted = sys.argv[1:] or ["big", "small", "binary", "many", "list"]
    for round_ in range(ROUNDS):
        hub = Hub(f"data-{round_}")
        try:
            print(f"round {round_ + 1}", flush=True)
            for what in wanted:
                match what:
                    case "big":
                        both(hub, what, round_, big)
                    case "small":
                        both(hub, what, round_, small)
                    case "binary":
                        both(hub, what, round_, lambda folder: small(folder, binary=True))
                    case "many":
                        many(hub)
                    case "list":
                        listing(hub)
                    case _:
                        sys.exit(f"what is {what}? see the head of scripts/bench_hub.sh")
        finally:
            hub.stop()
            shutil.rmtree(hub.data)
    table()


main()
