"""What two machines of a run must share before one believes the other: an address and a token."""

from __future__ import annotations

import os
from pathlib import Path

from gala.errors import UserError
from gala.files.bounded import read_bounded

TOKEN_VARIABLE = "GALA_TOKEN"
"""The token, where no file holds it."""
SHORTEST = 16
"""Characters of a token: it is all that keeps strangers out."""
LONGEST = 4096
"""Bytes of a file that holds one."""


def read_token(path: str | Path | None, *, field: str) -> bytes:
    """The token of a file, or of the environment variable ``GALA_TOKEN``.

    Args:
        path: the file; None: the variable.
        field: option that names the file, for messages.

    Raises:
        UserError: there is none, or it is too short.
    """
    make = "head -c 32 /dev/urandom | base64 > token; chmod 600 token"
    if path is None:
        text = os.environ.get(TOKEN_VARIABLE, "")
        if not text:
            raise UserError(f"is needed, or {TOKEN_VARIABLE}", field=field, hint=make)
    else:
        try:
            text = read_bounded(path, LONGEST).decode()
        except UserError as error:
            raise UserError(error.rule, file=path, field=field, hint=make) from None
        except UnicodeDecodeError:
            raise UserError("cannot be read: no text", file=path, field=field, hint=make) from None
    token = text.strip().encode()
    if len(token) < SHORTEST:
        rule = f"a token has at least {SHORTEST} characters, got {len(token)}"
        raise UserError(rule, field=field, hint=make)
    return token


def read_address(text: str, *, field: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT`` or ``[IPv6]:PORT``.

    Raises:
        UserError: it is none.
    """
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 2**16):
        rule = f"must be HOST:PORT, got {text!r}"
        raise UserError(rule, field=field, hint="for example 127.0.0.1:29500")
    return host, int(port)
