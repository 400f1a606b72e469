"""Run folders that look as agents write them, of any size and age."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from gala.telemetry.sketches import SketchWriter

SKETCH = 64


class MadeRun:
    """A run folder with a ring of agents that have recorded once a second for a while.

    Args:
        path: where.
        agents: how many.
        records: of each agent; the newest is a second old.
        ratio: divergence over bound; None where no bound applies.
        ended: whether the agents are done.
        coupling: gossip, allreduce or none.
        options: of config.yaml, beside a few.
    """

    def __init__(
        self,
        path: Path,
        *,
        agents: int = 4,
        records: int = 60,
        ratio: float | None = 0.05,
        ended: bool = False,
        coupling: str = "gossip",
        seed: int = 1,
        now: float | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        self.path, self.agents, self.ratio = path, agents, ratio
        self.now = time.time() if now is None else now
        self.start = self.now - records
        path.mkdir(parents=True)
        edges = [
            {"source": source, "target": (source + step) % agents, "weight": 0.25}
            for source in range(agents)
            for step in sorted({1, agents - 1})
            if agents > 1
        ]
        topology = {"directed": True, "name": "ring", "agents": agents, "edges": edges}
        (path / "topology.json").write_text(json.dumps(topology))
        self.meta(seed=seed, coupling=coupling)
        config = {"seed": seed, "coupling": coupling, "total_steps": 100_000, "agents": agents}
        (path / "config.yaml").write_text(json.dumps(config | (options or {})))
        self.sketch(int(self.now))
        for rank in range(agents):
            lines = [self.event_line(rank, self.start - 0.5, "start", "update 0, step 0")]
            lines += [self.line(rank, k) for k in range(records)]
            if ended:
                lines.append(self.event_line(rank, self.now, "done", "done"))
            self.metrics(rank).write_text("".join(lines))

    def meta(self, **changes: Any) -> None:
        meta = {
            "run_id": "0123456789abcdef", "started": self.start - 1, "command": "gala train",
            "agents": self.agents, "env_id": "CartPole-v1", "total_steps": 100_000,
            "frames_per_step": 4, "hostnames": ["here"], "commit": "0a1b2c3d4e5f", "gala": "0.1.0",
            "torch": "2.13.0", "parameters": 9155,
        }  # fmt: skip
        (self.path / "meta.json").write_text(json.dumps(meta | changes))

    def metrics(self, rank: int) -> Path:
        folder = self.path / f"rank_{rank:02d}"
        folder.mkdir(exist_ok=True)
        return folder / "metrics.jsonl"

    def line(self, rank: int, k: int, t: float | None = None, **changes: Any) -> str:
        """The record number ``k`` of an agent, at its time or another."""
        to_mean = 0.1 * (1 + rank) / self.agents
        sources = {(rank - 1) % self.agents, (rank + 1) % self.agents} - {rank}
        metrics: dict[str, Any] = {
            "charts/SPS": 1000.0 + rank, "charts/episodic_return": min(2.0 * k, 500.0) + rank,
            "charts/episodes": k, "time/collect_ms": 20.0, "time/learn_ms": 10.0,
            "time/gossip_ms": 2.0, "time/log_ms": 0.2, "time/other_ms": 0.1,
            "gossip/wait_ms": 0.5, "gossip/staleness": 1, "gossip/staleness_max": 2 + rank % 2,
            "gossip/mixes": 9 * k, "gossip/messages_sent": 10 * k, "gossip/messages_refused": 0,
            "gossip/bytes_sent": 36_620 * k, "gossip/bytes_received": 36_620 * k,
            "divergence/to_mean": to_mean, "divergence/total": 0.3,
            "divergence/relative": 0.01, "divergence/update_norm": 0.1,
            "divergence/epsilon": 0.3 / self.ratio if self.ratio else None,
            "divergence/expected": 0.5, "divergence/epsilon_ratio": self.ratio,
            "system/cores": 0.9, "system/memory_mb": 350.0 + rank,
            "policy/lag": 0.5 + rank, "policy/lag_max": 3.0, "actors/idle": 0.2,
            "actors/learner_idle": 0.1, "actors/queue_fill": 0.5,
            "losses/policy_loss": -0.01, "losses/value_loss": 0.2, "losses/entropy": 0.6,
            **{f"divergence/kl/{j}": 0.001 * (1 + j) for j in sources},
            **{f"gossip/in/{j}/age_s": 0.05 for j in sources},
            **{f"gossip/in/{j}/version": 10 * k for j in sources},
            **{f"gossip/in/{j}/state": 1 for j in sources},
        }  # fmt: skip
        if self.agents > 1:
            metrics |= {"divergence/step_cosine": 0.5, "divergence/mix_kl": 0.002}
            metrics |= {"divergence/expected_ratio": 0.6, "divergence/mean_drift": 0.25}
        stamp = {
            "v": 1, "t": self.start + k if t is None else t, "rank": rank, "incarnation": 0,
            "update": 10 * k, "step": 250 * k,
        }  # fmt: skip
        return json.dumps(stamp | metrics | changes) + "\n"

    def event_line(self, rank: int, t: float, kind: str, message: str) -> str:
        stamp = {"v": 1, "t": t, "rank": rank, "incarnation": 0, "update": 0, "step": 0}
        return json.dumps(stamp | {"event": kind, "message": message}) + "\n"

    def append(self, rank: int, *lines: str) -> None:
        with open(self.metrics(rank), "a") as file:
            file.write("".join(lines))

    def sketch(self, tick: int) -> None:
        """Sketches of each agent: agent i has i in the first bucket; its step is turned by 30 i."""
        for rank in range(self.agents):
            self.metrics(rank)
            turned = np.pi / 6 * rank
            for name, first in (
                ("sketches.bin", (float(rank), 0.0)),
                ("steps.bin", (np.cos(turned), np.sin(turned))),
            ):
                writer = SketchWriter(self.path / f"rank_{rank:02d}" / name, SKETCH)
                values = np.zeros(SKETCH, np.float32)
                values[:2] = first
                writer.append(
                    t=float(tick), tick=tick, update=0, step=0, incarnation=0, norm=1.0,
                    update_norm=0.1, mix_every=1, delay=1, sketch=values,
                )  # fmt: skip
                writer.close()
