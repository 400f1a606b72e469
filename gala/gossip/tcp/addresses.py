"""Addresses: where agents listen, as each says of itself, and passes on what others said.

The store tells newcomers; once it is gone, agents that are connected tell each other. A page of the
book is signed by the agent it is about, so that it does not matter who brings it.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time

from gala.gossip.message import Refusal, Refused
from gala.gossip.notes import Notes
from gala.gossip.tcp.frames import MAX_BOOK_BYTES
from gala.gossip.tcp.guard import Guard
from gala.launch.pages import MAX_ADDRESSES, Address, Page, parse_signed, signed_page

_ANYWHERE = ("192.0.2.1", "2001:db8::1")
"""Addresses of documents: nothing is sent there, but the kernel says which way it would go."""


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
        signed = signed_page(page, self._guard.sign(page.text().encode()))
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

    def lines(self) -> dict[int, str]:
        """The newest page of each agent, as it was signed."""
        with self._lock:
            return {rank: text for rank, (_, text, _) in self._pages.items()}

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
            page, text, signature = parse_signed(line)
            signed = self._guard.is_signed(text, signature, page.rank)
        except ValueError:
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


def place(host: str, port: int) -> str:
    """HOST:PORT or [HOST]:PORT."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether ``host``, an address or a name, means this host alone."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"
