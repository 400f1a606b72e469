"""V-MPO: golden numbers (rlax), the better half of a whole batch, and what its duals do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from batches import ACTIONS, linear_learner, random_batch
from hypothesis import given
from hypothesis import strategies as st

from gala.learning.algorithm import Coefficients, Terms, View
from gala.learning.vmpo import VMPO, Columns, Duals, largest, weights
from gala.learning.vmpo_config import VMPOConfig
from gala.networks.heads import CategoricalHead, GaussianHead
from gala.networks.outputs import Outputs
from gala.parameters.duals import SMALLEST

SHARED, *CASES = json.loads((Path(__file__).parents[1] / "golden" / "vmpo.json").read_text())[
    "cases"
]
NAMED = {case["name"]: SHARED | case for case in CASES}
T, B = 6, 4


def array(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def half_of(advantage: torch.Tensor) -> torch.Tensor:
    valid = torch.ones(len(advantage), dtype=torch.bool)
    return largest(advantage, valid, torch.tensor(len(advantage) // 2))


@pytest.mark.parametrize("name", ["paper", "cold"])
def test_the_loss_and_its_gradients(name: str) -> None:
    case = NAMED[name]
    config = VMPOConfig(
        temperature_eps=case["eps_eta"], kl_eps=case["eps_alpha"], value_coef=1.0, entropy_coef=0.0
    )
    head, rows = CategoricalHead(4), len(case["action"])
    logits = array(case["new_logits"]).requires_grad_()
    advantage = array(case["advantage"])
    columns = Columns(
        torch.tensor(case["action"]), advantage, torch.zeros(rows), half_of(advantage),
        array(case["old_logits"]),
    )  # fmt: skip
    duals = Duals(*(array(case[n]).requires_grad_() for n in ("eta", "alpha", "alpha")))
    terms = Terms(torch.full((rows,), 1 / rows).double(), Coefficients(0.0), duals)
    out = Outputs(logits, torch.zeros(rows), head)
    loss = VMPO(config).loss(columns, out, terms)
    psi, _ = weights(advantage, columns.best, duals.temperature)
    torch.testing.assert_close(psi.detach(), array(case["weights"]), rtol=1e-6, atol=1e-9)
    logged = {name: float(value) for name, value in loss.logged.items()}
    assert logged["losses/policy_loss"] == pytest.approx(case["policy_loss"], rel=1e-6)
    assert logged["losses/temperature_loss"] == pytest.approx(case["temperature_loss"], rel=1e-6)
    assert logged["policy/kl"] == pytest.approx(sum(case["kl"]) / rows, rel=1e-6)
    assert float(loss.total.detach()) == pytest.approx(case["total"], rel=1e-6)
    loss.total.backward()
    expected = array(case["grad_logits"])
    torch.testing.assert_close(logits.grad, expected, rtol=1e-6, atol=1e-9)
    assert float(duals.temperature.grad) == pytest.approx(case["grad_eta"], rel=1e-5)
    assert float(duals.kl.grad) == pytest.approx(case["grad_alpha"], rel=1e-6)
    assert duals.deviation_kl.grad is None  # choices have no deviations


def test_rows_that_are_not_valid_have_no_weight() -> None:
    """Rlax's half counts all rows, and all that are as large as its smallest: six of eight."""
    case = NAMED["masked"]
    advantage, valid = array(case["advantage"]), array(case["restarting_weights"]).bool()
    eta = array(case["eta"])
    theirs = largest(advantage, valid, torch.tensor(6))
    psi, spread = weights(advantage, theirs, eta)
    torch.testing.assert_close(psi, array(case["weights"]), rtol=1e-6, atol=1e-9)
    found = float(eta * (case["eps_eta"] + spread))
    assert found == pytest.approx(case["temperature_loss"], rel=1e-6)
    log_prob = CategoricalHead(4).log_prob(array(case["new_logits"]), torch.tensor(case["action"]))
    assert float(-(psi * log_prob).sum()) == pytest.approx(case["policy_loss"], rel=1e-6)


@given(
    st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=12),
    st.sampled_from([1e-8, 0.1, 1.0, 1e6]),
)
def test_the_better_half_of_the_valid_rows_is_followed(
    rows: list[tuple[int, bool]], eta: float
) -> None:
    values, valid = (
        torch.tensor([[float(v)] for v, _ in rows]),
        torch.tensor([[k] for _, k in rows]),
    )
    count = (valid.sum() + 1) // 2
    best = largest(values, valid, count)
    assert int(best.sum()) == int(count) and not bool((best & ~valid).any())
    if bool((valid & ~best).any()):
        assert values[best].min() >= values[valid & ~best].max()
    psi, spread = weights(values.flatten(), best.flatten(), torch.tensor(eta))
    assert bool(torch.isfinite(spread)) and bool((psi >= 0).all())
    assert float(psi.sum()) == pytest.approx(float(bool(count)), abs=1e-5)


