"""Numbers as people write them: decimal, in one grammar for files, options and commands."""

from __future__ import annotations

import re

MAX_DIGITS = 400
"""Characters up to which a number is one."""

WHOLE = re.compile(r"^[-+]?(?:0|[1-9][0-9]*(?:_[0-9]+)*)$")
FLOAT = re.compile(
    r"""^(?:[-+]?(?:0|[1-9][0-9]*(?:_[0-9]+)*)\.(?:[0-9]+(?:_[0-9]+)*)?(?:[eE][-+]?[0-9]+)?
    |[-+]?(?:0|[1-9][0-9]*(?:_[0-9]+)*)[eE][-+]?[0-9]+
    |[-+]?\.[0-9]+(?:_[0-9]+)*(?:[eE][-+]?[0-9]+)?
    |[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$""",
    re.X,
)


def number_of(text: str) -> int | float | None:
    """The number that ``text`` is to people, by this grammar; None: it is none.

    >>> [number_of(text) for text in ("1_000", "2.5e3", "010", "0o10", "1:30", "true")]
    [1000, 2500.0, None, None, None, None]
    """
    if len(text) > MAX_DIGITS:
        return None
    if WHOLE.fullmatch(text):
        return int(text)
    if not FLOAT.fullmatch(text):
        return None
    return float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
