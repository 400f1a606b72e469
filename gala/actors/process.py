"""The process of one actor: ``python -m gala.actors.process``; its assignment comes on stdin.

It hears the newest parameters, acts for T steps, and fills a slot with what came of it. Signals
that ask a run to stop are its learner's concern, which needs unrolls for its last update: an actor
ends when its channel does.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from contextlib import suppress

import torch

from gala.actors.assignment import Assignment, Channel
from gala.actors.memory import Memory, Plan
from gala.actors.player import Player
from gala.actors.weights import Listener, identity_of
from gala.envs.wire import Gone
from gala.errors import UserError
from gala.launch.heartbeat import Heartbeat
from gala.launch.processes import die_with_parent
from gala.launch.signals import STOPPING


class Actor:
    """Acts with a copy of its learner's policy, which it hears over memory that both have.

    Args:
        assignment: see :class:`~gala.actors.assignment.Assignment`.

    Raises:
        UserError: the environments cannot be made, or are others than the agent's.
    """

    def __init__(self, assignment: Assignment) -> None:
        self._player = player = Player(assignment)
        plan = Plan(
            actors=assignment.actors,
            slots=assignment.slots,
            layout=player.layout,
            envs=assignment.envs,
        )
        memory = Memory(assignment.memory, plan)
        self._unrolls = memory.unrolls
        self._heart = Heartbeat(0, memory.heartbeats[assignment.actor : assignment.actor + 1])
        flat = player.flat
        size = flat.data.numel() * flat.data.element_size()
        identity = identity_of(assignment.run_id, flat.layout_hash)
        self._learner = Listener(
            assignment.weights, identity, rank=assignment.rank, payload_bytes=size
        )

    def fill(self, slot: int, idle_s: float) -> None:
        """Act for T steps with the newest parameters.

        Args:
            slot: where the unroll belongs.
            idle_s: seconds that were waited for it.
        """
        self._heart.act()
        self._hear()
        self._player.play(self._unrolls[slot], self._learner.revision, idle_s)

    def close(self) -> None:
        """Release the environments."""
        self._player.close()

    def _hear(self) -> None:
        while (vector := self._learner.hear()) is None and self._learner.revision < 0:
            time.sleep(0.001)  # damaged, as there is one before there are slots to fill
        if vector is not None:
            self._player.follow(vector)


def main() -> int:
    """Act until the channel ends; returns the exit code."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    assignment = Assignment.from_json(sys.stdin.read())
    die_with_parent(signal.SIGKILL)
    if os.getppid() != assignment.parent:
        return 1
    for fd in (assignment.memory, assignment.weights, assignment.channel):
        os.set_inheritable(fd, False)
    torch.set_num_threads(1)
    channel = Channel.of(assignment.channel)
    try:
        _serve(assignment, channel)
    except Gone:
        return 0
    except Exception as error:
        if not isinstance(error, UserError):
            traceback.print_exc()
        with suppress(Gone):
            channel.fail(str(error) if isinstance(error, UserError) else _told(error))
        return 1
    return 0


def _serve(assignment: Assignment, channel: Channel) -> None:
    """Fill the slots that come.

    Raises:
        Gone: no more will come.
    """
    actor = Actor(assignment)
    try:
        while True:
            began = time.perf_counter()
            slot = channel.receive()
            assert isinstance(slot, int)
            actor.fill(slot, time.perf_counter() - began)
            channel.send(slot)
    finally:
        actor.close()


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    sys.exit(main())
