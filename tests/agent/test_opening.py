"""The opening block: what returns are good, and the letters of the bound in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from gala.agent.equipment import make_learner
from gala.agent.opening import opening_block
from gala.agent.setting import Setting
from gala.config.sections import EnvConfig, GossipConfig
from gala.launch.launch import Launch
from gala.run.config import Config
from gala.run.folder import RunFolder
from gala.topology import load_topology


def opening(tmp_path: Path, env_id: str, **changes: Any) -> list[str]:
    config = Config(env=EnvConfig(id=env_id, num_envs=2), **changes)
    launch = Launch(agents=2)
    envs, network = make_learner(config, launch, 1)
    setting = Setting(
        config=config, launch=launch, run=RunFolder(tmp_path), run_id="00" * 8,
        topology=load_topology("ring", 2), device=torch.device("cpu"), threads=1,
    )  # fmt: skip
    lines = opening_block(setting, envs, network)
    for env in envs:
        env.close()
    return lines


@pytest.mark.parametrize(
    ("env_id", "told"),
    [
        ("CartPole-v1", ["  returns    475 counts as solved"]),
        ("Acrobot-v1", ["  returns    -100 counts as solved"]),
        ("Pendulum-v1", []),
        ("ALE/BeamRider-v5", ["  returns    random play 363.9, a human 16,926.5"]),
    ],
)
def test_what_return_is_good_is_told_where_it_is_known(
    tmp_path: Path, env_id: str, told: list[str]
) -> None:
    lines = opening(tmp_path, env_id)
    assert [line for line in lines if line.startswith("  returns")] == told
    frames = "4 frames each" if "ALE" in env_id else "1 frame each"
    assert f"({frames})" in lines[0]


@pytest.mark.parametrize(
    ("options", "letters"),
    [
        ({"gossip": GossipConfig(max_staleness=0)}, ["beta", "epsilon"]),
        ({}, ["beta", "tau", "epsilon"]),
        ({"coupling": "none"}, []),
    ],
)
def test_the_letters_of_the_bound_are_told_in_words(
    tmp_path: Path, options: dict[str, Any], letters: list[str]
) -> None:
    lines = opening(tmp_path, "CartPole-v1", **options)
    bound = next((k for k, line in enumerate(lines) if line.startswith("  bound")), len(lines))
    told = [line.split(":")[0].strip() for line in lines[bound + 1 :] if line.startswith(" " * 13)]
    assert told == letters
    assert all(letter in lines[bound] for letter in letters)
