"""From a description and a number of agents to a topology, with every rule checked."""

from __future__ import annotations

import inspect

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError, validate_call

from gala.errors import did_you_mean
from gala.topology import complaints, limits
from gala.topology.description import Description, EdgeList
from gala.topology.families.table import FAMILIES
from gala.topology.graph import (
    Edges,
    Graph,
    degrees,
    edge_array,
    groups,
    strongly_connected,
)
from gala.topology.mixing import Mixing
from gala.topology.schedules import Schedule, rounds_of
from gala.topology.topology import Topology
from gala.topology.weights import NAMED, WeightError, Weights, fill, weigh


def build(description: Description, agents: int | None) -> Topology:
    """The topology that ``description`` means for ``agents`` agents (None: as many as it says).

    Raises:
        UserError: the size is not the file's, the family does not exist or not at this size, an
            edge or weight is impossible, or the graph is not strongly connected.
    """
    place = description.place
    if agents is None:
        agents = description.agents
    if agents is None:
        raise place.error("takes any number of agents; which?", hint="give --agents N")
    if agents < 1:
        fix = "--agents 1" if description.agents is None else "add a node"
        raise place.error(f"a topology needs at least one agent, got {agents}", hint=fix)
    if description.agents not in (None, agents):
        key = () if description.agents_key is None else (description.agents_key,)
        raise place.error(
            f"is for {limits.count(description.agents or 0)}, the launch has {agents}",
            *key,
            hint=f"launch {limits.count(description.agents or 0)} or use a file with agents: any",
        )
    _check_size(description, agents)
    if description.edges is not None:
        graph = _written(description, description.edges, agents)
    else:
        graph = _family(description, agents)
    weights = description.weights
    schedule = description.schedule or Schedule()
    _check_schedule(description, graph)
    edges = rounds_of(graph, schedule)
    _check_connected(description, graph.union, agents)
    whole = len(edges) == 1 and edges[0] is graph.union
    if not whole and not strongly_connected(edge_array(np.concatenate(edges)), agents):
        raise place.error(
            f"the {len(edges)} random rounds of one period leave some agents out",
            "schedule",
            hint=f"period: {min(4 * len(edges), limits.MAX_ROUNDS)}, or another seed",
        )
    mixings, kind = _weigh(description, graph, edges, weights)
    one_peer = all(degree.max(initial=0) <= 1 for e in edges for degree in degrees(e, agents))
    timed = "one-peer" if one_peer else "rotate"
    return Topology(
        name=description.name,
        agents=agents,
        rounds=mixings,
        weights=kind,
        schedule=timed if graph.timed and description.schedule is None else schedule.kind,
        push_sum=kind == "push-sum",
        discount=1.0 if weights is None else weights.discount,
        family=description.family,
        positions=graph.positions,
        notes=description.notes,
    )


def _check_size(description: Description, agents: int) -> None:
    """Refuse what would not fit, before anything is built."""
    listed, schedule = description.edges, description.schedule
    try:
        limits.check(agents, option=description.agents_key if description.agents else None)
        if listed is not None:
            always = int((listed.round == -1).sum())
            edges = always * listed.rounds + len(listed.edges) - always
            fewer = f"rounds: {min(limits.MAX_ROUNDS, limits.MAX_EDGES // max(agents, always, 1))}"
            limits.check(agents, rounds=listed.rounds, edges=edges, option="rounds", hint=fewer)
        if schedule is not None and schedule.kind == "random":
            limits.check(agents, rounds=schedule.period, option="schedule.period")
    except limits.Unfit as error:
        key = () if error.option is None else error.option.split(".")
        raise description.place.error(error.rule, *key, hint=error.hint) from None


def _family(description: Description, agents: int) -> Graph:
    assert description.family is not None
    place, name, options = description.place, description.family, description.options
    if name not in FAMILIES:
        raise place.error(
            f"unknown family {name!r}", "family", hint=did_you_mean(name, FAMILIES, limit=20)
        )
    function = FAMILIES[name]
    known = [option for option in inspect.signature(function).parameters if option != "agents"]
    for option in options:
        if option not in known:
            hint = did_you_mean(option, known) if known else f"{name} has no options"
            raise place.error("unknown option", "family", option, hint=hint)
    try:
        graph: Graph = validate_call(function)(agents, **options)
    except limits.Unfit as error:
        key = ("family",) if error.option is None else ("family", error.option)
        raise place.error(error.rule, *key, hint=error.hint) from None
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0])
        rule, fix = complaints.of_pydantic(first, option)
        raise place.error(rule, "family", option, hint=fix) from None
    return graph


def _written(description: Description, listed: EdgeList, agents: int) -> Graph:
    """The graph of a list of edges, after checking each of them."""
    _check_edges(description, listed, agents)
    _check_weights(description, listed)
    explicit = bool(listed.weighted.any())
    if description.weights is not None and description.weights.kind != "push-sum":
        explicit = description.weights.kind == "explicit"
    kind = description.weights.kind if description.weights is not None else None
    chosen = [_of_round(description, listed, number) for number in range(listed.rounds)]
    return Graph(
        agents=agents,
        layers=tuple(listed.edges[each] for each in chosen),
        weights=tuple(listed.weight[each] for each in chosen)
        if explicit and kind not in NAMED
        else None,
        timed=listed.rounds > 1,
    )


def _first(mask: NDArray[np.bool_], listed: EdgeList) -> list[tuple[int, int]]:
    """Index and entry of the first edge in ``mask``, if there is one."""
    return [(i, int(listed.entry[i])) for i in np.flatnonzero(mask)[:1].tolist()]


