"""Policies as programs of their own: TorchScript and ONNX, each compared with the policy.

A program takes observations as the network sees them, [B, ...]; with a memory also ``state``,
Float32[B, ...], and ``begin``, Bool[B]. It gives the most likely actions as the environment takes
them, the parameters of the distributions, Float32[B, K], and the new state.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from gala.errors import UserError
from gala.files import commands
from gala.policy.policy import Policy

Array = NDArray[Any]
Run = Callable[[Sequence[Array]], list[Array]]

ROWS = (2, 5)
"""Observations of the example, and of the comparison: a program must not have counted them."""
TOLERANCE = 1e-4


class Program(nn.Module):
    """Observations to actions, normaliser and bounds included.

    Args:
        policy: in float32, on the CPU.
    """

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.network, self._plan = policy.model, policy.translation.actions

    def forward(self, obs: Tensor, *memory: Tensor) -> tuple[Tensor, ...]:
        """See the module."""
        if not memory:
            dist, _ = self.network(obs)
            return self._to_env(self.network.head.mode(dist)), dist
        state, begin = memory
        dist, _, after = self.network.unroll(obs.unsqueeze(0), state, begin.unsqueeze(0))
        return self._to_env(self.network.head.mode(dist)), dist, after

    def _to_env(self, actions: Tensor) -> Tensor:
        """As :meth:`gala.envs.actions.ActionPlan.to_env`, after that of the head."""
        space, given = self._plan.space, self._plan.given
        shape = given.shape or ()
        if shape:
            actions = torch.unflatten(actions, -1, shape)
        if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
            return actions + torch.as_tensor(space.start).reshape(shape)
        if not isinstance(space, spaces.Box):
            return actions.to(torch.int8)
        assert isinstance(given, spaces.Box)
        wide = actions.double()
        wide = wide.clamp(
            torch.from_numpy(space.low).double(), torch.from_numpy(space.high).double()
        )
        if self._plan.mapped is not None:
            low, high = (torch.from_numpy(each).double() for each in (given.low, given.high))
            mapped = torch.from_numpy(np.asarray(self._plan.mapped))
            share = torch.where(mapped, 0.5 * (wide + 1.0), 0.0)
            ends = [torch.where(mapped, each, 0.0) for each in (low, high)]
            there = (1.0 - share) * ends[0] + share * ends[1]
            wide = torch.where(mapped, there, wide).clamp(low, high)
        found: Tensor = wide.to(torch.from_numpy(given.low).dtype)
        return found


def names_of(policy: Policy) -> tuple[list[str], list[str]]:
    """Names of what a program takes and gives."""
    memory = policy.model.memory is not None
    return ["obs", *["state", "begin"] * memory], ["action", "dist", *["next_state"] * memory]


def torchscript(policy: Policy) -> bytes:
    """A file for ``torch.jit.load``, also in C++.

    Raises:
        UserError: the network cannot be traced, or the program does something else.
    """
    with _refusing("torchscript"):
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            Program(policy).eval(), tuple(map(torch.from_numpy, inputs(policy, ROWS[0]))),
            check_trace=False,
        )  # fmt: skip
        file = io.BytesIO()
        torch.jit.save(traced, file)
        file.seek(0)
        loaded = torch.jit.load(file)  # type: ignore[no-untyped-call]

        def run(given: Sequence[Array]) -> list[Array]:
            return [each.numpy() for each in loaded(*map(torch.from_numpy, given))]

        compare(policy, run)
    return file.getvalue()


def onnx(policy: Policy) -> bytes:
    """A file for ONNX runtimes.

    Raises:
        UserError: the extra is missing, the network cannot be exported, or the program does
            something else.
    """
    try:
        import onnx.reference
        import onnxscript  # noqa: F401
    except ImportError:
        hint = commands.install("onnx")
        raise UserError("onnx needs the onnx extra", field="--to", hint=hint) from None
    taken, given_back = names_of(policy)
    batch = torch.export.Dim("batch")
    remembers = len(taken) > 1
    shapes = ({0: batch}, *[({0: batch}, {0: batch})] * remembers)  # what *memory holds is one
    with _refusing("onnx"), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "policy.onnx"
        torch.onnx.export(
            Program(policy).eval(),
            tuple(map(torch.from_numpy, inputs(policy, ROWS[0]))),
            path,
            input_names=taken,
            output_names=given_back,
            dynamic_shapes=shapes,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        content = path.read_bytes()
        session = onnx.reference.ReferenceEvaluator(onnx.load_model_from_string(content))

        def run(given: Sequence[Array]) -> list[Array]:
            return [
                np.asarray(each) for each in session.run(None, dict(zip(taken, given, strict=True)))
            ]

        compare(policy, run)
    return content


def inputs(policy: Policy, rows: int) -> list[Array]:
    """What a program takes, drawn at random, the same each time."""
    space, memory = policy.translation.observations.space, policy.model.memory
    assert space.shape is not None
    space.seed(0)
    drawn = [np.stack([space.sample() for _ in range(rows)])]
    if memory is not None:
        random = np.random.default_rng(0)
        state = policy.acting.state(rows)
        assert state is not None
        for _ in range(3):  # a state that there is
            seen = np.stack([space.sample() for _ in range(rows)])
            _, state = policy.acting.act(seen, state=state, greedy=True)
        assert state is not None
        drawn += [state.numpy(), random.random(rows) < 0.5]
    return drawn


def compare(policy: Policy, run: Run) -> None:
    """Hold a program against the policy, with a number of observations that it has not seen.

    Raises:
        ValueError: they differ.
    """
    given = inputs(policy, ROWS[1])
    wanted = Program(policy)(*map(torch.from_numpy, given))
    found = run(given)
    head, plan = policy.model.head, policy.translation.actions
    # near ties may be decided otherwise: actions are those of the program's own distributions
    mode = head.mode(torch.from_numpy(np.array(found[1])))
    expected = [plan.to_env(head.to_env(mode)), *(each.numpy() for each in wanted[1:])]
    for name, own, true in zip(names_of(policy)[1], found, expected, strict=True):
        if own.shape != true.shape or not np.allclose(own, true, rtol=TOLERANCE, atol=TOLERANCE):
            raise ValueError(f"its {name} is not the policy's")


@contextlib.contextmanager
def _refusing(name: str) -> Iterator[None]:
    """Make one line of whatever an exporter raises; what it warns of is checked anyway.

    Raises:
        UserError: with the reason.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    except UserError:
        raise
    except Exception as error:  # of torch's compiler, of an own trunk
        cause = error.__cause__ or error  # what torch's own exporter wraps is a guide of steps
        lines = [line for line in str(cause).strip().splitlines() if line.strip()]
        reason = f"{type(cause).__name__}: {lines[0][:160]}" if lines else type(cause).__name__
        raise UserError(f"the policy makes no {name} program: {reason}", field="--to") from error
