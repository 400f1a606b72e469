"""A loop of one's own in a run folder, alone: what it logs is what every tool reads."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

import gala
from gala.config.loop import load_loop, loop_config
from gala.device import cuda
from gala.doctor.run_folder import examine_run
from gala.errors import UserError
from gala.library.carrying import Carried
from gala.library.recording import Logged, metrics_of
from gala.policy.trained_run import load_run
from gala.report.curves import learning_curve
from gala.report.run_data import read_run
from gala.run.request import read_request
from gala.telemetry.prometheus import exposition
from gala.telemetry.reader import RunReader

EVERY_UPDATE = {"log.every_s": 1e-6, "divergence.every_s": 1e-3}


def loop(run: Path, *, steps: int = 5, **options: Any) -> nn.Module:
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gala.gossip(
        model, optimizer, topology="ring", run_dir=run, options=EVERY_UPDATE, **options
    ) as node:
        for k in range(1, steps + 1):
            optimizer.zero_grad()
            model(torch.ones(1, 2)).square().sum().backward()
            optimizer.step()
            node.log({"charts/episodic_return": k, "losses/td": torch.tensor(0.5)}, step=10 * k)
    return model


def records(run: Path) -> list[dict[str, Any]]:
    lines = (run / "rank_00" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_what_is_logged_is_recorded_with_its_steps(tmp_path: Path) -> None:
    loop(tmp_path / "run")
    found = [each for each in records(tmp_path / "run") if "losses/td" in each]
    assert [(each["step"], each["charts/episodic_return"]) for each in found][-1] == (50, 5.0)
    assert found[-1]["update"] == 5 and found[-1]["losses/td"] == 0.5
    assert {"charts/SPS", "time/other_ms", "divergence/update_norm"} <= found[-1].keys()
    events = [each["event"] for each in records(tmp_path / "run") if "event" in each]
    assert (events[0], events[-1]) == ("start", "done")


def test_a_loop_on_a_gpu_records_what_it_takes_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device is that of the model; here one that computes nothing stands in."""
    seen: list[torch.device] = []

    def usage(device: torch.device) -> dict[str, float | None]:
        seen.append(device)
        return {"system/gpu_busy": 0.5, "system/gpu_memory_mb": 7.0}

    loop(tmp_path / "none")
    assert not any("system/gpu_busy" in each for each in records(tmp_path / "none"))
    monkeypatch.setattr(Carried, "computes_on", torch.device("cuda", 1))
    monkeypatch.setattr(cuda, "usage", usage)
    loop(tmp_path / "run")
    found = [each for each in records(tmp_path / "run") if "event" not in each]
    assert {(each["system/gpu_busy"], each["system/gpu_memory_mb"]) for each in found} == {(0.5, 7)}
    assert set(seen) == {torch.device("cuda", 1)}


def test_every_tool_reads_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    loop(run, env_id="Walk", total_steps=100, config={"lr": 0.1, "seed": 7, "net": nn.ReLU})
    meta = json.loads((run / "meta.json").read_text())
    assert (meta["env_id"], meta["total_steps"], meta["seed"]) == ("Walk", 100, 7)
    assert load_loop(run / "config.yaml").loop == {"lr": 0.1, "net": str(nn.ReLU)}
    assert {finding.state for finding in examine_run(run)} == {"ok"}
    events = EventAccumulator(str(run / "tensorboard" / "rank_00"))
    events.Reload()
    assert [each.step for each in events.Scalars("losses/td")][-1] == 50
    reader = RunReader(run)
    reader.poll()
    assert 'gala_episodic_return{run="x",rank="0"} 5.0' in exposition({"x": reader}, now=0.0)
    curve = learning_curve(read_run("x", run))
    assert curve is not None and (curve.steps[-1], curve.mean[-1]) == (50.0, 5.0)


def test_a_loop_that_raises_was_stopped(tmp_path: Path) -> None:
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ZeroDivisionError):
        with gala.gossip(model, optimizer, topology="ring", run_dir=tmp_path / "run"):
            raise ZeroDivisionError
    assert records(tmp_path / "run")[-1]["message"] == "stopped"


