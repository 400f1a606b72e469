"""The configuration of a training run: one tree of frozen dataclasses.

The sections of algorithms stand beside their code, and are added to the tree by whoever knows the
algorithms (:func:`with_sections`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, make_dataclass, replace
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from gala.config.arguments import HEARING
from gala.config.fields import Positive, Seed, Texts
from gala.config.sections import (
    ActorsConfig,
    CheckpointConfig,
    DistilConfig,
    DivergenceConfig,
    EnvConfig,
    FaultsConfig,
    GossipConfig,
    LogConfig,
    NetworkConfig,
    RepelConfig,
    ReplayConfig,
    SupervisorConfig,
)
from gala.files.yaml import dump_yaml

Coupling = Literal["gossip", "allreduce", "shared", "distil", "repel", "none"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """A training run."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    env: EnvConfig = field(default_factory=EnvConfig)
    """The environments of one agent."""
    actors: ActorsConfig = field(default_factory=ActorsConfig)
    """Who acts for an agent."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    """The policy and value network."""
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    """What learners that replay keep of the past."""
    gossip: GossipConfig = field(default_factory=GossipConfig)
    """How agents exchange parameters."""
    distil: DistilConfig = field(default_factory=DistilConfig)
    """How neighbours' policies teach."""
    repel: RepelConfig = field(default_factory=RepelConfig)
    """How neighbours attract or repel."""
    faults: FaultsConfig = field(default_factory=FaultsConfig)
    """What to break on purpose."""
    divergence: DivergenceConfig = field(default_factory=DivergenceConfig)
    """How the epsilon-ball is measured."""
    log: LogConfig = field(default_factory=LogConfig)
    """What is written and shown."""
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    """When parameters are saved."""
    supervisor: SupervisorConfig = field(default_factory=SupervisorConfig)
    """When an agent is taken for hung."""
    algorithm: str = "a2c"
    """Learning algorithm, see gala algorithms; or an own one, as MODULE:CLASS."""
    topology: str = "directed-ring"
    """Topology file, the name of a shipped one or of a family, or an own MODULE:CALLABLE."""
    init: Annotated[str, Field(min_length=1)] | None = None
    """Run folder, or exported policy, with whose mean policy and values agents begin; null: with
    fresh parameters."""
    agents: Positive | None = None
    """Actor-learners; gala train --agents N starts them, and writes how many into config.yaml."""
    coupling: Coupling = "gossip"
    """gossip; allreduce: averaged gradients (synchronous A2C); shared: one vector (A3C); distil:
    neighbours' policies teach; repel: the better attract, the worse repel (ARAC); none."""
    callbacks: Texts = ()
    """MODULE:CALLABLE each, called with an Event at records, checkpoints and the end."""
    exit_on_alarm: bool = False
    """Stop with a checkpoint and exit code 3 when the agents leave the epsilon-ball."""
    profile: bool = False
    """Trace some updates of each agent, for a picture of all of them (gala profile)."""
    total_steps: Positive = 1_000_000
    """Environment steps, counted over all agents."""
    seed: Seed = 1
    """Seed of the run, up to 2**64 - 1; each agent derives its own from it."""
    threads: Positive | None = None
    """Threads per agent for environments and network; null: cores // agents of this host."""
    device: str = "auto"
    """auto: cuda:(process of this host % devices) when there is one, else cpu."""

    def __post_init__(self) -> None:
        """Fill in what is left to the algorithm."""
        if self.network.memory is None:
            memory: Any = getattr(getattr(self, section_of(self.algorithm), None), "MEMORY", "none")
            object.__setattr__(self, "network", replace(self.network, memory=memory))

    @property
    def publishes(self) -> bool:
        """Whether agents publish their parameters to neighbours."""
        return self.coupling in HEARING

    @property
    def learning(self) -> Any:
        """The section of the chosen algorithm."""
        return getattr(self, section_of(self.algorithm))

    def to_dict(self) -> dict[str, Any]:
        """Plain data: dicts, lists, str, int, float, bool, None; of the chosen algorithm only."""
        plain: dict[str, Any] = adapter_of(type(self)).dump_python(self, mode="json")
        unused = self.algorithm_sections() - {section_of(self.algorithm)}
        return {name: value for name, value in plain.items() if name not in unused}

    def to_yaml(self) -> str:
        """The tree as an experiment file."""
        return dump_yaml(self.to_dict())

    @classmethod
    def algorithm_sections(cls) -> set[str]:
        """Names of the sections that belong to algorithms, chosen or not."""
        return {each.name for each in fields(cls)} - {each.name for each in fields(Config)}


def section_of(algorithm: str) -> str:
    """Name of an algorithm's section: ``ppo``; ``reinforce`` for ``my_module:Reinforce``."""
    return algorithm.rpartition(":")[2].lower() if ":" in algorithm else algorithm


def with_sections(sections: Mapping[str, type[Any]]) -> type[Config]:
    """The tree with one more section for each algorithm, by name."""
    return make_dataclass(
        "Config",
        [(name, kind, field(default_factory=kind)) for name, kind in sections.items()],
        bases=(Config,),
        frozen=True,
        kw_only=True,
        namespace={"__doc__": Config.__doc__, "__module__": __name__},
    )


@cache
def _adapter_of(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def adapter_of(kind: type[Config]) -> TypeAdapter[Any]:
    """What validates a tree and turns it into plain data."""
    return _adapter_of(kind)  # type: ignore[arg-type]  # a class is hashable
