"""``--init``: a run that begins with the policy of another one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from made_runs import IDENTITY, identity_run, normalizing_run

from gala.agent.initial import begin_as
from gala.config.tree import Config
from gala.envs import make_vector_env
from gala.errors import UserError
from gala.networks import Network
from gala.networks.build import network_of
from gala.policy.loading import load
from gala.run.request import read_request

__all__ = ["identity_run", "normalizing_run"]

MakeRun = Callable[..., Path]


def fresh(config: Config, duals: int = 0) -> Network:
    env = make_vector_env(config.env, seed=0)
    network = network_of(config, env.observation_space, env.action_space)
    env.close()
    network.hold((0.5,) * duals)
    return network


def test_all_begin_with_the_mean_and_its_moments(normalizing_run: Callable[[float], Path]) -> None:
    run = normalizing_run(0.25)
    policy = load(run)
    config = replace(policy.config, env=replace(policy.config.env, normalize_reward=True))
    both = [fresh(config, duals=2), fresh(config)]
    begin_as(str(run), both)
    for network in both:
        own = network.state_dict()
        for name, tensor in policy.model.state_dict().items():
            assert torch.equal(own.pop(name), tensor), name
        assert {name.partition(".")[0] for name in own} <= {"returns", "duals"}
    assert own["returns.count"] == 0 and both[0].duals is not None
    assert both[0].duals.values.tolist() == [0.5, 0.5]  # as an algorithm has them


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network": {"hidden": (5,)}}, "its actor.hidden.0.bias is 4, that of this run 5"),
        ({"env": {"normalize_observation": True}}, "its observed.count is missing"),
    ],
)
def test_another_network_is_refused(
    identity_run: MakeRun, changes: dict[str, Any], words: str
) -> None:
    run = identity_run(1.0)
    parts = {name: replace(getattr(IDENTITY, name), **more) for name, more in changes.items()}
    with pytest.raises(UserError) as caught:
        begin_as(str(run), [fresh(replace(IDENTITY, **parts))])
    assert f"{run}: --init: {words}" in str(caught.value)


def test_a_run_that_goes_on_has_its_own(identity_run: MakeRun) -> None:
    run = str(identity_run(1.0))
    with pytest.raises(UserError, match="--init: is of a new run, and one that goes on has its"):
        read_request(["--resume", run, "--init", run])
    assert read_request([f"{run}/config.yaml", "--init", run]).config.init == run
