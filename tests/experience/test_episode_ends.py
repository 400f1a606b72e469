"""Ends of episodes, from the environment to each algorithm's targets, against numbers by hand.

Environment 0 terminates and environment 1 is truncated, both after observing 1, 2 and (at last) 4;
the next episode begins at 6. V(s) = s of the policy that acts, discount and lambda are a half.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from batches import Raw
from scripted import B, Scripted, step

from gala.envs.step import Step
from gala.experience import Batch, Collector
from gala.learning.algorithm import View
from gala.learning.learner import Learner
from gala.learning.table import ALGORITHMS, make_algorithm
from gala.networks import Network
from gala.networks.heads import CategoricalHead
from gala.networks.model import Model
from gala.parameters.flat import FlatParameters

NEXT_STEP = [
    step((2, 2), reward=(1, 1)),
    step((4, 4), reward=(2, 2), terminated=(1, 0), truncated=(0, 1)),
    step((6, 6), valid=(0, 0)),  # the action is ignored, a new episode begins
    step((8, 8), reward=(3, 3)),
]
SAME_STEP = [
    step((2, 2), reward=(1, 1)),
    step((6, 6), reward=(2, 2), terminated=(1, 0), truncated=(0, 1), final=(4, 4)),
    step((8, 8), reward=(3, 3)),
]
MODES = {"next-step": NEXT_STEP, "same-step": SAME_STEP}

# 6: 3 + 8/2 = 7
# 2: terminated: 2; truncated: 2 + 4/2 = 4
# 1: the error of one step is 1 + 2/2 - 1 = 1; that of the step at 2 is 0 or 2, and counts a quarter
TARGETS = [[2.0, 2.5], [2.0, 4.0], [7.0, 7.0]]
GENERALISED = [[1.0, 1.5], [0.0, 2.0], [1.0, 1.0]]
# what follows a step is its target, not its value: 1 + 2/2 - 1 or 1 + 4/2 - 1
BY_V_TRACE = [[1.0, 2.0], [0.0, 2.0], [1.0, 1.0]]

SETTINGS: dict[str, dict[str, Any]] = {
    "a2c": {"gae_lambda": 0.5},
    "ppo": {"gae_lambda": 0.5, "epochs": 2, "minibatches": 2},
    "vmpo": {"gae_lambda": 0.5},
    "vtrace": {"trace_lambda": 0.5},
}


def agent(algorithm: str) -> tuple[Learner, Model]:
    """A learner of V(s) = s and a policy that takes both actions alike."""
    config = ALGORITHMS[algorithm].config(gamma=0.5, **SETTINGS[algorithm])
    network = Network(Raw(), None, 1, CategoricalHead(2), torch.Generator().manual_seed(0))
    made = make_algorithm(algorithm, config)
    network.hold(made.plan.duals)
    model = Model(network, FlatParameters(network), torch.float32)
    worth(model, 1.0)
    return Learner(made, model, lr=1e-3), model


def worth(model: Model, factor: float) -> None:
    """From now on V(s) = factor s."""
    model.flat.data.zero_()
    model.module.value.weight.data.fill_(factor)
    model.refresh()


def collect(model: Model, script: list[Step], n_step: int) -> Collector:
    collector = Collector(
        [Scripted(script)], model.act, model.module.head, n_step=n_step, gamma=0.5,
        reward_clip=False, generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    collector.learned(model.revision)
    return collector


def valid(batch: Batch, column: torch.Tensor) -> list[list[float]]:
    """The rows that are steps, of [T, B]."""
    return column[batch.valid].view(-1, B).tolist()


@pytest.mark.parametrize("algorithm", SETTINGS)
@pytest.mark.parametrize("mode", MODES)
def test_an_end_is_bootstrapped_from_what_was_seen_last(algorithm: str, mode: str) -> None:
    learner, model = agent(algorithm)
    batch = collect(model, MODES[mode], len(MODES[mode])).next()
    view = View(batch.dist, batch.value, batch.next_value, model.module.head)
    columns = learner.algorithm.targets(batch, view)
    assert valid(batch, columns.target) == TARGETS
    expected = BY_V_TRACE if algorithm == "vtrace" else GENERALISED
    assert valid(batch, columns.advantage) == expected
    losses = learner.update(batch)
    assert valid(batch, losses.target.view(batch.steps, B)) == TARGETS


@pytest.mark.parametrize("algorithm", SETTINGS)
@pytest.mark.parametrize("mode", MODES)
def test_an_end_in_the_last_row_stays_in_its_batch(algorithm: str, mode: str) -> None:
    learner, model = agent(algorithm)
    collector = collect(model, [*MODES[mode], step((8, 8))], 2)
    batch = collector.next()
    view = View(batch.dist, batch.value, batch.next_value, model.module.head)
    assert learner.algorithm.targets(batch, view).target.tolist() == TARGETS[:2]
    after = collector.next()
    first = 1 if mode == "next-step" else 0
    assert after.valid[:, 0].tolist() == [mode == "same-step", True]
    assert after.obs[first].flatten().tolist() == [6, 6] and not bool(after.cut.any())


# with V(s) = 2 s: 6: 3 + 16/2 = 11; 2: terminated: 2; truncated: 2 + 8/2 = 6, but 2 + 4/2 = 4 where
# only who acted has seen the last observation; 1: 2 + (1 + 4/2 - 2) + (2 - 4)/4, and + (6 - 4)/4
LATER = {
    "next-step": [[2.5, 3.5], [2.0, 6.0], [11.0, 11.0]],
    "same-step": [[2.5, 3.0], [2.0, 4.0], [11.0, 11.0]],
}


@pytest.mark.parametrize("mode", MODES)
def test_v_trace_values_an_older_batch_anew(mode: str) -> None:
    learner, model = agent("vtrace")
    batch = collect(model, MODES[mode], len(MODES[mode])).next()
    worth(model, 2.0)
    losses = learner.update(batch)
    assert valid(batch, losses.target.view(batch.steps, B)) == LATER[mode]
    assert losses.lag == (1.0, 1)


@pytest.mark.parametrize("algorithm", ["a2c", "ppo"])
def test_on_policy_algorithms_believe_who_acted(algorithm: str) -> None:
    learner, model = agent(algorithm)
    batch = collect(model, NEXT_STEP, len(NEXT_STEP)).next()
    worth(model, 2.0)
    losses = learner.update(batch)
    assert valid(batch, losses.target.view(batch.steps, B)) == TARGETS


@pytest.mark.parametrize("algorithm", SETTINGS)
def test_rows_of_autoreset_are_not_felt(algorithm: str) -> None:
    """Whatever the environment says in the step that it ignores."""
    results = []
    for much in (0.0, 1e6):
        learner, model = agent(algorithm)
        script = list(NEXT_STEP)
        script[2] = step((6, 6), valid=(0, 0), reward=(much, -much))
        learner.update(collect(model, script, len(script)).next())
        results.append(model.flat.data.clone())
    assert torch.equal(*results)
