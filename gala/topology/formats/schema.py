"""The JSON Schema of topology files, for editors: ``topologies/schema.json``.

``python -m gala.topology.formats.schema > topologies/schema.json`` writes it; a test keeps it so.
"""

from __future__ import annotations

import inspect
import json
import typing
from typing import Any

from pydantic import TypeAdapter

from gala.topology.families.table import FAMILIES
from gala.topology.formats.yaml_format import TopologyFile


def schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) with every family, its options and their defaults."""
    document = TopologyFile.model_json_schema()
    document["$defs"]["FamilyModel"] = {
        "description": "A family and its options.",
        "oneOf": [_family(name) for name in FAMILIES],
    }
    for option in document["properties"]["family"]["anyOf"]:
        if option.get("type") == "string":
            option["enum"] = list(FAMILIES)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **document}


def _family(name: str) -> dict[str, Any]:
    function = FAMILIES[name]
    hints = typing.get_type_hints(function, include_extras=True)
    properties: dict[str, Any] = {"kind": {"const": name}}
    for option, parameter in inspect.signature(function).parameters.items():
        if option != "agents":
            default = {} if parameter.default is None else {"default": parameter.default}
            properties[option] = TypeAdapter(hints[option]).json_schema() | default
    return {
        "type": "object",
        "description": (inspect.getdoc(function) or "").split("\n", 1)[0],
        "properties": properties,
        "required": ["kind"],
        "additionalProperties": False,
    }


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2))