def test_the_half_is_of_all_environments_together() -> None:
    """One environment may hold all of it; never half of each."""
    algorithm = VMPO(VMPOConfig(gae_lambda=0.0))
    batch = random_batch(t=T, b=2)
    batch.discount.zero_()
    batch.reward[:, 0], batch.reward[:, 1] = 1.0, -1.0
    zero = torch.zeros(T, 2)
    view = View(batch.dist, zero, zero, CategoricalHead(ACTIONS))
    assert algorithm.targets(batch, view).best.sum(0).tolist() == [T, 0]


def test_duals_stay_above_zero_and_out_of_the_norm() -> None:
    learner, _, model = linear_learner(
        "vmpo", dual_lr=5.0, max_grad_norm=1e-3, kl_eps=1e6, optimizer="adam"
    )
    batch = random_batch(t=T, b=B)
    batch.version[:] = -1  # the current parameters differ from those that acted
    losses = learner.update(batch)
    begin = model.flat.learned - 3
    network, alpha = model.flat.grad[:begin], model.flat.grad[begin + 1]
    assert float(alpha) == pytest.approx(1e6, rel=1e-3)  # as it is: clipped is the network's alone
    assert float(network.norm()) == pytest.approx(1e-3, rel=1e-3)
    assert float(losses.logged["losses/grad_norm"]) < 100
    temperature, kl, deviation = model.flat.weights[begin:].tolist()
    assert kl == pytest.approx(SMALLEST) and deviation == 1.0 and temperature >= SMALLEST
    for _ in range(5):
        learner.update(batch)
    assert bool(model.flat.data.isfinite().all())


def test_alpha_grows_while_the_policy_is_too_far_away() -> None:
    learner, _, model = linear_learner("vmpo", kl_eps=1e-3, optimizer="adam")
    batch = random_batch(t=T, b=B)
    batch.dist[..., 0] = 3.0  # who acted preferred one action
    batch.version[:] = -1
    before = float(model.flat.weights[-2])
    found = [learner.update(batch).numbers()["policy/kl"] for _ in range(100)]
    assert found[0] > 0.1 and float(model.flat.weights[-2]) > before + 0.5
    assert found[-1] < found[0] / 2


def test_the_kl_of_a_gaussian_in_two_parts() -> None:
    """Moved means at the old deviations, new deviations about the old means."""
    case = NAMED["gaussian_decoupled_kl"]
    old, new = (
        torch.cat([array(case[f"{which}_mean"]), array(case[f"{which}_std"]).log()], -1)
        for which in ("old", "new")
    )
    head = GaussianHead(np.full(3, -1.0), np.full(3, 1.0))
    of_means, of_deviations = head.kl_parts(old, new)
    torch.testing.assert_close(of_means, array(case["mean_part"]), rtol=1e-6, atol=1e-9)
    expected = array(case["covariance_part"])
    torch.testing.assert_close(of_deviations, expected, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(head.kl(old, new), array(case["full_kl"]), rtol=1e-6, atol=1e-9)


def test_means_and_deviations_are_held_apart() -> None:
    """The dual of the part that is too far grows, the other one's falls."""
    head = GaussianHead(np.full(1, -1.0), np.full(1, 1.0))
    old = torch.tensor([[0.0, 0.0]]).expand(4, 2)
    out = Outputs(torch.tensor([[1.0, 0.0]]).expand(4, 2), torch.zeros(4), head)
    best = torch.tensor([True, True, False, False])
    columns = Columns(torch.zeros(4, 1), torch.ones(4), torch.zeros(4), best, old)
    duals = Duals(*(torch.tensor(1.0, requires_grad=True) for _ in range(3)))
    terms = Terms(torch.full((4,), 0.25), Coefficients(0.0), duals)
    config = VMPOConfig(kl_eps=0.01, deviation_kl_eps=0.01)
    VMPO(config).loss(columns, out, terms).total.backward()
    assert float(duals.kl.grad) == pytest.approx(0.01 - 0.5)
    assert float(duals.deviation_kl.grad) == pytest.approx(0.01)
