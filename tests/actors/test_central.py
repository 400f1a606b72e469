"""Central inference over real workers: what it fills, and what becomes of those that fail."""

from __future__ import annotations

import contextlib
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
from with_actors import DEADLINE_S, WithActors, alive, assert_alike, own_megabytes

Make = Callable[..., WithActors]


@pytest.mark.parametrize(
    ("env", "memory", "more"),
    [
        ("CartPole-v1", "none", {}),
        ("CartPole-v1", "gru", {}),
        ("gala/Identity-v0", "gru", {"autoreset": "same-step", "max_episode_steps": 7}),
        ("PongNoFrameskip-v4", "none", {"reward_clip": True}),
        ("Pendulum-v1", "none", {"max_episode_steps": 30}),
    ],
)
def test_an_unroll_is_what_a_collector_makes(
    with_actors: Make, env: str, memory: str, more: dict[str, object]
) -> None:
    """With the same seeds and parameters, over ends of episodes; nothing is sampled twice."""
    one = with_actors(1, env=env, memory=memory, more=more, inference="central", envs=3)
    with torch.no_grad():
        one.flat.data.add_(0.01)
    one.source.learned(41)
    here = one.collector()
    for _ in range(8):
        theirs, ours = one.source.next(), here.next()
        assert_alike(theirs, ours, version=41)
    assert one.source.episodes == here.episodes and list(one.source.returns) == list(here.returns)
    assert one.source.steps == here.steps
    here.close()


MASKS = """
import gymnasium, numpy as np
from gymnasium import spaces

class Masks(gymnasium.Env):
    observation_space, action_space = spaces.Box(-9, 9, (2,), np.float32), spaces.Discrete(4)

    def _see(self):
        mask = np.zeros(4, np.int8)
        mask[self.np_random.integers(4)] = 1
        self.mask = mask
        return self.np_random.normal(size=2).astype(np.float32), {"action_mask": mask}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._see()

    def step(self, action):
        assert self.mask[action], "a forbidden action"
        obs, info = self._see()
        return obs, 1.0, bool(self.np_random.random() < 0.1), False, info

gymnasium.register("Masks-v0", entry_point=Masks)
"""


def test_masks_travel_with_their_observations(
    with_actors: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "masking.py").write_text(MASKS)
    monkeypatch.chdir(tmp_path)
    two = with_actors(2, env="masking:Masks-v0", inference="central")
    two.source.learned(0)
    for _ in range(5):
        batch = two.source.next()
        assert batch.mask is not None and (batch.mask.sum(-1) == 1).all()
        chosen = batch.mask.gather(-1, batch.action.unsqueeze(-1)).squeeze(-1)
        assert chosen[batch.valid].all()
    assert two.source.events() == []


def test_parameters_change_inside_an_unroll(with_actors: Make) -> None:
    """Each step says who acted, and its distribution is theirs."""
    two = with_actors(2, inference="central")
    acted = {0: two.flat.data.clone()}
    two.source.learned(0)
    mixed, revision = 0, 0
    deadline = time.monotonic() + DEADLINE_S
    while mixed < 3:
        assert time.monotonic() < deadline
        batch = two.source.next()
        for t, env in torch.cartesian_prod(torch.arange(batch.steps), torch.arange(4)).tolist():
            with torch.no_grad():
                two.flat.data.copy_(acted[int(batch.version[t, env])])
                expected, value = two.model.module(batch.obs[t, env].unsqueeze(0))
            torch.testing.assert_close(batch.dist[t, env], expected[0])
            torch.testing.assert_close(batch.value[t, env], value[0])
        mixed += int((batch.version[0] != batch.version[-1]).sum())
        assert (batch.version[1:] >= batch.version[:-1]).all()
        revision += 1
        acted[revision] = two.flat.data.normal_(0, 0.3).clone()
        two.source.learned(revision)


def test_batches_and_who_waits_are_on_record(with_actors: Make) -> None:
    two = with_actors(2, inference="central", deadline_ms=1000.0)
    two.source.learned(0)
    for _ in range(5):
        two.source.next()
    two.source.metrics()
    for _ in range(20):
        two.source.next()
    found = two.source.metrics()
    assert found["actors/alive"] == 2 and found["actors/replaced"] == 0
    assert 2 < found["actors/batch"] <= found["actors/batch_max"] == 4
    for share in ("actors/queue_fill", "actors/idle", "actors/learner_idle"):
        assert 0.0 <= found[share] <= 1.0
    assert len({tuple(row) for row in two.source.next().obs[0].tolist()}) == 4


