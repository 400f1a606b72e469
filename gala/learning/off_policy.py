"""Off-policy algorithms: what learners of a replay's transitions need to know of them.

Where :mod:`gala.learning.algorithm` has one loss for all parameters, these have several, which are
followed one after the other: a policy is improved by critics that have just learned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from gala.experience.windows import Transitions
from gala.learning.algorithm import Loss, Plan
from gala.networks import Network

Objective = Callable[[Transitions, Any, Network], Loss]
"""The loss of N transitions, of what :meth:`OffPolicy.prepare` made of them, and of the network."""


class Stage(NamedTuple):
    """An optimizer step of some of the parameters.

    Attributes:
        soft: it is that of the critics and the temperature; else of the policy.
        loss: of which only they get the gradient.
    """

    soft: bool
    loss: Objective


class OffPolicy(Protocol):
    """An algorithm that learns from transitions, whoever acted.

    Attributes:
        config: its section of the configuration.
        plan: that of one batch at a time.
    """

    @property
    def config(self) -> Any:
        """See the class; its section has ``tau``, too."""
        ...

    @property
    def plan(self) -> Plan:
        """See the class."""
        ...

    @property
    def stages(self) -> Sequence[Stage]:
        """What is done with each N transitions, in order."""
        ...

    def prepare(self, rows: Transitions, network: Network, noise: Tensor) -> Any:
        """What all stages need, made before the first one.

        Args:
            rows: N transitions.
            network: with ``soft``.
            noise: Float[2, N, d] of a standard normal distribution, for actions where transitions
                begin and where they end.
        """
        ...
