"""Topology files for people: YAML, version 1.

Format
------
::

    version: 1
    name: my-graph
    agents: any                 # or a number
    family: ring                # or {kind: ring, directed: true}, or instead of it:
    edges:
      - [0, 1]                  # agent 1 averages what agent 0 publishes
      - {source: 1, target: 2, weight: 0.5, round: 0}
    weights: metropolis         # uniform | metropolis | explicit | lazy | push-sum |
                                # clipped | trimmed
    schedule: static            # static | rotate | one-peer | random

``weights`` may be ``{kind: lazy, self_weight: 0.7}`` or ``{kind: uniform, discount: 0.9}`` (a
factor per update of age of a message), ``schedule`` may be ``{kind: rotate, peers: 2}`` or
``{kind: random, seed: 7, period: 64}``; ``round`` is a number or a list of numbers, and an edge
without it is used in every round; ``directed: false`` lets every edge be heard both ways.
``topologies/schema.json`` describes the same for editors.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from gala.errors import UserError, did_you_mean
from gala.files.yaml import Document
from gala.topology import complaints
from gala.topology.description import Description, EdgeList, Place
from gala.topology.limits import MAX_AGENTS, MAX_ROUNDS
from gala.topology.schedules import Schedule, ScheduleKind
from gala.topology.weights import Weights, WeightsKind

Agent = Annotated[
    int, Field(strict=True, json_schema_extra={"minimum": 0, "maximum": MAX_AGENTS - 1})
]
Round = Annotated[
    int, Field(strict=True, json_schema_extra={"minimum": 0, "maximum": MAX_ROUNDS - 1})
]


def _kind(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


def _edge(value: Any) -> Any:
    if isinstance(value, list) and len(value) in (2, 3):
        return dict(zip(("source", "target", "weight"), value, strict=False))
    return value


EXAMPLE = "for example: family: ring"

NAMED: dict[tuple[str | int, ...], str] = {
    ("family",): "family: ring",
    ("weights",): "weights: uniform",
    ("schedule",): "schedule: rotate",
}
"""Fields that are a name, or a mapping with ``kind`` and options."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class EdgeModel(_Model):
    """One edge: the target averages what the source publishes."""

    source: Agent
    """Agent that publishes."""
    target: Agent
    """Agent that averages."""
    weight: Annotated[float, Field(strict=True)] | None = None
    """Weight that the target gives to the source; what is left of one goes to the target itself."""
    round: Round | list[Round] | None = None
    """Round, or rounds, of the period that use the edge; none: all."""


