"""GraphML, read by networkx, and refused where XML would define entities."""

from __future__ import annotations

import warnings
from pathlib import Path
from xml.etree import ElementTree

from gala.topology.description import Place
from gala.topology.formats.graphs import RawGraph, of_networkx

EXAMPLE = "write it with networkx.write_graphml"


def read_graphml(text: str, path: Path) -> RawGraph:
    """The first graph of a GraphML file.

    Raises:
        UserError: it is not well-formed, declares a document type, or is no graph to networkx.
    """
    import networkx as nx  # for the few who need it

    place = Place(file=path)
    before, doctype, _ = text.partition("<!DOCTYPE")  # entities expand without limit
    if doctype:
        line = before.count("\n") + 1
        rule, fix = "a DOCTYPE is not allowed", "remove it and its entities"
        raise place.error(rule, line=line, hint=fix)
    try:
        with warnings.catch_warnings():  # of details of editors' dialects
            warnings.simplefilter("ignore")
            graph = nx.parse_graphml(text)
    except ElementTree.ParseError as error:
        rule = f"malformed XML: {str(error).split(':')[0]}"
        raise place.error(rule, line=error.position[0], hint=EXAMPLE) from None
    except Exception as error:  # networkx promises none in particular for a value it cannot read
        raise place.error(f"is no GraphML that networkx reads: {error}", hint=EXAMPLE) from None
    default = graph.graph.get("edge_default", {})
    raw = of_networkx(graph, place)
    raw.edges = [(source, target, default | data) for source, target, data in raw.edges]
    return raw
