"""Remote actors: actors on other machines, as their agent sees them (APS of ClusterEnv).

Parameters are many bytes and observations few, or the other way round: an actor is sent new
parameters only when they would act otherwise. How far ``KL(acted || newest)`` is, in nats on the
observations that it acted on last, is computed here, where both are known.
"""

from __future__ import annotations

import selectors
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from gala.actors.balance import Balance
from gala.actors.remote_actor import form_of
from gala.actors.worker_pool import WorkerPool
from gala.envs.wire import Frame, Gone, Kind, Link
from gala.errors import UserError
from gala.experience.batch import Batch
from gala.experience.unroll import Unroll
from gala.gossip.message import checksum
from gala.launch.watchdog import LOOK_S, Limits, Watchdog
from gala.networks.model import Model

AHEAD = 2
"""Unrolls that a remote actor may fill before the first is taken in."""


@dataclass(kw_only=True)
class _Outpost:
    """One of them.

    Attributes:
        link: to it.
        watchdog: says when it hangs.
        taken: unrolls so far.
        agreed: whether it acts in the same environments, with the same network.
        revision: of the parameters that it was sent last; None: none.
    """

    link: Link
    watchdog: Watchdog
    taken: int = 0
    agreed: bool = False
    revision: int | None = None


class RemoteActors:
    """A :class:`~gala.experience.unroll_queue.Feeder`, of one thread.

    Args:
        pool: brings the actors.
        part: what one plays, as JSON, from its index and how often that was taken before.
        memory: of the slots for unrolls, Uint8 each.
        slots: the same.
        model: that acts, with the newest parameters.
        parameters: the same, Float32[P] on the CPU.
        sync_kl: nats beyond which an actor is sent the newest parameters.
        limits: of their silence.
    """

    def __init__(
        self,
        pool: WorkerPool,
        part: Callable[[int, int], str],
        memory: Sequence[Tensor],
        slots: Sequence[Unroll],
        model: Model,
        parameters: Callable[[], Tensor],
        *,
        sync_kl: float,
        limits: Limits,
    ) -> None:
        self._pool, self._part, self._model = pool, part, model
        self._parameters, self._sync_kl, self._limits = parameters, sync_kl, limits
        self._free = deque(zip(memory, slots, strict=True))
        self._full = deque[tuple[Tensor, Unroll]]()
        self._taken: dict[int, tuple[Tensor, Unroll]] = {}
        self._form = form_of(memory[0].nbytes, model.flat.layout_hash)
        self._posts: dict[int, _Outpost] = {}
        self._incarnations: dict[int, int] = {}
        self._revision: int | None = None
        self._balance = Balance(len(slots))
        self._events: list[tuple[str, str]] = []
        self._kls: list[float] = []
        self._synced = self._sent = self._received = 0
        self._done = False
        self._selector = selectors.DefaultSelector()

    def learned(self, revision: int) -> None:
        """See :class:`~gala.experience.unroll_queue.Feeder`."""
        self._revision = revision
        for index, post in list(self._posts.items()):
            if post.agreed and post.revision is None:
                self._begin(index, post)

    def take(self, meanwhile: Callable[[], object]) -> Unroll:
        """See :class:`~gala.experience.unroll_queue.Feeder`."""
        began = time.perf_counter()
        self._attend(0.0)
        self._balance.asked(len(self._full))
        while not self._full:
            self._attend(LOOK_S)
            if not self._full:
                meanwhile()
        slot = self._full.popleft()
        self._taken[id(slot[1])] = slot
        self._balance.waited(time.perf_counter() - began)
        self._balance.acted(*slot[1].times)
        return slot[1]

    def release(self, unroll: Unroll) -> None:
        """See :class:`~gala.experience.unroll_queue.Feeder`."""
        self._free.append(self._taken.pop(id(unroll)))

    def metrics(self) -> dict[str, float]:
        """See :class:`~gala.experience.unroll_queue.Feeder`."""
        kls, self._kls, synced, self._synced = self._kls, [], self._synced, 0
        found = {
            "actors/alive": float(len(self._posts)),
            "actors/replaced": float(self._pool.replaced),
            "actors/bytes_sent": float(self._sent + sum(p.link.sent for p in self._posts.values())),
            "actors/bytes_received": float(
                self._received + sum(p.link.received for p in self._posts.values())
            ),
        } | self._balance.metrics()
        if kls:
            found |= {"actors/kl": sum(kls) / len(kls), "actors/synced": synced / len(kls)}
        return found

    def events(self) -> list[tuple[str, str]]:
        """See :class:`~gala.experience.unroll_queue.Feeder`."""
        events, self._events = self._events, []
        return self._pool.events() + events

    def done(self) -> None:
        """See :class:`~gala.experience.unroll_queue.Feeder`."""
        self._done = True

    def close(self) -> None:
        """Let all of them go."""
        for post in self._posts.values():
            if self._done:
                with suppress(Gone):
                    post.link.send(Kind.BYE)
            post.link.close()
        self._posts.clear()
        self._pool.close()
        self._selector.close()

    def _attend(self, timeout_s: float) -> None:
        """Hear actors for at most so long; see who has come, who is over, who hangs."""
        for index, link in self._pool.come():
            self._incarnations[index] = incarnation = self._incarnations.get(index, -1) + 1
            self._posts[index] = _Outpost(link=link, watchdog=Watchdog(self._limits))
            self._selector.register(link.end, selectors.EVENT_READ, index)
            part = self._part(index, incarnation).encode()
            self._guarded(index, partial(link.send, Kind.PART, part))
        for key, _ in self._selector.select(timeout_s):
            self._guarded(key.data, partial(self._listen, key.data))
        now = time.monotonic()
        for index, post in list(self._posts.items()):
            words = [post.taken + 1 << 1] if post.revision is not None else []
            waits = post.agreed and post.revision is None  # for its first parameters
            if not waits and (hung := post.watchdog.look(words, now)) is not None:
                self._dismiss(index, hung)

    def _guarded(self, index: int, work: Callable[[], object]) -> None:
        """Do it, and dismiss the actor where it fails."""
        try:
            work()
        except Gone:
            self._dismiss(index, None)
        except UserError as error:
            self._dismiss(index, str(error))

    def _dismiss(self, index: int, why: str | None) -> None:
        post = self._posts.pop(index)
        self._sent, self._received = (
            self._sent + post.link.sent,
            self._received + post.link.received,
        )
        self._selector.unregister(post.link.end)
        post.link.close()
        self._events.append(("actor", self._pool.over(index, why)))

    def _listen(self, index: int) -> None:
        """Take in what an actor says; while there is no room, it waits."""
        post = self._posts[index]
        while self._free and (frame := post.link.poll()) is not None:
            if frame.kind == Kind.REFUSED:
                raise UserError(frame.text)
            if frame.kind == Kind.UNROLL and post.revision is not None:
                self._take_in(post, frame)
            elif frame.kind == Kind.FORM and not post.agreed:
                self._agree(index, post, frame)
            else:
                raise UserError(f"it sent a frame of kind {frame.kind} out of turn")

    def _agree(self, index: int, post: _Outpost, frame: Frame) -> None:
        if bytes(frame.payload) != self._form:
            mistake = UserError(
                "is another environment or network at its worker than in the agent", field="env.id"
            )
            post.link.send(Kind.REFUSED, str(mistake).encode())
            raise mistake
        post.agreed = True
        if self._revision is not None:
            self._begin(index, post)

    def _begin(self, index: int, post: _Outpost) -> None:
        def begin() -> None:
            self._sync(post)
            for _ in range(AHEAD - 1):
                post.link.send(Kind.GO)

        self._guarded(index, begin)

    def _take_in(self, post: _Outpost, frame: Frame) -> None:
        memory, unroll = slot = self._free.popleft()
        if frame.payload.nbytes != memory.nbytes:
            self._free.appendleft(slot)
            raise UserError("it sent an unroll of another size")
        memory.copy_(torch.frombuffer(frame.payload, dtype=torch.uint8))
        if checksum(unroll.sealed) != int(unroll.checksum[0]):
            self._free.appendleft(slot)
            raise UserError("it sent an unroll that is damaged")
        self._full.append(slot)
        post.taken += 1
        kl = self._apart(unroll.batch)
        self._kls.append(kl)
        if post.revision != self._revision and not kl <= self._sync_kl:
            self._synced += 1
            self._sync(post)
        else:
            post.link.send(Kind.GO)

    def _sync(self, post: _Outpost) -> None:
        """Send the newest parameters."""
        assert self._revision is not None
        vector = self._parameters().numpy().view(np.uint8)
        low, high = self._revision & 0xFFFFFFFF, self._revision >> 32
        post.link.send(Kind.WEIGHTS, vector.data, flags=low, count=high)
        post.revision = self._revision

    @torch.no_grad()
    def _apart(self, batch: Batch) -> float:
        """``KL(acted || newest)`` in nats, mean over the observations that were acted on last."""
        model, device = self._model, self._model.flat.data.device
        if batch.memory is None or batch.begin is None:
            newest, _ = model.module(batch.obs[-2].to(device))
        else:
            newest, _, _ = model.module.unroll(
                batch.obs[:-1].to(device), batch.memory.to(device), batch.begin[:-1].to(device)
            )
            newest = newest[-batch.envs :]
        head = model.module.head
        if batch.mask is not None:
            newest = head.masked(newest, batch.mask[-1].to(device))
        return float(head.kl(batch.dist[-1].to(device), newest).mean())
