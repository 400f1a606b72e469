"""Mixing matrices as they are: ``.npy`` and ``.csv``.

Row i holds the weights that agent i gives, itself included; every row sums to one. A ``.npy`` array
is N x N, or rounds x N x N; a ``.csv`` file separates rounds by an empty line.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gala.errors import UserError
from gala.topology import complaints
from gala.topology.description import Description, EdgeList, Key, Place
from gala.topology.limits import MAX_ROUNDS
from gala.topology.weights import Weights

SUM_TOLERANCE = 1e-6
"""How far the sum of a row may be from one; the agent's own weight takes up the difference."""

MAX_ENTRIES = 2**26

EXAMPLE = "write it with numpy.save, for example of a 4 x 4 array"


def read_npy(path: Path) -> Description:
    """A topology from a ``.npy`` file, which is never unpickled.

    Raises:
        UserError: it is not an array of numbers, or its shape or a row is wrong.
    """
    place = Place(file=path)
    try:
        stored: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError):  # numpy's words would tell how to unpickle it
        raise place.error("is not a .npy array of numbers", hint=EXAMPLE) from None
    return describe_array(stored, path.stem, place)


def describe_array(stored: NDArray[Any], name: str, place: Place) -> Description:
    """A topology from an array, N x N or rounds x N x N. Raises as :func:`read_npy`."""
    if stored.dtype.kind not in "fiu":
        raise place.error(f"holds {stored.dtype}, expected numbers", hint=EXAMPLE)
    shape = " x ".join(map(str, stored.shape)) or "a number"
    if stored.ndim not in (2, 3) or stored.shape[-1] != stored.shape[-2] or 0 in stored.shape:
        rule = f"is {shape}, expected N x N or rounds x N x N"
        raise place.error(rule, hint="reshape it, for example to 4 x 4")
    if stored.size > MAX_ENTRIES or stored.size > MAX_ROUNDS * stored.shape[-1] ** 2:
        rule = f"is {shape}, the limit is {MAX_ROUNDS} rounds and {MAX_ENTRIES:,} entries"
        raise place.error(rule, hint="an edge list holds large sparse graphs")
    matrices = np.array(stored, dtype=np.float64)
    return _describe(matrices.reshape(-1, *matrices.shape[-2:]), name, place, [])


def read_csv(text: str, path: Path) -> Description:
    """A topology from the text of a ``.csv`` file. Raises as :func:`read_npy`."""
    place = Place(file=path)
    blocks: list[list[list[float]]] = [[]]
    lines: list[list[int]] = [[]]
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split("#", 1)[0].strip()
        if not words:
            if blocks[-1] and not line.lstrip().startswith("#"):
                blocks.append([])
                lines.append([])
            continue
        row = []
        for word in words.split(","):
            try:
                row.append(float(word))
            except ValueError:
                rule = f"{complaints.short(word.strip())} is not a number"
                fix = "for example 0.5"
                if ";" in words or "\t" in words or len(word.split()) > 1:
                    fix = "separate numbers by commas and write decimals with a point"
                raise place.error(rule, line=number, hint=fix) from None
        if blocks[-1] and len(row) != len(blocks[-1][0]):
            expected = len(blocks[-1][0])
            rule = f"has {len(row)} entries, the rows before have {expected}"
            raise place.error(rule, line=number, hint=f"give {expected} numbers")
        blocks[-1].append(row)
        lines[-1].append(number)
    if not blocks[-1]:
        blocks.pop()
        lines.pop()
    if not blocks:
        raise place.error("is empty", hint="a row of one agent: 1")
    for block, numbers in zip(blocks, lines, strict=True):
        if len(block) != len(block[0]) or len(block) != len(blocks[0]):
            columns = len(block[0])
            rule = f"is {len(block)} x {columns}, expected {columns} x {columns}"
            if len(blocks) > 1:
                rule += f" like the first round, {len(blocks[0])} agents"
            raise place.error(rule, line=numbers[-1], hint="one row and one column per agent")

    def line_of(key: Key) -> int | None:
        if len(key) > 1 and isinstance(key[1], int) and key[0] == "row":
            return [n for block in lines for n in block][key[1]]
        return lines[0][0] if key == ("row",) else None

    return _describe(np.array(blocks), path.stem, Place(file=path, line=line_of), lines)


def _describe(
    matrices: NDArray[np.float64], name: str, place: Place, lines: list[list[int]]
) -> Description:
    """What mixing matrices Float64[rounds, N, N] say."""
    rounds, agents = matrices.shape[:2]

    def bad(number: int, row: int, rule: str, hint: str) -> UserError:
        where = f"row {row}" if rounds == 1 else f"round {number}, row {row}"
        line = lines[number][row] if lines else None
        return place.error(f"{where}: {rule}", line=line, hint=hint)

    for number, row, column in np.argwhere(~(np.isfinite(matrices) & (matrices >= 0)))[:1].tolist():
        wrong = complaints.of_weight(float(matrices[number, row, column]))
        assert wrong is not None
        raise bad(number, row, wrong[0], f"column {column}: {wrong[1]}")
    sums = matrices.sum(axis=2)
    for number, row in np.argwhere(np.abs(sums - 1) > SUM_TOLERANCE)[:1].tolist():
        own = matrices[number, row, row] + 1 - sums[number, row]
        hint = f"give agent {row} itself {own:.6g}, column {row}"
        if np.abs(matrices.sum(axis=1) - 1).max() <= SUM_TOLERANCE:
            hint = "its columns do: transpose it"
        elif np.isin(matrices, (0, 1)).all():
            hint = (
                "it looks like an adjacency matrix: give an edge list, or divide rows by their sums"
            )
        elif own < 0:
            hint = f"divide the row by {sums[number, row]:.10g}"
        raise bad(number, row, f"sums to {sums[number, row]:.10g}, a row must sum to 1", hint)
    matrices = matrices.copy()
    matrices[:, np.arange(agents), np.arange(agents)] = 0.0
    number, target, source = np.nonzero(matrices)
    listed = EdgeList(
        edges=np.stack([source, target], axis=1).astype(np.int64),
        weight=matrices[number, target, source],
        weighted=np.ones(len(number), dtype=np.bool_),
        round=number.astype(np.int64),
        entry=(number * agents + target).astype(np.int64),
        rounds=rounds,
    )
    return Description(
        name=name,
        place=place,
        agents=agents,
        agents_key=None,
        edges=listed,
        edges_key="row",
        weights=Weights(kind="explicit"),
    )
