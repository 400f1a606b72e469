"""Node-link JSON, as networkx writes it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gala.errors import UserError
from gala.files.yaml import MAX_DEPTH, parse_yaml
from gala.topology import complaints
from gala.topology.description import Key, Place
from gala.topology.formats.graphs import RawGraph, label_of


def read_node_link(text: str, path: Path) -> RawGraph:
    """Node-link JSON of networkx, with ``edges`` or ``links``."""
    data = parse_json(text, path)
    place = Place(file=path, line=lines_of_json(text, path))
    example = "write it with networkx.node_link_data"
    if not isinstance(data, dict) or not isinstance(data.get("nodes"), list):
        raise place.error("is not networkx node-link data, with nodes and edges", hint=example)
    links = "edges" if "edges" in data else "links"
    if not isinstance(data.get(links), list):
        raise place.error("is missing", links, hint="node-link data has edges or links")
    raw = RawGraph(
        place=place,
        directed=bool(data.get("directed", False)),
        attributes=data["graph"] if isinstance(data.get("graph"), dict) else {},
        edges_key=links,
    )
    for entry, node in enumerate(data["nodes"]):
        if not isinstance(node, dict) or "id" not in node:
            fix = f'{{"id": {entry}}}'
            raise place.error("a node is a mapping with an id", "nodes", entry, hint=fix)
        raw.nodes.append(label_of(node["id"]))
    for entry, edge in enumerate(data[links]):
        if not isinstance(edge, dict) or not {"source", "target"} <= edge.keys():
            rule, fix = "an edge is a mapping with source and target", '{"source": 0, "target": 1}'
            raise place.error(rule, links, entry, hint=fix)
        raw.edges.append((label_of(edge["source"]), label_of(edge["target"]), edge))
    if len(set(raw.nodes)) < len(raw.nodes):
        first = {node: i for i, node in reversed(list(enumerate(raw.nodes)))}
        twice = next(i for i, node in enumerate(raw.nodes) if first[node] < i)
        rule = f"node {complaints.short(raw.nodes[twice])} is given twice"
        raise place.error(rule, "nodes", twice, hint="remove one of them")
    return raw


def parse_json(text: str, path: Path) -> Any:
    """The data of JSON ``text``.

    Raises:
        UserError: it is malformed or nested deeper than anybody writes.
    """
    place = Place(file=path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        rule, fix = f"malformed JSON: {error.msg}", "check brackets, commas and quotes"
        raise place.error(rule, line=error.lineno, hint=fix) from None
    except RecursionError:
        depth, line = 0, 1
        for found in re.finditer(r'"(?:[^"\\]|\\.)*"|[\[{\]}\n]', text):
            line += found[0] == "\n"
            depth += (found[0] in "[{") - (found[0] in "]}")
            if depth > MAX_DEPTH:
                break
        rule = f"malformed JSON: nested too deeply, {MAX_DEPTH} levels are more than enough"
        raise place.error(rule, line=line, hint="close the brackets that are open") from None
    except ValueError as error:  # a number of thousands of digits
        rule = f"malformed JSON: {str(error).split(';')[0]}"
        raise place.error(rule, hint="correct the number") from None


PAIR = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")


def json_as_yaml(text: str) -> str:
    """JSON without what YAML does not allow: tabs between words, characters escaped in halves."""
    return PAIR.sub(lambda pair: json.loads(f'"{pair[0]}"'), text.replace("\t", " "))


def lines_of_json(text: str, path: Path) -> Callable[[Key], int | None]:
    """Finds the line of a field, by reading JSON as YAML."""

    def line(key: Key) -> int | None:
        if len(text) > 2**20:
            return None  # finding it would take longer than the user waits
        try:
            return parse_yaml(json_as_yaml(text), path).line(*key)
        except UserError:
            return None

    return line
