"""Run folders with records as agents write them, made without training."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


class RunMaker:
    """A run on a ring that a test writes.

    Args:
        path: the run folder.
        agents: number of agents.
    """

    def __init__(self, path: Path, agents: int) -> None:
        self.path, self.agents = path, agents
        path.mkdir(parents=True)
        self._write("meta.json", {"run_id": "57f6060de47da167", "agents": agents,
                                  "total_steps": 4_000_000, "env_id": "ALE/Pong-v5"})  # fmt: skip

    def _write(self, name: str, content: dict[str, Any]) -> None:
        (self.path / name).write_text(json.dumps(content))

    def append(self, rank: int, *, ago_s: float = 0.0, **fields: Any) -> None:
        """One line of one agent."""
        stamp = {"v": 1, "t": time.time() - ago_s, "rank": rank, "incarnation": 0}
        folder = self.path / f"rank_{rank:02d}"
        folder.mkdir(exist_ok=True)
        with open(folder / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(stamp | {"update": 250, "step": 5000} | fields) + "\n")

    def event(self, rank: int, kind: str, message: str = "", *, ago_s: float = 0.0) -> None:
        """An event of one agent."""
        self.append(rank, ago_s=ago_s, event=kind, message=message)

    def record(self, rank: int, *, ago_s: float = 0.0, **changes: Any) -> None:
        """A record of one agent; ``changes`` have ``__`` for ``/`` in their names."""
        metrics = self.metrics(rank)
        metrics.update((name.replace("__", "/"), value) for name, value in changes.items())
        self.append(rank, ago_s=ago_s, **metrics)

    def metrics(self, rank: int) -> dict[str, float | None]:
        """What a healthy agent records."""
        before = (rank - 1) % self.agents
        phases = {"collect": 33.4, "learn": 25.7, "gossip": 1.7, "log": 0.6, "other": 0.01}
        metrics: dict[str, float | None] = {
            "charts/SPS": 310.4 + rank,
            "charts/episodic_return": 16.68 + rank,
            "charts/episodic_length": 2358.37,
            "charts/episodes": 615,
            "charts/return_sum": -11_808.0,
            "charts/lr": 7e-4,
            "losses/policy_loss": -0.01,
            "losses/value_loss": 0.02,
            "losses/entropy": 0.9,
            "losses/grad_norm": 0.3,
            "policy/lag": 0.5,
            "policy/lag_max": 1.0,
            "policy/rho": 0.97,
            "system/cores": 0.9,
            "system/memory_mb": 350.0,
            "system/gpu_busy": 0.7,
            "system/gpu_memory_mb": 900.0,
            "actors/alive": 4,
            "actors/replaced": 1,
            "actors/dropped": 2,
            "actors/queue_fill": 0.4,
            "actors/idle": 0.1,
            "actors/learner_idle": 0.3,
            "actors/kl": 0.01,
            "actors/synced": 0.2,
            "actors/bytes_sent": 1_000_000,
            "actors/bytes_received": 90_000_000,
            "actors/batch": 9.5,
            "actors/batch_max": 16,
            "policy/kl": 0.01,
            "policy/clip_fraction": 0.1,
            "losses/explained_variance": 0.8,
            **{f"time/{phase}_ms": spent for phase, spent in phases.items()},
            "gossip/staleness": 0,
            "gossip/staleness_max": 1 + rank,
            "gossip/mixes": 45124,
            "gossip/messages_sent": 50287,
            "gossip/messages_refused": 3,
            "gossip/refused/checksum": 2,
            "gossip/bytes_sent": 174282471972,
            "gossip/bytes_received": 156388773744,
            "gossip/wait_ms": 0.5,
            f"gossip/in/{before}/age_s": 0.04,
            f"gossip/in/{before}/version": 50030,
            f"gossip/in/{before}/state": 1,
            "divergence/update_norm": 0.75,
            "divergence/to_mean": 0.32,
            "divergence/total": 0.58,
            "divergence/relative": 0.0057,
            "divergence/sketch_error": 0.044,
            "divergence/epsilon": 24.6,
            "divergence/expected": 3.9,
            "divergence/expected_ratio": 0.8,
            "divergence/mean_drift": 0.25,
            "divergence/step_cosine": 0.5,
            "divergence/mix_kl": 0.002,
            "divergence/epsilon_ratio": 0.0236,
            "divergence/beta": 0.7,
            "divergence/agents": self.agents,
            f"divergence/to/{before}": 0.4,
            f"divergence/kl/{before}": 0.02,
        }
        return metrics


def started(path: Path, agents: int = 4) -> RunMaker:
    """A run whose agents have started and recorded once."""
    run = RunMaker(path, agents)
    for rank in range(agents):
        run.event(rank, "start", "update 0, step 0", ago_s=1.0)
        run.record(rank)
    return run


@pytest.fixture(scope="session")
def start_run() -> Callable[..., RunMaker]:
    """Make a run folder at a path."""
    return started


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., RunMaker]:
    """Make a run folder of a name."""
    return lambda name="pong", agents=4: started(tmp_path / "runs" / name, agents)
