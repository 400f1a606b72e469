"""Crews of real processes: what they fill, and what becomes of those that die, hang or raise."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import with_actors as with_actors_
from torch import Tensor
from with_actors import DEADLINE_S, WithActors, alive, assert_alike, own_megabytes

from gala.actors import actor_pool, restarts
from gala.errors import UserError
from gala.gossip.message import checksum

Make = Callable[..., WithActors]


@pytest.mark.parametrize("memory", ["none", "gru"])
def test_an_unroll_is_what_a_collector_makes(with_actors: Make, memory: str) -> None:
    """With the same seeds and parameters, for several unrolls, over ends of episodes."""
    one = with_actors(1, memory=memory)
    with torch.no_grad():
        one.flat.data.add_(0.01)  # not those that an actor begins with
    one.source.learned(41)

    here = one.collector()
    for _ in range(5):
        theirs, ours = one.source.next(), here.next()
        assert_alike(theirs, ours, version=41)
    assert one.source.episodes == here.episodes > 0
    assert list(one.source.returns) == list(here.returns)
    assert one.source.steps == here.steps


@pytest.mark.parametrize("inference", ["own", "central"])
def test_each_environment_explores_by_its_own_epsilon(with_actors: Make, inference: str) -> None:
    """And its unrolls are told to go on from one another."""
    one = with_actors(1, memory="gru", epsilon=(0.9, 0.0), inference=inference)
    one.source.learned(7)
    here, shares = one.collector(), []
    for _ in range(3):
        theirs, ours = one.source.next(), here.next()
        assert_alike(theirs, ours, version=7)
        assert theirs.stream.tolist() == [0, 1]
        shares.append(theirs.dist.softmax(-1).amin((0, 2)))
    for share in shares:
        torch.testing.assert_close(share, torch.tensor([0.45, 0.0]), atol=1e-6, rtol=0)
    here.close()


def test_two_actors_have_epsilons_of_their_own(with_actors: Make) -> None:
    two = with_actors(2, epsilon=(0.1, 0.2, 0.3, 0.4))
    two.source.learned(0)
    found: dict[int, float] = {}
    deadline = time.monotonic() + DEADLINE_S
    while len(found) < 4 and time.monotonic() < deadline:  # one may be long in starting
        batch = two.source.next()
        chance = 2 * batch.dist.softmax(-1).amin((0, 2))
        for stream, epsilon in zip(batch.stream.tolist(), chance.tolist(), strict=True):
            assert found.setdefault(stream, epsilon) == epsilon
    assert sorted(found.values()) == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_actors_hear_newer_parameters_and_play_apart(
    with_actors: Make,
) -> None:
    two = with_actors(2)
    two.source.learned(0)
    batch = two.source.next()
    columns = {tuple(batch.obs[0, env].tolist()) for env in range(4)}
    assert len(columns) == 4, "no two environments begin alike"
    two.source.learned(8)
    deadline = time.monotonic() + DEADLINE_S
    while two.source.next().version.min() < 8:
        assert time.monotonic() < deadline
    metrics = two.source.metrics()
    assert metrics["actors/alive"] == 2 and metrics["actors/replaced"] == 0
    for share in ("actors/queue_fill", "actors/idle", "actors/learner_idle"):
        assert 0.0 <= metrics[share] <= 1.0


def test_whoever_is_killed_is_replaced_and_no_unroll_is_torn(
    with_actors: Make,
) -> None:
    two = with_actors(2)
    two.source.learned(0)
    two.source.next()
    for round_ in range(2):
        victim = two.processes[round_ % 2]
        os.kill(victim, signal.SIGKILL)
        text = two.until(lambda text: "killed by signal 9" in text)
        assert text.endswith("it is replaced")
        deadline = time.monotonic() + DEADLINE_S
        while two.source.metrics()["actors/alive"] < 2:
            assert time.monotonic() < deadline
            two.source.next()
    assert two.source.metrics()["actors/replaced"] == 2


def test_an_actor_keeps_little_memory_of_its_own(with_actors: Make) -> None:
    one = with_actors(1, env="PongNoFrameskip-v4")
    one.source.learned(0)
    one.source.next()
    (actor,) = one.processes
    assert own_megabytes(actor) <= 250


def test_whoever_hangs_is_replaced(with_actors: Make) -> None:
    two = with_actors(2, acting_s=1.0)
    two.source.learned(0)
    for _ in range(20):
        two.source.next()
    os.kill(two.processes[0], signal.SIGSTOP)
    text = two.until(lambda text: "for" in text)
    assert "has not come back from its environments" in text


RAISES = """
import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv

class Raises(CartPoleEnv):
    def step(self, action):
        raise ZeroDivisionError("no such lever")

gymnasium.register("Raises-v0", entry_point=Raises)
"""


@pytest.mark.parametrize("inference", ["own", "central"])
def test_an_environment_that_always_raises_ends_the_agent_with_its_words(
    with_actors: Make, inference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "raises.py").write_text(RAISES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(restarts, "MAX_FALSE_STARTS", 2)
    one = with_actors(1, env="raises:Raises-v0", inference=inference)
    one.source.learned(0)
    with pytest.raises(UserError, match=r"actor 0 has failed 2 times .*no such lever"):
        one.source.next()


def test_a_damaged_unroll_is_dropped(with_actors: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def damaged_once(sealed: Tensor) -> int:
        if not seen:
            sealed[-1] ^= 1
        seen.append(1)
        return checksum(sealed)

    one = with_actors(1)
    monkeypatch.setattr(actor_pool, "checksum", damaged_once)
    one.source.learned(0)
    assert "damaged and dropped" in one.until(lambda text: True)
    assert len(seen) == 2


def test_nothing_is_left_when_the_agent_is_killed(tmp_path: Path) -> None:
    """No processes, and all that they held in memory had no name: the kernel frees it."""
    script = tmp_path / "agent.py"
    script.write_text(
        "import sys; sys.path[:0] = sys.argv[1:3]\n"
        "from with_actors import WithActors\n"
        "two = WithActors(2); two.source.learned(0); two.source.next()\n"
        "print(*two.processes, flush=True); sys.stdin.read()\n"
    )
    here = [os.path.dirname(with_actors_.__file__), os.getcwd()]
    with subprocess.Popen(
        [sys.executable, str(script), *here],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
    ) as agent:
        assert agent.stdout is not None
        actors = [int(word) for word in agent.stdout.readline().split()]
        assert len(actors) == 2
        held = [os.readlink(link) for link in Path(f"/proc/{actors[1]}/fd").iterdir()]
        os.kill(actors[0], signal.SIGSTOP)  # one that cannot see that its channel is closed
        agent.kill()
    deadline = time.monotonic() + DEADLINE_S
    while any(map(alive, actors)):
        assert time.monotonic() < deadline, "an actor has outlived its agent"
        time.sleep(0.01)
    memory = {name for name in held if "gala" in name}
    assert len(memory) == 2 and all(name.startswith("/memfd:gala-") for name in memory)
    assert not any(name.startswith("/dev/shm") for name in held)
