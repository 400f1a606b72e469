"""Who may import whom: rooms stand on floors, and what is below knows nothing of what is above."""

from __future__ import annotations

import ast
import re
from typing import Any

import networkx as nx
import pytest

ARGUMENTS = "config.arguments"
"""The words of the command line stand below the configuration: each room's command has a parser."""

# Each room or module on its floor; it may import its own floor and the floors below.
FLOORS = [
    {"errors"},
    {"files", ARGUMENTS},
    {"topology", "config", "launch"},
    {"parameters", "device", "networks", "envs", "divergence", "telemetry"},
    {"gossip", "experience", "learning", "run", "policy", "evaluation"},
    {"couplings", "simulation", "actors"},
    {"agent", "dashboard", "report", "watch", "bench", "doctor", "export", "tune"},
    {"train", "library", "distil"},
    {"sb3"},
    {"cli"},
    {"__main__"},
]

# Beyond the floors: what a room must not know, because it would no longer be usable alone.
LEARNING = {"learning", "experience", "envs", "networks", "policy", "evaluation", "agent"}
COMMUNICATION = {"gossip", "couplings", "divergence", "launch", "telemetry"}
FORBIDDEN = {
    "learning": COMMUNICATION | {"envs", "run"},
    "networks": COMMUNICATION | {"envs", "learning", "run"},
    "envs": COMMUNICATION | {"networks", "learning", "run"},
    "experience": COMMUNICATION | {"run"},
    "parameters": LEARNING | COMMUNICATION | {"run"},
    "device": LEARNING | COMMUNICATION | {"run", "config"},
    "gossip": LEARNING | {"run"},
    "divergence": LEARNING | {"gossip", "couplings", "run"},
    "telemetry": LEARNING | {"gossip", "couplings", "divergence", "run"},
    "actors": {"couplings", "divergence", "evaluation", "policy", "learning", "telemetry"},
    "simulation": LEARNING | {"couplings", "run"},
    "topology": {"config", "launch"},
    "config": {"topology", "launch"},
}

# What only looks at runs reads run folders, and nothing of what trains.
VIEWERS = {"dashboard", "report", "watch"}
VIEWED = {
    "gala.telemetry.arms",
    "gala.telemetry.console",
    "gala.telemetry.phases",
    "gala.telemetry.prometheus",
    "gala.telemetry.reader",
    "gala.telemetry.selection",
    "gala.telemetry.sampling",
    "gala.telemetry.sketches",
    "gala.telemetry.standing",
    "gala.evaluation.statistics",
    "gala.evaluation.human",
    "gala.evaluation.kept",
    "gala.config.arguments",
    "gala.errors",
    "gala.files.screen",
    "gala.files.atomic",
    "gala.files.bounded",
    "gala.files.commands",
    "gala.files.pictures",
    "gala.files.shipped",
    "gala.files.text_log",
    "gala.files.yaml",
    "gala.run.folder",
    "gala.run.wishes",
}


def room_of(name: str) -> str:
    """The room of a module, or the module where it has a floor of its own."""
    return ARGUMENTS if name == f"gala.{ARGUMENTS}" else name.split(".")[1]


def floor_of(room: str) -> int:
    """Number of a room's floor, from below; a room without one stands on the roof."""
    floors = [floor for floor, rooms in enumerate(FLOORS) if room in rooms]
    return floors[0] if floors else len(FLOORS)


def imported_modules(module: Any, names: set[str]) -> list[tuple[Any, str]]:
    """Modules of gala that ``module`` imports; a name of an object is cut to its module."""
    found = []
    for node, name in module.imports():
        if name == "gala" or not name.startswith("gala."):
            continue
        while name not in names:
            name = name.rpartition(".")[0]
        if name != "gala":
            found.append((node, name))
    return found


@pytest.fixture(scope="module")
def edges(modules: list[Any]) -> list[tuple[Any, Any, str]]:
    """Module, importing statement, imported module; for imports between different rooms."""
    names = {module.name for module in modules}
    return [
        (module, node, name)
        for module in modules
        for node, name in imported_modules(module, names)
        if name.split(".")[1] != module.room
    ]


