"""Frameworks that would synchronise agents: shown one process, refused, or told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from loops import HEAD, launch
from torch import nn

import gala
from gala.library.apart import LAUNCHED, require_apart

TORCHRUN = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4"}


@pytest.mark.parametrize("raises", [False, True])
def test_within_alone_there_is_one_process(monkeypatch: pytest.MonkeyPatch, raises: bool) -> None:
    for name in LAUNCHED:
        monkeypatch.delenv(name, raising=False)
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    try:
        with gala.alone():
            assert not set(LAUNCHED) & set(os.environ)
            os.environ["WORLD_SIZE"] = "1"  # as a framework may
            os.environ["PMI_SIZE"] = "1"
            if raises:
                raise LookupError
    except LookupError:
        assert raises
    assert {name: os.environ[name] for name in TORCHRUN} == TORCHRUN
    assert "PMI_SIZE" not in os.environ


def test_modules_of_one_process_are_apart() -> None:
    require_apart("model", nn.Sequential(nn.Linear(2, 1), nn.Tanh()))


ACCELERATE = """
from accelerate import Accelerator

with gala.alone():
    accelerator = Accelerator(cpu=True)
model = nn.Linear(2, 1)
model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1))
with gala.gossip(model, optimizer, topology="ring", max_staleness=0) as node:
    model(torch.full((1, 2), float(rank))).backward()
    tell(processes=accelerator.num_processes, agents=node.agents, grad=model.weight.grad.tolist())
    optimizer.step()
"""


@pytest.mark.slow
def test_accelerate_leaves_gradients_to_each_agent(tmp_path: Path) -> None:
    told = launch(tmp_path, ACCELERATE)
    for rank, each in enumerate(told):
        assert (each["processes"], each["agents"]) == (1, 2)
        assert each["grad"] == [[float(rank)] * 2]


SYNCHRONOUS = """
torch.distributed.init_process_group("gloo")
inner = nn.Linear(2, 1)
model = nn.parallel.DistributedDataParallel(inner)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
try:
    gala.gossip({MODEL}, optimizer, topology="ring")
except ValueError as error:
    tell(said=str(error))
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "where"),
    [("model", "model"), ("[inner, model]", "model[1]"), ("nn.Sequential(model)", "model")],
)
def test_what_is_synchronised_is_refused(tmp_path: Path, model: str, where: str) -> None:
    told = launch(tmp_path, SYNCHRONOUS.replace("{MODEL}", model))
    for each in told:
        assert each["said"].startswith(f"{where}: DistributedDataParallel keeps its 2 processes")
        assert each["said"].endswith("within gala.alone()")


NOTED = """
torch.distributed.init_process_group("gloo")
inner = nn.Linear(2, 1)
with gala.gossip(inner, torch.optim.SGD(inner.parameters(), lr=0.1), topology="ring"):
    pass
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_a_group_that_might_synchronise_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "loop.py").write_text(HEAD + NOTED)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
         str(tmp_path / "loop.py"), str(tmp_path)],
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("a group of torch.distributed joins 2 processes") == 1
