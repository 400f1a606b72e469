"""Every metric that is recorded is explained, and nothing that is not recorded is."""

import ast
import dataclasses
import re
from pathlib import Path
from typing import Any

import yaml

from gala.learning.table import ALGORITHMS
from gala.telemetry.prometheus import FAMILIES

DOCS = Path(__file__).parents[2] / "docs"
NAME = re.compile(r"(charts|losses|policy|time|gossip|divergence)/[A-Za-z_<>/]+")
WRITERS = ("gala.agent", "gala.learning", "gala.divergence", "gala.couplings")


def text_of(node: ast.expr) -> str:
    """A string, or an f-string with ``<x>`` for what is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) or "<x>" for part in node.values)
    return ""


def general(name: str) -> str:
    return re.sub(r"<[a-z]+>", "<x>", name)


def recorded(modules: list[Any]) -> set[str]:
    """Metrics named in the modules that write records."""
    found = set()
    for module in modules:
        if module.name.startswith(WRITERS):
            for node in ast.walk(module.tree):
                if isinstance(node, ast.Constant | ast.JoinedStr) and NAME.fullmatch(text_of(node)):
                    found.add(text_of(node))
    phases = {f"time/{phase}_ms" for phase in ("collect", "learn", "gossip", "log", "other")}
    assert "time/<x>_ms" in found and len(found) > 25
    return {name for name in found - {"time/<x>_ms"} if not name.endswith("/")} | phases


def test_every_metric_is_explained(modules: list[Any]) -> None:
    page = (DOCS / "metrics.md").read_text()
    explained = {
        general(name) for name in re.findall(r"`([a-z]+/[^`]+)`", page) if NAME.fullmatch(name)
    }
    assert recorded(modules) - explained == set(), "say in docs/metrics.md what these mean"


def test_every_row_says_what_to_do() -> None:
    rows = [
        line for line in (DOCS / "metrics.md").read_text().splitlines() if line.startswith("| `")
    ]
    assert len(rows) > 30
    for row in rows:
        cells = [cell.strip() for cell in row.replace(r"\|", "").strip("|").split("|")]
        assert len(cells) == 5 and all(cells), row


def test_every_prometheus_metric_is_explained() -> None:
    page = (DOCS / "metrics.md").read_text().partition("## The same for Prometheus")[2]
    rows = {
        cells[0]: cells[1:]
        for line in page.splitlines()
        if line.startswith("| `gala_")
        for cells in [[cell.strip(" `") for cell in line.strip("|").split("|")]]
    }
    assert rows.keys() == {metric.name for metric in FAMILIES}
    for metric in FAMILIES:
        kind, labels, source = rows[metric.name][:3]
        assert kind.startswith(metric.kind), metric.name
        if metric.source:
            assert (labels, source) == (
                ", ".join(["rank", *re.findall(r"<(\w+)>", metric.source)]), metric.source
            )  # fmt: skip


def test_every_option_of_an_algorithm_is_told_with_its_default() -> None:
    page = (DOCS / "algorithms.md").read_text().partition("## Options and their defaults")[2]
    rows = [
        [cell.strip(" `") for cell in line.strip("|").split("|")]
        for line in page.partition("\n## ")[0].splitlines()
        if line.startswith("| ")
    ]
    names = rows[0][1:-1]
    assert names == list(ALGORITHMS)
    told = {
        (name, row[0]): yaml.safe_load(cell)
        for row in rows[1:]
        for name, cell in zip(names, row[1:-1], strict=True)
        if cell
    }
    real = {
        (name, field.name): list(field.default)
        if isinstance(field.default, tuple)
        else field.default
        for name, entry in ALGORITHMS.items()
        for field in dataclasses.fields(entry.config)
    }
    assert told == real