class FamilyModel(BaseModel):
    """A family and its options."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    kind: str
    """Name of the family."""


class WeightsModel(_Model):
    """Weights and their options."""

    kind: WeightsKind
    """How weights are made."""
    self_weight: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Own weight, for lazy."""
    discount: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Factor on the weight of a message per update of its age; what it loses goes to self."""


class ScheduleModel(_Model):
    """A schedule and its options."""

    kind: ScheduleKind
    """Which edges a round uses."""
    peers: Annotated[int, Field(ge=1, strict=True)] = 1
    """Layers of the graph per round, for rotate."""
    seed: Annotated[int, Field(ge=0, strict=True)] = 0
    """For random: the same seed draws the same rounds."""
    period: Annotated[int, Field(ge=1, le=MAX_ROUNDS, strict=True)] = 64
    """For random: rounds until it repeats."""


class TopologyFile(_Model):
    """A topology file of gala: who averages what whom publishes, with which weight, and when."""

    version: Literal[1] = 1
    """Version of this format."""
    name: str | None = None
    """What people call the topology; none: the name of the file."""
    agents: Literal["any"] | Annotated[int, Field(ge=1, le=MAX_AGENTS, strict=True)] = "any"
    """Number of agents, or any: as many as are launched."""
    family: (
        Annotated[FamilyModel, BeforeValidator(_kind, json_schema_input_type=str | FamilyModel)]
        | None
    ) = None
    """A family of graphs; instead of edges."""
    edges: (
        list[
            Annotated[
                EdgeModel,
                BeforeValidator(
                    _edge,
                    json_schema_input_type=tuple[int, int] | tuple[int, int, float] | EdgeModel,
                ),
            ]
        ]
        | None
    ) = None
    """The edges, one by one; instead of a family."""
    directed: Annotated[bool, Field(strict=True)] = True
    """False: every edge is heard both ways."""
    rounds: Annotated[int, Field(ge=1, le=MAX_ROUNDS, strict=True)] | None = None
    """Rounds of one period; none: as many as the edges name."""
    weights: (
        Annotated[
            WeightsModel, BeforeValidator(_kind, json_schema_input_type=WeightsKind | WeightsModel)
        ]
        | None
    ) = None
    """How weights are made. None: explicit if edges have weights, else uniform where that is doubly
    stochastic, else metropolis where that is possible."""
    schedule: (
        Annotated[
            ScheduleModel,
            BeforeValidator(_kind, json_schema_input_type=ScheduleKind | ScheduleModel),
        ]
        | None
    ) = None
    """Which edges a round uses; none: all of them, in the rounds that they name."""


def describe(document: Document) -> Description:
    """What the YAML ``document`` says.

    Raises:
        UserError: a field is unknown, missing or of the wrong type.
    """
    place = Place(file=document.path, line=lambda key: document.line(*key))
    if not isinstance(document.data, dict):
        raise place.error("a topology file is a mapping of fields", hint=EXAMPLE)
    data = document.data
    if data.get("name") is not None:  # text, whatever it looks like
        data = data | {"name": document.written.get(("name",), data["name"])}
    try:
        model = TopologyFile.model_validate(data)
    except ValidationError as error:
        raise explain(error, place) from None
    if model.family is None and model.edges is None:
        raise place.error("a topology has either a family or edges", hint=EXAMPLE)
    if model.family is not None:
        if model.edges is not None:
            rule = "a topology has either a family or edges, not both"
            raise place.error(rule, "edges", hint="keep one of them")
        for name, fix in (
            ("rounds", "remove it, or write schedule: rotate"),
            ("directed", "write family: {kind: ring, directed: true}"),
        ):
            if name in document.data:
                rule = f"{name} belongs to a list of edges, not to a family"
                raise place.error(rule, name, hint=fix)
    return Description(
        name=model.name or document.path.stem,
        place=place,
        agents=None if model.agents == "any" else model.agents,
        family=model.family.kind if model.family else None,
        options=dict(model.family.model_extra or {}) if model.family else {},
        edges=_edges(model, place) if model.edges is not None else None,
        weights=weights_of(model.weights),
        schedule=schedule_of(model.schedule),
    )


def weights_of(model: WeightsModel | None) -> Weights | None:
    """The plain dataclass."""
    if model is None:
        return None
    return Weights(kind=model.kind, self_weight=model.self_weight, discount=model.discount)


def schedule_of(model: ScheduleModel | None) -> Schedule | None:
    """The plain dataclass."""
    if model is None:
        return None
    return Schedule(kind=model.kind, peers=model.peers, seed=model.seed, period=model.period)


def _edges(model: TopologyFile, place: Place) -> EdgeList:
    triples: list[tuple[int, int, float | None]] = []
    rounds: list[int] = []
    entries: list[int] = []
    for index, edge in enumerate(model.edges or []):
        for agent in (edge.source, edge.target):
            if abs(agent) > MAX_AGENTS:  # whatever the launch; others wait for its size
                named_agents = MAX_AGENTS if model.agents == "any" else model.agents
                rule, fix = complaints.of_agent(agent, named_agents)
                raise place.error(rule, "edges", index, hint=fix)
        named = [-1] if edge.round is None else edge.round
        for number in [named] if isinstance(named, int) else named:
            last = (model.rounds or MAX_ROUNDS) - 1
            if edge.round is not None and not 0 <= number <= last:
                rule = f"round {complaints.short(number)} is outside 0..{last}"
                near = max(0, min(number, last))
                raise place.error(rule, "edges", index, "round", hint=f"round: {near}")
            ways = [(edge.source, edge.target)]
            if not model.directed:
                ways.append((edge.target, edge.source))
            for source, target in ways:
                triples.append((source, target, edge.weight))
                rounds.append(number)
                entries.append(index)
    period = model.rounds or max(rounds, default=-1) + 1 or 1
    return EdgeList.of(triples, round=rounds, entry=entries, rounds=max(period, 1))


def explain(error: ValidationError, place: Place) -> UserError:
    """The first of pydantic's complaints, in the words of a topology file."""
    first = error.errors()[0]
    key = tuple(part for part in first["loc"] if not _machinery(part))
    kind, value = first["type"], first["input"]
    if kind == "invalid_key":
        key = tuple(map(str, key))
    shown, name = complaints.short(value), str(key[-1]) if key else ""
    if kind == "extra_forbidden":
        return place.error("unknown field", *key, hint=did_you_mean(name, _fields(key[:-1])))
    if kind == "missing":
        return place.error("is missing", *key, hint=f"add {name}")
    if key == ("version",):
        return place.error(f"version {shown} is unknown", *key, hint="this gala reads version 1")
    if kind == "literal_error" and name == "kind":
        _, fix = complaints.of_pydantic(first, name)
        return place.error(f"unknown {key[0]} {shown}", *key[:-1], hint=fix)
    if key in NAMED:
        return place.error(f"is a name or a mapping with kind, got {shown}", *key, hint=NAMED[key])
    if key[:1] == ("edges",) and len(key) == 2:
        rule = "an edge is [source, target], [source, target, weight] or a mapping"
        return place.error(rule, *key, hint="for example [0, 1]")
    if key == ("agents",):
        rule = f"must be a number from 1 to {MAX_AGENTS} or any, got {shown}"
        near = "any"
        if isinstance(value, int | float) and not isinstance(value, bool) and value == value:
            near = str(round(max(1, min(value, MAX_AGENTS))))
        return place.error(rule, *key, hint=f"agents: {near}")
    rule, fix = complaints.of_pydantic(first, name)
    return place.error(rule, *key, hint=fix)


def _machinery(part: str | int) -> bool:
    """Whether pydantic put ``part`` into a location to name a branch of a union."""
    return isinstance(part, str) and (
        part in {"int", "float", "str", "list[int]"}
        or part.startswith(("constrained", "function-", "literal", "list[", "none"))
    )


def _fields(key: tuple[str | int, ...]) -> list[str]:
    models: dict[str, type[BaseModel]] = {
        "edges": EdgeModel,
        "weights": WeightsModel,
        "schedule": ScheduleModel,
    }
    model = models[str(key[0])] if key else TopologyFile
    return list(model.model_fields)
