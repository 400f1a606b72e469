"""Joining without the store: a living agent says what the store would.

Every agent keeps what later ones need, signed by whom it is from: the plan of the run, what was
announced, where the others listen. Whoever joins dials any agent that gossips over tcp, is let in
as agents are, asks, and has from then on a store of its own that holds the answer. What is in it is
believed as far as what lies in any store: where it is signed.
"""

from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import Mapping
from typing import Any

import torch.distributed as dist

from gala.launch.credentials import Credentials
from gala.launch.environment import agents_at
from gala.launch.framing import PREFIX, exactly
from gala.launch.pages import parse_signed

ASKS, KNOWN = 8, 9
"""Kinds of frames: asks what the store would say (no body); the answer."""

MAX_KNOWN_BYTES = 2**24
MAX_VALUE_BYTES = 2**20
"""Larger values are left out of an answer: pieces of starting parameters."""
ANSWER_S = 10.0


def pages_key(run: str, rank: int) -> str:
    """Where the page of addresses of an agent lies in a store."""
    return f"tcp/{run}/{rank}"


def answer(known: Mapping[str, str | bytes]) -> bytes:
    """The frame that tells ``known``: values by their keys in the store."""
    letters = {
        key: base64.b64encode(value.encode() if isinstance(value, str) else value).decode()
        for key, value in known.items()
        if len(value) < MAX_VALUE_BYTES
    }
    body = json.dumps(letters).encode()
    return PREFIX.pack(len(body), KNOWN) + body


def join(address: str, credentials: Credentials | None, rank: int) -> dist.Store:
    """A store of this process alone that holds what the first agent that answers has told.

    Args:
        address: ``join://HOST:PORT[,HOST:PORT ...]``.
        credentials: of this agent; None: everything is believed.
        rank: of this agent, which does not count below the incarnation that the others have seen.

    Raises:
        RuntimeError: none of them answers; says why of each.
    """
    reasons = []
    for host, port in agents_at(address):
        try:
            return _store(_ask(host, port, credentials), credentials, rank)
        except (OSError, ValueError) as problem:
            reason = getattr(problem, "strerror", None) or str(problem)
            reasons.append(f"{host}:{port}: {reason}")
    raise RuntimeError("; ".join(reasons))


def _ask(host: str, port: int, credentials: Credentials | None) -> dict[str, bytes]:
    deadline = time.monotonic() + ANSWER_S
    with socket.create_connection((host, port), ANSWER_S) as plain:
        with credentials.as_client(plain) if credentials is not None else plain as sock:
            sock.sendall(PREFIX.pack(0, ASKS))
            size, kind = PREFIX.unpack(exactly(sock, PREFIX.size, deadline))
            if kind != KNOWN or size > MAX_KNOWN_BYTES:
                raise ValueError("is no agent of this version of gala")
            letters = json.loads(exactly(sock, size, deadline))
    if not isinstance(letters, dict) or not all(isinstance(v, str) for v in letters.values()):
        raise ValueError("answers something else")
    return {key: base64.b64decode(value, validate=True) for key, value in letters.items()}


def _store(known: Mapping[str, bytes], credentials: Credentials | None, rank: int) -> dist.Store:
    store: Any = dist.HashStore()  # takes bytes, whatever its stubs say
    for key, value in known.items():
        store.set(key, value)
        if key.startswith("tcp/") and key.endswith(f"/{rank}"):
            for each in range(_incarnation(value, credentials, rank) + 1):
                begun = f"incarnation/{rank}/{each}"
                sealed = b"begun" if credentials is None else credentials.seal(begun, b"begun")
                store.set(begun, sealed)
    made: dist.Store = store
    return made


def _incarnation(line: bytes, credentials: Credentials | None, rank: int) -> int:
    """The last incarnation of agent ``rank`` by its own word, which others have kept; else -1."""
    page, text, signature = parse_signed(line)
    signed = credentials is None or credentials.is_signed(text, signature, rank)
    return page.incarnation if signed and page.rank == rank else -1
