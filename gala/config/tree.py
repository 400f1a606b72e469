"""Every choice of a training run, as one tree of frozen dataclasses.

An experiment file (YAML) and command-line options go through the same parser and the same
validator: ``--a2c.lr 7e-4`` on the command line is ``a2c: {lr: 7e-4}`` in the file. The resolved
tree is written to ``config.yaml`` of the run folder, and reruns the run.

This is the only module that knows the library behind ``--help`` (tyro).
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from gala.errors import UserError, did_you_mean
from gala.files.yaml import Document, dump_yaml, load_yaml, parse_yaml

Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]

FreeForm = dict[str, JsonValue]
"""A mapping with names of the user's; its options are ``--section.field.NAME value``."""

Coupling = Literal["gossip", "allreduce", "none"]


def _as_tuple(value: Any) -> Any:
    """One where several may stand."""
    return (value,) if isinstance(value, int | str) else value


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
    noop_max: NonNegative = 30
    """A game starts with up to this many no-op actions."""
    sticky_actions: Fraction = 0.0
    """Probability that the emulator repeats the last action instead (Machado et al. 2018: 0.25)."""
    episodic_life: bool = True
    """A lost life ends the episode for the learner; the game goes on, returns are of full games."""
    fire_reset: bool = True
    """Press FIRE after a reset in games that wait for it."""
    full_action_space: bool = False
    """All 18 actions instead of the game's own."""
    max_frames: Positive = 108_000
    """A game is truncated after this many emulator frames (108,000 = 30 minutes of play)."""


@dataclass(frozen=True, kw_only=True)
class EnvConfig:
    """The simulators of one agent."""

    __pydantic_config__ = ConfigDict(extra="forbid", ser_json_inf_nan="constants")

    id: str = "CartPole-v1"
    """ALE/Pong-v5, CartPole-v1, any Gymnasium id, gala/Identity-v0; own ones: MODULE:Id-v0."""
    kwargs: FreeForm = field(default_factory=dict)
    """Arguments of the constructor: {size: 5}, or --env.kwargs.size 5."""
    options: FreeForm = field(default_factory=dict)
    """Options of every reset: {level: 1}, or --env.options.level 1."""
    wrappers: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)] = ()
    """MODULE:CALLABLE, each called with the environment, the first one first."""
    num_envs: Positive = 16
    """Simulators per agent."""
    reward_clip: bool = False
    """Learn from the sign of the reward; returns are always logged raw."""
    autoreset: Literal["next-step", "same-step"] = "next-step"
    """When a finished simulator starts its next episode (Gymnasium's autoreset modes)."""
    max_episode_steps: Positive | None = None
    """Truncate episodes after so many steps; null: the environment's own limit."""
    workers: Literal["vector", "sync", "async"] = "vector"
    """vector: the id's own vectorised form, else sync (so with wrappers); async: processes."""
    atari: AtariConfig = field(default_factory=AtariConfig)
    """Used for Atari games only."""


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The policy and value network."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    kind: Literal["auto", "nature-cnn", "mlp"] = "auto"
    """auto: nature-cnn for images, mlp (tanh) for vectors."""
    filters: tuple[Positive, Positive, Positive] = (32, 64, 32)
    """Filters of the three convolutions (8x8/4, 4x4/2, 3x3/1); the paper's are 32, 64, 32."""
    hidden: tuple[Positive, ...] | None = None
    """Units of the hidden layers; null: 512 after the convolutions, 64, 64 for an mlp."""
    background: Annotated[int, Field(ge=0, le=255)] = 0
    """Pixel that counts as 0; the paper's is 0. The colour of the field learns faster: Pong 87."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the network; parameters stay float32. auto: bfloat16 where it is native."""


@dataclass(frozen=True, kw_only=True)
class A2CConfig:
    """Advantage actor-critic (Mnih et al. 2016, synchronous form) of one agent."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    n_step: Positive = 5
    """Steps in each simulator between two updates."""
    gamma: Fraction = 0.99
    """Discount per step."""
    gae_lambda: Fraction = 1.0
    """Lambda of generalised advantage estimation; 1 gives plain n-step returns."""
    lr: PositiveFloat = 7e-4
    """Learning rate, before lr_scaling."""
    lr_schedule: Literal["constant", "linear"] = "constant"
    """linear: to 0 at total_steps."""
    lr_scaling: Literal["none", "sqrt"] = "none"
    """sqrt: times sqrt(simulators of all agents / 16), as in the paper."""
    optimizer: Literal["rmsprop", "adam"] = "rmsprop"
    """Optimizer of the flat parameter vector."""
    optimizer_eps: PositiveFloat = 1e-5
    """Epsilon of the optimizer's denominator."""
    rmsprop_alpha: Beta = 0.99
    """Smoothing of RMSProp's squared gradient."""
    adam_betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Smoothing of Adam's gradient and of its square; [0, 0.99]: RMSProp with short first steps."""
    value_coef: NonNegativeFloat = 0.5
    """Weight of the value loss."""
    entropy_coef: NonNegativeFloat = 0.01
    """Weight of the entropy bonus."""
    entropy_schedule: Literal["constant", "linear"] = "constant"
    """linear: to 0 at total_steps."""
    max_grad_norm: PositiveFloat | None = 0.5
    """Clip the gradient's L2 norm; null: never."""
    normalize_advantage: bool = False
    """Scale the advantages of one update to mean 0 and deviation 1."""


