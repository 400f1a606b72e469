"""Types of fields that several sections share; each carries its rule."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, JsonValue

Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]

FreeForm = dict[str, JsonValue]
"""A mapping with names of the user's; its options are ``--section.field.NAME value``."""
