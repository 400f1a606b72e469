"""How large a topology may be; checked before anything is built."""

from __future__ import annotations

MAX_AGENTS = 100_000
"""Ten times what this toolkit is made for; beyond it a picture of every agent takes minutes."""

MAX_ROUNDS = 4096
"""Rounds of one period."""

MAX_EDGES = 20_000_000
"""Edges of all rounds together; beyond it matrices do not fit an ordinary machine."""

MAX_MIB = {".yaml": 2, ".yml": 2, ".npy": 512}
"""Largest files that are read, in MiB; YAML is slow to parse. 32 for all others."""


def count(number: int, thing: str = "agent") -> str:
    """``1 agent``, ``2 agents``."""
    return f"{number:,} {thing}{'s' * (number != 1)}"


def max_mib(suffix: str) -> int:
    """Largest file of that ``suffix``, in MiB."""
    return MAX_MIB.get(suffix, 32)


class Unfit(ValueError):
    """A topology does not exist at this size or with this option.

    Args:
        rule: the rule that is broken.
        hint: the nearest valid choice.
        option: name of the option at fault, or None for the number of agents.
    """

    def __init__(self, rule: str, *, hint: str, option: str | None = None) -> None:
        super().__init__(rule)
        self.rule, self.hint, self.option = rule, hint, option


def check(
    agents: int,
    *,
    rounds: int = 1,
    edges: int = 0,
    option: str | None = None,
    hint: str | None = None,
) -> None:
    """Whether a topology fits.

    Args:
        agents: N.
        rounds: of one period.
        edges: of all rounds together.
        option: what made it so large.
        hint: what would fit; None: fewer of what is too many.

    Raises:
        Unfit: it does not.
    """
    if agents > MAX_AGENTS:
        rule = f"{agents:,} agents are too many, the limit is {MAX_AGENTS:,}"
        raise Unfit(rule, hint=f"launch {MAX_AGENTS} agents", option=option)
    most = min(MAX_ROUNDS, MAX_EDGES // agents)
    if rounds > most:
        rule = f"{rounds:,} rounds are too many, the limit for {count(agents)} is {most:,}"
        fewer = f"{(option or 'rounds').split('.')[-1]}: {most}"
        raise Unfit(rule, hint=hint or fewer, option=option)
    if edges > MAX_EDGES:
        rule = f"{agents} agents would have {edges:,} edges, the limit is {MAX_EDGES:,}"
        few = "use exponential, which needs log2 N per agent"
        raise Unfit(rule, hint=hint or few, option=option)
