"""Own parts by name: ``MODULE:NAME`` is what the user's module of that name holds.

The current folder is on the path, in every command and on every rank, so that ``mine:make`` means
``make`` in ``mine.py`` beside the experiment. Whatever the user's code raises becomes one line.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from gala.errors import UserError, did_you_mean

LONGEST = 200
"""Characters of an exception's text that are shown."""
OURS = Path(__file__).parents[1]
"""Folder of this package, which may lie below the current one."""
INSTALLED = frozenset({"site-packages", "dist-packages"})
"""Folders of packages that are installed, which may lie there as well."""


def import_object(spec: str, *, field: str) -> Any:
    """What ``spec`` names.

    Args:
        spec: ``MODULE:NAME``; the module may be dotted.
        field: option or field that holds ``spec``, for messages.

    Raises:
        UserError: ``spec`` is no such name, there is no such module, the module raises when it is
            imported, or it holds nothing of that name.
    """
    module_name, name = split(spec, field=field)
    module = import_module(module_name, spec, field=field)
    with users_code(spec, field=field):  # a module may compute its names
        if not hasattr(module, name):
            public = [each for each in vars(module) if not each.startswith("_")]
            raise UserError(
                f"module {module_name} has no {name!r}",
                file=shown(getattr(module, "__file__", None)),
                field=field,
                hint=did_you_mean(name, public) if public else "it is empty",
            )
        return getattr(module, name)


def import_module(module_name: str, spec: str, *, field: str) -> ModuleType:
    """The module, with the current folder on the path.

    Args:
        module_name: of the module, may be dotted.
        spec: the name that it is the first part of, ``MODULE:NAME``.
        field: option or field that holds ``spec``, for messages.

    Raises:
        UserError: there is no such module, or it raises when it is imported.
    """
    with users_code(spec, field=field):
        folder = os.getcwd()
        if folder not in sys.path:
            sys.path.insert(0, folder)
        importlib.invalidate_caches()  # the file may be younger than the folder's listing
        try:
            return importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if module_name != missing and not module_name.startswith(f"{missing}."):
                raise  # the module is there, and imports one that is not
            beside = [path.stem for path in Path(folder).glob("*.py")]
            beside += [path.parent.name for path in Path(folder).glob("*/__init__.py")]
            raise UserError(
                f"there is no module {missing!r} in the current folder or among those installed",
                field=field,
                hint=did_you_mean(missing, beside) if beside else f"{missing}.py in {folder}",
            ) from None


def split(spec: str, *, field: str) -> tuple[str, str]:
    """Module and name of ``MODULE:NAME``.

    Raises:
        UserError: it is no such name.
    """
    module, _, name = spec.partition(":")
    named = name.isidentifier() and all(part.isidentifier() for part in module.split("."))
    if named and not module.endswith(".py"):
        return module, name
    near = module.removesuffix(".py").strip("./").replace("/", ".")
    if not all(part.isidentifier() for part in near.split(".")):
        near = "mine"
    hint = f"for example {near}:{name if name.isidentifier() else 'make'}"
    raise UserError(f"expected MODULE:NAME, got {spec!r}", field=field, hint=hint)


@contextlib.contextmanager
def users_code(spec: str, *, field: str) -> Iterator[None]:
    """Run code of the user's module: what it raises is one line, what it prints goes to stderr.

    Args:
        spec: ``MODULE:NAME`` that is imported or called.
        field: option or field that holds ``spec``, for messages.

    Raises:
        UserError: for whatever is raised, also what is no ``Exception``, but for Ctrl-C; with file
            and line where the module's folder is on the stack.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):  # a command's standard output is its result
            yield
    except (UserError, KeyboardInterrupt):
        raise
    except BaseException as error:  # SystemExit, CancelledError, a panic of a binding's
        raise told(error, spec, field=field) from error


def told(error: BaseException, spec: str, *, field: str) -> UserError:
    """What code of the user's module raised, as one line with file and line.

    Args:
        error: what was raised.
        spec: ``MODULE:NAME`` that was imported or called.
        field: option or field that holds ``spec``.
    """
    file, line = _culprit(error, spec.partition(":")[0])
    text = " ".join(str(error).split())
    text = text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
    rule = f"{spec} raised {type(error).__name__}" + (f": {text}" if text else "")
    return UserError(rule, file=shown(file), line=line, field=field)


def _culprit(error: BaseException, module: str) -> tuple[str | None, int | None]:
    """File and line of the innermost frame of ``error`` that is the user's.

    That is code of ``module``, or of the package that it is in, or below the current folder: an
    environment of a package may fail in a wrapper of one's own.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return error.filename, error.lineno
    origin = _origin(module)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if _is_of(file, module, origin) or _is_below(file, Path.cwd()):
            return frame.filename, frame.lineno
    return origin, None


def _is_of(file: Path, module: str, origin: str | None) -> bool:
    """Whether ``file`` lies beside the module, or anywhere in its package."""
    if origin is None:
        return False
    if file.parent == Path(origin).parent:
        return True
    package = Path(_origin(module.partition(".")[0]) or "")
    inside = package.name == "__init__.py" and file.is_relative_to(package.parent)
    return inside and not file.is_relative_to(OURS)


def _is_below(file: Path, folder: Path) -> bool:
    """Whether ``file`` is in ``folder``, and neither an installed package's nor ours."""
    if not file.is_relative_to(folder) or file.is_relative_to(OURS):
        return False
    return INSTALLED.isdisjoint(file.relative_to(folder).parts)


def _origin(module: str) -> str | None:
    loaded = getattr(sys.modules.get(module), "__file__", None)
    if loaded is not None:
        return str(loaded)
    try:  # a module that raised is no longer among the loaded ones
        found = importlib.util.find_spec(module)
    except Exception:  # a package on the way to it raised
        found = importlib.util.find_spec(module.partition(".")[0])
    return None if found is None else found.origin


def place_of(thing: Any) -> tuple[str | None, int | None]:
    """File and line where a class or function is defined; None each where nobody knows."""
    try:
        return shown(inspect.getsourcefile(thing)), inspect.getsourcelines(thing)[1]
    except (OSError, TypeError):  # of C, or typed in
        return None, None


def shown(file: str | None) -> str | None:
    """The path ``file`` as seen from the current folder, where it lies below that."""
    if file is None or not Path(file).is_relative_to(Path.cwd()):
        return file
    return str(Path(file).relative_to(Path.cwd()))
