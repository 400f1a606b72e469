"""Central inference: workers step, a thread of the agent acts for all of them.

It acts for whoever is ready as soon as nobody is under way any more, or a deadline has passed since
the first one was ready: a slow worker holds up nobody. Full unrolls wait here for the learner.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from torch import Tensor

from gala.actors.balance import Balance
from gala.actors.inference import Inference, Question
from gala.actors.worker_pool import WorkerPool
from gala.actors.worker_state import WorkerState
from gala.device.streams import Stream
from gala.envs.remote import RemoteEnv
from gala.envs.wire import Gone, Link
from gala.errors import UserError
from gala.experience.unroll import Unroll
from gala.launch.watchdog import LOOK_S

Make = Callable[[Link, int, int], RemoteEnv]
"""The environments at the other end of a link, for a worker that was taken so often before."""


class Central:
    """A :class:`~gala.experience.unroll_queue.Feeder`.

    Args:
        workers: the places of all workers.
        pool: brings them.
        make: see :data:`Make`.
        inference: acts; used by one thread, in ``stream``.
        stream: of that thread.
        slots: for unrolls.
        parameters: the newest, Float32[P] on the CPU.
        deadline_s: longest wait for others once somebody is ready.
    """

    def __init__(
        self,
        workers: Sequence[WorkerState],
        pool: WorkerPool,
        make: Make,
        inference: Inference,
        stream: Stream,
        slots: Sequence[Unroll],
        parameters: Callable[[], Tensor],
        *,
        deadline_s: float,
    ) -> None:
        self._workers, self._pool, self._make = workers, pool, make
        self._inference, self._stream = inference, stream
        self._parameters, self._deadline_s = parameters, deadline_s
        self._lives = [0] * len(workers)
        self._free, self._full = deque(slots), deque[Unroll]()
        self._published: int | None = None
        self._balance = Balance(len(slots))
        self._events: deque[tuple[str, str]] = deque()
        self._batches: list[int] = []
        self._failure: BaseException | None = None
        self._closing = self._done = False
        self._looked = 0.0
        self._arrived = threading.Condition()
        self._wake, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._work, name="inference", daemon=True)
        self._thread.start()

    def learned(self, revision: int) -> None:
        """See :class:`~gala.experience.unroll_queue.Feeder`."""
        if revision != self._published:
            self._inference.offer(self._parameters(), revision)
            self._published = revision
            self._rouse()

    def take(self, meanwhile: Callable[[], object]) -> Unroll:
        """See :class:`~gala.experience.unroll_queue.Feeder`.

        Raises:
            UserError: a worker ends again and again before its first unroll.
        """
        began = time.perf_counter()
        self._balance.asked(len(self._full))
        while (unroll := self._next()) is None:
            meanwhile()
        self._balance.waited(time.perf_counter() - began)
        return unroll

    def _next(self) -> Unroll | None:
        """The oldest full unroll, waited for a little."""
        with self._arrived:
            if not self._full:
                if self._failure is not None:
                    raise self._failure
                self._arrived.wait(LOOK_S)
            return self._full.popleft() if self._full else None

    def release(self, unroll: Unroll) -> None:
        """See :class:`~gala.experience.unroll_queue.Feeder`."""
        self._free.append(unroll)
        self._rouse()

    def metrics(self) -> dict[str, float]:
        """See :class:`~gala.experience.unroll_queue.Feeder`."""
        batches, self._batches = self._batches, []
        found = {
            "actors/alive": float(sum(worker.env is not None for worker in self._workers)),
            "actors/replaced": float(self._pool.replaced),
        } | self._balance.metrics()
        if batches:
            found |= {
                "actors/batch": sum(batches) / len(batches),
                "actors/batch_max": float(max(batches)),
            }
        return found

    def events(self) -> list[tuple[str, str]]:
        """See :class:`~gala.experience.unroll_queue.Feeder`."""
        mine = [self._events.popleft() for _ in range(len(self._events))]
        return self._pool.events() + mine

    def done(self) -> None:
        """See :class:`~gala.experience.unroll_queue.Feeder`."""
        self._done = True

    def close(self) -> None:
        """End all workers, and the thread that acts for them."""
        self._closing = True
        self._rouse()
        self._thread.join()

    def _rouse(self) -> None:
        """Let the thread look around now."""
        with suppress(BlockingIOError, OSError):  # it is awake anyway, or gone
            self._wake.send(b"\0", socket.MSG_DONTWAIT)

    def _work(self) -> None:
        """The thread: hear workers, act for those who are ready."""
        try:
            with self._stream.current():
                while not self._closing:
                    self._look_around()
                    self._hear(self._act())
        except BaseException as error:  # raised where the learner takes the next unroll
            with self._arrived:
                self._failure = error
                self._arrived.notify()
        finally:
            for worker in self._workers:
                worker.leave(done=self._done)
            self._pool.close()
            self._selector.close()
            self._wake.close()
            self._woken.close()

    def _look_around(self) -> None:
        """Now and then: who has come, and who hangs."""
        now = time.monotonic()
        if now - self._looked < LOOK_S / 4:
            return
        self._looked = now
        for worker in self._workers:
            if (hung := worker.hung(now)) is not None:
                self._dismiss(worker, hung)
        for index, link in self._pool.come():
            worker = self._workers[index]
            self._lives[index] += 1
            try:
                worker.sit(self._make(link, index, self._lives[index] - 1))
            except Gone:
                link.close()
                self._events.append(("actor", self._pool.over(index, None)))
            else:
                self._selector.register(link.end, selectors.EVENT_READ, worker)

    def _hear(self, timeout_s: float) -> None:
        for key, _ in self._selector.select(timeout_s):
            if key.data is None:
                self._woken.recv(4096)
            else:
                self._listen(key.data)

    def _listen(self, worker: WorkerState) -> None:
        """Take in what a worker says, or that it is over."""
        env = worker.env
        if env is None:
            return
        try:
            if worker.stepping:
                if (step := env.poll()) is None:
                    return
                stepped_s, final = worker.outcome(step, time.perf_counter())
                self._balance.acted(0.0, stepped_s)
                if final is not None:
                    worker.valued_finals(self._inference.value(worker.columns, final))
            elif worker.obs is None:
                if (first := env.begun()) is not None:
                    worker.show_first(first, env.action_mask, time.perf_counter())
            elif env.poll() is not None:
                raise UserError("it has spoken out of turn")
        except Gone:
            self._dismiss(worker, None)
        except UserError as error:
            self._dismiss(worker, str(error))

    def _dismiss(self, worker: WorkerState, why: str | None) -> None:
        """Tell of a worker that is over; free what it had begun; have it replaced.

        Raises:
            UserError: that was once too often.
        """
        if worker.env is not None:
            self._selector.unregister(worker.env.link.end)
        self._free.extend(worker.leave())
        self._events.append(("actor", self._pool.over(worker.index, why)))

    def _act(self) -> float:
        """Act for those who are ready, if it is time; returns how long to wait for more."""
        if not self._inference.offered:
            return LOOK_S / 4
        shown = [worker for worker in self._workers if worker.obs is not None]
        for worker in shown:
            if worker.unroll is None and self._free:
                worker.fill(self._free.popleft())
        acting = [worker for worker in shown if worker.unroll is not None]
        valued = [
            worker for worker in shown if worker.unroll is None and worker.complete is not None
        ]
        if not acting and not valued:
            return LOOK_S / 4
        first = min(worker.since for worker in (*acting, *valued))
        left_s = first + self._deadline_s - time.perf_counter()
        if left_s > 0 and any(worker.stepping for worker in self._workers):
            return left_s
        self._infer(acting, valued)
        return 0.0

    def _infer(self, acting: list[WorkerState], valued: list[WorkerState]) -> None:
        """One batch: act in some environments, value what others show."""
        questions = [
            Question(columns=worker.columns, obs=worker.obs, mask=worker.mask, begin=worker.begin)
            for worker in (*acting, *valued)
            if worker.obs is not None
        ]
        answer = self._inference.act(questions, len(acting))
        self._batches.append(len(answer.value))
        revision, end = self._inference.revision, 0
        assert revision is not None
        for worker in (*acting, *valued):
            where = slice(end, end := end + worker.columns.stop - worker.columns.start)
            value = answer.value[where]
            if worker.complete is not None:
                self._deliver(worker, value)
            if worker.unroll is None:
                continue
            if worker.row == 0 and answer.memory is not None:
                worker.remembers(answer.memory[where])
            worker.acted(answer.dist[where], value, answer.action[where], revision)
            self._send(worker, answer.given[where])

    def _deliver(self, worker: WorkerState, value: Tensor) -> None:
        unroll = worker.valued(value)
        self._pool.delivered(worker.index)
        with self._arrived:
            self._full.append(unroll)
            self._arrived.notify()

    def _send(self, worker: WorkerState, actions: Any) -> None:
        assert worker.env is not None
        try:
            worker.env.send(actions)
        except Gone:
            self._dismiss(worker, None)
            return
        self._balance.acted(worker.sent(time.perf_counter()), 0.0)