def test_a_folder_goes_on_with_a_state_and_with_nothing_else(tmp_path: Path) -> None:
    run = tmp_path / "run"
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gala.gossip(model, optimizer, topology="ring", run_dir=run) as node:
        optimizer.step()
        node.log({"x": 1.0}, step=40)
        state = json.loads(json.dumps(node.state_dict()))  # plain data
    with pytest.raises(UserError, match=r"holds another run \(start=node.state_dict\(\)"):
        gala.gossip(model, optimizer, topology="ring", run_dir=run)
    with gala.gossip(model, optimizer, topology="ring", run_dir=run, start=state) as node:
        assert (node.update, node.step) == (1, 40)
        optimizer.step()
        assert (node.update, node.step) == (2, 40)
    assert [each["update"] for each in records(run)][-1] == 2


def test_it_is_no_run_of_gala_train(tmp_path: Path) -> None:
    loop(tmp_path / "run")
    with pytest.raises(UserError, match="a loop of its own, gala train cannot go on with it"):
        read_request(["--resume", str(tmp_path / "run")])
    with pytest.raises(UserError, match="a loop of its own, gala does not know its policy"):
        load_run(tmp_path / "run")


def test_parameters_that_are_not_finite_are_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gala.gossip(model, optimizer, topology="ring", run_dir=tmp_path / "run") as node:
        with torch.no_grad():
            model.weight.fill_(math.nan)
        optimizer.step()
        optimizer.step()
        assert node.update == 2
    told = [each["message"] for each in records(tmp_path / "run") if each.get("event") == "error"]
    assert told == ["parameters are not finite after update 1: nothing is exchanged"]
    assert capsys.readouterr().err.count("parameters are not finite") == 1


def test_of_several_values_the_mean_is_recorded_and_the_last_one_stays() -> None:
    logged = Logged()
    logged.add({"a": 1.0, "b": 3.0})
    logged.add({"a": 2.0, "c": None})
    assert logged.new and logged.take() == {"a": 1.5, "b": 3.0}
    assert not logged.new and logged.take() == {"a": 1.5, "b": 3.0}
    logged.add({"b": 5.0})
    assert logged.take() == {"a": 1.5, "b": 5.0}


def test_numbers_of_any_kind_are_taken() -> None:
    given = {"a": 1, "b": np.float32(2), "c": torch.tensor([3.0], requires_grad=True), "d": True}
    assert metrics_of(given | {"e": None}) == {"a": 1, "b": 2, "c": 3, "d": 1, "e": None}


@pytest.mark.parametrize(
    ("values", "error", "says"),
    [
        (3.0, TypeError, "must be a mapping of names to numbers, got float"),
        ({1: 3.0}, TypeError, "a name must be text, got 1"),
        ({"loss": "low"}, TypeError, "loss must be a number, got str"),
        ({"loss": torch.ones(2)}, TypeError, "loss must be one number, got 2"),
        ({"step": 3}, ValueError, "'step' is stamped on every record"),
        ({"": 3}, ValueError, "'' is stamped"),
    ],
)
def test_what_is_no_number_is_refused(values: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        metrics_of(values)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda n: n.log({}, step=-1), ValueError, "step must be at least 0, got -1"),
        (lambda n: n.log({}, step=1.5), TypeError, "step must be a whole number, got 1.5"),
        (lambda n: n.load_state_dict({"update": 1}), ValueError, "a node.state_dict"),
    ],
)
def test_a_node_refuses(make: Callable[[Any], object], error: type[Exception], says: str) -> None:
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gala.gossip(model, optimizer, topology="ring") as node:
        with pytest.raises(error, match=says):
            make(node)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"gossip.wire_formt": "int8"}, "unknown field .*wire_format"),
        ({"gossip.wire_format": "int9"}, "gossip.wire_format: .*int8"),
        ({"a2c.lr": 1}, r"options\['a2c.lr'\]: is no option of a loop"),
        ({"gossip.max_staleness": 0}, r"is an argument \(max_staleness=...\)"),
        ({"log.every_s": -1}, "log.every_s: .*greater than 0"),
    ],
)
def test_options_are_those_of_gala_train(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        loop_config(options, {}, env_id="x")


def test_nothing_is_written_without_a_run_folder(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gala.gossip(model, optimizer, topology="ring") as node:
        node.log({"x": 1.0})
        optimizer.step()
    assert list(tmp_path.iterdir()) == []
