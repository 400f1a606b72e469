"""The schema that editors use is that of the reader."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from gala.topology.families.table import FAMILIES
from gala.topology.formats.schema import schema
from gala.topology.formats.yaml_format import TopologyFile

FOLDER = Path(__file__).parents[3] / "topologies"


def test_the_committed_schema_is_fresh() -> None:
    committed = json.loads((FOLDER / "schema.json").read_text())
    assert committed == json.loads(json.dumps(schema())), "python -m gala.topology.formats.schema"


def test_every_family_option_and_field_is_in_it() -> None:
    made = schema()
    families = {
        one["properties"]["kind"]["const"]: one for one in made["$defs"]["FamilyModel"]["oneOf"]
    }
    assert set(families) == set(FAMILIES)
    assert families["ring"]["properties"]["directed"] == {"default": False, "type": "boolean"}
    assert families["torus"]["description"]
    assert set(made["properties"]) == set(TopologyFile.model_fields)
    assert all("description" in field for field in made["properties"].values())


def test_shipped_files_name_it_and_use_its_fields() -> None:
    for path in FOLDER.glob("*.yaml"):
        text = path.read_text()
        assert text.startswith("# yaml-language-server: $schema=schema.json\n"), path
        assert set(yaml.safe_load(text)) <= set(schema()["properties"]), path
