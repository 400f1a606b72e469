"""Weights & Biases: one run per agent, nothing waits for it, and it fails in one sentence."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gala.files import commands
from gala.telemetry import wandb as module
from gala.telemetry.wandb import WAITING, WandbSink

PATIENCE_S = 30.0


class FakeWandb:
    """What a sink uses of the library; each step may be replaced."""

    def __init__(self) -> None:
        self.runs: list[dict[str, Any]] = []
        self.logged: list[dict[str, float]] = []
        self.finished = 0
        self.mode, self.key = "online", True
        self.Settings = dict

    def setup(self, settings: Any) -> Any:
        return SimpleNamespace(settings=SimpleNamespace(mode=self.mode))

    def login(self, *, prompt: bool) -> bool:
        assert not prompt, "nobody is there to answer"
        return self.key

    def init(self, **options: Any) -> Any:
        self.runs.append(options)
        return SimpleNamespace(
            log=self.log, finish=self.finish, define_metric=lambda *_, **__: None
        )

    def log(self, values: dict[str, float]) -> None:
        self.logged.append(values)

    def finish(self) -> None:
        self.finished += 1


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


@pytest.fixture
def make_sink(tmp_path: Path) -> Iterator[Callable[..., WandbSink]]:
    sinks = []

    def make(rank: int = 0) -> WandbSink:
        sinks.append(
            WandbSink("pong", group="57f6", rank=rank, folder=tmp_path / "mine", config={"seed": 1})
        )
        return sinks[-1]

    yield make
    for sink in sinks:
        sink.close()


def problems(sink: WandbSink) -> list[str]:
    """Everything that the sink has to say, at least one sentence."""
    deadline = time.monotonic() + PATIENCE_S
    while (first := sink.problem()) is None:
        assert time.monotonic() < deadline, "it says nothing"
        time.sleep(0.005)
    return [first, *iter(sink.problem, None)]


def test_a_run_per_agent_in_the_group_of_the_run(fake: FakeWandb, make_sink: Any) -> None:
    for rank in (0, 1):
        sink = make_sink(rank)
        sink.record({"charts/SPS": 310.4, "charts/episodic_return": None}, step=80)
        sink.close()
        assert sink.problem() is None
    assert [run["id"] for run in fake.runs] == ["57f6-00", "57f6-01"]
    assert {(run["group"], run["project"], run["resume"]) for run in fake.runs} == {
        ("57f6", "pong", "allow")
    }
    assert fake.runs[1]["name"] == "mine/rank_01"
    assert fake.runs[1]["config"] == {"seed": 1, "rank": 1}
    assert fake.logged == [{"charts/SPS": 310.4, "step": 80}] * 2 and fake.finished == 2


@pytest.mark.parametrize("error", [RuntimeError("out of\norder"), SystemExit(1), OSError()])
@pytest.mark.parametrize("where", ["init", "log", "finish"])
def test_any_failure_is_one_sentence(
    fake: FakeWandb, make_sink: Any, where: str, error: BaseException
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    setattr(fake, where, fail)
    sink = make_sink()
    for step in range(5):
        sink.record({"charts/SPS": 1.0}, step=step)
    sink.close()
    (text,) = problems(sink)
    assert text.startswith("Weights & Biases: ") and "\n" not in text
    assert "out of (left out until it works again)" in text or type(error) is not RuntimeError
    for step in range(2 * WAITING):  # never full, never blocked
        sink.record({"charts/SPS": 1.0}, step=step)
    assert sink.problem() is None


def test_it_is_told_when_the_extra_is_missing(
    make_sink: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    (text,) = problems(make_sink())
    assert f"not installed: {commands.install('wandb')}" in text


def test_nobody_is_asked_for_a_key(fake: FakeWandb, make_sink: Any) -> None:
    fake.key = False
    (text,) = problems(make_sink())
    assert "no API key: run `wandb login`, or set WANDB_MODE=offline" in text
    assert fake.runs == []


def test_offline_needs_no_key(fake: FakeWandb, make_sink: Any) -> None:
    fake.key, fake.mode = False, "offline"
    sink = make_sink()
    sink.close()
    assert sink.problem() is None and len(fake.runs) == 1


def test_a_server_that_hangs_costs_no_time(
    fake: FakeWandb, make_sink: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLOSE_S", 0.05)
    awake = threading.Event()
    fake.log = lambda values: awake.wait(PATIENCE_S)  # type: ignore[method-assign,assignment,return-value]
    sink = make_sink()
    began = time.monotonic()
    for step in range(3 * WAITING):
        sink.record({"charts/SPS": 1.0}, step=step)
    assert time.monotonic() - began < PATIENCE_S / 3
    assert problems(sink) == ["Weights & Biases: it is too slow, records are left out there"]
    sink.close()
    assert time.monotonic() - began < PATIENCE_S / 2
    awake.set()


def test_an_end_that_takes_too_long_is_told(
    fake: FakeWandb, make_sink: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLOSE_S", 0.05)
    awake = threading.Event()
    fake.finish = lambda: awake.wait(PATIENCE_S)  # type: ignore[method-assign,assignment,return-value]
    sink = make_sink()
    sink.close()
    assert "did not finish within 0.05 s; `wandb sync` sends the rest" in problems(sink)[0]
    awake.set()


# -- the real library, in processes of its own

SCRIPT = """
import os, sys
from pathlib import Path
from gala.telemetry import wandb as module
module.CLOSE_S = float(sys.argv[2])
sinks = [module.WandbSink("pong", group="57f6", rank=rank, folder=Path(sys.argv[1]),
                          config={"a2c": {"lr": 7e-4}}) for rank in (0, 1)]
