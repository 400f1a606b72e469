"""Rendezvous: a key-value store by which agents find each other, and which may come back empty.

Training never needs it; joining does. When the store's server dies, operations fail until it is
back; then this process opens a new connection, and writes again whatever it had written before, so
that agents that come later find the run as if nothing had happened.

Anybody who reaches the store may write into it. With credentials of the run, what is written is
signed, and what nobody of the run has signed counts as not there, and is written over. What is the
word of one agent is believed of that one alone; others pass it on as it was signed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import torch.distributed as dist

from gala.errors import UserError
from gala.launch.credentials import Credentials

REPAIR_S = 2.0
"""Seconds between two checks that everything written is still there."""

AGAIN_S = 0.2
"""Seconds between two looks for what was signed, where there is something that was not."""

T = TypeVar("T")


class Rendezvous:
    """Store of ``torch.distributed`` that is repaired when it went away.

    Operations are those of ``torch.distributed.Store``; they raise RuntimeError while the store
    cannot be reached.

    Args:
        client: a connection.
        open_store: opens another one; may raise RuntimeError.
        credentials: sign what is written, and check what is read; None: everything is believed.
    """

    def __init__(
        self,
        client: dist.Store,
        open_store: Callable[[], dist.Store],
        credentials: Credentials | None = None,
    ) -> None:
        self._client: Any = client
        self._open = open_store
        self._credentials = credentials
        self._lock = threading.RLock()
        self._kept: dict[str, tuple[str | bytes, int | None]] = {}
        self._closed = False
        self._wake = threading.Event()
        self._keeper: threading.Thread | None = None

    def fresh(self) -> dist.Store:
        """A connection of its own, for whoever may have to wait on it."""
        return self._open()

    def check(self, keys: list[str], by: int | None = None) -> bool:
        """Whether all ``keys`` are there, signed by agent ``by`` (None: any of the run)."""
        there = self._do(lambda client: bool(client.check(keys)))
        return there and (
            self._credentials is None or all(self._opened(key, by) is not None for key in keys)
        )

    def get(self, key: str, by: int | None = None) -> bytes:
        """The value of ``key``, which is there, signed by agent ``by`` (None: any of the run).

        Raises:
            UserError: it is not signed.
        """
        return self._require(key, self._opened(key, by))

    def wait(self, keys: list[str], timeout: timedelta, by: int | None = None) -> None:
        """Wait until all ``keys`` are there, signed by agent ``by`` (None: any of the run)."""
        deadline = time.monotonic() + timeout.total_seconds()
        self._do(lambda client: client.wait(keys, timeout))
        while not self.check(keys, by) and time.monotonic() < deadline:
            time.sleep(AGAIN_S)  # whoever wrote it writes it again

    def set(self, key: str, value: str | bytes, by: int | None = None) -> None:
        """Write ``value``, and keep it written.

        Args:
            key: under which others find it.
            value: it.
            by: this agent, where others believe it of this one alone; None: of any of the run.
        """
        sealed = self._sealed(key, value)
        self._kept[key] = sealed, by
        self._do(lambda client: client.set(key, sealed))

    def pass_on(self, key: str, by: int) -> bytes:
        """The value of ``key``, signed by agent ``by``; keeps it written as it was signed.

        Raises:
            UserError: it is not signed.
        """
        sealed = self._do(lambda client: bytes(client.get(key)))
        value = self._require(key, self._unsealed(key, sealed, by))
        self._kept[key] = sealed, by
        return value

    def promise(self, key: str, value: str | bytes, by: int | None = None) -> None:
        """Write ``value`` (see :meth:`set`) soon, from the background; waits for no store."""
        self._kept[key] = self._sealed(key, value), by
        self._wake.set()

    def kept(self) -> dict[str, str | bytes]:
        """What this process keeps written, as it is written."""
        return {key: value for key, (value, _) in list(self._kept.items())}

    def look(self, key: str) -> bytes | None:
        """What lies under ``key``, whoever wrote it: for what carries a signature of its own."""
        there = self._do(lambda client: bool(client.check([key])))
        return self._do(lambda client: bytes(client.get(key))) if there else None

    def put(self, key: str, value: str | bytes) -> None:
        """Write ``value`` as it is; see :meth:`look`."""
        self._do(lambda client: client.set(key, value))

    def keep(self) -> None:
        """Start to repair in the background, every ``REPAIR_S`` seconds."""
        self._keeper = threading.Thread(target=self._repair, name="rendezvous", daemon=True)
        self._keeper.start()

    def close(self) -> None:
        """Stop repairing."""
        self._closed = True
        self._wake.set()
        if self._keeper is not None:
            self._keeper.join(timeout=1.0)

    def repair(self) -> None:
        """Write again what the store has lost, or others have written over."""
        for key, (value, by) in list(self._kept.items()):
            if not self.check([key], by):
                self._do(partial(_write, key, value))

    def _sealed(self, key: str, value: str | bytes) -> str | bytes:
        if self._credentials is None:
            return value
        return self._credentials.seal(key, value.encode() if isinstance(value, str) else value)

    def _opened(self, key: str, by: int | None) -> bytes | None:
        return self._unsealed(key, self._do(lambda client: bytes(client.get(key))), by)

    def _unsealed(self, key: str, sealed: bytes, by: int | None) -> bytes | None:
        return sealed if self._credentials is None else self._credentials.open(key, sealed, by)

    def _require(self, key: str, value: bytes | None) -> bytes:
        if value is None:
            raise UserError(
                f"{key} in the store was not written by this run", field="--store", hint="another"
            )
        return value

    def _repair(self) -> None:
        while True:
            self._wake.wait(REPAIR_S)
            self._wake.clear()
            if self._closed:
                return
            try:
                self.repair()
            except RuntimeError:
                continue  # still away

    def _do(self, operation: Callable[[Any], T]) -> T:
        with self._lock:
            try:
                return operation(self._client)
            except dist.DistStoreError:
                raise  # a time-out: the store is there, the key is not
            except RuntimeError as error:
                if str(error) == "Wait timeout":  # how a store in a file says the same
                    raise dist.DistStoreError(str(error)) from None
                self._client = self._open()
                return operation(self._client)


def _write(key: str, value: str | bytes, client: Any) -> None:
    client.set(key, value)
