"""``gala export --policy``: what is written is the policy, and reads back as it."""

from __future__ import annotations

import builtins
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_runs import IDENTITY, write_run
from small_runs import CARTPOLE, PENDULUM, remembering

import gala
from gala import cli
from gala.config.sections import EnvConfig, NetworkConfig
from gala.evaluation.command import evaluate
from gala.export import command, policy, programs
from gala.export.policy import export_policy
from gala.policy.loading import open_run, policy_of
from gala.run.config import Config

MakeRun = Callable[..., Path]
Train = Callable[..., Any]
NUMBERS = np.eye(4, dtype=np.float32)


def test_the_folder_reads_back_as_the_policy(
    identity_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = identity_run(40.0, 10.0), tmp_path / "out"
    assert cli.main(["export", str(run), "--policy", "-o", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    names = ["policy.safetensors", "config.yaml", "README.md"]
    assert told["files"] == [str(out / name) for name in names]
    assert (told["agent"], told["update"], told["step"]) == ("mean", 101, 3000)
    original, read = gala.load(run), gala.load(out)
    for name, tensor in original.model.state_dict().items():
        assert torch.equal(tensor, read.model.state_dict()[name]), name
    assert (read.update, read.step) == (101, 3000)
    assert read.predict(NUMBERS, deterministic=True)[0].tolist() == [0, 1, 2, 3]
    assert evaluate(out, episodes=2, policy="greedy", json=True)["results"][0]["mean_return"] == 20
    assert not (out / "mean.safetensors").exists()
    assert cli.main(["export", str(run), "--policy", "-o", str(out), "--agent", "1"]) == 0
    assert gala.load(out).update == 101, "an exported policy is written over"


def test_programs_that_can_be_asked_for_are_those_that_can_be_written() -> None:
    assert command.PROGRAMS == tuple(policy.PROGRAMS)  # the command loads no torch to know them


def test_the_card_tells_what_is_recorded(identity_run: MakeRun, tmp_path: Path) -> None:
    run = identity_run(40.0, None)
    meta = json.loads((run / "meta.json").read_text())
    meta |= {"command": "gala train identity | x", "commit": "abc123", "gala": "0.1.9"}
    (run / "meta.json").write_text(json.dumps(meta))
    (run / "rank_00" / "metrics.jsonl").write_text('{"charts/episodic_return": 18.5}\n')
    evaluate(run, episodes=3, policy="greedy", json=True)
    export_policy(run, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    for words in (
        "# a2c on gala/Identity-v0",
        "| command | `gala train identity x` |",
        "| commit | abc123 |",
        "| gala | 0.1.9 |",
        "| updates | 100 |",
        "| environment steps | 1,000 of 1,000,000 of all agents |",
        "| left out | agent 1 has no readable checkpoint |",
        "| `gala eval`, 3 episodes, greedy | 20.00 ± 0.00 (standard error) |",
        "| agent 0 at the end of training | 18.50 |",
    ):
        assert words in card, card
    export_policy(run, tmp_path / "one", agent=0)
    assert "| environment steps | 1,000 of its own |" in (tmp_path / "one/README.md").read_text()


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("to", ["torchscript", "onnx"])
@pytest.mark.parametrize(
    "config", [CARTPOLE, pytest.param(PENDULUM, marks=pytest.mark.long), remembering("gru")]
)
def test_programs_of_trained_runs(
    train_here: Train, tmp_path: Path, config: Config, to: str
) -> None:
    """``compare`` holds each against the policy; here another reader does, too."""
    if to == "onnx":
        pytest.importorskip("onnxscript")
    run = train_here(config).setting.run.path
    written = export_policy(run, tmp_path / "out", to=to)
    policy = gala.load(run, device="cpu")
    space = policy.translation.observations.space
    obs = np.stack([space.sample() for _ in range(3)])
    memory: list[np.ndarray] = []
    state = None
    if policy.model.memory is not None:
        _, state = policy.predict(obs, deterministic=True)
        assert state is not None
        memory = [state, np.array([True, False, False])]
    wanted, after = policy.predict(obs, state, memory[1] if memory else None, True)
    if to == "torchscript":
        loaded = torch.jit.load(written[-1])  # type: ignore[no-untyped-call]
        found = [each.detach().numpy() for each in loaded(*map(torch.from_numpy, [obs, *memory]))]
    else:
        import onnx.reference

        names = programs.names_of(policy)[0]
        session = onnx.reference.ReferenceEvaluator(str(written[-1]))
        found = session.run(None, dict(zip(names, [obs, *memory], strict=True)))
    np.testing.assert_allclose(found[0], wanted, rtol=1e-4, atol=1e-4)
    if after is not None:
        np.testing.assert_allclose(found[2], after, rtol=1e-4, atol=1e-4)
    assert "`action` is the most likely action" in (tmp_path / "out" / "README.md").read_text()


def test_pictures_become_a_program(atari_run: MakeRun) -> None:
    config = Config(
        env=EnvConfig(id="ALE/Pong-v5", num_envs=1),
        network=NetworkConfig(hidden=(8,), precision="float32"),
    )
    trained = open_run(atari_run(config))
    policy = policy_of(trained, trained.one(0), seed=0, device=torch.device("cpu"))
    assert len(programs.torchscript(policy)) > 1000


OWN = """
import torch

class Counting(torch.nn.Module):
    features = 4

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 4)

    def forward(self, obs):
        return self.layer(obs) * len(obs)  # the example's number of rows, in a program

def make(space, generator):
    return Counting()
"""


def test_a_program_that_does_something_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "counting_trunk.py").write_text(OWN)
    config = Config(env=IDENTITY.env, network=NetworkConfig(kind="counting_trunk:make"))
    vector = torch.linspace(-3, 3, 20 + 20 + 5)
    write_run(tmp_path / "own", config, {0: vector}, 1)
    assert gala.load("own").predict(NUMBERS)[0].shape == (4,)
    assert cli.main(["export", "own", "--policy", "-o", "out", "--to", "torchscript"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "makes no torchscript program: ValueError: its dist is not the policy's" in line
    assert not (tmp_path / "out").exists()


def test_without_the_extra_the_error_names_it(
    identity_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    real = builtins.__import__

    def missing(name: str, *args: Any, **options: Any) -> Any:
        if name.startswith("onnx"):
            raise ImportError(name)
        return real(name, *args, **options)

    run = identity_run(1.0)
    monkeypatch.setattr(builtins, "__import__", missing)
    out = tmp_path / "out"
    assert cli.main(["export", str(run), "--policy", "-o", str(out), "--to", "onnx"]) == 2
    assert "onnx needs the onnx extra" in capsys.readouterr().err and not out.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--agent", "0"], "--agent: is of a policy (with --policy)"),
        (["--policy", "--format", "csv"], "--format: is of tables"),
        (["RUN", "--policy"], "--policy: takes one run, got 2"),
        (["--policy", "--agent", "9"], "there is no agent 9"),
        (["--policy", "-o", "RUN"], "-o: is neither an empty folder nor that of an exported"),
        (["--policy", "--step", "10"], "no readable checkpoint of 10 steps or fewer"),
    ],
)
def test_mistakes(
    identity_run: MakeRun, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    run = str(identity_run(1.0))
    given = [run if each == "RUN" else each for each in arguments]
    assert cli.main(["export", run, *given]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


@pytest.mark.parametrize("damage", ["torn", "lacking", "not finite", "step"])
def test_a_damaged_export_is_one_line(
    identity_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    out = tmp_path / "out"
    export_policy(identity_run(1.0), out)
    file = out / "policy.safetensors"
    content = file.read_bytes()
    if damage == "torn":
        file.write_bytes(content[:50])
    elif damage == "lacking":
        file.write_bytes(content.replace(b'"steps"', b'"stepz"'))
    elif damage == "not finite":
        file.write_bytes(content[:-4] + np.float32("nan").tobytes())
    options = ["--step", "3"] if damage == "step" else []
    capsys.readouterr()
    assert cli.main(["play", str(out), "--video", "x.mp4", *options]) == 2
    assert capsys.readouterr().err.count("\n") == 1
