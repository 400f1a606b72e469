"""The source of the package, parsed once for every test of its architecture."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import gala

PACKAGE = Path(gala.__file__).resolve().parent


@dataclass(frozen=True)
class Module:
    """One source file.

    Attributes:
        name: dotted name, e.g. ``gala.gossip.node``.
        path: its file.
        text: its source.
        tree: its syntax tree.
    """

    name: str
    path: Path
    text: str
    tree: ast.Module

    @property
    def room(self) -> str:
        """First part of the name below ``gala``: ``gossip``; empty for ``gala`` itself."""
        return (self.name.split(".") + [""])[1]

    def place(self, node: ast.AST) -> str:
        """``gala/gossip/node.py:12``, for messages."""
        return f"{self.path.relative_to(PACKAGE.parent)}:{getattr(node, 'lineno', 1)}"

    def imports(self, tree: ast.AST | None = None) -> Iterator[tuple[ast.stmt, str]]:
        """Statement and dotted name of everything imported, wherever in the file it stands.

        ``from a import b`` gives ``a.b``, because b may be a module. What is imported for type
        checkers alone is left out.
        """
        tree = tree if tree is not None else self.tree
        unseen = {
            id(node)
            for condition in ast.walk(tree)
            if isinstance(condition, ast.If) and "TYPE_CHECKING" in ast.unparse(condition.test)
            for statement in condition.body
            for node in ast.walk(statement)
        }
        for node in ast.walk(tree):
            if id(node) in unseen:
                continue
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield node, alias.name
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    parts = self.name.split(".")
                    keep = len(parts) - node.level + (self.path.name == "__init__.py")
                    base = ".".join([*parts[:keep], *([node.module] if node.module else [])])
                for alias in node.names:
                    yield node, f"{base}.{alias.name}"


def _modules() -> list[Module]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text(encoding="utf-8")
        found.append(Module(name, path, text, ast.parse(text, str(path))))
    return found


@pytest.fixture(scope="session")
def modules() -> list[Module]:
    """Every module of the package."""
    return _modules()


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout; skips where only the installed package is there."""
    if not (PACKAGE.parent / "setup.cfg").is_file():
        pytest.skip("gala is installed, this is not a checkout")
    return PACKAGE.parent
