"""Sections of the configuration that belong to no algorithm, a frozen dataclass each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from gala.config.faults import as_faults
from gala.config.fields import (
    Fraction,
    FreeForm,
    NonNegative,
    NonNegativeFloat,
    Positive,
    PositiveFloat,
    Texts,
    as_tuple,
)
from gala.errors import did_you_mean

NETWORKS = ("auto", "nature-cnn", "small-cnn", "mlp")


def _network_kind(kind: str) -> str:
    """A name of :data:`NETWORKS`, or something that may be MODULE:CALLABLE."""
    if kind in NETWORKS or ":" in kind:
        return kind
    hint = did_you_mean(kind, [*NETWORKS, "MODULE:CALLABLE"])
    raise ValueError(f"no such network ({hint})")


def _tasks(tasks: Any) -> Any:
    """A list of mappings, each of which may name an id."""
    if not isinstance(tasks, list | tuple) or not all(isinstance(each, dict) for each in tasks):
        raise ValueError("must be a list of mappings (such as [{size: 5}, {size: 7}])")
    for number, task in enumerate(tasks):
        if not isinstance(task.get("id", ""), str):
            raise ValueError(f"the id of task {number} must be text")
    return tasks


@dataclass(frozen=True, kw_only=True)
class AtariConfig:
    """Protocol of the Arcade Learning Environment; defaults are those of the GALA paper."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    frame_skip: Positive = 4
    """Emulator frames per step; the action is repeated, the last two frames are maxed."""
    frame_stack: Positive = 4
    """Observations that are stacked."""
    screen_size: Annotated[int, Field(ge=36)] = 84
    """Height and width of an observation in pixels."""
    grayscale: bool = True
    """Grey observations (false: RGB)."""
    noop_min: NonNegative = 1
    """A game starts with at least so many no-op actions (noop_max, where that is less) ..."""
    noop_max: NonNegative = 30
    """... and at most so many; each number is as likely."""
    sticky_actions: Fraction = 0.0
    """Probability that the emulator repeats the last action instead (Machado et al. 2018: 0.25)."""
    episodic_life: bool = True
    """A lost life ends the episode for the learner; the game goes on, returns are of full games."""
    fire_reset: bool = True
    """Press FIRE after a reset in games that have it."""
    fire_second: bool = True
    """FIRE is a whole step, and action 2 another one; false: FIRE is one frame, the last no-op."""
    life_reset: bool = True
    """After a lost life that ends the episode: a no-op, then FIRE and action 2 as after a reset."""
    clear_stack: bool = True
    """The first observation of a game or life holds no frame of before; false: those of the last
    life and of what was pressed."""
    full_action_space: bool = False
    """All 18 actions instead of the game's own."""
    max_frames: Positive = 108_000
    """A game is truncated after this many emulator frames (108,000 = 30 minutes of play)."""


@dataclass(frozen=True, kw_only=True)
class EnvConfig:
    """The environments of one agent."""

    __pydantic_config__ = ConfigDict(extra="forbid", ser_json_inf_nan="constants")

    id: str = "CartPole-v1"
    """ALE/Pong-v5, CartPole-v1, any Gymnasium id, gala/RepeatPrevious-v0; own: MODULE:Id-v0."""
    kwargs: FreeForm = field(default_factory=dict)
    """Arguments of the constructor: {size: 5}, or --env.kwargs.size 5."""
    tasks: Annotated[tuple[FreeForm, ...], BeforeValidator(_tasks)] = ()
    """One or several per agent: [{size: 5}, {size: 7}], each laid over kwargs; may name an id."""
    options: FreeForm = field(default_factory=dict)
    """Options of every reset: {level: 1}, or --env.options.level 1."""
    wrappers: Texts = ()
    """MODULE:CALLABLE, each called with the environment, the first one first."""
    num_envs: Positive = 16
    """Environments per agent."""
    reward_clip: bool = False
    """Learn from the sign of the reward; returns are always logged raw."""
    normalize_observation: bool = False
    """See vectors with mean 0 and deviation 1, by moments that are mixed as parameters are."""
    normalize_reward: bool = False
    """Learn from rewards over the deviation of discounted returns, mixed likewise."""
    autoreset: Literal["next-step", "same-step"] = "next-step"
    """When a finished environment starts its next episode (Gymnasium's autoreset modes)."""
    max_episode_steps: Positive | None = None
    """Truncate episodes after so many steps; null: the environment's own limit."""
    workers: Literal["vector", "sync", "async"] = "vector"
    """vector: the id's own vectorised form, else sync (so with wrappers); async: processes."""
    channels: Literal["auto", "first", "last", "none"] = "auto"
    """Axis of a picture's channels where its shape does not tell; none: flatten it."""
    pad_channels: Positive | None = None
    """Channels of a picture as the network sees it, zeros behind its own: one network then fits
    pictures of several numbers; null: as many as there are."""
    atari: AtariConfig = field(default_factory=AtariConfig)
    """Used for Atari games only."""


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The policy and value network."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    kind: Annotated[str, AfterValidator(_network_kind)] = "auto"
    """auto, nature-cnn, small-cnn, mlp, or an own trunk as MODULE:CALLABLE. auto: small-cnn for
    pictures below 36x36, nature-cnn for larger ones, mlp (tanh) for vectors."""
    filters: Annotated[tuple[Positive, ...], Field(min_length=1)] | None = None
    """Filters of each convolution; nature-cnn has three (8x8/4, 4x4/2, 3x3/1; null: the paper's 32,
    64, 32), small-cnn as many as are given (3x3/1 each; null: 16)."""
    hidden: tuple[Positive, ...] | None = None
    """Units of the hidden layers; null: 512 for nature-cnn, 128 for small-cnn, 64, 64 for mlp."""
    background: Annotated[int, Field(ge=0, le=255)] = 0
    """Pixel that counts as 0; the paper's is 0. The colour of the field learns faster: Pong 87."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Of the hidden layers of an mlp; those of the others are rectified (relu)."""
    memory: Literal["none", "lstm", "gru", "gtrxl"] | None = None
    """What a policy keeps of the episode: nothing, a recurrent state, or a transformer's rows;
    null: lstm for r2d2, else none."""
    memory_size: Positive = 64
    """Units of the memory; of gtrxl the numbers of a row."""
    memory_length: Positive | None = None
    """Steps that a gtrxl sees besides the present one; null: 32."""
    memory_layers: Positive | None = None
    """Layers of a gtrxl; null: 1."""
    memory_heads: Positive | None = None
    """Heads of its attention; null: 4."""
    decorrelate: NonNegativeFloat = 0.0
    """Weight of the squared covariances of the features that heads are given, in the loss."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the network; parameters stay float32. auto: bfloat16 where it is native."""

    @property
    def remembers(self) -> bool:
        """Whether there is a memory."""
        return self.memory not in (None, "none")


