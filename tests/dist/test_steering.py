"""Steering and alarms in real runs."""

import json
from pathlib import Path
from typing import Any

import pytest
from launching import experiment, gala, newest_state, records

pytestmark = [pytest.mark.long, pytest.mark.timeout(300), pytest.mark.slow]


def run_with(tmp_path: Path, *arguments: object, steps: int = 12_000, code: int = 0) -> Path:
    run = tmp_path / "run"
    text = experiment(tmp_path, total_steps=steps)
    output = gala("train", text, "--agents", 3, "--run-dir", run, *arguments, code=code)
    assert "Traceback" not in output
    return run


def last(run: Path, rank: int) -> dict[str, Any]:
    return [r for r in records(run, rank) if "event" not in r][-1]


@pytest.mark.parametrize(
    "options",
    [
        ("--gossip.epsilon-target", 0.1),
        ("--gossip.trigger", "drift", "--gossip.trigger-threshold", 0.05),
        ("--gossip.trigger", "kl", "--gossip.trigger-threshold", 0.01),
    ],
)
def test_bytes_are_saved_and_agents_stay_together(tmp_path: Path, options: tuple) -> None:
    run = run_with(tmp_path, *options)
    for rank in range(3):
        record = last(run, rank)
        assert 0 < record["gossip/messages_sent"] < 0.5 * record["update"]
        assert record["gossip/bytes_sent"] % record["gossip/messages_sent"] == 0
        assert record["gossip/mixes"] > 0 and record["charts/episodic_return"] > 6.5
    measured = [r["divergence/relative"] for r in records(run, 0) if r.get("divergence/relative")]
    assert measured and max(measured) < 0.15
    record = last(run, 0)
    assert record["divergence/proven"] == 1.0, "certified from what happened, whatever triggers it"
    assert record["divergence/epsilon_ratio"] < 1.15, "the total is a sketch's"


def test_fewer_neighbours_where_each_costs_a_copy(tmp_path: Path) -> None:
    """CartPole over sockets, everybody a neighbour of everybody."""
    run, target = tmp_path / "run", 0.02
    output = gala(
        "train", "cartpole", "--agents", 4, "--topology", "complete", "--run-dir", run,
        "--total-steps", 60_000, "--gossip.transport", "gloo", "--gossip.epsilon-target", target,
        "--divergence.every-s", 0.25, "--log.every-s", 0.1, "--log.tensorboard", "false",
    )  # fmt: skip
    assert "Traceback" not in output
    payload = 4 * json.loads((run / "meta.json").read_text())["parameters"]
    for rank in range(4):
        rows = [r for r in records(run, rank) if "event" not in r]
        record = rows[-1]
        copies, rest = divmod(record["gossip/bytes_sent"], payload)
        assert rest == 0 and 0 < copies < 0.6 * 3 * record["update"]
        assert copies < 2 * record["gossip/messages_sent"], "most messages are for one neighbour"
        assert max(row["gossip/degree"] for row in rows) > 1 and record["gossip/degree"] == 1
        assert record["gossip/period"] > 1 and record["gossip/mixes"] > 0
        measured = [r["divergence/relative"] for r in rows if r.get("divergence/relative")]
        late = measured[len(measured) // 2 :]
        assert late and max(late) <= target
        assert record["divergence/proven"] == 1.0 and record["divergence/epsilon_ratio"] < 1.15


def test_policies_and_layers_are_compared(tmp_path: Path) -> None:
    record = last(run_with(tmp_path, "--divergence.per-layer", steps=9000), 1)
    assert (
        record["divergence/kl/0"] >= 0 and "divergence/kl/2" not in record
    )  # 0 is the only in-neighbour of 1
    layers = [name for name in record if name.startswith("divergence/layer/")]
    assert "divergence/layer/logits.weight" in layers
    total = sum(record[name] ** 2 for name in layers) ** 0.5
    assert total == pytest.approx(record["divergence/to_mean"], rel=0.5)
    assert record["divergence/beta"] > 0 and record["divergence/agents"] == 3


@pytest.mark.parametrize("mode", ["null", "0"])
def test_an_alarm_is_logged_and_ends_the_run_on_request(tmp_path: Path, mode: str) -> None:
    run = run_with(
        tmp_path, "--divergence.alarm-limit", 1e-6, "--divergence.alarm-ticks", 2,
        "--gossip.max-staleness", mode, "--exit-on-alarm", steps=10_000_000, code=3,
    )  # fmt: skip
    alarms = [r for rank in range(3) for r in records(run, rank) if r.get("event") == "alarm"]
    assert alarms and all("the limit is 1e-06" in r["message"] for r in alarms)
    for rank in range(3):
        state = newest_state(run, rank)
        assert state["update"] == last(run, rank)["update"] > 0
        ends = [r for r in records(run, rank) if r.get("event") in ("stop", "done")]
        assert [r["event"] for r in ends] == ["stop"]
    assert json.loads((run / "meta.json").read_text())["agents"] == 3


def test_without_the_wish_an_alarm_only_tells(tmp_path: Path) -> None:
    run = run_with(
        tmp_path, "--divergence.alarm-limit", 1e-6, "--divergence.alarm-ticks", 1, steps=9000
    )
    events = [r["event"] for r in records(run, 0) if "event" in r]
    assert events.count("alarm") == 1 and events[-1] == "done"
