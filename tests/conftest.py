"""Set-up of every test: runs before any test module imports torch."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

# On a busy machine spinning OpenMP threads make small tests ten times slower; as in `gala train`.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent / "fakes"))  # devices that need no device

# How long an example takes says something of the machine, not of the code; and the same commit
# draws the same examples.
settings.register_profile("gala", deadline=None, derandomize=True)
settings.load_profile("gala")

WriteRun = Callable[..., Path]

# A module of tests that says one of these words starts processes, or has what it uses start them.
STARTS_PROCESSES = re.compile(r"\b(subprocess|multiprocessing|launching|serve|visit)\b")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start processes; ``make quick`` leaves them out."""
    starts = {
        path: bool(STARTS_PROCESSES.search(path.read_text())) for path in {i.path for i in items}
    }
    for item in items:
        if starts[item.path] or item.get_closest_marker("slow"):
            item.add_marker("process")


@pytest.fixture
def write_run(tmp_path: Path) -> WriteRun:
    """Write a run folder: ``write_run(name, {rank: [record, ...]}, env_id=..., options={...})``.

    A record is stamped with what it lacks: its number as time, update and (times ten) step.
    """

    def write(name: str, agents: Mapping[int, list[dict[str, Any]]], **meta: Any) -> Path:
        run = tmp_path / name
        for rank, records in agents.items():
            folder = run / f"rank_{rank:02d}"
            folder.mkdir(parents=True, exist_ok=True)
            lines = [
                json.dumps(
                    {"v": 1, "t": 1000.0 + i, "rank": rank, "incarnation": 0, "update": i}
                    | {"step": 10 * i, **record}
                )
                for i, record in enumerate(records)
            ]
            (folder / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))
        topology = {"name": meta.pop("topology", "ring"), "edges": []}
        topology["edges"] = [
            {"source": rank, "target": (rank + 1) % len(agents)} for rank in range(len(agents))
        ]
        (run / "topology.json").write_text(json.dumps(topology))
        facts = {"env_id": "CartPole-v1", "agents": len(agents), "coupling": "gossip", "seed": 1}
        facts |= {"total_steps": 1000, "started": 1000.0, "frames_per_step": 1}
        options = meta.pop("options", {})
        (run / "meta.json").write_text(json.dumps(facts | meta))
        facts |= meta
        config = {name: facts[name] for name in ("seed", "agents", "coupling", "total_steps")}
        config |= {"topology": topology["name"], "env": {"id": facts["env_id"]}} | options
        (run / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
        return run

    return write


@pytest.fixture
def train_here(tmp_path: Path) -> Callable[..., Any]:
    """``train_here(config, name="run", before=...)``: one agent, in this process, to the end;
    ``before`` is called with the new run folder."""
    import torch

    from gala.agent.actor_learner import ActorLearner
    from gala.agent.building import build_agent
    from gala.agent.setting import Setting
    from gala.agent.training import make_learner
    from gala.launch.launch import Launch
    from gala.launch.signals import StopRequest
    from gala.run.folder import prepare
    from gala.topology import load_topology

    def train(
        config: Any, name: str = "run", before: Callable[[Any], object] = lambda run: None
    ) -> ActorLearner:
        topology = load_topology("ring", 1)
        run = prepare(
            tmp_path / name,
            config=config,
            agents=1,
            topology=topology.to_json(),
            facts={"torch": torch.__version__, "parameters": 0, "frames_per_step": 1},
            resume=False,
        )
        before(run)
        setting = Setting(
            config=config,
            launch=Launch(),
            run=run,
            run_id="00" * 8,
            topology=topology,
            device=torch.device("cpu"),
            threads=1,
        )
        envs, policy = make_learner(config, setting.launch, 1)
        agent = build_agent(setting, envs, policy, StopRequest())
        agent.run()
        agent.close()
        return agent

    return train