def test_the_scan_sees_what_is_there(modules: list[Any], edges: list[Any]) -> None:
    assert len(modules) > 20
    seen = {(module.name, name) for module, _, name in edges}
    assert ("gala.files.yaml", "gala.errors") in seen
    assert ("gala.run.checkpoint", "gala.files.atomic") in seen


def test_every_room_has_a_floor(modules: list[Any]) -> None:
    rooms = {module.room for module in modules} - {""}
    known = set().union(*FLOORS)
    assert rooms <= known, f"give these a floor: {sorted(rooms - known)}"


def test_nothing_imports_a_floor_above(edges: list[tuple[Any, Any, str]]) -> None:
    wrong = [
        f"{module.place(node)} imports {name}"
        for module, node, name in edges
        if module.room and floor_of(room_of(module.name)) < floor_of(room_of(name))
    ]
    assert wrong == []


def test_rooms_stay_usable_alone(edges: list[tuple[Any, Any, str]]) -> None:
    wrong = [
        f"{module.place(node)} imports {name}"
        for module, node, name in edges
        if room_of(name) in FORBIDDEN.get(module.room, set())
    ]
    assert wrong == []


def test_viewers_read_run_folders_only(edges: list[tuple[Any, Any, str]]) -> None:
    wrong = [
        f"{module.place(node)} imports {name}"
        for module, node, name in edges
        if module.room in VIEWERS and name not in VIEWED and name.split(".")[1] not in VIEWERS
    ]
    assert wrong == []


def test_rooms_do_not_import_in_circles(modules: list[Any]) -> None:
    """At import time; what a function imports when it is called ties no knot."""
    names = {module.name for module in modules}
    graph: nx.DiGraph[str] = nx.DiGraph()
    for module in modules:
        at_import = [
            node
            for statement in module.tree.body
            if not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef))
            for node, _ in module.imports(statement)
        ]
        for node, name in imported_modules(module, names):
            if node in at_import and module.room and module.room != name.split(".")[1]:
                graph.add_edge(room_of(module.name), room_of(name))
    assert graph.number_of_edges() > 10
    assert list(nx.simple_cycles(graph)) == []


def every_import(module: Any) -> list[str]:
    """Dotted names of all that is imported: inside functions, for type checkers alone, by name."""
    found = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{module.place(node)} imports relatively"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found += re.findall(r"^(gala\.[\w.]+):\w+$", node.value)  # tables of MODULE:NAME
    return found


def test_no_file_imports_in_a_circle(modules: list[Any]) -> None:
    """Lazy imports and those for type checkers included: what needs them is one thing, or three."""
    names = {module.name for module in modules}
    graph: nx.DiGraph[str] = nx.DiGraph()
    for module in modules:
        for name in every_import(module):
            while name not in names and name:
                name = name.rpartition(".")[0]
            if name not in ("", "gala", module.name):
                graph.add_edge(module.name, name)
    circles = [sorted(part) for part in nx.strongly_connected_components(graph) if len(part) > 1]
    assert graph.number_of_edges() > 200 and circles == []
    assert graph.has_edge("gala.learning.table", "gala.learning.ppo"), "it is imported by name"


def test_rooms_import_one_another_in_one_direction(modules: list[Any]) -> None:
    """The same by room: lazily or not."""
    names = {module.name for module in modules}
    graph: nx.DiGraph[str] = nx.DiGraph()
    for module in modules:
        for name in every_import(module):
            while name not in names and name:
                name = name.rpartition(".")[0]
            room = (name.split(".") + [""])[1]
            if room and module.room and room != module.room:
                graph.add_edge(module.room, room)
    circles = [sorted(part) for part in nx.strongly_connected_components(graph) if len(part) > 1]
    assert circles == []


def test_nothing_imports_experiments_or_tests(modules: list[Any]) -> None:
    wrong = [
        f"{module.place(node)} imports {name}"
        for module in modules
        for node, name in module.imports()
        if name.split(".")[0] in {"experiments", "tests", "topologies"}
    ]
    assert wrong == []


def test_private_names_stay_in_their_module(modules: list[Any]) -> None:
    wrong = [
        f"{module.place(node)} imports {name}"
        for module in modules
        for node, name in module.imports()
        if name.startswith("gala.")
        and name.rpartition(".")[2].startswith("_")
        and not name.endswith("__")
    ]
    assert wrong == []
