"""The lesson: what is asked of a distillation, and the student's configuration that follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from gala.config.sections import EnvConfig
from gala.config.tree import Config
from gala.errors import UserError, did_you_mean
from gala.files.yaml import dump_yaml, parse_yaml
from gala.parameters.optimizer_config import OptimizerConfig
from gala.run.config import from_document

ALGORITHM = "a2c"
"""What a student's configuration names: its network is that of every actor-critic, and the options
of this one's optimizer are those of the lesson."""

LEARNING = {"n_step": 4, "optimizer": "adam", "lr": 1e-3, "lr_schedule": "linear"}
ENVS = 8
"""Environments of each teacher."""
STEPS = 100_000
"""Steps in those of each teacher."""

WHOLE = ("network.", "log.", "checkpoint.")
"""Sections that are a student's own."""
NAMES = (
    "total_steps",
    "seed",
    "threads",
    "device",
    "env.num_envs",
    "env.normalize_observation",
    f"{ALGORITHM}.n_step",
    *(f"{ALGORITHM}.{each.name}" for each in fields(OptimizerConfig)),
)
"""Other options that are."""


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What was asked for.

    Attributes:
        teachers: run folders, or exported policies.
        into: the student's run folder.
        temperature: of the teachers' distributions; None: 1, and that of values.
        features: weight of the error of features; 0: they are left alone.
        episodes: to be played with each policy at the end; 0: none.
        options: of ``gala train``, by dotted name.
        command: the command line.
    """

    teachers: tuple[Path, ...]
    into: Path
    temperature: float | None
    features: float
    episodes: int
    options: tuple[tuple[str, Any], ...]
    command: str


def require_own(options: Sequence[tuple[str, Any]]) -> None:
    """Refuse options that are not a student's: its teachers', or of learning from rewards.

    Raises:
        UserError: naming the first one.
    """
    for name, _ in options:
        if name not in NAMES and not name.startswith(WHOLE):
            flag = "--" + name.replace("_", "-")
            hint = did_you_mean(name, [*NAMES, *(f"{each}*" for each in WHOLE)], limit=20)
            raise UserError("is no option of a student", field=flag, hint=hint)


def require_free(into: Path) -> None:
    """Refuse a folder that holds something.

    Raises:
        UserError: it does, or is none.
    """
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        what = "holds another run" if (into / "meta.json").exists() else "is not an empty folder"
        raise UserError(what, file=into, field="--into", hint="a student begins in a new one")


def student_config(
    first: Config, env: EnvConfig, teachers: int, options: Sequence[tuple[str, Any]]
) -> Config:
    """The configuration of a student's run: network and environments of its first teacher.

    Args:
        first: that teacher's.
        env: its environments, as the student sees them.
        teachers: how many there are.
        options: laid over it.

    Raises:
        UserError: a value breaks its field's rule, or there are fewer environments than teachers.
    """
    own = Config(env=env, network=first.network).to_dict()
    data = {
        "env": own["env"] | {"num_envs": ENVS * teachers, "normalize_reward": False},
        "network": own["network"],
        "algorithm": ALGORITHM,
        ALGORITHM: dict(LEARNING),
        "agents": 1,
        "total_steps": STEPS * teachers,
    }
    config: Config = from_document(parse_yaml(dump_yaml(data), "student"), options)
    if config.env.num_envs < teachers:
        rule = f"each of {teachers} teachers needs one, got {config.env.num_envs}"
        raise UserError(rule, field="--env.num-envs", hint=str(teachers))
    return config


def shares(envs: int, teachers: int) -> list[int]:
    """Environments of each teacher, as equal as can be.

    >>> shares(8, 3)
    [3, 3, 2]
    """
    each, more = divmod(envs, teachers)
    return [each + (index < more) for index in range(teachers)]