@dataclass(frozen=True, kw_only=True)
class GossipConfig:
    """How agents exchange parameters."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    max_staleness: NonNegative | None = None
    """Updates without a mix before staleness_policy applies; 0: lock-step; null: never."""
    staleness_policy: Literal["never", "skip", "wait"] = "wait"
    """At max_staleness: wait for missing neighbours, skip them in this mix, or never do either."""
    transport: Literal["auto", "shared-memory", "gloo", "memory"] = "auto"
    """auto: memory within a process, shared-memory within a host, gloo between hosts."""
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
    trust_radius: Annotated[float, Field(gt=1.0)] | None = 10.0
    """Refuse messages from beyond so many times the usual distance or update; null: believe all."""


@dataclass(frozen=True, kw_only=True)
class FaultsConfig:
    """What to break on purpose, to try a set-up on a bad day. Probabilities are per message."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    agents: Annotated[tuple[NonNegative, ...], BeforeValidator(_as_tuple)] | None = None
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
    slowdown: Annotated[float, Field(ge=1.0)] = 1.0
    """The agent needs so many times as long for an update: a straggler."""

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
    keep: Positive = 3
    """Newest checkpoints kept per agent."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """A training run."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    env: EnvConfig = field(default_factory=EnvConfig)
    """The simulators of one agent."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    """The policy and value network."""
    a2c: A2CConfig = field(default_factory=A2CConfig)
    """The learning algorithm."""
    gossip: GossipConfig = field(default_factory=GossipConfig)
    """How agents exchange parameters."""
    faults: FaultsConfig = field(default_factory=FaultsConfig)
    """What to break on purpose."""
    divergence: DivergenceConfig = field(default_factory=DivergenceConfig)
    """How the epsilon-ball is measured."""
    log: LogConfig = field(default_factory=LogConfig)
    """What is written and shown."""
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    """When parameters are saved."""
    topology: str = "directed-ring"
    """Topology file, or the name of a shipped one."""
    coupling: Coupling = "gossip"
    """gossip; allreduce: gradients averaged at each update (synchronous A2C); none: independent."""
    exit_on_alarm: bool = False
    """Stop with a checkpoint and exit code 3 when the agents leave the epsilon-ball."""
    profile: bool = False
    """Trace some updates of each agent, for a picture of all of them (gala profile)."""
    total_steps: Positive = 1_000_000
    """Environment steps, counted over all agents."""
    seed: NonNegative = 1
    """Seed of the run; each agent derives its own from it."""
    threads: Positive | None = None
    """Threads per agent for simulators and network; null: cores // agents of this host."""
    device: str = "auto"
    """auto: cuda:(process of this host % devices) when there is one, else cpu."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data of the whole tree: dicts, lists, str, int, float, bool, None."""
        plain: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        return plain

    def to_yaml(self) -> str:
        """The tree as an experiment file."""
        return dump_yaml(self.to_dict())


_ADAPTER: TypeAdapter[Config] = TypeAdapter(Config)


def load(path: str | Path) -> Config:
    """Read an experiment file or the ``config.yaml`` of a run folder.

    Raises:
        UserError: the file is missing or malformed, or holds an unknown field or a bad value.
    """
    return from_document(load_yaml(path))


