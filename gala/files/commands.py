"""Commands as the reader can type them: ``gala`` where it is on the path, else where it lies."""

from __future__ import annotations

import importlib.metadata
import os
import shlex
import shutil
import sys
from pathlib import Path

from gala.errors import UserError, printable

DISTRIBUTION = "gala-rl"
"""Name on the package index; ``gala`` there is a library of galactic dynamics."""


def gala(*arguments: object) -> str:
    """``gala ARGUMENTS``, quoted, so that it runs from this folder and in this environment."""
    return " ".join([_program(), *(_quoted(_argument(each)) for each in arguments)])


def install(extra: str) -> str:
    """The command that installs ``extra``: into this checkout, or from the package index."""
    root = Path(__file__).resolve().parents[2]
    checkout = (root / "setup.cfg").is_file() and (root / "pyproject.toml").is_file()
    if checkout:
        return pip_install(f"{_near(root)}[{extra}]", editable=True)
    return pip_install(f"{DISTRIBUTION}[{extra}]")


def pip_install(what: str, *, editable: bool = False) -> str:
    """The command that installs ``what`` into this environment."""
    return f"{_python()} -m pip install {'-e ' * editable}{shlex.quote(what)}"


def require_own_package() -> None:
    """Refuse to run beside another package that is imported as ``gala``, too.

    Raises:
        UserError: its files lie among ours.
    """
    try:
        other = importlib.metadata.distribution("gala").metadata
    except importlib.metadata.PackageNotFoundError:
        return
    if "gossip" in str(other["Summary"]).lower():
        return  # an older name of this one
    raise UserError(
        f"another package, gala {other['Version']}, is imported by the same name "
        f"({str(other['Summary'])[:60]})",
        hint=f"install {DISTRIBUTION} into an environment of its own, or: "
        f"{_python()} -m pip uninstall gala",
    )


def _argument(given: object) -> str:
    """As text; a path that would be taken for an option begins with the folder."""
    text = str(given)
    return f"./{text}" if isinstance(given, Path) and text.startswith("-") else text


def _quoted(text: str) -> str:
    """For a shell; steering letters, which a terminal would obey, as bash and zsh spell them."""
    if printable(text) == text and "\n" not in text:
        return shlex.quote(text)
    escaped = text.replace("\\", r"\\").replace("'", r"\'").replace("\n", r"\n")
    return f"$'{printable(escaped)}'"


def _program() -> str:
    own, found = Path(sys.executable).parent / "gala", shutil.which("gala")
    if not own.is_file():
        return "gala" if found else f"{_python()} -m gala"
    if found is not None and os.path.samefile(found, own):
        return "gala"
    return shlex.quote(_near(own))


def _python() -> str:
    found = shutil.which("python")
    if found is not None and Path(found).absolute() == Path(sys.executable).absolute():
        return "python"
    return shlex.quote(_near(Path(sys.executable)))


def _near(path: Path) -> str:
    """``path`` from the current folder, where it lies below that."""
    try:
        here = Path.cwd()
        return str(path) if here == Path("/") else str(path.absolute().relative_to(here))
    except (OSError, ValueError):
        return str(path)
