"""Exploration: epsilons of all environments of all agents, and the policy that they make."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from gala.experience.exploration import epsilons
from gala.networks.heads import ValuesHead, draw_choice, epsilon_greedy

CASES = json.loads((Path(__file__).parents[1] / "golden" / "value_rescale_r2d2.json").read_text())
(GOLDEN,) = [case for case in CASES["cases"] if case["name"] == "actor_epsilons"]


@pytest.mark.parametrize("agents", [1, 2, 4, 8])
def test_epsilons_are_those_of_ape_x_over_all_environments_of_all_agents(agents: int) -> None:
    each = GOLDEN["actors"] // agents
    found = [epsilons(agents, rank, each, base=0.4, spread=7.0) for rank in range(agents)]
    for rank, of_one in enumerate(found):  # some that explore, and some that do not
        assert of_one == pytest.approx(GOLDEN["ape_x"][rank::agents])


def test_one_environment_has_the_largest() -> None:
    assert epsilons(1, 0, 1, base=0.4, spread=7.0) == (0.4,)


def test_the_policy_takes_the_best_action_and_sometimes_any() -> None:
    values = torch.tensor([[1.0, 3.0, 2.0], [5.0, -5.0, 0.0], [0.0, 0.0, 1.0]])
    p = epsilon_greedy(values, torch.tensor([0.3, 0.0, 1.0])).softmax(-1)
    wanted = torch.tensor([[0.1, 0.8, 0.1], [1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]])
    torch.testing.assert_close(p, wanted)
    logits = epsilon_greedy(values[:1], torch.tensor([0.3])).expand(20_000, -1)
    drawn = draw_choice(logits, torch.Generator().manual_seed(0))
    shares = torch.bincount(drawn, minlength=3) / 20_000
    torch.testing.assert_close(shares, wanted[0], atol=0.01, rtol=0)


def test_values_as_a_policy_are_at_finite_distances() -> None:
    head, values = ValuesHead(3), torch.tensor([[1.0, 3.0, 2.0]])
    other = torch.tensor([[9.0, 3.0, 2.0]])
    assert head.mode(values).item() == 1
    assert head.kl(values, 100 * values).item() == 0  # they agree on what is best
    assert 1.0 < head.kl(values, other).item() < 5.0
    probability = head.log_prob(values.expand(3, -1), torch.arange(3)).exp()
    torch.testing.assert_close(probability, torch.tensor([0.05 / 3, 0.95 + 0.05 / 3, 0.05 / 3]))
    drawn = head.sample(values.expand(5000, -1), torch.Generator().manual_seed(0))
    assert 0.93 < (drawn == 1).float().mean() < 0.99
    assert head.entropy(values).item() == pytest.approx(-(probability * probability.log()).sum())
