"""Findings: what one check found, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["ok", "warning", "wrong"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check found."""

    name: str
    """Of what was looked at."""
    state: State
    """``warning``: it works, and may not when it matters; ``wrong``: it does not work."""
    message: str
    """What was found, in a clause."""
    advice: str = ""
    """What to do; empty where nothing is to be done."""

    def line(self, width: int) -> str:
        """One line of the table, its name padded to ``width``."""
        text = f"{self.state:<8} {self.name:<{width}}  {self.message}"
        return " ".join(f"{text}: {self.advice}".splitlines()) if self.advice else text

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


Check = Callable[[], Finding]


def examine(name: str, check: Check) -> Finding:
    """What ``check`` finds; that it cannot be made is a finding as well."""
    try:
        return check()
    except Exception as error:  # a check meets what nobody thought of: that is what it is for
        reason = " ".join(str(error).split()) or type(error).__name__
        return Finding(
            name=name,
            state="wrong",
            message=f"cannot be checked: {reason}",
            advice="see what the system says of it",
        )
