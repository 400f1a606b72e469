"""When checkpoints are due: by the count of steps and by time."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from gala.agent.progress import Progress
from gala.agent.setting import Setting
from gala.config.sections import CheckpointConfig
from gala.launch.launch import Launch
from gala.launch.signals import StopRequest
from gala.run.config import Config
from gala.run.folder import RunFolder
from gala.run.wishes import EVERY_S, ask
from gala.topology import load_topology


class Agent:
    """Progress with a clock of its own."""

    def __init__(
        self,
        every_s: float,
        *,
        lock_step: bool,
        total_steps: int = 10**12,
        path: Path = Path("nowhere"),
    ) -> None:
        self.now = 0.0
        config = Config(total_steps=total_steps, checkpoint=CheckpointConfig(every_s=every_s))
        setting = Setting(
            config=config, launch=Launch(), run=RunFolder(path), run_id="00" * 8,
            topology=load_topology("ring", 1), device=torch.device("cpu"), threads=1,
        )  # fmt: skip
        coupling: Any = SimpleNamespace(lock_step=lock_step)
        self.stop = StopRequest()
        self.progress = Progress(setting, coupling, self.stop, clock=lambda: self.now)

    def saves(self, updates: int, seconds: float) -> list[tuple[int, float]]:
        """Updates after which it saves, and when, if each takes so many seconds."""
        found = []
        for update in range(1, updates + 1):
            self.now += seconds
            if self.progress.saves_after(update):
                found.append((update, self.now))
                self.progress.saved()
        return found


def test_a_checkpoint_is_due_when_time_has_passed() -> None:
    assert [at for _, at in Agent(600.0, lock_step=False).saves(400, 7.0)] == [
        602.0, 1204.0, 1806.0, 2408.0,
    ]  # fmt: skip


def test_a_checkpoint_and_a_stop_that_were_asked_for(tmp_path: Path) -> None:
    agents = [Agent(1e9, lock_step=lock_step, path=tmp_path) for lock_step in (False, True)]
    for wish in ("checkpoint", "stop"):
        ask(tmp_path, wish)
    for agent in agents:
        agent.progress.attend()
        assert not agent.stop.requested  # it does not look at every update
        agent.now += EVERY_S
        agent.progress.attend()
        assert agent.stop.requested and agent.progress.ending == "stopped"
    alone, together = agents
    assert alone.progress.saves_after(3) and not together.progress.saves_after(3)
    assert alone.progress.events() == []
    ((kind, message),) = together.progress.events()
    assert kind == "asked" and "lock-step" in message
    assert together.progress.events() == []  # told once
    alone.progress.saved()
    assert not alone.progress.saves_after(4)


def test_the_count_of_steps_goes_on() -> None:
    few = Agent(1e9, lock_step=False, total_steps=80 * 100)  # an update has 16 x 5 steps
    assert [update for update, _ in few.saves(20, 1.0)] == list(range(5, 21, 5))


@given(st.floats(0.01, 20.0), st.floats(1.0, 1.2))
def test_agents_that_move_together_share_updates(seconds: float, slower: float) -> None:
    """However their clocks differ: of the newest three of each there is one of both."""
    every_s = 600.0
    updates = int(6 * every_s / seconds)
    one, other = (Agent(every_s, lock_step=True).saves(updates, s) for s in
                  (seconds, seconds * slower))  # fmt: skip
    assert {u for u, _ in one[-3:]} & {u for u, _ in other[-3:]}
    for found in (one, other):
        gaps = [b - a for (_, a), (_, b) in zip(found, found[1:], strict=False)]
        assert max(gaps) <= every_s * 1.001
