"""Rehearsal: an own algorithm learns once from a batch of zeros, before anything is begun.

Its mistakes are one line then. In the middle of a run they would be crashes, and the agent would be
started again to make them again. What depends on the numbers of a batch is not seen here.
"""

from __future__ import annotations

from numbers import Real
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from gala.errors import UserError
from gala.experience.batch import Batch
from gala.files.importing import place_of, users_code
from gala.learning.algorithm import Loss, Plan, Terms, View
from gala.learning.learner import MAX_LOGGED
from gala.learning.settings import LearnerConfig
from gala.networks import Network
from gala.networks.outputs import Outputs

FIELD = "algorithm"
SIGNATURES = {
    "coefficients": "def coefficients(self, left), or extend gala.learning.algorithm.ActorCritic",
    "targets": "def targets(self, batch, view)",
    "loss": "def loss(self, columns, out, terms)",
}


def rehearse(
    spec: str, algorithm: Any, network: Network, space: gymnasium.Space[Any], *, envs: int
) -> None:
    """Let an own algorithm learn once; no parameter and no random number changes.

    Args:
        spec: ``MODULE:CLASS`` of it.
        algorithm: an instance that is not used any more, see
            :class:`~gala.learning.algorithm.Algorithm`.
        network: of the agent, on the CPU.
        space: of what the network sees.
        envs: B.

    Raises:
        UserError: something is missing, raises, or is of another kind or shape than agreed, with
            file and line.
    """
    _require_parts(spec, algorithm)
    _require_plan(spec, algorithm, envs, sequences=network.memory is not None)
    batch = _zeros(network, space, algorithm.config.n_step, envs)
    with torch.random.fork_rng(devices=[]):
        _learn(spec, algorithm, network, batch)


def _learn(spec: str, algorithm: Any, network: Network, batch: Batch) -> None:
    plan: Plan = algorithm.plan
    with users_code(spec, field=FIELD), torch.no_grad():
        columns = algorithm.targets(
            batch,
            View(
                batch.dist,
                batch.value,
                batch.next_value,
                network.head,
                batch.dist if plan.target_every else None,
            ),
        )
    _require_columns(columns, batch, algorithm.targets)
    with users_code(spec, field=FIELD):
        coefficients = algorithm.coefficients(1.0)
    _require_coefficients(coefficients, algorithm.coefficients)
    rows = batch.steps * batch.envs // plan.minibatches
    dist, value = network(batch.obs[:-1].flatten(0, 1)[:rows])
    out = Outputs(dist, value, network.head)
    flat = type(columns)(*(column.flatten(0, 1)[:rows] for column in columns))
    duals = type(plan.duals)(*(torch.tensor(float(number)) for number in plan.duals))
    terms = Terms(torch.full((rows,), 1 / rows), coefficients, duals)
    with users_code(spec, field=FIELD):
        loss = algorithm.loss(flat, out, terms)
    _require_loss(loss, plan, algorithm.loss)
    learned = [each for each in network.parameters() if each.requires_grad]
    with users_code(spec, field=FIELD):  # not into .grad, which is the learner's
        torch.autograd.grad(loss.total, learned, allow_unused=True)


def _zeros(network: Network, space: gymnasium.Space[Any], steps: int, envs: int) -> Batch:
    """A batch of zeros: actions 0, of a policy that knows nothing, nothing ends."""
    assert space.shape is not None and space.dtype is not None
    obs = torch.from_numpy(np.zeros((steps + 1, envs, *space.shape), space.dtype))
    return Batch(
        obs=obs,
        action=network.head.buffer(steps, envs).zero_(),
        reward=torch.zeros(steps, envs),
        discount=torch.ones(steps, envs),
        cut=torch.zeros(steps, envs, dtype=torch.bool),
        valid=torch.ones(steps, envs, dtype=torch.bool),
        final=torch.zeros(steps, envs, dtype=torch.bool),
        dist=torch.zeros(steps, envs, network.head.size),
        value=torch.zeros(steps, envs),
        next_value=torch.zeros(steps, envs),
        version=np.zeros((steps, envs), np.int64),
    )


def _require_parts(spec: str, algorithm: Any) -> None:
    for name, signature in SIGNATURES.items():
        if not callable(getattr(algorithm, name, None)):
            raise _error(f"{spec} has no {name}", type(algorithm), hint=signature)
    if not isinstance(getattr(algorithm, "config", None), LearnerConfig):
        rule = f"{spec}: its attribute config is not the section of the configuration"
        raise _error(rule, type(algorithm).__init__, hint="super().__init__(config)")


