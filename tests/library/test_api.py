"""The library API: alone it is a plain loop, under torchrun the agents average."""

import argparse
import inspect
import json
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD

import gala
from gala.errors import UserError
from gala.library.api import gossip
from gala.topology import load_topology

pytestmark = pytest.mark.timeout(300)


def test_the_signature_is_the_promised_one() -> None:
    parameters = inspect.signature(gossip).parameters
    promised = ["model", "optimizer", "topology", "every", "max_staleness", "transport", "buffers"]
    assert list(parameters)[: len(promised)] == promised
    defaults = {name: parameters[name].default for name in promised[3:]}
    assert defaults == {"every": 1, "max_staleness": None, "transport": "auto", "buffers": False}
    assert all(p.default is not p.empty for p in list(parameters.values())[3:])


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()


def test_alone_the_loop_is_as_before() -> None:
    torch.manual_seed(0)
    model, plain = nn.Linear(2, 2), nn.Linear(2, 2)
    plain.load_state_dict(model.state_dict())
    optimizers = [torch.optim.SGD(net.parameters(), lr=0.1) for net in (model, plain)]
    with gala.gossip(model, optimizers[0], topology="ring") as node:
        for _ in range(3):
            step(model, optimizers[0])
            step(plain, optimizers[1])
        assert (node.rank, node.neighbours, node.staleness, node.mix_count) == (0, (), 0, 0)
        assert node.divergence == 0.0
    assert torch.equal(model.weight, plain.weight)
    node.close()  # twice is harmless
    assert not optimizers[0]._optimizer_step_post_hooks


def test_an_unknown_topology_is_the_users_mistake() -> None:
    model = nn.Linear(1, 1)
    with pytest.raises(UserError, match="rign"):
        gala.gossip(model, torch.optim.SGD(model.parameters(), lr=1), topology="rign")


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"topology": None}, TypeError, "topology: must be the name of a topology, or a file, got"),
        ({"config": argparse.Namespace(lr=1)}, TypeError, "config: .* vars.args., got Namespace"),
        ({"options": ["log.every_s"]}, TypeError, "options: must be a mapping .*, got list"),
        ({"run_dir": 5}, TypeError, "run_dir: must be a folder, got int"),
        ({"secret_file": 5}, TypeError, "secret_file: must be a file, got int"),
        ({"env_id": None}, TypeError, "env_id: must be a name, got NoneType"),
        ({"total_steps": "1e6"}, ValueError, "total_steps: must be a whole .*, got '1e6'"),
        ({"total_steps": 0.5}, ValueError, "total_steps: must be a whole .*, got 0.5"),
        ({"every": 0}, ValueError, "every: must be a whole number of at least 1, got 0"),
        ({"transport": "gloop"}, ValueError, "transport: is none of .*did you mean 'gloo'"),
        ({"start": "rank1"}, ValueError, "start: must be 'rank0', 'own', or a node.state_dict"),
        ({"start": {"update": 1}}, ValueError, "start: must be 'rank0', 'own', or a node.state"),
        ({"after": SGD}, TypeError, "after: must be a torch.optim.Optimizer, got type"),
        ({"after": [SGD([torch.zeros(1)], lr=1)] * 2}, ValueError, "after: one of them .* twice"),
        ({"after": SGD([torch.zeros(1)], lr=1)}, ValueError, "after: must be one of the optimiz"),
        ({"lagging": None}, TypeError, "lagging: must be pairs .target, online., got NoneType"),
        ({"max_staleness": -1}, UserError, "max_staleness: "),
        ({"max_staleness": "never"}, UserError, "max_staleness: "),
        ({"options": {"gossip.wire_formt": "int8"}}, UserError, "wire_format"),
    ],
)
def test_mistakes_are_one_line(options: dict[str, Any], error: type[Exception], says: str) -> None:
    model = nn.Linear(2, 1)
    with pytest.raises(error, match=says) as caught:
        gala.gossip(model, SGD(model.parameters(), lr=1), **({"topology": "ring"} | options))
    assert "\n" not in str(caught.value)


def test_a_state_of_another_version_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Linear(2, 1)
    coupling = SimpleNamespace(node=object(), load_state_dict=lambda state: state["round"])
    with gala.gossip(model, SGD(model.parameters(), lr=1), topology="ring") as node:
        state = node.state_dict() | {"coupling": {"version": 1}, "update": 7}
        with monkeypatch.context() as patch, pytest.raises(ValueError, match="start: must be"):
            patch.setattr(node, "_coupling", coupling)
            node.load_state_dict(state)
        assert node.update == 0


def test_whole_numbers_of_any_kind_are_counts(tmp_path: Path) -> None:
    model = nn.Linear(2, 1)
    for name, count in {"float": 1e6, "numpy": np.int64(1_000_000)}.items():
        run = tmp_path / name
        with gala.gossip(
            model, SGD(model.parameters(), lr=1), topology="ring", run_dir=run, total_steps=count
        ):
            pass
        assert json.loads((run / "meta.json").read_text())["total_steps"] == 1_000_000


PROGRAM = """
import json, os, sys, torch
from torch import nn
import gala

rank = int(os.environ["RANK"])
torch.manual_seed(rank)  # different starts: rank 0's is taken over
model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
history = []
with gala.gossip(model, optimizer, topology="directed-ring", **json.loads(sys.argv[2])) as node:
    start = torch.cat([p.detach().flatten() for p in model.parameters()]).tolist()
    for _ in range(10):
        for p in model.parameters():
            p.grad = torch.full_like(p, -float(rank))  # adds rank / 2 to everything
        optimizer.step()
        history.append(torch.cat([p.detach().flatten() for p in model.parameters()]).tolist())
    facts = {"start": start, "history": history, "mixes": node.mix_count,
             "neighbours": node.neighbours, "divergence": node.divergence}
with open(f"{sys.argv[1]}/{rank}.json", "w") as file:
    json.dump(facts, file)
"""


def launch(tmp_path: Path, agents: int, **options: object) -> list[dict[str, object]]:
    program = tmp_path / "loop.py"
    program.write_text(textwrap.dedent(PROGRAM))
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone",
         f"--nproc-per-node={agents}", str(program), str(tmp_path), json.dumps(options)],
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(agents)]


@pytest.mark.slow
def test_in_lock_step_real_processes_follow_the_closed_form(tmp_path: Path) -> None:
    results = launch(tmp_path, 3, max_staleness=0)
    start = np.array(results[0]["start"])
    for result in results:
        np.testing.assert_array_equal(result["start"], start)
    # the start was message 1 of round 0: equal parameters, so that mixing them changes nothing
    p = load_topology("directed-ring", 3).matrix(0)
    x = np.tile(start, (3, 1))
    for k in range(10):
        x = p @ (x + 0.5 * np.arange(3)[:, None])
        found = np.array([result["history"][k] for result in results])
        np.testing.assert_allclose(found, x, atol=1e-4)
    assert [result["mixes"] for result in results] == [10, 10, 10]
    assert [result["neighbours"] for result in results] == [[2], [0], [1]]


@pytest.mark.slow
def test_every_other_step(tmp_path: Path) -> None:
    results = launch(tmp_path, 2, max_staleness=0, every=2, buffers=True)
    assert [result["mixes"] for result in results] == [5, 5]
    first, second = (np.array(result["history"]) for result in results)
    odd = np.abs(first - second).max(1)[0::2]
    even = np.abs(first - second).max(1)[1::2]
    assert np.all(odd > 0.1) and np.all(even < 1e-5)  # two agents average to equality
