"""Own callbacks: when they are called, with what, and that their mistakes end nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gala.agent.actor_learner import ActorLearner
from gala.agent.callbacks import load_callbacks
from gala.config.sections import CheckpointConfig, EnvConfig, LogConfig, NetworkConfig
from gala.errors import UserError
from gala.run.config import Config

MODULE = """
seen = []

def note(event):
    seen.append(event)

def fail(event):
    seen.append("failed")
    raise ValueError("no room")

def fail_below(event):
    import json
    json.loads("{")

def leave(event):
    raise SystemExit("enough")

number = 3
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """A module of callbacks in the current folder, and what holds it once it was imported."""
    import sys

    (tmp_path / "my_callbacks.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_callbacks", raising=False)
    return lambda: sys.modules["my_callbacks"]


def config(*callbacks: str) -> Config:
    return Config(
        env=EnvConfig(id="gala/Identity-v0", num_envs=4),
        network=NetworkConfig(hidden=(8,)),
        log=LogConfig(tensorboard=False, every_s=1e-6),
        checkpoint=CheckpointConfig(every_steps=100),
        callbacks=callbacks,
        total_steps=400,
    )


def test_they_are_called_at_records_checkpoints_and_the_end(
    train_here: Callable[..., ActorLearner], mine: Callable[[], Any]
) -> None:
    agent = train_here(config("my_callbacks:note"))
    events = mine().seen
    kinds = [event.kind for event in events]
    assert kinds.count("record") == 20 and kinds.count("end") == 1 and kinds[-1] == "end"
    saved = [event for event in events if event.kind == "checkpoint"]
    assert [event.path.name for event in saved][-1] == "update_000000020.pt"
    first = events[0]
    assert (first.rank, first.update, first.step) == (0, 1, 20)
    assert first.metrics["losses/entropy"] > 0 and "charts/SPS" in first.metrics
    assert events[-1].ending == "done" and events[-1].run == agent.setting.run.path
    parameters = events[-1].parameters()
    assert list(parameters) == [name for name, _ in agent.model.flat.layout]
    before = agent.model.flat.data.clone()
    for tensor in parameters.values():
        tensor.fill_(7.0)
    assert torch.equal(agent.model.flat.data, before), "they are copies"


def test_one_that_raises_is_told_once_and_training_goes_on(
    train_here: Callable[..., ActorLearner], mine: Callable[[], Any]
) -> None:
    agent = train_here(config("my_callbacks:fail", "my_callbacks:note"))
    assert agent.update == 20
    seen = mine().seen
    assert seen.count("failed") == 1 and len(seen) > 20
    lines = agent.setting.run.metrics(0).read_text().splitlines()
    told = [r["message"] for line in lines if (r := json.loads(line)).get("event") == "error"]
    assert len(told) == 1 and "my_callbacks:fail raised ValueError: no room" in told[0]
    assert "my_callbacks.py:9" in told[0]


def test_the_line_is_the_users_and_none_ends_the_run(
    train_here: Callable[..., ActorLearner], mine: Callable[[], Any]
) -> None:
    agent = train_here(config("my_callbacks:fail_below", "my_callbacks:leave"))
    assert agent.update == 20
    lines = agent.setting.run.metrics(0).read_text().splitlines()
    below, leave = [
        r["message"] for line in lines if (r := json.loads(line)).get("event") == "error"
    ]
    assert below.startswith("my_callbacks.py:13: callbacks: my_callbacks:fail_below raised JSON")
    assert leave.startswith("my_callbacks.py:16: callbacks: my_callbacks:leave raised SystemExit")


@pytest.mark.parametrize(
    ("spec", "words"),
    [("my_callbacks:notes", "note"), ("my_callbacks:number", "cannot be called"),
     ("nowhere:note", "nowhere")],
)  # fmt: skip
def test_one_that_is_not_there_is_refused(mine: Callable[[], Any], spec: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        load_callbacks([spec])
    assert "callbacks" in str(error.value) and "\n" not in str(error.value)
