"""Types of fields that several sections share; each carries its rule."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, JsonValue

LARGEST = 2**63 - 1
"""Whole numbers travel in 64 bits, in messages and checkpoints."""

Positive = Annotated[int, Field(gt=0, le=LARGEST)]
NonNegative = Annotated[int, Field(ge=0, le=LARGEST)]
Seed = Annotated[int, Field(ge=0, lt=2**64)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]

FreeForm = dict[str, JsonValue]
"""A mapping with names of the user's; its options are ``--section.field.NAME value``."""


def as_tuple(value: Any) -> Any:
    """One where several may stand."""
    return (value,) if isinstance(value, int | str) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(as_tuple)]
"""Several texts, or one."""
