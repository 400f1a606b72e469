"""Golden numbers of independent libraries: GAE (torchrl), PPO (DI-engine, rlax), V-trace (rlax),
IMPACT (RLlib).

``tests/golden/*.json`` say what made them; what a case leaves out is as in the first one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from batches import filled

from gala.learning import algorithm
from gala.learning.algorithm import Terms, View
from gala.learning.impact import Impact
from gala.learning.impact_config import ImpactConfig
from gala.learning.ppo import PPO, Coefficients, Columns
from gala.learning.ppo_config import PPOConfig
from gala.learning.returns import gae, vtrace
from gala.networks.heads import CategoricalHead
from gala.networks.outputs import Outputs

FOLDER = Path(__file__).parents[1] / "golden"
TOLERANCE = {"rtol": 1e-6, "atol": 1e-6}


def cases(name: str) -> dict[str, dict[str, Any]]:
    """The cases of a file by name, each with what all share and what the first one holds."""
    shared, *rest = json.loads((FOLDER / f"{name}.json").read_text())["cases"]
    return {case["name"]: shared | rest[0] | case for case in rest}


GAE, PPO_CASES, VTRACE = cases("gae"), cases("ppo"), cases("vtrace")
IMPACT = cases("impact")


def array(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("name", GAE)
def test_generalised_advantages(name: str) -> None:
    case = GAE[name]
    value = array(case["value"])
    advantage = gae(
        array(case["reward"]), array(case["discount"]), value, array(case["next_value"]),
        torch.tensor(case["cut"]), case["lambda_"],
    )  # fmt: skip
    torch.testing.assert_close(advantage, array(case["advantage"]), **TOLERANCE)
    torch.testing.assert_close(advantage + value, array(case["target"]), **TOLERANCE)


@pytest.mark.parametrize("name", PPO_CASES)
def test_the_loss_of_ppo_and_its_gradients(name: str) -> None:
    case = PPO_CASES[name]
    config = PPOConfig(
        value_clip=case["value_clip"], dual_clip=case["dual_clip"],
        normalize_advantage=case["advantage_normalized"], value_coef=1.0, entropy_coef=0.0,
    )  # fmt: skip
    head = CategoricalHead(3)
    action = torch.tensor(case["action"])
    logits = array(case["new_logits"]).requires_grad_()
    value = array(case["new_value"]).requires_grad_()
    columns = Columns(
        action,
        head.log_prob(array(case["old_logits"]), action),
        array(case["advantage"]),
        array(case["returns"]),
        array(case["old_value"]),
    )
    weight = array(case["weight"])
    terms = Terms(weight / weight.sum(), Coefficients(0.0, case["clip"]))
    loss = PPO(config).loss(columns, Outputs(logits, value, head), terms)
    logged = {name: float(value) for name, value in loss.logged.items()}
    assert logged == pytest.approx(
        {
            "losses/policy_loss": case["policy_loss"],
            "losses/value_loss": case["value_loss"],
            "losses/entropy": case["entropy"],
            "policy/kl": case["kl_k3"],
            "policy/clip_fraction": case["clip_fraction"],
        },
        rel=1e-6,
    )
    loss.total.backward()  # the policy alone moves the logits, the value loss alone the values
    expected = array(case["grad_logits_of_policy_loss"])
    torch.testing.assert_close(logits.grad, expected, rtol=1e-6, atol=1e-9)
    expected = array(case["grad_value_of_value_loss"])
    torch.testing.assert_close(value.grad, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", VTRACE)
def test_v_trace_in_the_convention_of_impala(name: str) -> None:
    case = VTRACE[name]
    head, action = CategoricalHead(4), torch.tensor(case["action"])
    target_logits, behaviour = array(case["target_logits"]), array(case["behaviour_logits"])
    rho = (head.log_prob(target_logits, action) - head.log_prob(behaviour, action)).exp()
    if "rho" in case:
        torch.testing.assert_close(rho, array(case["rho"]), **TOLERANCE)
    target, advantage = vtrace(
        rho, array(case["reward"]), array(case["discount"]), array(case["value"]),
        array(case["next_value"]), torch.tensor(case["cut"]), trace_lambda=case["lambda_"],
        rho_clip=case["clip_rho"], c_clip=case["clip_c"], pg_rho_clip=case["clip_pg_rho"],
    )  # fmt: skip
    torch.testing.assert_close(target, array(case["vs"]), **TOLERANCE)
    torch.testing.assert_close(advantage, array(case["pg_advantage_impala"]), **TOLERANCE)
    if case["lambda_"] == 1:
        torch.testing.assert_close(advantage, array(case["pg_advantage_rlax"]), **TOLERANCE)


@pytest.mark.parametrize("name", IMPACT)
def test_the_loss_of_impact_its_targets_and_its_gradients(name: str) -> None:
    case, head = IMPACT[name], CategoricalHead(4)
    kl_coef = case["kl_coef"] if case["use_kl"] else 0.0
    impact = Impact(ImpactConfig(clip=case["clip"], kl_coef=kl_coef))
    terminated = torch.tensor(case["terminated"])
    logits = array(case["current_logits"]).requires_grad_()
    value = array(case["value"]).requires_grad_()
    batch = filled(
        torch.zeros(5, 3, 1), torch.tensor(case["action"]), 4, reward=array(case["reward"]),
        discount=case["gamma"] * (~terminated).double(), cut=terminated,
        dist=array(case["behaviour_logits"]),
    )  # fmt: skip
    now = value.detach()
    follows = torch.cat([now[1:], array(case["bootstrap_value"])[None]])
    view = View(logits.detach(), now, follows, head, array(case["target_logits"]))
    columns = impact.targets(batch, view)
    torch.testing.assert_close(columns.target, array(case["vs"]), **TOLERANCE)
    torch.testing.assert_close(columns.advantage, array(case["advantage"]), **TOLERANCE)
    truncated = columns.rho.reciprocal().clamp(max=impact.config.ratio_clip)
    torch.testing.assert_close(truncated, array(case["truncated_is"]), **TOLERANCE)

    flat = type(columns)(*(column.flatten(0, 1) for column in columns))
    out = Outputs(logits.flatten(0, 1), value.flatten(), head)
    terms = Terms(torch.full((12,), 1 / 12).double(), algorithm.Coefficients(0.01))
    loss = impact.loss(flat, out, terms)
    assert float(loss.total.detach()) == pytest.approx(case["total"], rel=1e-6)
    expected = {f"losses/{key}": case[key] for key in ("policy_loss", "value_loss", "entropy")}
    ratio = array(case["ratio"])
    expected["policy/clip_fraction"] = float(((ratio - 1).abs() > case["clip"]).double().mean())
    if case["use_kl"]:
        expected["policy/kl"] = case["kl"]
    logged = {key: float(loss.logged[key]) for key in expected}
    assert logged == pytest.approx(expected, rel=1e-6)
    loss.total.backward()
    torch.testing.assert_close(logits.grad, array(case["grad_logits"]), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(value.grad, array(case["grad_value"]), rtol=1e-6, atol=1e-9)
