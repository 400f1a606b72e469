"""Modules of the user's, written into an empty current folder."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import gymnasium
import pytest

Write = Callable[[str], str]

PLAIN = '''
import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, Tuple


class Plain(gymnasium.Env):
    """Games of three steps, a reward of 1 for each."""

    observation_space = Box(-1.0, 9.0, (3,), np.float32)
    action_space = Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self.observe(), {}

    def observe(self):
        return np.full(3, self.time, np.float32)

    def step(self, action):
        self.time += 1
        return self.observe(), 1.0, self.time == 3, False, {}


'''
numbers = itertools.count()


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a module with ``Plain`` and ``Own``, registered as Own-vN; returns its id."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    ids = set(gymnasium.registry)

    def module(text: str) -> str:
        number = next(numbers)
        register = f'\n\ngymnasium.register("Own-v{number}", Own)\n'
        (tmp_path / f"own_envs_{number}.py").write_text(PLAIN + text + register)
        return f"own_envs_{number}:Own-v{number}"

    yield module
    for name in [name for name in sys.modules if name.startswith("own_envs_")]:
        del sys.modules[name]
    for name in set(gymnasium.registry) - ids:
        if not name.startswith("ALE/"):  # registered once, when ale_py is first imported
            del gymnasium.registry[name]
