"""Registry: the book of addresses and the store, which may be slow, empty or gone for good."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from gala.gossip.message import Refused
from gala.gossip.notes import Notes
from gala.gossip.tcp.addresses import Book, place
from gala.launch.joining import pages_key
from gala.launch.pages import Address
from gala.launch.rendezvous import Rendezvous

SOON_S, LATER_S, WATCH_S = 0.1, 2.0, 1.0
LOST_S = 5.0
"""A store that cannot be reached for so long is called lost."""


class Registry:
    """Puts the own addresses into the store, and looks there for those of others.

    Args:
        book: of addresses.
        rendezvous: the store.
        run: of the run.
        rank: of this agent.
        incarnation: of this agent.
        wanted: ranks whose addresses are wanted now.
        addresses: of this agent, asked again and again: a host may get others.
        notes: is told when the store is lost, and back.
    """

    def __init__(
        self,
        book: Book,
        rendezvous: Rendezvous,
        *,
        run: str,
        rank: int,
        incarnation: int,
        wanted: Callable[[], list[int]],
        addresses: Callable[[], tuple[Address, ...]],
        notes: Notes,
    ) -> None:
        self._book, self._rendezvous = book, rendezvous
        self._run, self._rank, self._incarnation = run, rank, incarnation
        self._wanted, self._addresses, self._notes = wanted, addresses, notes
        self._known: tuple[Address, ...] = ()
        self._page, self._written = "", ""
        self._closed = threading.Event()
        self._reached_at, self._lost = time.monotonic(), False
        self._threads = [
            threading.Thread(target=work, name=f"tcp {name}", daemon=True)
            for name, work in (("registry", self._ask), ("watch", self._watch))
        ]

    def known(self) -> dict[str, str | bytes]:
        """What a store that came back empty would learn from this agent, and the book."""
        pages = {pages_key(self._run, rank): line for rank, line in self._book.lines().items()}
        return self._rendezvous.kept() | pages

    def start(self) -> None:
        """Begin."""
        self._look_at_own()
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End, without waiting for a store that does not answer."""
        self._closed.set()

    def _ask(self) -> None:
        """Talk to the store, whose answers may take minutes when its host is gone."""
        while True:
            try:
                self._write()
                wanted = self._wanted()
                for rank in wanted:
                    self._read(rank)
                if self._rendezvous.look(self._key(self._rank)) is None:
                    self._written = ""  # it came back empty
                self._reached_at = time.monotonic()
            except RuntimeError:
                wanted = []  # away; the other thread says so
            if self._closed.wait(SOON_S if wanted else LATER_S):
                return

    def _write(self) -> None:
        page = self._page
        if page != self._written:
            self._rendezvous.put(self._key(self._rank), page)
            self._written = page

    def _read(self, rank: int) -> None:
        page = self._rendezvous.look(self._key(rank))
        try:
            if page is not None:
                self._book.enter(page)
        except Refused as refused:
            self._notes.refuse_connection("an address in the store", refused.reason)

    def _watch(self) -> None:
        """See what changes meanwhile."""
        while not self._closed.wait(WATCH_S):
            self._look_at_own()
            self._look_after_store()

    def _look_at_own(self) -> None:
        addresses = self._addresses()
        if addresses != self._known:
            self._known = addresses
            self._page = self._book.write_own(self._incarnation, addresses)

    def _look_after_store(self) -> None:
        lost = time.monotonic() - self._reached_at > LATER_S + LOST_S
        if lost == self._lost:
            return
        self._lost = lost
        text = (
            "cannot be reached: agents that are connected go on and tell each other where they "
            f"are; others join through one of them: gala launch --join {self._at()}"
        )
        self._notes.events.append(("store", f"the store {text if lost else 'is back'}"))

    def _at(self) -> str:
        """Where this agent is asked by whoever joins."""
        return next((place(*address) for address in self._known), "HOST:PORT")

    def _key(self, rank: int) -> str:
        return pages_key(self._run, rank)
