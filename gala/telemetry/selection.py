"""What a command is to look at, and what it is to write: runs that are there, formats it knows."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from gala.errors import UserError, did_you_mean
from gala.telemetry.reader import Tail, rank_folders


def select_runs(folders: Sequence[str | Path]) -> dict[str, Path]:
    """Run folders by name (:func:`name_runs`), in the order given.

    Raises:
        UserError: a folder does not exist, holds no records, or is named twice.
    """
    paths = [Path(folder) for folder in folders]
    for path in paths:
        _require_records(path)
    resolved = [path.resolve() for path in paths]
    for path, real in zip(paths, resolved, strict=True):
        if resolved.count(real) > 1:
            raise UserError("is named twice", file=path)
    return name_runs(paths)


def find_runs(where: str | Path) -> list[Path]:
    """The run folders that a text means: one, those in a folder, or those that match a pattern.

    Raises:
        UserError: there are none.
    """
    path = Path(where)
    found = [path] if path.is_dir() else [Path(each) for each in sorted(glob.glob(str(where)))]
    runs = []
    for each in found:
        inner = [] if rank_folders(each) else sorted(each.glob("*/"))
        runs += [run for run in inner if rank_folders(run)] or ([each] if each.is_dir() else [])
    if not runs:
        raise UserError("no run folder is meant by it", file=path)
    return runs


def name_runs(run_dirs: Sequence[Path]) -> dict[str, Path]:
    """Run folders by the last part of their path, or by as many parts as tell them apart."""
    resolved = [path.resolve() for path in run_dirs]
    for parts in range(1, max((len(path.parts) for path in resolved), default=0) + 1):
        names = ["/".join(path.parts[-parts:]) for path in resolved]
        if len(set(names)) == len(set(resolved)):
            break
    return dict(zip(names, run_dirs, strict=True)) if run_dirs else {}


def choose_format(
    form: str | None, output: Path, known: Sequence[str], *, default: str, folders: Sequence[str]
) -> str:
    """The format to write: as asked for, else as the suffix of ``output`` says, else ``default``.

    Args:
        form: what the user asked for.
        output: where to.
        known: formats there are.
        default: for an output without a suffix, or a folder.
        folders: formats whose output may be a folder.

    Raises:
        UserError: the format is not known, or the suffix says another.
    """
    suffix = "" if output.is_dir() else output.suffix.lower().removeprefix(".")
    chosen = form or suffix or default
    if chosen not in known:
        hint = did_you_mean(chosen, known)
        wrong = f"no format is named {chosen!r}"
        if form is not None:
            raise UserError(wrong, field="--format", hint=hint)
        raise UserError(wrong, file=output, hint=hint)
    if suffix != chosen and not (not suffix and chosen in folders):
        raise UserError(f"the suffix does not say {chosen}", file=output, hint=f"e.g. x.{chosen}")
    return chosen


def tails(run: Path) -> dict[int, Tail]:
    """The records of each agent of a run, unread, by rank."""
    return {rank: Tail(path) for rank, path in _metrics_files(run).items()}


def _metrics_files(run: Path) -> dict[int, Path]:
    files = {rank: folder / "metrics.jsonl" for rank, folder in rank_folders(run).items()}
    return {rank: path for rank, path in files.items() if path.is_file()}


def _require_records(run: Path) -> None:
    if not run.is_dir():
        raise UserError("no such run folder", file=run)
    if any(path.stat().st_size for path in _metrics_files(run).values()):
        return
    inner = sorted({path.parent.parent.name for path in run.glob("*/rank_*/metrics.jsonl")})
    hint = f"it holds runs: {', '.join(inner[:4])}" if inner else "a run has rank_*/metrics.jsonl"
    raise UserError("holds no records", file=run, hint=hint)
