"""House rules that readers rely on: size, names, docstrings, no foreign code run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

import pytest

MAX_LINES = 500
MAX_BODY = 55
MAX_FUNCTION = 60
FORMS = {
    "gala.library.api.gossip",
    "gala.gossip.joining.make_node",
}
"""Functions with so many choices that their description fills a page: the body alone counts."""
GRAB_BAGS = {"utils", "util", "common", "helpers", "helper", "misc", "tools", "base", "core", "lib"}


def test_no_module_is_longer_than_the_limit(modules: list[Any]) -> None:
    long = {m.name: n for m in modules if (n := m.text.count("\n")) > MAX_LINES}
    assert long == {}


def test_no_function_is_longer_than_the_limit(modules: list[Any]) -> None:
    """The body, which a reader must hold in mind, and the whole with signature and docstring."""
    long = {}
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                inside = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                whole = node.end_lineno - node.lineno + 1
                form = f"{module.name}.{node.name}" in FORMS
                if inside > MAX_BODY or (whole > MAX_FUNCTION and not form):
                    long[f"{module.place(node)} {node.name}"] = inside, whole
    assert long == {}


def test_no_grab_bags(modules: list[Any]) -> None:
    parts = {part for module in modules for part in re.split(r"[._]", module.name)}
    assert parts & GRAB_BAGS == set()


def public(tree: ast.Module) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Public functions and classes of a module, and public methods of its public classes."""
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in tree.body:
        if isinstance(node, kinds) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                for member in node.body:
                    if isinstance(member, kinds) and not member.name.startswith("_"):
                        yield member


def is_accessor(node: ast.AST) -> bool:
    """A property's setter, or a method that says it overrides a documented one."""
    decorators = getattr(node, "decorator_list", [])
    names = {getattr(each, "attr", getattr(each, "id", "")) for each in decorators}
    return bool(names & {"setter", "deleter", "override", "overload"})


def test_everything_public_has_a_docstring(modules: list[Any]) -> None:
    missing = [m.place(m.tree) for m in modules if m.text.strip() and not ast.get_docstring(m.tree)]
    for module in modules:
        missing += [
            f"{module.place(node)} {node.name}"
            for node in public(module.tree)
            if not ast.get_docstring(node) and not is_accessor(node)
        ]
    assert missing == []


def test_annotations_are_not_evaluated_at_import(modules: list[Any]) -> None:
    """Modules with annotations start cheaply and may name what is imported for types alone."""
    missing = [
        module.name
        for module in modules
        if any(isinstance(node, (ast.FunctionDef, ast.AnnAssign)) for node in ast.walk(module.tree))
        and "from __future__ import annotations" not in module.text
    ]
    assert missing == []


# -- files from outside are data


def calls(module: Any) -> Iterator[tuple[ast.Call, str]]:
    """Every call and the dotted text of what is called."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


def keyword(call: ast.Call, name: str) -> Any:
    """The constant value of a keyword argument, or None."""
    for each in call.keywords:
        if each.arg == name and isinstance(each.value, ast.Constant):
            return each.value.value
    return None


def unsafe(call: ast.Call, function: str) -> str | None:
    """Why a call could run foreign code, or None."""
    if function == "torch.load" and keyword(call, "weights_only") is not True:
        return "torch.load without weights_only=True"
    if function.endswith("np.load") and keyword(call, "allow_pickle"):
        return "np.load with allow_pickle"
    if function in {"yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load"}:
        return f"{function}, not yaml.safe_load"
    if function in {"eval", "exec", "os.system", "os.popen"}:
        return function
    if keyword(call, "shell"):
        return f"{function} with shell=True"
    return None


@pytest.mark.parametrize(
    ("source", "refused"),
    [
        ("torch.load(p)", True),
        ("torch.load(p, weights_only=False)", True),
        ("torch.load(p, map_location='cpu', weights_only=True)", False),
        ("np.load(p, allow_pickle=True)", True),
        ("np.load(p)", False),
        ("yaml.load(t, Loader=L)", True),
        ("yaml.safe_load(t)", False),
        ("subprocess.run(c, shell=True)", True),
        ("model.eval()", False),
        ("eval(t)", True),
    ],
)
def test_the_rule_sees_unsafe_calls(source: str, refused: bool) -> None:
    call = ast.parse(source, mode="eval").body
    assert isinstance(call, ast.Call)
    assert (unsafe(call, ast.unparse(call.func)) is not None) == refused


def test_no_call_could_run_foreign_code(modules: list[Any]) -> None:
    wrong = [
        f"{module.place(call)} {reason}"
        for module in modules
        for call, function in calls(module)
        if (reason := unsafe(call, function)) is not None
    ]
    assert wrong == []


def test_no_pickle(modules: list[Any]) -> None:
    picklers = {
        "pickle",
        "cPickle",
        "_pickle",
        "dill",
        "cloudpickle",
        "joblib",
        "shelve",
        "marshal",
    }
    wrong = [
        f"{module.place(node)} imports {name}"
        for module in modules
        for node, name in module.imports()
        if name.split(".")[0] in picklers
    ]
    assert wrong == []


def test_the_emulator_is_imported_in_one_module(modules: list[Any]) -> None:
    """ale-py is GPL: used through its interface, in one place."""
    users = {m.name for m in modules for _, name in m.imports() if name.split(".")[0] == "ale_py"}
    assert len(users) <= 1, users
