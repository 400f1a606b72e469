"""bfloat16 beside float32: everybody learns from the same games, with values of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments" / "bench"))
import precision

from gala.envs import make_vector_env
from gala.experience import Collector
from gala.networks.build import network_of
from gala.run.config import load


def test_a_batch_as_another_model_judges_it() -> None:
    config = load(precision.ROOT / "experiments" / "cartpole.yaml")
    env = make_vector_env(config.env, seed=1)
    acts, other = (
        precision.student(
            config,
            network_of(config, env.observation_space, env.action_space),
            torch.float32,
            rounded=rounded,
        ).model
        for rounded in (False, True)
    )
    generator = torch.Generator().manual_seed(1)
    collector = Collector(
        [env], acts.act, acts.module.head, n_step=50, gamma=0.9, reward_clip=False,
        generator=generator,
    )  # fmt: skip
    batch = collector.next()
    assert batch.cut.any()
    own = precision.with_own_values(acts, batch)
    torch.testing.assert_close(own.value, batch.value)
    torch.testing.assert_close(own.next_value, batch.next_value)
    judged = precision.with_own_values(other, batch)
    assert 0 < (judged.value - batch.value).abs().mean() < 0.1
    assert 0 < (judged.next_value - batch.next_value).abs().mean() < 0.1
    env.close()


@pytest.mark.slow
def test_students_go_apart_by_little(monkeypatch: pytest.MonkeyPatch) -> None:
    written: dict[str, tuple[dict[str, Any], str]] = {}
    monkeypatch.setattr(precision, "EVERY", 1)
    monkeypatch.setattr(precision, "write", lambda name, *rest: written.update({name: rest}))
    monkeypatch.setattr(sys, "argv", ["precision.py", "--updates", "2"])
    precision.main()
    data, text = written["precision"]
    assert [row["update"] for row in data["rows"]] == [1, 2] and "\n| 2 | 0." in text
    for name in ("bfloat16", "float32 from a rounded start"):
        for row in data["rows"]:
            assert 0 < row[name]["distance"] < 1 and 0 < row[name]["kl"] < 0.01
