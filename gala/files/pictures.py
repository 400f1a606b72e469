"""Pictures by matplotlib, which is an extra: made without global state, written in one piece."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gala.errors import UserError
from gala.files import commands
from gala.files.atomic import open_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that many inches, without any global state.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("plots need matplotlib", hint=commands.install("plots")) from None
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write ``figure`` in the format of the suffix.

    Raises:
        UserError: the suffix is no picture format or the file cannot be written.
    """
    path = Path(path)
    known = figure.canvas.get_supported_filetypes()
    suffix = path.suffix.lower().lstrip(".")
    if suffix not in known:
        raise UserError(
            f"{path.suffix or 'no suffix'} is no picture format", file=path, hint="png, pdf or svg"
        )
    try:
        with open_atomic(path) as file:
            figure.savefig(file, format=suffix, dpi=150)
    except OSError as error:
        raise UserError(f"cannot be written: {error.strerror}", file=path) from None
    return path
