"""Addresses: where agents listen, as each says of itself, and passes on what others said.

The store tells newcomers; once it is gone, agents that are connected tell each other. A page of the
book is signed by the agent it is about, so that it does not matter who brings it.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any

from gala.gossip.message import MAX_INCARNATION, Refusal, Refused
from gala.gossip.notes import Notes
from gala.gossip.tcp.frames import MAX_BOOK_BYTES
from gala.gossip.tcp.guard import Guard

MAX_ADDRESSES = 16
MAX_PAGE_BYTES = 4096
_ANYWHERE = ("192.0.2.1", "2001:db8::1")
"""Addresses of documents: nothing is sent there, but the kernel says which way it would go."""

Address = tuple[str, int]


@dataclass(frozen=True, kw_only=True)
class Page:
    """Where an agent listens.

    Attributes:
        run: 16 hex digits of the run it belongs to.
        rank: index of the agent.
        incarnation: restarts of the agent.
        serial: grows with each page of the agent.
        addresses: names or addresses, and ports.
    """

    run: str
    rank: int
    incarnation: int
    serial: int
    addresses: tuple[Address, ...]

    def text(self) -> str:
        """As it is signed."""
        facts = [self.run, self.rank, self.incarnation, self.serial, self.addresses]
        return json.dumps(facts)

    @staticmethod
    def read(text: str) -> Page:
        """What :meth:`text` wrote.

        Raises:
            ValueError: it is no such page.
        """
        facts: Any = json.loads(text)
        if not isinstance(facts, list) or len(facts) != 5:
            raise ValueError("is no list of five")
        run, rank, incarnation, serial, addresses = facts
        counts = [rank, incarnation, serial]
        if not isinstance(run, str) or not all(type(n) is int and n >= 0 for n in counts):
            raise ValueError("has no whole numbers")
        if incarnation >= MAX_INCARNATION or serial >= 2**63:
            raise ValueError("has numbers that cannot be")
        if not isinstance(addresses, list) or len(addresses) > MAX_ADDRESSES:
            raise ValueError("has no list of addresses")
        return Page(
            run=run,
            rank=rank,
            incarnation=incarnation,
            serial=serial,
            addresses=tuple(_address(each) for each in addresses),
        )


def _address(pair: Any) -> Address:
    if not isinstance(pair, list) or len(pair) != 2:
        raise ValueError("an address is a pair")
    host, port = pair
    if not isinstance(host, str) or not 0 < len(host) <= 253 or not host.isascii():
        raise ValueError("has no host")
    if type(port) is not int or not 0 < port < 2**16:
        raise ValueError("has no port")
    return host, port


class Book:
    """Pages of all agents, the newest of each.

    Args:
        run: of the run; other pages are refused.
        rank: of this agent; its own page is not learned from others.
        agents: number of agents.
        guard: signs and checks pages.

    Attributes:
        edition: grows with each change.
    """

    def __init__(self, *, run: str, rank: int, agents: int, guard: Guard) -> None:
        self._run, self._rank, self._agents, self._guard = run, rank, agents, guard
        self._pages: dict[int, tuple[Page, str, int]] = {}
        self._lock = threading.Lock()
        self.edition = 0

    def write_own(self, incarnation: int, addresses: tuple[Address, ...]) -> str:
        """Sign a page of this agent; returns it as it is put into a store."""
        serial = time.time_ns()  # also grows over the restarts of a process
        page = Page(
            run=self._run,
            rank=self._rank,
            incarnation=incarnation,
            serial=serial,
            addresses=addresses[:MAX_ADDRESSES],
        )
        signed = self._signed(page)
        self._enter(page, signed)
        return signed

    def addresses(self, rank: int) -> tuple[Address, ...]:
        """Where agent ``rank`` listens, as far as it is known."""
        found = self._pages.get(rank)
        return found[0].addresses if found is not None else ()

    def pages(self, edition: int) -> tuple[bytes, int]:
        """The body of a frame: what was entered after ``edition``, as far as one frame carries.

        Returns:
            The body, and the edition up to which it tells everything.
        """
        with self._lock:
            newer = sorted((at, text) for _, text, at in self._pages.values() if at > edition)
        lines: list[str] = []
        size = 0
        for at, text in newer:
            size += len(text) + 1
            if size > MAX_BOOK_BYTES:
                break
            lines.append(text)
            edition = at
        return "\n".join(lines).encode(), edition

    def learn(self, body: bytes, notes: Notes) -> None:
        """Enter the pages in ``body`` that are signed and new; others are counted."""
        for line in body.splitlines():
            try:
                self.enter(line)
            except Refused as refused:
                notes.refuse_connection("a page of addresses", refused.reason)

    def enter(self, line: bytes) -> bool:
        """Enter a page as it was written; whether it was new.

        Raises:
            Refused: it is damaged, of another run or not signed by the agent it is about.
        """
        try:
            if len(line) > MAX_PAGE_BYTES:
                raise ValueError("is too long")
            text, signature = json.loads(line.decode("ascii"))
            page = Page.read(text)
            signed = self._guard.is_signed(text.encode(), signature, page.rank)
        except (ValueError, TypeError, AttributeError, RecursionError):
            raise Refused(Refusal.HEADER) from None
        if page.run != self._run:
            raise Refused(Refusal.RUN)
        if page.rank >= self._agents:
            raise Refused(Refusal.RANK)
        if not signed:
            raise Refused(Refusal.STRANGER)
        return page.rank != self._rank and self._enter(page, line.decode("ascii"))

    def _enter(self, page: Page, text: str) -> bool:
        with self._lock:
            old = self._pages.get(page.rank)
            if old is not None and (old[0].incarnation, old[0].serial) >= (
                page.incarnation,
                page.serial,
            ):
                return False  # an old page is no lie, it only comes late
            self.edition += 1
            self._pages[page.rank] = page, text, self.edition
        return True

    def _signed(self, page: Page) -> str:
        text = page.text()
        return json.dumps([text, self._guard.sign(text.encode())])


def own_addresses(toward: str | None) -> tuple[str, ...]:
    """Addresses of this host from which ``toward`` is reached, one a family.

    Args:
        toward: name or address of the store; None: wherever the default way leads.
    """
    found = []
    for family, anywhere in zip((socket.AF_INET, socket.AF_INET6), _ANYWHERE, strict=True):
        try:
            target = socket.getaddrinfo(toward or anywhere, 9, family, socket.SOCK_DGRAM)[0][4]
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect(target)
                found.append(probe.getsockname()[0])
        except OSError:
            continue
    return tuple(found) or ("127.0.0.1",)


def is_loopback(host: str) -> bool:
    """Whether ``host``, an address or a name, means this host alone."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"
