"""The run as a whole, read back by TensorBoard's own readers, its server among them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams.metadata import (
    SESSION_START_INFO_TAG,
    parse_session_start_info_plugin_data,
)

from gala.telemetry.aggregate import AggregateSink, flat
from gala.telemetry.reader import RunReader
from gala.telemetry.tensorboard import BALL, TensorBoardSink

CONFIG = {"a2c": {"lr": 7e-4, "normalize_advantage": False}, "seed": 1, "threads": None,
          "network": {"filters": [32, 64, 32]}, "agents": 4, "topology": "ring"}  # fmt: skip
DRAWING = ["0 -> 1 -> 2", "^_________|"]


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def newest(run: Any) -> dict[int, dict[str, Any]]:
    reader = RunReader(run.path)
    reader.poll()
    return reader.latest


def sink_of(run: Any, *, independent: bool = False) -> AggregateSink:
    return AggregateSink(
        run.path / "tensorboard" / "aggregate",
        hyperparameters=CONFIG,
        session="57f6060de47da167",
        independent=independent,
        texts={"run": ["gala: <Pong> | 4 agents"], "topology": DRAWING},
    )


@pytest.fixture
def written(make_run: Callable[..., Any]) -> Any:
    """A run with an aggregate of two records, the second 400 steps later."""
    run = make_run()
    sink = sink_of(run)
    sink.record(newest(run))
    for rank in range(4):
        run.record(rank, step=5100, divergence__total=1.5)
    sink.record(newest(run))
    sink.close()
    return run


def points(events: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(each.step, pytest.approx(each.value)) for each in events.Scalars(tag)]


def test_scalars_are_of_all_agents_over_the_steps_of_all(written: Any) -> None:
    events = read(written.path / "tensorboard" / "aggregate")
    assert points(events, "charts/episodic_return") == [(20_000, 18.18), (20_400, 18.18)]
    assert points(events, "charts/SPS") == [(20_000, 1247.6), (20_400, 1247.6)]
    assert points(events, "gossip/staleness_max") == [(20_000, 4), (20_400, 4)]
    assert points(events, "divergence/total") == [(20_000, 0.58), (20_400, 1.5)]
    assert points(events, "divergence/epsilon") == [(20_000, 24.6), (20_400, 24.6)]
    assert points(events, "divergence/epsilon_ratio") == [(20_000, 0.0236), (20_400, 0.0236)]
    assert points(events, "ball/distance") == points(events, "divergence/total")


def test_the_layout_draws_distances_within_the_bound(written: Any) -> None:
    events = read(written.path / "tensorboard" / "aggregate")
    (event,) = events.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    ((chart,),) = [category.chart for category in layout.category]
    (series,) = chart.margin.series
    assert points(events, series.value) == points(events, "divergence/total")
    assert points(events, series.lower) == [(20_000, 0), (20_400, 0)]
    assert points(events, series.upper) == points(events, "divergence/epsilon")


def test_a_margin_has_all_its_points_at_the_same_steps(make_run: Callable[..., Any]) -> None:
    """Else TensorBoard draws an error; the bound comes late and may go."""
    run = make_run(agents=1)
    whole = sink_of(run)
    agent = TensorBoardSink(run.path / "tensorboard" / "rank_00")
    for step, bound in ((10, None), (20, 3.0), (30, float("inf")), (40, 3.0)):
        run.record(0, step=step, divergence__epsilon=bound)
        whole.record(newest(run))
        agent.record(run.metrics(0) | {"divergence/epsilon": bound}, step=step)
    whole.close()
    agent.close()
    for name in ("aggregate", "rank_00"):
        events = read(run.path / "tensorboard" / name)
        assert [[p.step for p in events.Scalars(tag)] for tag in BALL] == [[20, 40]] * 3


def test_hyperparameters_are_those_of_the_run(written: Any) -> None:
    events = read(written.path / "tensorboard" / "aggregate")
    metadata = events.SummaryMetadata(SESSION_START_INFO_TAG)
    info = parse_session_start_info_plugin_data(metadata.plugin_data.content)
    found = {
        name: getattr(value, str(value.WhichOneof("kind"))) for name, value in info.hparams.items()
    }
    assert found == {
        "a2c.lr": 7e-4, "a2c.normalize_advantage": False, "seed": 1, "agents": 4,
        "network.filters": "[32, 64, 32]", "topology": "ring",
    }  # fmt: skip
    assert info.group_name == "57f6060de47da167"


def test_texts_are_in_a_fixed_width(written: Any) -> None:
    events = read(written.path / "tensorboard" / "aggregate")
    (event,) = events.Tensors("topology")
    assert event.tensor_proto.string_val[0].decode() == "    0 -> 1 -> 2\n    ^_________|"
    (event,) = events.Tensors("run")
    assert event.tensor_proto.string_val[0].decode() == "    gala: <Pong> | 4 agents"


def test_without_a_bound_there_is_no_layout(make_run: Callable[..., Any]) -> None:
    run = make_run()
    for rank in range(4):
        run.record(rank, divergence__epsilon=None, divergence__epsilon_ratio=None)
    sink = sink_of(run)
    sink.record(newest(run))
    sink.close()
    tags = read(run.path / "tensorboard" / "aggregate").Tags()
    assert "custom_scalars__config__" not in tags["tensors"]
    assert "divergence/total" in tags["scalars"] and "divergence/epsilon" not in tags["scalars"]


def test_before_the_first_records_and_with_many_agents(make_run: Callable[..., Any]) -> None:
    run = make_run(agents=20)
    sink = sink_of(run)
    sink.record({})
    sink.record(newest(run))
    sink.close()
    events = read(run.path / "tensorboard" / "aggregate")
    assert points(events, "charts/SPS") == [(0, 0), (100_000, 20 * 310.4 + sum(range(20)))]


def test_agents_that_never_gossip_have_no_mean(make_run: Callable[..., Any]) -> None:
    run = make_run()
    sink = sink_of(run, independent=True)
    sink.record(newest(run))
    sink.close()
    tags = read(run.path / "tensorboard" / "aggregate").Tags()["scalars"]
    assert "charts/SPS" in tags and "charts/episodic_return" not in tags


def test_flat() -> None:
    assert flat({"a": {"b": {"c": 1}, "d": None}, "e": True, "f": [1], "g": "x"}) == {
        "a.b.c": 1, "e": True, "f": "[1]", "g": "x"
    }  # fmt: skip


def fetch(url: str) -> Any:
    with urlopen(url, timeout=20) as answer:
        return json.loads(answer.read())


def test_tensorboard_opens_it_without_a_warning(written: Any, tmp_path: Path) -> None:
    agent = TensorBoardSink(written.path / "tensorboard" / "rank_00")
    agent.record({"charts/SPS": 310.4}, step=5000)
    agent.close()
    program = shutil.which("tensorboard", path=str(Path(sys.executable).parent))
    command = [program] if program else [sys.executable, "-m", "tensorboard.main"]
    log = tmp_path / "log"
    with open(log, "wb") as output:
        server = subprocess.Popen(
            [*command, "--logdir", str(written.path / "tensorboard"), "--port", "0"],
            stdout=output, stderr=output,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not (url := re.findall(r"(http://\S+?)/? \(Press", log.read_text())):
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        while "aggregate" not in fetch(f"{url[0]}/data/runs"):
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        assert sorted(fetch(f"{url[0]}/data/runs")) == ["aggregate", "rank_00"]
        plugins = fetch(f"{url[0]}/data/plugins_listing")
        active = {name for name, plugin in plugins.items() if plugin["enabled"]}
        assert {"scalars", "custom_scalars", "hparams", "text"} <= active
        layout = fetch(f"{url[0]}/data/plugin/custom_scalars/layout")
        assert layout["category"][0]["title"] == "epsilon-ball"
    finally:
        server.terminate()
        server.wait(20)
    text = log.read_text()
    assert not re.search(r"warn|error|Traceback|deprecat", text, re.IGNORECASE), text
