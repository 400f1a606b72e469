"""What the user did wrong, said in one line.

Every mistake of a user - in a file, an option or the launch - is raised as :class:`UserError` and
printed by the command that met it as one line on standard error, with exit code 2 and no
traceback. Mistakes of ours stay ordinary exceptions and assertions.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

EXIT_OK = 0
EXIT_CRASH = 1
EXIT_BAD_INPUT = 2
EXIT_ALARM = 3
EXIT_NOT_WRITTEN = 74
"""What was promised does not lie on the disk (EX_IOERR of sysexits)."""
EXIT_START_AGAIN = 75
EXIT_INTERRUPTED = 130

STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Control letters but for tabulators and ends of lines."""


class UserError(Exception):
    """Bad input, described in one line: where it is, the rule it breaks, what would be valid.

    Args:
        rule: what is wrong and what the rule is, a short clause without a final full stop.
        file: the file that holds the mistake, when there is one.
        line: 1-based line in that file, when known.
        field: dotted name of the field or option, when there is one.
        hint: the nearest valid value or the next thing to do.
    """

    def __init__(
        self,
        rule: str,
        *,
        file: str | Path | None = None,
        line: int | None = None,
        field: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.rule, self.file, self.line, self.field, self.hint = rule, file, line, field, hint
        place = ""
        if file is not None:
            place = f"{file}:{line}: " if line is not None else f"{file}: "
        text = f"{place}{field}: {rule}" if field else f"{place}{rule}"
        if hint:
            text = f"{text} ({hint})"
        super().__init__(printable(" ".join(text.split())))


class NotFinite(Exception):
    """Parameters or optimizer state of an agent are not finite: nothing good comes of them.

    The agent ends with ``EXIT_START_AGAIN``, and its next incarnation begins with sound ones.
    """


def printable(text: str) -> str:
    r"""Text of others for a terminal: letters that steer it are shown as escapes.

    >>> printable("an\x1b[31m id")
    'an\\x1b[31m id'
    """
    return STEERING.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def nearest(name: str, options: Iterable[str]) -> str | None:
    """The option that looks most like ``name``, or None when none looks alike.

    >>> nearest("rign", ["ring", "star"])
    'ring'
    """
    known = {option.lower(): option for option in options}
    close = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.5)
    return known[close[0]] if close else None


def did_you_mean(name: str, options: Iterable[str], *, limit: int = 8) -> str:
    """A hint for an unknown name: the nearest option, or the options when none is near."""
    options = list(options)
    close = nearest(name, options)
    if close is not None:
        return f"did you mean {close!r}?"
    shown = ", ".join(options[:limit])
    return f"known: {shown}" + (", ..." if len(options) > limit else "")