def _check_edges(description: Description, listed: EdgeList, agents: int) -> None:
    place, field, edges = description.place, description.edges_key, listed.edges
    for i, e in _first(np.any((edges < 0) | (edges >= agents), axis=1), listed):
        missing = next(a for a in edges[i].tolist() if not 0 <= a < agents)
        rule, fix = complaints.of_agent(missing, agents)
        raise place.error(rule, field, e, hint=fix)
    for i, e in _first(edges[:, 0] == edges[:, 1], listed):
        raise place.error(
            f"agent {edges[i, 0]} hears itself; an agent's own weight is what is left of one",
            field,
            e,
            hint=description.hints.get("self", "remove the edge"),
        )


def _check_weights(description: Description, listed: EdgeList) -> None:
    place, field = description.place, description.edges_key
    bad = listed.weighted & ~((listed.weight > 0) & np.isfinite(listed.weight))
    for i, e in _first(bad, listed):
        wrong = complaints.of_weight(float(listed.weight[i]))
        assert wrong is not None
        raise place.error(wrong[0], field, e, hint=wrong[1])
    kind = description.weights.kind if description.weights is not None else None
    if kind in ("uniform", "metropolis", "lazy"):
        rule = f"has a weight, but weights: {kind} makes the weights"
        fix, mask = "remove it or write weights: explicit", listed.weighted
    elif kind == "explicit":
        rule = "weights: explicit needs a weight on every edge"
        fix, mask = "add one such as 0.5, or write weights: uniform", ~listed.weighted
    elif kind in (None, "push-sum") and listed.weighted.any():
        rule = "has no weight, but other edges have one"
        fix, mask = "give all edges a weight, or none", ~listed.weighted
    else:
        return
    for _, e in _first(mask, listed):
        raise place.error(rule, field, e, hint=fix)


def _of_round(description: Description, listed: EdgeList, number: int) -> NDArray[np.int64]:
    """Indices of the edges of a round, by target and source; each edge may be there once."""
    chosen = np.flatnonzero((listed.round == -1) | (listed.round == number))
    part = listed.edges[chosen]
    order = np.lexsort((part[:, 0], part[:, 1]))
    part, chosen = part[order], chosen[order]
    for i in np.flatnonzero((part[1:] == part[:-1]).all(axis=1))[:1].tolist():
        entries = listed.entry[chosen[i]], listed.entry[chosen[i + 1]]
        first, second = sorted(map(int, entries))
        field = description.edges_key
        raise description.place.error(
            f"edge {part[i, 0]} to {part[i, 1]} is given twice, first as {field}.{first}",
            field,
            second,
            hint=description.hints.get("twice", "remove one of them"),
        )
    return np.asarray(chosen)


def _check_schedule(description: Description, graph: Graph) -> None:
    schedule = description.schedule
    if schedule is None or schedule.kind == "static" and not graph.timed:
        return
    who = description.family or "this list of edges"
    if graph.timed and schedule.kind != "one-peer":
        raise description.place.error(
            f"{who} brings its own rounds and takes no schedule",
            "schedule",
            hint="remove the line schedule",
        )
    if graph.weights is not None:
        raise description.place.error(
            f"schedule: {schedule.kind} changes the edges of a round, weights cannot be explicit",
            "schedule",
            hint="remove the weights, or give every edge its round",
        )
    if schedule.kind in ("rotate", "one-peer") and not graph.timed:
        # at least one round for each agent that the busiest one hears
        busiest = int(degrees(graph.union, graph.agents)[0].max(initial=0))
        peers = min(schedule.peers, 2 * busiest)
        try:
            limits.check(graph.agents, edges=graph.agents * busiest + peers * len(graph.union))
        except limits.Unfit as error:
            rule = f"over one period, {error.rule}"
            raise description.place.error(rule, "schedule", hint="schedule: static") from None


def _weigh(
    description: Description, graph: Graph, rounds: tuple[Edges, ...], weights: Weights | None
) -> tuple[tuple[Mixing, ...], str]:
    place, agents = description.place, graph.agents
    try:
        if graph.weights is not None:
            if weights is not None and weights.kind != "explicit":
                raise place.error(
                    f"{description.family} brings its own weights",
                    "weights",
                    hint="remove the line weights",
                )
            mixings = tuple(
                fill(edges, agents, weight)
                for edges, weight in zip(rounds, graph.weights, strict=True)
            )
            return mixings, "explicit"
        if weights is not None and weights.kind == "explicit":
            raise place.error(
                "weights: explicit needs edges with weights",
                "weights",
                hint="remove the line weights",
            )
        if weights is not None:
            return tuple(weigh(edges, agents, weights) for edges in rounds), weights.kind
        mixings = tuple(weigh(edges, agents, Weights(kind="uniform")) for edges in rounds)
        if not all(mixing.column_stochastic for mixing in mixings):
            try:
                balanced = Weights(kind="metropolis")
                return tuple(weigh(edges, agents, balanced) for edges in rounds), "metropolis"
            except WeightError:
                pass  # no weights make this graph doubly stochastic that easily: uniform it stays
        return mixings, "uniform"
    except WeightError as error:
        key: tuple[str | int, ...] = ("weights",)
        if graph.weights is not None and description.edges is not None:
            into = np.flatnonzero(description.edges.edges[:, 1] == error.agent)
            key = (description.edges_key, int(description.edges.entry[into[-1]]))
        hint = error.hint
        if description.weights is None and "weights" in description.hints:
            hint = f"{hint}; {description.hints['weights']}"
        raise place.error(error.rule, *key, hint=hint) from None


def _check_connected(description: Description, edges: Edges, agents: int) -> None:
    if strongly_connected(edges, agents):
        return
    rule, fix = complaints.of_groups(groups(edges, agents))
    key = ("family",) if description.edges is None else (description.edges_key,)
    raise description.place.error(f"not strongly connected: {rule}", *key, hint=fix)
