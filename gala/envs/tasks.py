"""The environments of several tasks: those of one agent, and whether one network fits all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace

from gala.config.sections import EnvConfig
from gala.config.tasks import dealt, tasks_of
from gala.envs import make_each, make_vector_env, make_vector_envs, translation_of
from gala.envs.step import VectorEnv
from gala.envs.translation import difference
from gala.errors import UserError


def make_task_envs(
    config: EnvConfig, own: Sequence[int], *, seed: int, threads: int = 1
) -> list[VectorEnv]:
    """All environments of one agent: a vector for each of several tasks, which play by turns.

    Args:
        config: of the run.
        own: numbers of the agent's tasks; none where the run has none.
        seed: of the environments.
        threads: see :func:`~gala.envs.make_vector_env`.

    Raises:
        UserError: see :func:`~gala.envs.make_vector_env`.
    """
    tasks = tasks_of(config)
    if len(own) < 2:
        task = tasks[own[0] if own else 0]
        return make_vector_envs(task, seed=seed, threads=threads)
    shares = zip(own, dealt(len(own), config.num_envs), strict=True)
    parts = [replace(tasks[number], num_envs=len(share)) for number, share in shares]
    return make_each(parts, seed=seed, threads=threads)


def require_alike(config: EnvConfig) -> None:
    """Refuse tasks that one network does not fit; makes environments of each.

    Raises:
        UserError: naming the task that differs from the first, or that cannot be made.
    """
    first, *others = tasks_of(config)
    with _named(0):
        base, masked = translation_of(first), _masked(first)
    for number, task in enumerate(others, 1):
        with _named(number):
            there, masks = translation_of(task), _masked(task)
        differs = difference(there, base)
        if differs is None and there.observations.space != base.observations.space:
            differs = f"observes {there.observations.text}", f"observes {base.observations.text}"
        if differs is None and masks != masked:
            words = {True: "says which actions are allowed", False: "allows all actions"}
            differs = words[masks], words[masked]
        if differs is not None:
            rule = f"task {number} {differs[0]}, and task 0 {differs[1]}"
            hint = "one network needs one kind of observations, and of actions"
            raise UserError(rule, field="env.tasks", hint=hint)


def _masked(task: EnvConfig) -> bool:
    """Whether actions are masked, which some environments show at a reset only."""
    workers = "sync" if task.workers == "async" else task.workers
    one = replace(task, num_envs=1, workers=workers)
    with closing(make_vector_env(one, seed=0)) as env:
        env.reset()
        return env.masks


@contextmanager
def _named(number: int) -> Iterator[None]:
    """Say which task it is that cannot be made."""
    try:
        yield
    except UserError as error:
        rule = f"task {number}: {error.rule}"
        raise UserError(rule, file=error.file, field="env.tasks", hint=error.hint) from None
