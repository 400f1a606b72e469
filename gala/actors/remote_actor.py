"""Remote actor: an actor on another machine, with a policy of its own that its agent seldom renews.

It acts unroll by unroll, whoever waits, as long as it has leave: two unrolls at the start, and one
more for each that the agent has taken in. With that comes what to act with, or nothing new.
"""

from __future__ import annotations

import time

import torch

from gala.actors.player import Part, Player
from gala.envs.wire import Frame, Kind, Link
from gala.errors import UserError
from gala.experience.unroll import Unroll

PATIENCE_S = 600.0
"""Seconds that an agent may learn before it takes an unroll."""


def form_of(unroll_bytes: int, layout_hash: str) -> bytes:
    """What an actor and its agent must agree on: bytes of an unroll, and the parameters."""
    return f"{unroll_bytes} {layout_hash}".encode()


def revision_in(frame: Frame) -> int:
    """The revision of the parameters that a frame holds."""
    return frame.count << 32 | frame.flags


def act_for(link: Link, text: str) -> None:
    """Act for an agent until it is done.

    Args:
        link: to the agent.
        text: a :class:`~gala.actors.player.Part` as JSON.

    Raises:
        Gone: the agent has ended without a word.
        UserError: the environments cannot be made, or the agent wants others.
    """
    torch.set_num_threads(1)
    part = Part.from_json(text)
    player = Player(part)
    try:
        size = Unroll.size(player.layout, part.envs)
        memory = torch.zeros(size, dtype=torch.uint8)
        unroll = Unroll(memory, player.layout, part.envs)
        link.send(Kind.FORM, form_of(size, player.flat.layout_hash))
        revision, leave = -1, 0
        while True:
            began = time.perf_counter()
            while (frame := link.receive() if not leave else link.poll()) is not None:
                if frame.kind == Kind.BYE:
                    return
                if frame.kind == Kind.REFUSED:
                    raise UserError(frame.text)
                if frame.kind == Kind.WEIGHTS:
                    player.follow(torch.frombuffer(frame.payload, dtype=torch.float32))
                    revision = revision_in(frame)
                leave += 1
            leave -= 1
            player.play(unroll, revision, time.perf_counter() - began)
            link.send(Kind.UNROLL, memory.numpy().data, patience_s=PATIENCE_S)
    finally:
        player.close()
