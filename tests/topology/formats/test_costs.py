"""Reading takes time in proportion to the length of a file, whatever it is long of."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gala.errors import UserError
from gala.topology import load_topology

KEY = "<key id='d0' for='node' attr.name='x' attr.type='string'/>"


def ring(agents: int, inside: str = "") -> str:
    nodes = "".join(f"<node id='{i}'>{inside}</node>" for i in range(agents))
    edges = "".join(f"<edge source='{i}' target='{(i + 1) % agents}'/>" for i in range(agents))
    return f"{KEY}<graph edgedefault='directed'>{nodes}{edges}</graph>"


LONG: dict[str, Callable[[int], str]] = {
    "entities": lambda n: ring(3, f"<data key='d0'>{'x&amp;' * (10 * n)}</data>"),
    "lines": lambda n: ring(3, "<data key='d0'>" + "x\n" * (10 * n) + "</data>"),
    "comments": lambda n: "<!-- c -->" * n + ring(3),
    "agents": lambda n: ring(n // 10),
    "pieces": lambda n: ring(3, f"<data key='d0'>{'<![CDATA[x]]>y' * n}</data>"),
}


def least(read: Callable[[], bool]) -> float:
    """Processor seconds of the quickest of three: the others may have swept memory."""
    found = []
    for _ in range(3):
        began = time.process_time()
        assert read()
        found.append(time.process_time() - began)
    return min(found)


@pytest.mark.parametrize("name", LONG)
def test_graphml_of_ten_times_the_length(name: str, tmp_path: Path) -> None:
    def cost(n: int) -> float:
        path = tmp_path / f"{n}.graphml"
        path.write_text(f"<graphml>{LONG[name](n)}</graphml>")
        return least(lambda: load_topology(path).agents >= 3)

    cost(100)  # what is loaded once
    assert cost(20_000) < 30 * cost(2_000) + 0.5


def test_edge_lists_of_ten_times_the_length(tmp_path: Path) -> None:
    def cost(edges: int) -> float:
        path = tmp_path / f"{edges}.edgelist"
        path.write_text("# directed\n" + "".join(f"{i} {(i + 1) % edges}\n" for i in range(edges)))
        return least(lambda: load_topology(path).agents == edges)

    cost(100)
    assert cost(20_000) < 30 * cost(2_000) + 0.5


def test_a_name_that_looks_like_a_number_is_a_name(tmp_path: Path) -> None:
    for name in ("1e3", "007", "on", "2020-01-01", "1:30", "true", "'12'"):
        path = tmp_path / "mine.yaml"
        path.write_text(f"name: {name}\nfamily: ring\n")
        assert load_topology(path, 3).name == name.strip("'")
    path.write_text("name: [a]\nfamily: ring\n")
    with pytest.raises(UserError, match="mine.yaml:1: name"):
        load_topology(path, 3)
