"""One vector that several agents step: who brings it, who steps it, and what is left of it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gala.couplings.segment import NAME, Segment
from gala.couplings.shared import Shared, require_shareable
from gala.errors import UserError
from gala.gossip.shared_memory import folder_of, sweep
from gala.launch.launch import Launch
from gala.learning.a2c_config import A2CConfig
from gala.parameters.flat import FlatParameters
from gala.parameters.optimizer import Optimizer, build_optimizer
from gala.run.request import read_request

RUN = "0123456789abcdef"
SPAWN = multiprocessing.get_context("spawn")


def agent(seed: int = 0) -> tuple[FlatParameters, Optimizer]:
    torch.manual_seed(seed)
    flat = FlatParameters(nn.Linear(30, 20))
    return flat, build_optimizer(A2CConfig(optimizer="rmsprop"), flat, lr=1e-2)


def step(flat: FlatParameters, optimizer: Optimizer, gradient: Tensor, skip: float = 0.0) -> None:
    flat.grad.copy_(gradient)
    optimizer.advance()
    optimizer.apply(torch.tensor(skip))


def gradients(steps: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(620, generator=generator) for _ in range(steps)]


def test_one_agent_steps_as_without_sharing_bit_for_bit(tmp_path: Path) -> None:
    (alone, own), (flat, optimizer) = agent(), agent()
    step(alone, own, torch.ones(620))  # it goes on, with squares of its own
    step(flat, optimizer, torch.ones(620))
    coupling = Shared(Segment(RUN, 0, tmp_path), optimizer)
    assert coupling.begin() is False
    for k, gradient in enumerate(gradients(20)):
        step(alone, own, gradient, skip=float(k == 7))
        step(flat, optimizer, gradient, skip=float(k == 7))
        assert not coupling.exchange(k, 5 * k)
        assert torch.equal(flat.data, alone.data)
    assert torch.equal(optimizer.state_dict()["square"], own.state_dict()["square"])
    coupling.close()
    assert not folder_of(RUN, tmp_path).exists()


def occupy(root: Path, rank: int, numbers: list[float], ready: Any) -> None:
    """Be an agent that comes in, steps and stays; locks tell processes apart."""
    segment = Segment(RUN, rank, root)
    given = torch.tensor(numbers)
    mine, _, _ = segment.attach(given, torch.zeros_like(given))
    segment.count(77)
    ready.send(None)
    ready.recv()
    mine.add_(1.0)
    ready.send(None)
    signal.pause()


@contextlib.contextmanager
def occupied(root: Path, rank: int, numbers: Tensor) -> Iterator[Connection]:
    """While an agent is in that is killed in the end; it adds 1 when it is asked to."""
    ready, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=occupy, args=(root, rank, numbers.tolist(), theirs))
    process.start()
    theirs.close()  # or its death would not be seen
    ready.recv()
    try:
        yield ready
    finally:
        process.kill()
        process.join()


def killed(root: Path) -> None:
    """Let an agent come in and be killed."""
    with occupied(root, 1, torch.full((8,), 5.0)):
        pass


def test_agents_step_one_vector_and_have_copies_of_it(tmp_path: Path) -> None:
    """In turns they are one optimizer that gets the gradients of all."""
    expected, one = agent()
    agents = [agent(seed) for seed in range(1, 4)]
    with occupied(tmp_path, 9, expected.data):
        couplings = [Shared(Segment(RUN, r, tmp_path), o) for r, (_, o) in enumerate(agents)]
        assert [coupling.begin() for coupling in couplings] == [True, True, True]
        assert all(torch.equal(flat.data, expected.data) for flat, _ in agents)
        for k, gradient in enumerate(gradients(30)):
            flat, optimizer = agents[k % 3]
            others = [agents[j][0].data.clone() for j in range(3) if j != k % 3]
            step(expected, one, gradient)
            step(flat, optimizer, gradient)
            couplings[k % 3].exchange(k, 100 * k)
            assert torch.equal(flat.data, expected.data)
            stale = [agents[j][0].data for j in range(3) if j != k % 3]
            assert all(map(torch.equal, others, stale)), "only who steps makes a new copy"
        assert [couplings[0].steps_of(rank) for rank in (0, 1, 2, 9, 3)] == [
            2700, 2800, 2900, 77, 0,
        ]  # fmt: skip
        for coupling in couplings:
            coupling.close()
        assert [path.name for path in sorted(folder_of(RUN, tmp_path).iterdir())] == ["00009", NAME]


def test_an_agent_that_was_killed_costs_the_others_nothing(tmp_path: Path) -> None:
    with occupied(tmp_path, 0, torch.ones(8)) as other:
        killed(tmp_path)
        again = Segment(RUN, 1, tmp_path)  # its next incarnation
        assert again.steps_of(1) == 77
        there, _, found = again.attach(torch.zeros(8), torch.zeros(8))
        assert found and there.tolist() == [1.0] * 8 and again.steps_of(1) == 77
        other.send(None)
        other.recv()
        assert there.tolist() == [2.0] * 8
    again.close()  # the last one: the other was killed and left its file
    assert list(tmp_path.iterdir()) == []


def test_what_the_killed_left_is_nobodys(tmp_path: Path) -> None:
    killed(tmp_path)
    folder = folder_of(RUN, tmp_path)
    with occupied(tmp_path, 2, torch.ones(8)):
        os.utime(folder, (0, 0))
        assert sweep(tmp_path) == [], "somebody is in"
    assert sweep(tmp_path) == [folder] and list(tmp_path.iterdir()) == []
    killed(tmp_path)
    alone = Segment(RUN, 0, tmp_path)
    mine, _, found = alone.attach(torch.full((8,), 3.0), torch.zeros(8))
    assert not found and mine.tolist() == [3.0] * 8
    alone.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("spoilt", "size"), [(float("nan"), 4), (0.0, 5)])
def test_numbers_that_nobody_can_use_are_replaced(tmp_path: Path, spoilt: float, size: int) -> None:
    with occupied(tmp_path, 0, torch.full((4,), spoilt)) as other:
        alone = Segment(RUN, 1, tmp_path)
        mine, _, found = alone.attach(torch.full((size,), 2.0), torch.zeros(size))
        other.send(None)  # it goes on where it was
        other.recv()
        assert not found and mine.tolist() == [2.0] * size
        alone.close()


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    folder_of(RUN, tmp_path).mkdir(mode=0o755)
    folder_of(RUN, tmp_path).chmod(0o755)
    with pytest.raises(UserError, match="open to others"):
        Segment(RUN, 0, tmp_path).attach(torch.ones(4), torch.zeros(4))
    folder_of(RUN, tmp_path).chmod(0o700)
    (folder_of(RUN, tmp_path) / NAME).symlink_to(tmp_path / "elsewhere")
    segment = Segment(RUN, 0, tmp_path)
    segment.attach(torch.ones(4), torch.zeros(4))  # a link is no file of ours: it is replaced
    assert not (tmp_path / "elsewhere").exists()
    segment.close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--algorithm vtrace", "--coupling: steps one vector as A3C does, not with vtrace"),
        ("--a2c.optimizer adam", "--a2c.optimizer: .*rmsprop"),
        ("--actors.count 2", "--actors.count"),
        ("--env.normalize-observation true", "--env.normalize-observation"),
        ("--env.normalize-reward true", "--env.normalize-reward"),
        ("--agents-per-process 2", "--agents-per-process"),
    ],
)
def test_what_agents_would_not_share_is_refused(options: str, said: str) -> None:
    with pytest.raises(UserError) as found:
        read_request(["--coupling", "shared", *options.split()], processes=2)
    assert re.search(said, str(found.value)) and "\n" not in str(found.value)


def test_memory_is_shared_on_one_host_and_on_the_cpu() -> None:
    cpu = torch.device("cpu")
    require_shareable("shared", Launch(agents=4, local_agents=4), cpu)
    require_shareable("gossip", Launch(agents=4, local_agents=2), torch.device("cuda"))
    with pytest.raises(UserError, match="2 agents are on other hosts"):
        require_shareable("shared", Launch(agents=4, local_agents=2), cpu)
    with pytest.raises(UserError, match="--device.*cpu"):
        require_shareable("shared", Launch(agents=2, local_agents=2), torch.device("cuda"))
