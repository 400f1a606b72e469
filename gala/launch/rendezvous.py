"""Rendezvous: a key-value store by which agents find each other, and which may come back empty.

Training never needs it; joining does. When the store's server dies, operations fail until it is
back; then this process opens a new connection, and writes again whatever it had written before, so
that agents that come later find the run as if nothing had happened.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist

REPAIR_S = 2.0
"""Seconds between two checks that everything written is still there."""

T = TypeVar("T")


class Rendezvous:
    """Store of ``torch.distributed`` that is repaired when it went away.

    Operations are those of ``torch.distributed.Store``; they raise RuntimeError while the store
    cannot be reached.

    Args:
        client: a connection.
        open_store: opens another one; may raise RuntimeError.
    """

    def __init__(self, client: dist.Store, open_store: Callable[[], dist.Store]) -> None:
        self._client: Any = client
        self._open = open_store
        self._lock = threading.RLock()
        self._written: dict[str, str | bytes] = {}
        self._closed = False
        self._wake = threading.Event()
        self._keeper: threading.Thread | None = None

    def fresh(self) -> dist.Store:
        """A connection of its own, for whoever may have to wait on it."""
        return self._open()

    def check(self, keys: list[str]) -> bool:
        """Whether all ``keys`` are there."""
        return self._do(lambda client: bool(client.check(keys)))

    def get(self, key: str) -> bytes:
        """The value of ``key``, which is there."""
        return self._do(lambda client: bytes(client.get(key)))

    def wait(self, keys: list[str], timeout: timedelta) -> None:
        """Wait until all ``keys`` are there."""
        self._do(lambda client: client.wait(keys, timeout))

    def set(self, key: str, value: str | bytes) -> None:
        """Write ``value``, and keep it written."""
        self._written[key] = value
        self._do(lambda client: client.set(key, value))

    def promise(self, key: str, value: str | bytes) -> None:
        """Write ``value`` soon, from the background; does not wait for the store."""
        self._written[key] = value
        self._wake.set()

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
        """Write again what the store has lost."""
        for key, value in list(self._written.items()):
            if not self.check([key]):
                self.set(key, value)

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
            except RuntimeError:
                self._client = self._open()
                return operation(self._client)
