"""How a worker and an agent show each other that they hold the same token, without telling it.

Each side sends 32 random bytes, and answers with an HMAC-SHA256 (RFC 2104) of both under the token.
What follows is neither encrypted nor signed.
"""

from __future__ import annotations

import hmac
import secrets

from gala.envs.wire import Frame, Kind, Link
from gala.errors import UserError

HANDSHAKE_S = 5.0
"""Seconds that one side waits for the other."""
_NONCE = 32


def admit(link: Link, token: bytes) -> None:
    """The agent's side: let a worker show that it is one, and show it that this is an agent.

    Raises:
        Gone: it has left, or says nothing.
        UserError: it is none of ours; it was told.
    """
    mine = secrets.token_bytes(_NONCE)
    link.send(Kind.NONCE, mine)
    answer = _expect(link, Kind.PROOF)
    theirs, proof = answer[:_NONCE], answer[_NONCE:]
    if not hmac.compare_digest(proof, _proof(token, b"worker", mine, theirs)):
        link.send(Kind.REFUSED, b"the token here is another one")
        raise UserError("it has another token")
    link.send(Kind.PROOF, _proof(token, b"agent", mine, theirs))
    link.trust()


def introduce(link: Link, token: bytes) -> None:
    """The worker's side of :func:`admit`.

    Raises:
        Gone: the agent has left, or says nothing.
        UserError: it refuses this worker, or is none of ours.
    """
    theirs, mine = _expect(link, Kind.NONCE), secrets.token_bytes(_NONCE)
    link.send(Kind.PROOF, mine + _proof(token, b"worker", theirs, mine))
    if not hmac.compare_digest(_expect(link, Kind.PROOF), _proof(token, b"agent", theirs, mine)):
        raise UserError("the agent cannot show that it holds the token", field="--connect")
    link.trust()


def _proof(token: bytes, who: bytes, agents: bytes, workers: bytes) -> bytes:
    return hmac.digest(token, b"gala " + who + agents + workers, "sha256")


def _expect(link: Link, kind: Kind) -> bytes:
    frame: Frame = link.receive(HANDSHAKE_S)
    if frame.kind == Kind.REFUSED:
        raise UserError(frame.text, field="--token-file")
    if frame.kind != kind:
        raise UserError(f"the other side sent a frame of kind {frame.kind}, not {int(kind)}")
    return bytes(frame.payload)