for step in (80, 160):
    for sink in sinks:
        sink.record({"charts/SPS": 310.4 + step, "divergence/epsilon": None}, step=step)
for sink in sinks:
    sink.close()
print(*(sink.problem() for sink in sinks), sep="\\n", flush=True)
os._exit(0)  # as an agent ends: a thread of the library that still runs may abort an interpreter
"""

READ = """
import json, struct, sys
from pathlib import Path
from wandb.proto.wandb_internal_pb2 import Record

def records(data):  # a LevelDB log: blocks of 32 KiB, parts with checksum, length and kind
    at, whole = 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[at:at + 7])
        whole += data[at + 7:at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # all of it, or its end
            yield Record.FromString(whole)
            whole = b""

data = Path(sys.argv[1]).read_bytes()
assert data.startswith(b":W&B"), data[:8]
found = {"history": []}
for record in records(data):
    if record.HasField("run"):
        run = record.run
        found |= {"id": run.run_id, "group": run.run_group, "project": run.project}
        found["config"] = {item.key: json.loads(item.value_json) for item in run.config.update}
    if record.HasField("history"):
        items = record.history.item
        names = [item.key or "/".join(item.nested_key) for item in items]
        found["history"].append(
            {n: json.loads(item.value_json) for n, item in zip(names, items) if n[0] != "_"})
print(json.dumps(found))
"""


def python(script: str, *arguments: object, **environment: str) -> tuple[str, str]:
    if importlib.util.find_spec("wandb") is None:
        pytest.skip("the wandb extra is not installed")
    given = {name: text for name, text in os.environ.items() if not name.startswith("WANDB_")}
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], env=given | environment,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_offline_the_records_are_in_the_run_folder(tmp_path: Path) -> None:
    output, complaints = python(
        SCRIPT, tmp_path, 60, WANDB_MODE="offline", HOME=str(tmp_path / "home")
    )
    assert output.split() == ["None", "None"] and complaints == ""
    files = sorted(tmp_path.glob("wandb/offline-run-*/run-*.wandb"), key=lambda path: path.name)
    found = [json.loads(python(READ, path)[0]) for path in files]
    assert [each["id"] for each in found] == ["57f6-00", "57f6-01"]
    for rank, each in enumerate(found):
        assert (each["group"], each["project"]) == ("57f6", "pong")
        assert each["config"]["a2c"] == {"lr": 7e-4} and each["config"]["rank"] == rank
        assert each["history"] == [
            {"charts/SPS": 390.4, "step": 80}, {"charts/SPS": 470.4, "step": 160}
        ]  # fmt: skip


def test_without_a_key_it_says_so(tmp_path: Path) -> None:
    output, _ = python(
        SCRIPT, tmp_path, 60, HOME=str(tmp_path), WANDB_BASE_URL="http://127.0.0.1:9"
    )
    assert output.count("no API key") == 2


def test_an_unreachable_server_ends_with_the_process(tmp_path: Path) -> None:
    began = time.monotonic()
    output, _ = python(
        SCRIPT, tmp_path, 1, HOME=str(tmp_path), WANDB_BASE_URL="http://127.0.0.1:9",
        WANDB_API_KEY="a" * 40,
    )  # fmt: skip
    assert output.count("Weights & Biases: ") == 2
    assert time.monotonic() - began < 60
