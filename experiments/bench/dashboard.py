"""The dashboard under load: a run of 64 agents and a day of records, and 20 who watch it live.

    python experiments/bench/dashboard.py [--agents 64] [--hours 24] [--streams 20] [--seconds 30]

Opening is timed in a real Chromium (Debian: chromium; and playwright), each time at a server that
was just started. Needs room for about 140 MB an agent and day. Writes
experiments/results/dashboard.{json,md}.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import sync_playwright
from recording import table, write

from gala.launch.processes import bound_to
from gala.telemetry.sketches import HEADER, SketchWriter, record_dtype

SKETCH, SKETCH_S = 256, 5
"""Buckets of a sketch, and seconds between two, as by default."""

OPENINGS = 5


def make_run(folder: Path, agents: int, hours: float) -> None:
    """A ring whose agents have recorded once a second for so long, as agents do."""
    folder.mkdir()
    seconds, now = int(3600 * hours), time.time()
    edges = [
        {"source": i, "target": (i + step) % agents} for i in range(agents) for step in (1, -1)
    ]
    (folder / "topology.json").write_text(json.dumps({"name": "ring", "edges": edges}))
    meta = {"agents": agents, "started": now - seconds, "env_id": "ALE/Pong-v5", "seed": 1}
    (folder / "meta.json").write_text(json.dumps(meta))
    for rank in range(agents):
        (folder / f"rank_{rank:02d}").mkdir()
        with open(metrics(folder, rank), "w", buffering=2**22) as file:
            for k in range(seconds):
                file.write(record(rank, agents, k, now - seconds + k))
                if k % 600 == 0:
                    file.write(event(rank, k, now - seconds + k))
        writer = SketchWriter(sketches(folder, rank), SKETCH)
        writer.close()  # of the long past only the length matters
        count = seconds // SKETCH_S
        os.truncate(sketches(folder, rank), HEADER.size + count * record_dtype(SKETCH).itemsize)
        writer = SketchWriter(sketches(folder, rank), SKETCH)
        for tick in range(count, count + 3):
            sketch(writer, rank, tick)
        writer.close()


def sketches(folder: Path, rank: int) -> Path:
    """The sketches of one agent."""
    return folder / f"rank_{rank:02d}" / "sketches.bin"


def sketch(writer: SketchWriter, rank: int, tick: int) -> None:
    """One more of them."""
    values = np.random.default_rng([rank, tick]).normal(size=SKETCH).astype(np.float32)
    writer.append(
        t=time.time(), tick=tick, update=70 * tick, step=1400 * tick, incarnation=0, norm=57.0,
        update_norm=0.75, mix_every=1, delay=1, sketch=values,
    )  # fmt: skip


def metrics(folder: Path, rank: int) -> Path:
    """The records of one agent."""
    return folder / f"rank_{rank:02d}" / "metrics.jsonl"


def stamp(rank: int, k: int, t: float) -> str:
    """How every record begins."""
    return (
        f'{{"v": 1, "t": {t:.6f}, "rank": {rank}, "incarnation": 0, "update": {14 * k}, '
        f'"step": {280 * k}, '
    )


def event(rank: int, k: int, t: float) -> str:
    """One event."""
    return stamp(rank, k, t) + f'"event": "checkpoint", "message": "update_{14 * k:09d}.pt"}}\n'


def record(rank: int, agents: int, k: int, t: float) -> str:
    """One record, with the names and the length of those of a run on Pong."""
    return (
        stamp(rank, k, t)
        + f'"charts/SPS": {280.4009363843667 + rank}, "charts/episodic_return": {k % 40 - 20.53}, '
        f'"gossip/messages_sent": {14 * k}, "gossip/bytes_sent": {48520584 * k}, '
        f'"divergence/to_mean": {0.3228741710792381 + 0.01 * rank}, '
        + REST.replace("LEFT", str((rank - 1) % agents)).replace("RIGHT", str((rank + 1) % agents))
    )


REST = (
    '"charts/episodic_length": 2358.37, "charts/episodes": 615, "charts/lr": 0.0007, '
    '"time/collect_ms": 33.410149153496604, "time/learn_ms": 25.708325845978553, '
    '"time/gossip_ms": 1.6738180770167115, "time/log_ms": 0.6413707693494731, '
    '"time/other_ms": 0.008721461899068136, "losses/policy_loss": -0.0123424, '
    '"losses/value_loss": 0.0423423, "losses/entropy": 1.5234234, "losses/grad_norm": 0.2342342, '
    '"losses/explained_variance": 0.61231, "gossip/staleness": 0, "gossip/staleness_max": 1, '
    '"gossip/mixes": 45124, "gossip/messages_refused": 0, "gossip/bytes_received": 156388773744, '
    '"gossip/wait_ms": 0.0, "gossip/in/LEFT/age_s": 0.04367661476135254, '
    '"gossip/in/LEFT/version": 50030, "gossip/in/LEFT/state": 1, '
    '"gossip/in/RIGHT/age_s": 0.04367661476135254, "gossip/in/RIGHT/version": 50030, '
    '"gossip/in/RIGHT/state": 1, "divergence/update_norm": 0.7532753944396973, '
    '"divergence/total": 0.5775504687994274, "divergence/relative": 0.005687987590168663, '
    '"divergence/sketch_error": 0.044194173824159216, "divergence/epsilon": 24.55668357256859, '
    '"divergence/expected": 3.934415219349846, "divergence/epsilon_ratio": 0.023519074434162957, '
    '"divergence/beta": 0.912, "divergence/agents": 64, "divergence/to/LEFT": 0.42342, '
    '"divergence/to/RIGHT": 0.42342, "divergence/kl/LEFT": 0.00042}\n'
)


class Server:
    """``gala dashboard`` as a process, and what it uses."""

    def __init__(self, folder: Path) -> None:
        self.began = time.perf_counter()
        command = [sys.executable, "-m", "gala", "dashboard", str(folder), "--port", "0"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, preexec_fn=bound_to(os.getpid())
        )
        assert self.process.stdout is not None
        self.process.stdout.readline()
        self.address = self.process.stdout.readline().strip()
        self.listens_s = time.perf_counter() - self.began

    def get(self, path: str) -> bytes:
        """One answer."""
        with urllib.request.urlopen(self.address + path) as answer:
            data: bytes = answer.read()
        return data

    def cpu_s(self) -> float:
        """Processor time used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_mb(self) -> float:
        """Largest resident memory so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(each for each in status.splitlines() if each.startswith("VmHWM"))
        return int(line.split()[1]) / 1024

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait()


def opened(folder: Path) -> list[dict[str, float]]:
    """Seconds of opening the run, some times, each at a server of its own.

    ``listens_s``: from the command until the server says its address. ``drawn_s``: in Chromium,
    from navigation until the page says that it is drawn. ``answers_s``: until a server has listed
    and sent the run to a program.
    """
    found = []
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for _ in range(OPENINGS):
            server = Server(folder)
            try:
                began = time.perf_counter()
                server.get("api/runs")
                history = server.get(f"api/history/{folder.name}?points=600")
                answers = time.perf_counter() - began
            finally:
                server.close()
            server = Server(folder)
            page = browser.new_page(viewport={"width": 1500, "height": 1180})
            try:
                began = time.perf_counter()
                page.goto(server.address)
                page.wait_for_selector("body[data-ready][data-drawn]", timeout=120_000)
                drawn = time.perf_counter() - began
                shown = int(page.get_attribute("body", "data-records") or 0)
            finally:
                page.close()
                server.close()
            found.append(
                {"listens_s": server.listens_s, "answers_s": answers, "drawn_s": drawn,
                 "answer_mb": len(history) / 1e6, "records": shown}
            )  # fmt: skip
        browser.close()
    return found


def searched(server: Server, name: str) -> float:
    """Seconds until the server has looked through all files for events and damage."""
    began = time.perf_counter()
    with urllib.request.urlopen(f"{server.address}api/stream/{name}") as answer:
        kind = b""
        for line in answer:
            if line.startswith(b"event: "):
                kind = line[7:].strip()
            elif kind == b"events" and line.startswith(b"data: "):
                if json.loads(line[6:])["share"] == 1:
                    break
    return time.perf_counter() - began


def watch(server: Server, name: str, stop: threading.Event, got: list[int]) -> None:
    """Read one stream until told to stop."""
    with urllib.request.urlopen(f"{server.address}api/stream/{name}") as answer:
        while not stop.is_set():
            got[0] += len(answer.readline())


def live(server: Server, folder: Path, agents: int, streams: int, seconds: float) -> dict[str, Any]:
    """Processor time of the server while all agents record and so many watch."""
    stop = threading.Event()
    got = [[0] for _ in range(streams)]
    watchers = [
        threading.Thread(target=watch, args=(server, folder.name, stop, mine), daemon=True)
        for mine in got
    ]
    for each in watchers:
        each.start()
    files = [open(metrics(folder, rank), "a", buffering=1) for rank in range(agents)]
    writers = [SketchWriter(sketches(folder, rank), SKETCH) for rank in range(agents)]
    time.sleep(3.0)  # until all are connected
    before = sum(each[0] for each in got)
    used, began = server.cpu_s(), time.perf_counter()
    k = 10**6
    while time.perf_counter() - began < seconds:
        k += 1
        for rank, file in enumerate(files):
            file.write(record(rank, agents, k, time.time()))
            if k % SKETCH_S == 0:
                sketch(writers[rank], rank, k)
        time.sleep(max(0.0, began + (k - 10**6) - time.perf_counter()))
    spent = time.perf_counter() - began
    share = (server.cpu_s() - used) / spent
    received = sum(each[0] for each in got) - before
    stop.set()
    for file in files:
        file.close()
    for writer in writers:
        writer.close()
    return {"share_of_a_core": share, "bytes_per_stream_and_s": received / streams / spent}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=64)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "run"
        make_run(folder, options.agents, options.hours)
        size = sum(metrics(folder, rank).stat().st_size for rank in range(options.agents))
        openings = opened(folder)
        server = Server(folder)
        try:
            found: dict[str, Any] = {
                "agents": options.agents, "hours": options.hours, "gigabytes": size / 1e9,
                **{name: statistics.median(o[name] for o in openings) for name in openings[0]},
                "openings": openings,
                "search_s": searched(server, folder.name),
                **live(server, folder, options.agents, options.streams, options.seconds),
            }  # fmt: skip
            found["peak_mb"] = server.peak_mb()
        finally:
            server.close()
    both = [each["listens_s"] + each["drawn_s"] for each in openings]
    rows = [
        ["from the command until the server listens, s", f"{found['listens_s']:.2f}"],
        ["in Chromium, from navigation until the page is drawn, s", f"{found['drawn_s']:.2f}"],
        ["both, s", f"{statistics.median(both):.2f} (worst {max(both):.2f})"],
        ["of it, the list of runs and the history for a program, s", f"{found['answers_s']:.2f}"],
        ["records shown at first, all agents", f"{found['records']:,.0f}"],
        ["MB of the history", f"{found['answer_mb']:.1f}"],
        ["search for events and damage in the background, once, s", f"{found['search_s']:.0f}"],
        [
            f"processor of the server, {options.streams} streams",
            f"{100 * found['share_of_a_core']:.0f} % of a core",
        ],
        ["kB per stream and second", f"{found['bytes_per_stream_and_s'] / 1e3:.1f}"],
        ["largest memory, MB", f"{found['peak_mb']:.0f}"],
    ]  # fmt: skip
    size_text = f"{found['gigabytes']:.1f} GB of files"
    text = f"""# The dashboard under load

{options.agents} agents, {options.hours:g} h of records, one a second: {size_text},
written just before. Opening: medians of {OPENINGS}, each of a server that was just started; the
browser was there already. Then all agents go on recording, with sketches, while programs read
{options.streams} streams as browsers do.

{table(["what", "measured"], rows)}
"""
    write("dashboard", found, text)


if __name__ == "__main__":
    main()
