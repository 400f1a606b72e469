"""Frameworks that would synchronise agents: shown one process, refused, or told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from loops import HEAD, launch
from torch import nn

import gala
from gala.errors import UserError
from gala.library.apart import LAUNCHED, require_apart, require_seen

pytestmark = pytest.mark.timeout(300)

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
from torch.distributed.optim import ZeroRedundancyOptimizer

torch.distributed.init_process_group("gloo")
inner, norms = nn.Linear(2, 1), nn.Sequential(nn.Linear(2, 2), nn.SyncBatchNorm(2))
model = nn.parallel.DistributedDataParallel(inner)
sgd = torch.optim.SGD([*inner.parameters(), *norms.parameters()], lr=0.1)
shared = ZeroRedundancyOptimizer(inner.parameters(), torch.optim.SGD, lr=0.1)
said = []
for given in ((model, sgd), ([inner, model], sgd), (nn.Sequential(model), sgd), (norms, sgd),
              (inner, shared)):
    try:
        gala.gossip(*given, topology="ring")
    except ValueError as error:
        said.append(str(error))
tell(said=said)
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_what_keeps_processes_alike_is_refused_however_it_is_given(tmp_path: Path) -> None:
    for each in launch(tmp_path, SYNCHRONOUS):
        begins = [said.partition(" keeps its 2 processes alike")[0] for said in each["said"]]
        assert begins == [
            "model: DistributedDataParallel", "model[1]: DistributedDataParallel",
            "model: DistributedDataParallel", "model: SyncBatchNorm",
            "optimizer: ZeroRedundancyOptimizer",
        ]  # fmt: skip
        assert all(said.endswith("within gala.alone()") for said in each["said"])


SHARDED = """
import sys
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
import gala

where = f"file://{sys.argv[1]}/group"
torch.distributed.init_process_group("gloo", init_method=where, rank=0, world_size=1)
model = fully_shard(nn.Linear(2, 1), mesh=init_device_mesh("cpu", (1,)))
try:
    gala.gossip(model, torch.optim.SGD(model.parameters(), lr=0.1), topology="ring")
except ValueError as error:
    print(error)
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_a_sharded_model_is_refused(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", SHARDED, str(tmp_path)],
                          capture_output=True, text=True, timeout=250)  # fmt: skip
    assert done.stdout.startswith("weight: is sharded (DTensor)"), done.stderr


def test_gossip_does_not_begin_where_the_others_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be one agent alone, and take the rest of the process for alone, too."""
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    model = nn.Linear(2, 1)
    with gala.alone(), gala.alone(), pytest.raises(UserError, match="hides the other agents"):
        gala.gossip(model, torch.optim.SGD(model.parameters(), lr=0.1), topology="ring")
    require_seen()
    assert {name: os.environ[name] for name in TORCHRUN} == TORCHRUN


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
        capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("a group of torch.distributed joins 2 processes") == 1
