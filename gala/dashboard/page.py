"""The files of the page, and how data is written for it."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}

STATIC = {
    entry.name: entry.read_bytes()
    for entry in files("gala.dashboard").joinpath("static").iterdir()
    if entry.name[entry.name.rfind(".") :] in TYPES
}
"""The files by name: what is not in here cannot be asked for."""


def type_of(name: str) -> str:
    """Content type of a file of the page."""
    return TYPES[name[name.rfind(".") :]]


def dumps(content: Any) -> str:
    """JSON in one line, without what JSON does not know."""
    return json.dumps(content, separators=(",", ":"), allow_nan=False)
