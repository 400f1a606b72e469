"""Pages: where an agent listens, as it says of itself and others pass on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

MAX_INCARNATION = 2**20
"""Restarts of an agent are fewer."""
MAX_ADDRESSES = 16
MAX_PAGE_BYTES = 4096

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


def signed_page(page: Page, signature: str) -> str:
    """``page`` as it is passed on: one line."""
    return json.dumps([page.text(), signature])


def parse_signed(line: bytes) -> tuple[Page, bytes, str]:
    """What :func:`signed_page` wrote: the page, what was signed, and the signature.

    Raises:
        ValueError: it is no such line.
    """
    if len(line) > MAX_PAGE_BYTES:
        raise ValueError("is too long")
    try:
        text, signature = json.loads(line.decode("ascii"))
        if not isinstance(signature, str):
            raise ValueError("is not signed by a text")
        return Page.read(text), text.encode(), signature
    except (TypeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def _address(pair: Any) -> Address:
    if not isinstance(pair, list) or len(pair) != 2:
        raise ValueError("an address is a pair")
    host, port = pair
    if not isinstance(host, str) or not 0 < len(host) <= 253 or not host.isascii():
        raise ValueError("has no host")
    if type(port) is not int or not 0 < port < 2**16:
        raise ValueError("has no port")
    return host, port
