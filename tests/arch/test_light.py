"""What must start at once does not load torch, checked in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HEAVY = ("torch", "gymnasium", "ale_py", "tensorboard", "matplotlib", "scipy", "wandb")
HEAVY += ("pyarrow",)  # an extra of gala export

TORCH_FREE_ROOMS = {"dashboard", "report", "watch", "topology", "errors", "files"}
TORCH_FREE_ROOMS |= {"config", "train", "cli", "__main__"}
TORCH_FREE_MODULES = {
    "gala",
    "gala.bench.arguments",
    "gala.doctor.command",
    "gala.doctor.finding",
    "gala.evaluation.arguments",
    "gala.export",
    "gala.export.command",
    "gala.telemetry",
    "gala.telemetry.arms",
    "gala.telemetry.console",
    "gala.telemetry.phases",
    "gala.telemetry.prometheus",
    "gala.telemetry.reader",
    "gala.telemetry.selection",
    "gala.telemetry.sketches",
    "gala.telemetry.standing",
    "gala.evaluation",
    "gala.evaluation.human",
    "gala.evaluation.statistics",
}

IMPORT_EACH = """
import importlib, json, sys
loaded = {}
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
    loaded[name] = sorted(set(sys.argv[2].split(",")) & set(sys.modules))
print(json.dumps(loaded))
"""


def loaded_by(names: list[str], watched: tuple[str, ...]) -> dict[str, list[str]]:
    """For each module, imported in this order in one fresh interpreter: what is loaded then."""
    command = [sys.executable, "-c", IMPORT_EACH, json.dumps(names), ",".join(watched)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    loaded: dict[str, list[str]] = json.loads(result.stdout)
    return loaded


def torch_free(modules: list[Any]) -> list[str]:
    return [
        module.name
        for module in modules
        if module.room in TORCH_FREE_ROOMS or module.name in TORCH_FREE_MODULES
    ]


def test_the_watch_itself_works() -> None:
    assert loaded_by(["json", "xml.dom"], ("json", "xml"))["xml.dom"] == ["json", "xml"]


def test_importing_gala_loads_nothing() -> None:
    watched = (*HEAVY, "numpy", "networkx", "pydantic", "yaml", "rich", "tyro", "starlette")
    assert loaded_by(["gala"], watched) == {"gala": []}


def test_torch_free_modules_load_no_torch(modules: list[Any]) -> None:
    names = torch_free(modules)
    assert "gala.errors" in names
    pytest.importorskip("starlette") if "gala.dashboard" in names else None
    assert {name: heavy for name, heavy in loaded_by(names, HEAVY).items() if heavy} == {}


def test_torch_free_modules_name_no_torch_at_import(modules: list[Any]) -> None:
    """The same by reading: not even behind a condition that this machine does not meet."""
    names = set(torch_free(modules))
    wrong = []
    for module in modules:
        if module.name in names:
            for statement in module.tree.body:
                for node, name in module.imports(statement):
                    if name.split(".")[0] in HEAVY and not inside_function(statement):
                        wrong.append(f"{module.place(node)} imports {name}")
    assert wrong == []


def inside_function(statement: Any) -> bool:
    return type(statement).__name__ in {"FunctionDef", "AsyncFunctionDef", "ClassDef"}


def test_what_only_steps_environments_loads_no_torch() -> None:
    """Eight workers on two cores: each would pay seconds and 100 MB for it."""
    names = ["gala.actors.worker", "gala.actors.command", "gala.envs.atari", "gala.envs.gym"]
    assert "torch" not in {heavy for found in loaded_by(names, HEAVY).values() for heavy in found}


def test_viewers_work_without_torch_installed(modules: list[Any], tmp_path: Path) -> None:
    """A laptop that only looks at runs may have no torch at all: importing it fails here."""
    for package in ("torch", "gymnasium"):
        (tmp_path / f"{package}.py").write_text("raise ImportError('not installed here')\n")
    names = [n for n in torch_free(modules) if "dashboard" not in n]
    script = "import importlib, json, sys\nsys.path.insert(0, sys.argv[2])\n"
    script += "for name in json.loads(sys.argv[1]): importlib.import_module(name)\n"
    command = [sys.executable, "-c", script, json.dumps(names), str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