@dataclass(frozen=True, kw_only=True)
class ActorsConfig:
    """Who acts for an agent."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    count: NonNegative = 0
    """Processes that act for each agent and share its environments; 0: its learner does."""
    slots: Positive | None = None
    """Unrolls in memory that they fill by turns, at least one each; null: two each."""
    inference: Literal["own", "central"] = "own"
    """own: each acts with a copy of the policy; central: they only step, the agent acts for all."""
    deadline_ms: NonNegativeFloat = 2.0
    """central: longest wait for others once an actor's environments are ready to be acted in."""
    listen: str | None = None
    """HOST:PORT at which gala env-worker of other machines come in, instead of processes of this
    one; agent r listens at PORT + r."""
    token_file: str | None = None
    """File with the token that workers must show; null: the environment variable GALA_TOKEN."""
    sync_kl: NonNegativeFloat = 0.0
    """own and listen: send parameters only when the newest policy is further than this from the one
    that acts, in nats on its newest observations (APS)."""
    max_lag: NonNegative | None = None
    """Drop unrolls whose parameters are older, in changes of the parameters; null: take all."""


@dataclass(frozen=True, kw_only=True)
class ReplayConfig:
    """What learners that replay keep of the past, each agent for itself (sac, r2d2)."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    capacity: Positive = 1_000_000
    """Steps that are kept; the newest replaces the oldest."""
    batch: Positive = 256
    """sac: transitions of an optimizer step, drawn with equal probability."""
    warm_up: Positive = 1_000
    """Steps that are there before anything is learned."""
    updates_per_step: PositiveFloat = 1.0
    """sac: optimizer steps per environment step; times those of an update it is a whole number."""
    n_step: Positive = 1
    """sac: rewards that are summed before the target networks are asked for the rest."""
    save: bool = False
    """Checkpoints hold it; without it a run that resumes begins with an empty one."""


@dataclass(frozen=True, kw_only=True)
class GossipConfig:
    """How agents exchange parameters."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    every: Positive = 1
    """Updates from one exchange with neighbours to the next."""
    max_staleness: NonNegative | None = None
    """Updates without a mix before staleness_policy applies; 0: lock-step; null: never."""
    staleness_policy: Literal["never", "skip", "wait"] = "wait"
    """At max_staleness: wait for missing neighbours, skip them in this mix, or never do either."""
    transport: Literal["auto", "shared-memory", "gloo", "tcp", "memory"] = "auto"
    """auto: memory within a process, shared-memory within a host, between hosts gloo, or tcp where
    a secret or keys say who belongs to the run."""
    wire_format: Literal["float32", "bfloat16", "int8"] = "float32"
    """How parameters are sent: exact, in half, or in a quarter of the bytes."""
    timeout_s: PositiveFloat = 60.0
    """Longest wait for a living neighbour before its weight stays with self for one mix."""
    epsilon_target: PositiveFloat | None = None
    """Hold |x_i - mean| / |mean| at or under this, with as few messages as it takes."""
    trigger: Literal["none", "drift", "kl"] = "none"
    """Publish only what moved since the last message: the parameters, or the policy."""
    trigger_threshold: PositiveFloat = 0.01
    """drift: relative to the norm of the parameters; kl: in nats, on own observations."""
    trust_radius: Annotated[float, Field(gt=1.0, allow_inf_nan=False)] | None = 10.0
    """Refuse messages from beyond so many times the usual distance or update; null: believe all."""


