"""Where an agent begins: with the group that runs, from a checkpoint, or in a neighbour's place.

A run may go on with another number of agents. Those that are new take the place of one that was
there, from its newest checkpoint; those that are too many stay away: what they did counts, and
their folders stay as they are.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from gala.agent.actor_learner import ActorLearner
from gala.agent.setting import Setting
from gala.errors import UserError
from gala.launch import supervisor
from gala.run import checkpoint
from gala.telemetry.reader import steps_recorded


def begin(agent: ActorLearner, *, agents_before: int | None) -> None:
    """Bring an agent to where it should go on.

    Args:
        agent: freshly made.
        agents_before: of the run that goes on; None: it starts anew.

    Raises:
        UserError: a run to go on with has no checkpoint for this agent.
    """
    launch = agent.setting.launch
    if launch.leads and launch.incarnation == 0 and agents_before is not None:
        say_who_comes(agents_before, launch.agents)
    lock_step, running = agent.coupling.lock_step, launch.announced("running")
    if launch.incarnation > 0 or (running and not lock_step):
        fresh = os.environ.get(supervisor.DEATH_VARIABLE) == supervisor.ASKED_AGAIN
        found = agent.join(fresh=fresh) or "nothing to go on with"
        if launch.incarnation == 0:
            agent.recorder.event("join", f"came late, goes on with {found}")
        else:
            death = os.environ.get(supervisor.DEATH_VARIABLE, "a launch before")
            text = f"incarnation {launch.incarnation} after {death}, goes on with {found}"
            agent.recorder.event("alive", text)
    elif agents_before is not None and launch.rank >= agents_before:
        _take_place(agent, agents_before)
    elif agents_before is not None:
        path = _newest(agent, launch.rank, min(agents_before, launch.agents))
        if path is None:
            raise _nothing(agent.setting)
        with checkpoint.going_on_from(path):
            agent.load_state_dict(_state(agent, path))
        if not agent.source.restorable and launch.leads:
            print("gala: the environments begin new episodes", file=sys.stderr)


def say_who_comes(before: int, now: int) -> None:
    """A line where a run goes on with another number of agents."""
    if before == now:
        return
    first, last = min(before, now), max(before, now) - 1
    who = f"agent {first}" if first == last else f"agents {first} to {last}"
    does = ("begins", "stays") if first == last else ("begin", "stay")
    what = (
        f"{who} {does[0]} with a neighbour's parameters"
        if now > before
        else f"{who} {does[1]} away, what was done so far counts"
    )
    print(f"gala: the run had {before} agents and goes on with {now}: {what}", file=sys.stderr)


def say_schedules(agent: ActorLearner, steps_before: int | None) -> None:
    """A line for each number that falls over the run, where the run is now of another length."""
    config = agent.setting.config
    if steps_before is None or steps_before == config.total_steps:
        return
    done = agent.progress.run_steps(agent.step)
    was, will = (max(1.0 - done / total, 0.0) for total in (steps_before, config.total_steps))
    for name, value in vars(config.learning).items():
        if name.endswith("_schedule") and value == "linear":
            print(
                f"gala: {name} is linear, and total_steps were {steps_before:,} and are "
                f"{config.total_steps:,}: what was at {was:.0%} of its first value goes on at "
                f"{will:.0%}",
                file=sys.stderr,
            )


def _take_place(agent: ActorLearner, before: int) -> None:
    """Go on as a neighbour that was there before does, or as near to it as can be."""
    setting = agent.setting
    rank, run = setting.launch.rank, setting.run
    heard = [j for j in setting.topology.in_neighbours(rank) if j < before]
    for other in (*heard, *(j for j in range(before) if j not in heard)):
        path = _newest(agent, other, before)
        if path is not None:
            break
    else:
        found = None if agent.coupling.lock_step else agent.join()
        if found is None:
            raise _nothing(setting)
        agent.recorder.event("join", f"new in the run, goes on with {found}")
        return
    with checkpoint.going_on_from(path):
        state = _state(agent, path)
        update = state["update"]
        if not agent.coupling.lock_step:  # never behind what it left here itself, long ago
            update = max(update, *checkpoint.updates(checkpoint.folder_of(run.path, rank)), 0)
        agent.take_place(state, update, steps_recorded(run.metrics(rank)))
    agent.recorder.event("join", f"new in the run, begins as agent {other} in {path.name}")
    agent.save()  # from now on it has something of its own to go on with


def _newest(agent: ActorLearner, rank: int, before: int) -> Path | None:
    """The checkpoint of ``rank`` to go on with; in lock-step the newest that all have."""
    run = agent.setting.run
    folder = checkpoint.folder_of(run.path, rank)
    if not agent.coupling.lock_step:
        return checkpoint.newest_finite(folder, agent.pass_over)
    update = checkpoint.common(run.path, range(before))
    return checkpoint.path_of(folder, update) if update is not None else None


def _state(agent: ActorLearner, path: Path) -> dict[str, Any]:
    """A checkpoint of the network that is configured.

    Raises:
        UserError: it is of another.
    """
    state = checkpoint.load(path)
    if state["layout_hash"] != agent.model.flat.layout_hash:
        raise UserError(
            "was written by another network than the one configured",
            file=path,
            field="network",
            hint="resume with the network of config.yaml",
        )
    return state


def _nothing(setting: Setting) -> UserError:
    rule = f"holds no checkpoint of agent {setting.launch.rank} to go on from"
    return UserError(rule, file=setting.run.path)
