"""Tasks of a run: environments that differ in arguments or in id, and whose each of them is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gala.config.fields import FreeForm
from gala.config.sections import EnvConfig


def tasks_of(env: EnvConfig) -> tuple[EnvConfig, ...]:
    """The environments of each task, which name none themselves; without tasks, ``env`` alone."""
    return tuple(_merged(env, task) for task in env.tasks) or (env,)


def _merged(env: EnvConfig, task: FreeForm) -> EnvConfig:
    given = dict(task)
    name = str(given.pop("id", env.id))
    return replace(env, id=name, kwargs=env.kwargs | given, tasks=())


def own_tasks(tasks: int, rank: int, agents: int) -> tuple[int, ...]:
    """Numbers of an agent's own tasks: each task has an agent, each agent a task.

    Args:
        tasks: how many there are; 0: none.
        rank: of the agent.
        agents: how many there are.

    >>> own_tasks(5, 0, 2), own_tasks(5, 1, 2), own_tasks(2, 3, 4), own_tasks(0, 0, 1)
    ((0, 2, 4), (1, 3), (1,), ())
    """
    if 0 < tasks < agents:
        return (rank % tasks,)
    return tuple(range(rank, tasks, agents))


def dealt(parts: int, whole: int) -> list[range]:
    """Dealt out in turns: which of ``whole`` things each of ``parts`` gets.

    >>> dealt(2, 5)
    [range(0, 5, 2), range(1, 5, 2)]
    """
    return [range(part, whole, parts) for part in range(parts)]


def name_of(env: EnvConfig) -> str:
    """The id, or those of the tasks, each once."""
    return ", ".join(dict.fromkeys(each.id for each in tasks_of(env)))


def text_of(task: FreeForm) -> str:
    """What a task changes, in words."""
    return ", ".join(f"{name} {value}" for name, value in task.items()) or "as it is"


def whose(task: int, tasks: int, agents: int) -> Sequence[int]:
    """Ranks of the agents that have a task."""
    return [rank for rank in range(agents) if task in own_tasks(tasks, rank, agents)]