@dataclass(frozen=True, kw_only=True)
class DistilConfig:
    """How neighbours' policies teach (--coupling distil)."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    coef: NonNegativeFloat = 1.0
    """Weight in the loss of the distance from the policies of neighbours."""
    value_coef: NonNegativeFloat = 0.5
    """Weight of the distance from their values, besides."""
    temperature: PositiveFloat = 1.0
    """At which policies are compared; above 1 what is unlikely counts more."""


@dataclass(frozen=True, kw_only=True)
class RepelConfig:
    """How neighbours attract or repel (--coupling repel)."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    coef: NonNegativeFloat = 0.1
    """Weight in the loss of the pull towards the better, and away from the worse."""
    limit: PositiveFloat = 1.0
    """Nats beyond which a policy is far enough away from one that repels it."""


@dataclass(frozen=True, kw_only=True)
class FaultsConfig:
    """What to break on purpose, to try a set-up on a bad day. Probabilities are per message."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    agents: Annotated[tuple[NonNegative, ...], BeforeValidator(as_tuple)] | None = None
    """Agents at fault, as 2 or [0, 2]; null: all."""
    delay_ms: NonNegativeFloat = 0.0
    """Time that a message is under way."""
    drop: Fraction = 0.0
    """Probability that a message is lost."""
    duplicate: Fraction = 0.0
    """Probability that a message arrives twice."""
    reorder: Fraction = 0.0
    """Probability that a message is overtaken by later ones."""
    corrupt: Fraction = 0.0
    """Probability that one bit of a message is flipped."""
    freeze_s: NonNegativeFloat = 0.0
    """The agent hangs for so long ..."""
    freeze_every_s: NonNegativeFloat = 0.0
    """... and so often (seconds from one freeze to the next; 0: never)."""
    slowdown: Annotated[float, Field(ge=1.0, allow_inf_nan=False)] = 1.0
    """The agent needs so many times as long for an update: a straggler."""
    at: Annotated[tuple[str, ...], BeforeValidator(as_faults)] = ()
    """rank=1,update=50,kind=kill; several with ; between them. kind: kill, segv, stop, nan,
    disk-full, deadlock, drop-network; where=collect, learn, publish, mix, save; seconds=5;
    incarnation=0."""

    def concern(self, rank: int) -> bool:
        """Whether agent ``rank`` is at fault."""
        return self.agents is None or rank in self.agents


@dataclass(frozen=True, kw_only=True)
class DivergenceConfig:
    """How the epsilon-ball is measured."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    every_s: PositiveFloat = 5.0
    """Seconds between two parameter sketches of each agent."""
    sketch_size: Annotated[int, Field(ge=16, le=65536)] = 256
    """Buckets of a sketch; the relative error of a distance is about 1/sqrt(2 x buckets)."""
    per_layer: bool = False
    """Also measure each tensor of the network by itself."""
    alarm_ticks: Positive = 3
    """Measurements in a row outside of the ball that make an alarm."""
    alarm_limit: PositiveFloat | None = None
    """Also sound the alarm when |x_i - mean| / |mean| of an agent is above this."""


@dataclass(frozen=True, kw_only=True)
class LogConfig:
    """What is written and shown."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    every_s: PositiveFloat = 1.0
    """Seconds between two records of each agent."""
    console_s: PositiveFloat = 5.0
    """Seconds between two plain progress lines (a terminal is refreshed more often)."""
    tensorboard: bool = True
    """Write TensorBoard event files into the run folder."""
    wandb: Annotated[str, Field(min_length=1)] | None = None
    """Project on Weights & Biases to send records to (needs the wandb extra); null: none."""
    profile_updates: Positive = 50
    """Updates of each agent that --profile looks at."""
    profile_after_s: NonNegativeFloat = 10.0
    """Seconds from the launch until --profile looks, at all agents at once."""


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """When parameters are saved."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    every_steps: Positive | None = None
    """Steps of all agents between two checkpoints; null: total_steps / 20."""
    every_s: PositiveFloat = 600.0
    """Seconds after which a checkpoint is written in any case."""
    keep: Positive = 3
    """Newest checkpoints kept per agent."""


@dataclass(frozen=True, kw_only=True)
class SupervisorConfig:
    """When an agent that is silent is taken for hung, killed and started again."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    first_update_s: PositiveFloat = 600.0
    """Seconds for the first update of an agent, and later for all that is not acting."""
    acting_s: PositiveFloat = 20.0
    """Seconds in which its environments must answer later on; more where its updates are slow."""