SLOW = """
import os
import time
import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv

class Slow(CartPoleEnv):
    def step(self, action):
        try:
            with open("slow", "x") as file:
                file.write(str(os.getpid()))
        except FileExistsError:
            pass
        with open("slow") as file:
            time.sleep(0.05 * (file.read() == str(os.getpid())))
        return super().step(action)

gymnasium.register("Slow-v0", entry_point=Slow)
"""


def test_a_slow_worker_holds_up_nobody(
    with_actors: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slowly.py").write_text(SLOW)
    monkeypatch.chdir(tmp_path)
    three = with_actors(3, env="slowly:Slow-v0", inference="central", envs=1)
    three.source.learned(0)
    three.source.next()
    began = time.monotonic()
    for _ in range(10):
        three.source.next()  # 3 unrolls of 20 steps each
    slowest_s = 10 * 20 * 0.05
    assert time.monotonic() - began < slowest_s / 2
    assert three.source.metrics()["actors/batch"] < 3


def test_whoever_is_killed_is_replaced_and_its_half_unroll_dropped(with_actors: Make) -> None:
    two = with_actors(2, inference="central")
    two.source.learned(0)
    two.source.next()
    for round_ in range(3):
        os.kill(two.processes[round_ % 2], signal.SIGKILL)
        text = two.until(lambda text: "killed by signal 9" in text)
        assert text.endswith("it is replaced")
        deadline = time.monotonic() + DEADLINE_S
        while two.source.metrics()["actors/alive"] < 2 or len(two.processes) < 2:
            assert time.monotonic() < deadline
            assert_unbroken(two.source.next())
    assert two.source.metrics()["actors/replaced"] == 3


def assert_unbroken(batch: object) -> None:
    """Poles move a little in each step, or begin anew: rows of two lives are never together."""
    moved = (batch.obs[1:] - batch.obs[:-1]).abs()[..., 0]  # type: ignore[attr-defined]
    assert (moved[batch.valid] < 0.2).all()  # type: ignore[attr-defined]


def test_whoever_hangs_is_replaced(with_actors: Make) -> None:
    two = with_actors(2, inference="central", acting_s=1.0)
    two.source.learned(0)
    for _ in range(20):
        two.source.next()
    os.kill(two.processes[0], signal.SIGSTOP)
    assert "has not come back from its environments" in two.until(lambda text: "for" in text)


def test_workers_are_small_and_start_soon(with_actors: Make) -> None:
    """No torch, at most 80 MB beside the emulators, and eight are at work within 10 s."""
    began = time.monotonic()
    eight = with_actors(8, env="PongNoFrameskip-v4", inference="central", envs=1)
    eight.source.learned(0)
    eight.source.next()
    assert time.monotonic() - began < 10.0 * max(1.0, os.getloadavg()[0] / 2)
    for worker in eight.processes:
        assert "libtorch" not in Path(f"/proc/{worker}/maps").read_text()
        assert own_megabytes(worker) <= 80


def open_files(pid: int) -> list[str]:
    """What a process at work has open; it may close one while we look."""
    names = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            names.append(os.readlink(link))
    return names


def test_nothing_is_left_when_the_agent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "agent.py"
    script.write_text(
        "import sys; sys.path[:0] = sys.argv[1:3]\n"
        "from with_actors import WithActors\n"
        "two = WithActors(2, inference='central'); two.source.learned(0); two.source.next()\n"
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
        workers = [int(word) for word in agent.stdout.readline().split()]
        assert len(workers) == 2
        held = open_files(workers[1])
        os.kill(workers[0], signal.SIGSTOP)
        agent.kill()
    deadline = time.monotonic() + DEADLINE_S
    while any(map(alive, workers)):
        assert time.monotonic() < deadline, "a worker has outlived its agent"
        time.sleep(0.01)
    assert not any("memfd" in name or name.startswith("/dev/shm") for name in held)
    assert not any("0123456789abcdef" in name for name in os.listdir("/dev/shm")), "of that run"