def _require_plan(spec: str, algorithm: Any, envs: int, *, sequences: bool) -> None:
    plan = getattr(algorithm, "plan", None)
    rows = envs if sequences else algorithm.config.n_step * envs
    if not isinstance(plan, Plan):
        rule = f"{spec}: its plan is {_named(plan)}, wanted a gala.learning.algorithm.Plan"
        raise _error(rule, type(algorithm), hint="plan = Plan(epochs=1, minibatches=1)")
    if plan.epochs < 1:
        raise _error(f"{spec}: its plan has {plan.epochs} epochs", type(algorithm), hint="epochs=1")
    if plan.buffer < 1 or plan.replays < 1:
        rule = f"{spec}: its plan has a buffer of {plan.buffer} and {plan.replays} replays"
        raise _error(rule, type(algorithm), hint="buffer=1, replays=1")
    if plan.again and not plan.epochs == plan.minibatches == 1:
        rule = f"{spec}: its plan has a buffer or replays, and epochs or minibatches"
        raise _error(rule, type(algorithm), hint="epochs=1, minibatches=1")
    if plan.minibatches < 1 or rows % plan.minibatches:
        near = max(n for n in range(1, max(plan.minibatches, 1) + 1) if rows % n == 0)
        rule = f"{spec}: its plan has {plan.minibatches} minibatches, "
        what = "num_envs (a memory learns from whole sequences)"
        rule += f"which must divide {what if sequences else 'n_step x num_envs'} = {rows}"
        raise _error(rule, type(algorithm), hint=f"minibatches={near}")


def _require_columns(columns: Any, batch: Batch, targets: Any) -> None:
    shape = [batch.steps, batch.envs]
    if not (isinstance(columns, tuple) and hasattr(columns, "_asdict")):
        rule = f"targets gives {_named(columns)}, wanted a NamedTuple of tensors [T, B, ...]"
        raise _error(rule, targets, hint="class Columns(NamedTuple)")
    for name, column in columns._asdict().items():
        if not isinstance(column, Tensor):
            rule = f"targets: column {name} is {_named(column)}, wanted a tensor [T, B, ...]"
            raise _error(rule, targets)
        found = list(column.shape)
        if found[:2] != shape or (name == "target" and found != shape):
            more = "" if name == "target" else ", ..."
            rule = f"targets: column {name} is {found}, "
            rule += f"wanted [T, B{more}] = [{shape[0]}, {shape[1]}{more}]"
            raise _error(rule, targets)


def _require_coefficients(found: Any, coefficients: Any) -> None:
    named = isinstance(found, tuple) and hasattr(found, "_asdict")
    if not named or not all(isinstance(number, Real) for number in found):
        rule = f"coefficients gives {_named(found)}, wanted a NamedTuple of numbers"
        raise _error(rule, coefficients)


def _require_loss(found: Any, plan: Plan, loss: Any) -> None:
    if not isinstance(found, Loss):
        rule = f"loss gives {_named(found)}, wanted a gala.learning.algorithm.Loss"
        raise _error(rule, loss, hint="return Loss(total, {})")
    if not isinstance(found.total, Tensor) or found.total.shape != ():
        rule = f"loss: its total is {_named(found.total)}, wanted a tensor of one number"
        raise _error(rule, loss, hint="(terms.weight * ...).sum()")
    if not found.total.requires_grad:
        rule = "loss: its total does not depend on out, so that nothing would be learned"
        raise _error(rule, loss, hint="out.log_prob(columns.action), out.value")
    if not isinstance(found.logged, dict) or len(found.logged) > MAX_LOGGED:
        rule = f"loss: wanted a dict of at most {MAX_LOGGED} metrics, got {_named(found.logged)}"
        raise _error(rule, loss)
    for name, number in found.logged.items():
        if not isinstance(number, Tensor) or number.shape != ():
            rule = f"loss: {name} is {_named(number)}, wanted a tensor of one number"
            raise _error(rule, loss)
        if number.requires_grad:
            raise _error(f"loss: {name} must not have a gradient", loss, hint=".detach()")
    if plan.stop_kl is not None and "policy/kl" not in found.logged:
        raise _error("loss: the plan's stop_kl needs policy/kl among the metrics", loss)


def _error(rule: str, culprit: Any, *, hint: str | None = None) -> UserError:
    """What is wrong, at the place where a class or function of the user's is defined."""
    file, line = place_of(culprit)
    return UserError(rule, file=file, line=line, field=FIELD, hint=hint)


def _named(thing: Any) -> str:
    if isinstance(thing, Tensor):
        return f"a tensor {list(thing.shape)}"
    if isinstance(thing, dict):
        return f"a dict of {len(thing)}"
    return "None" if thing is None else f"a {type(thing).__name__}"