def from_document(document: Document, overrides: Sequence[tuple[str, Any]] = ()) -> Config:
    """The configuration of ``document`` with ``(dotted name, value)`` options laid over it.

    Raises:
        UserError: an unknown name (with the nearest one) or a value that breaks its field's rule.
    """
    data = document.data if document.data is not None else {}
    if not isinstance(data, dict):
        raise document.error("must be a mapping of fields")
    _refuse_unknown(data, (), document)
    for name, value in overrides:
        target = data
        *parents, leaf = name.split(".")
        for parent in parents:
            if not isinstance(target.get(parent), dict):
                target[parent] = {}
            target = target[parent]
        target[leaf] = value
    try:
        return _ADAPTER.validate_python(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = tuple(part for part in first["loc"] if isinstance(part, int) or part.isidentifier())
        while key and not _names_field(key):
            key = key[:-1]
        message = first["msg"].removeprefix("Input ").replace("should be", "must be")
        shown = f"{message}, got {first['input']!r}"
        dotted = ".".join(map(str, key))
        if any(dotted == name for name, _ in overrides):
            raise UserError(shown, field="--" + dotted.replace("_", "-")) from None
        raise document.error(shown, *key) from None


def parse_options(
    arguments: Sequence[str], also: Mapping[str, Any] = types.MappingProxyType({})
) -> tuple[list[str], list[tuple[str, Any]]]:
    """Split a command line into positional arguments and ``(dotted name, value)`` options.

    Options are ``--section.field value`` or ``--section.field=value``; values are read as YAML, so
    ``1e6``, ``null``, ``true`` and ``[32, 64, 32]`` mean the same as in a file. ``--section.field``
    and ``--section.no-field`` switch a boolean. A field that is a mapping takes any name below its
    own: ``--env.kwargs.size 5``.

    Args:
        arguments: the command line without the program.
        also: names (with underscores) and types of options that are not part of the configuration.

    Raises:
        UserError: an unknown option (with the nearest one) or a missing value.
    """
    positional: list[str] = []
    options: list[tuple[str, Any]] = []
    known = dict(_leaves(Config)) | dict(also)
    mappings = tuple(f"{name}." for name, kind in known.items() if kind == FreeForm)
    rest = list(arguments)
    while rest:
        token = rest.pop(0)
        if not token.startswith("--") or token == "--":
            positional.append(token)
            continue
        flag, has_value, text = token[2:].partition("=")
        name = flag.replace("-", "_")
        if name not in known and not has_value:
            head, dot, leaf = name.rpartition(".")
            if leaf.startswith("no_") and known.get(head + dot + leaf[3:]) is bool:
                options.append((head + dot + leaf[3:], False))
                continue
        if name not in known and not name.startswith(mappings):
            names = ["--" + each.replace("_", "-") for each in known]
            hint = did_you_mean(f"--{flag}", names)
            raise UserError("unknown option", field=f"--{flag}", hint=hint)
        if not has_value:
            if known.get(name) is bool and (not rest or rest[0].lower() not in ("true", "false")):
                options.append((name, True))
                continue
            if not rest:
                raise UserError("needs a value", field=f"--{flag}")
            text = rest.pop(0)
        options.append((name, _option_value(text, flag)))
    return positional, options


def print_help(program: str) -> None:
    """Print every option with its default and meaning."""
    import tyro

    registry = tyro.constructors.ConstructorRegistry()

    @registry.primitive_rule
    def mapping(info: Any) -> Any:  # an empty one, else, is not shown
        if typing.get_origin(info.type) is not dict:
            return None
        return tyro.constructors.PrimitiveConstructorSpec(
            nargs=1,
            metavar="MAPPING",
            instance_from_str=lambda words: words[0],
            is_instance=lambda value: isinstance(value, dict),
            str_from_instance=lambda value: [str(value)],
        )

    try:
        tyro.cli(Config, prog=program, args=["--help"], description=_USAGE, registry=registry)
    except SystemExit:
        return


_USAGE = (
    "Train gossiping actor-learners. The first argument is an experiment file "
    "(experiments/pong.yaml) or the name of a shipped one (pong). Also: --run-dir FOLDER (a new "
    "one), --resume FOLDER (go on from its checkpoints), --agents N (start N through torchrun)."
)


def _option_value(text: str, flag: str) -> Any:
    if text == "":
        return ""
    try:
        return parse_yaml(text, "option").data
    except UserError as error:
        rule = f"cannot read the value {text!r}: {error.rule}"
        raise UserError(rule, field=f"--{flag}") from None


def _leaves(cls: type[Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Dotted name and type of every option below a dataclass."""
    hints = typing.get_type_hints(cls)
    found: list[tuple[str, Any]] = []
    for each in dataclasses.fields(cls):
        kind = hints[each.name]
        if dataclasses.is_dataclass(kind):
            found += _leaves(typing.cast("type[Any]", kind), f"{prefix}{each.name}.")
        else:
            found.append((prefix + each.name, kind))
    return found


def option_names() -> list[str]:
    """Every option of the command line, as typed (``--a2c.lr``)."""
    return ["--" + name.replace("_", "-") for name, _ in _leaves(Config)]


def _section(key: Sequence[str | int]) -> type[Any] | None:
    """The dataclass at ``key``, None for a field of plain type."""
    kind: Any = Config
    for part in key:
        hints = typing.get_type_hints(kind) if dataclasses.is_dataclass(kind) else {}
        kind = hints.get(str(part))
    return kind if isinstance(kind, type) and dataclasses.is_dataclass(kind) else None


def _names_field(key: Sequence[str | int]) -> bool:
    section = _section(key[:-1])
    return section is not None and any(each.name == key[-1] for each in dataclasses.fields(section))


def _refuse_unknown(data: dict[Any, Any], key: tuple[str, ...], document: Document) -> None:
    section = _section(key)
    assert section is not None
    names = [each.name for each in dataclasses.fields(section)]
    for name, value in data.items():
        if name not in names:
            hint = did_you_mean(str(name), names)
            raise document.error("unknown field", *key, str(name), hint=hint)
        if _section((*key, name)) is not None:
            if value is None:
                data[name] = {}
            elif isinstance(value, dict):
                _refuse_unknown(value, (*key, name), document)
            else:
                raise document.error(f"must be a mapping of fields, got {value!r}", *key, name)
