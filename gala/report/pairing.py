"""Which runs of two sets stand against which: those of one environment, if they are comparable."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gala.errors import UserError
from gala.report.curves import SHORT
from gala.report.figures import Entry
from gala.report.run_data import number
from gala.telemetry.arms import TASK, differing, hash_of, legend

SETS = ("A", "B")

SET = "set"
"""The option that tells which of the two a run is in: configurations may be equal."""

BUDGET = "total_steps"

ENVIRONMENT = (
    *TASK,
    *(
        f"env.atari.{name}"
        for name in (
            *("frame_skip", "sticky_actions", "noop_min", "noop_max"),
            *("full_action_space", "max_frames"),
        )
    ),
)
"""Options that say what returns are measured of."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """How runs make two sets.

    Attributes:
        asked: where those of A and B were looked for.
        first: so many of them, from the first on, are A.
    """

    asked: tuple[str, str]
    first: int

    def set_of(self, index: int) -> str:
        """``A`` or ``B``, of the run with that number."""
        return SETS[index >= self.first]


Sides = tuple[Sequence[Entry], Sequence[Entry]]


def tasks_of(sides: Sides, *, budgets: bool) -> list[Sides]:
    """The runs of A and B on each environment.

    Args:
        sides: A and B.
        budgets: whether runs of one environment must have done equal budgets.

    Raises:
        UserError: there are environments that one of them has not, the runs of one environment are
            not seeds of one configuration, budgets differ or are not used up, or a run has no
            return.
    """
    found: tuple[dict[str, list[Entry]], ...] = ({}, {})
    for side, tasks in zip(sides, found, strict=True):
        for entry in side:
            tasks.setdefault(_environment(entry), []).append(entry)
    a, b = found
    if a.keys() != b.keys():
        names = differing(_environment_options(entry) for side in sides for entry in side)
        has = "; ".join(
            f"{letter} alone has {' and '.join(_told(tasks[key][0], names) for key in keys)}"
            for letter, tasks, keys in (("A", a, a.keys() - b), ("B", b, b.keys() - a))
            if keys
        )
        raise UserError(f"the sets are of different environments: {has}", field="--compare")
    pairs: list[Sides] = [(a[key], b[key]) for key in a]
    for task in pairs:
        _require_seeds(task)
        _require_returns(task)
        if budgets:
            _require_equal_steps(task)
    return pairs


def _require_seeds(task: Sides) -> None:
    for letter, side in zip(SETS, task, strict=True):
        if len({hash_of(entry.run.options, leave_out=(BUDGET,)) for entry in side}) > 1:
            names = differing(entry.run.options for entry in side)
            reason = f"differ in {', '.join(names)}" if names else "have no readable config.yaml"
            rule = f"the runs of {letter} on {side[0].summary.env_id} are no seeds of one another"
            raise UserError(f"{rule}: they {reason}", field="--compare")


def _require_returns(task: Sides) -> None:
    for entry in (*task[0], *task[1]):
        if entry.curve is None or not entry.curve.steps[entry.curve.complete].size:
            raise UserError("an agent has finished no game", file=entry.run.path)


def _require_equal_steps(task: Sides) -> None:
    every = [*task[0], *task[1]]
    done = [float(entry.curve.steps[-1]) for entry in every if entry.curve is not None]
    hint = f"--steps {int(min(done))} compares them there"
    budgets = {entry.run.options.get(BUDGET, "unknown") for entry in every}
    if len(budgets) > 1:
        told = " and ".join(sorted(budgets, key=lambda text: (len(text), text)))
        rule = f"the runs on {every[0].summary.env_id} have different budgets: {told} steps"
        raise UserError(rule, field="--compare", hint=hint)
    budget = number(_whole(next(iter(budgets))))
    for entry, steps in zip(every, done, strict=True):
        if steps < SHORT * budget:
            rule = f"has done {steps:,.0f} of {budget:,.0f} steps"
            raise UserError(rule, file=entry.run.path, hint=hint)


def _whole(text: str) -> object:
    return int(text) if text.isdecimal() else None


def _environment(entry: Entry) -> str:
    return hash_of(_environment_options(entry))


def _environment_options(entry: Entry) -> dict[str, str]:
    options = entry.run.options
    return {
        name: text
        for name, text in options.items()
        if any(name == each or name.startswith(f"{each}.") for each in ENVIRONMENT)
    }


def _told(entry: Entry, names: Iterable[str]) -> str:
    """An environment by its id, and by the options ``names`` that it has beside it."""
    others = legend(_environment_options(entry), (name for name in names if name != "env.id"))
    return ", ".join([str(entry.summary.env_id), *(f"{k} {v}" for k, v in others.items())])


def environments(first: Sequence[Entry]) -> list[str]:
    """The environment's id of a run of each, with what else differs where two have the same."""
    ids = [str(entry.summary.env_id) for entry in first]
    names = differing(_environment_options(entry) for entry in first)
    return [
        _told(entry, names) if ids.count(each) > 1 else each
        for entry, each in zip(first, ids, strict=True)
    ]
