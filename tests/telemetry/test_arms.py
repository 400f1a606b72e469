"""Seeds of one arm have equal options; one that differs makes another arm, and is its legend."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gala.config.tree import Config
from gala.report.command import read_report
from gala.telemetry.arms import NAMES, TASK, differing, hash_of, legend, options_of

Write = Any
RECORDS = {0: [{"charts/episodic_return": 1.0}, {"charts/episodic_return": 2.0}]}


def every_option(data: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Each option of a configuration by dotted name."""
    found: dict[str, Any] = {}
    for key, value in data.items():
        name = above + key
        nested = isinstance(value, dict) and value
        found |= every_option(value, f"{name}.") if nested else {name: value}
    return found


def changed(data: dict[str, Any], name: str) -> dict[str, Any]:
    """The same with another value of one option."""
    copy = json.loads(json.dumps(data))
    place = copy
    *above, last = name.split(".")
    for key in above:
        place = place[key]
    place[last] = {"changed": 1} if place[last] == {} else f"{place[last]} changed"
    return dict(copy)


@pytest.mark.parametrize("name", sorted(every_option(Config().to_dict())))
def test_each_option_but_the_seed_makes_another_arm(name: str, tmp_path: Path) -> None:
    plain = Config(agents=2).to_dict()
    for folder, data in (("a", plain), ("b", changed(plain, name))):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.yaml").write_text(json.dumps(data))
    a, b = (options_of(tmp_path / folder, {}) for folder in "ab")
    same, same_method = hash_of(a) == hash_of(b), hash_of(a, TASK) == hash_of(b, TASK)
    assert same == (name in NAMES) and same_method == (name in NAMES + TASK)
    # without gossip nobody looks at the graph
    assert set(differing([a, b])) == (set() if name in NAMES else {name}) | (
        {"topology.json"} if name == "coupling" else set()
    )


def labels(*runs: Path) -> list[str]:
    return [each.label for each in read_report({run.name: run for run in runs}).sets]


def test_runs_of_other_lengths_and_sizes_are_no_seeds(write_run: Write) -> None:
    runs = [
        write_run("a", RECORDS, seed=1),
        write_run("b", RECORDS, total_steps=6000),
        write_run("c", RECORDS, options={"env": {"id": "CartPole-v1", "num_envs": 2}}),
        write_run("d", RECORDS, seed=2),
    ]
    found = read_report({run.name: run for run in runs})
    assert [each.runs for each in found.sets] == [("a", "d"), ("b",), ("c",)]
    assert labels(*runs) == [
        "1 agent, ring, total_steps 1000, env.num_envs absent",
        "1 agent, ring, total_steps 6000, env.num_envs absent",
        "1 agent, ring, total_steps 1000, env.num_envs 2",
    ]
    note = next(table for table in found.tables if table.title == "Sets of seeds").note
    assert "49 % of 2 runs" in note


def test_a_topology_file_that_was_edited_makes_another_arm(write_run: Write) -> None:
    runs = [write_run(name, RECORDS, topology="mine") for name in ("a", "b", "c")]
    graph = json.loads((runs[1] / "topology.json").read_text())
    graph["edges"][0]["weight"] = 0.25
    (runs[1] / "topology.json").write_text(json.dumps(graph))
    found = read_report({run.name: run for run in runs})
    assert [each.runs for each in found.sets] == [("a", "c"), ("b",)]
    longer = write_run("d", RECORDS, topology="mine", total_steps=6000)
    assert len(set(labels(*runs))) == 2 and len(set(labels(*runs, longer))) == 3


def test_a_run_without_a_configuration_is_like_no_other(write_run: Write) -> None:
    run = write_run("a", RECORDS)
    (run / "config.yaml").write_text("- [")
    other = run.with_name("b")
    shutil.copytree(run, other)
    third = write_run("c", RECORDS)
    found = read_report({each.name: each for each in (run, other, third)})
    assert [each.runs for each in found.sets] == [("a",), ("b",), ("c",)]
    first, second, known = labels(run, other, third)
    assert "not readable" in first and first != second and known == "1 agent, ring"


@given(st.dictionaries(st.text(), st.text(), max_size=5), st.randoms())
def test_the_order_of_options_does_not_matter(options: dict[str, str], random: Any) -> None:
    names = list(options)
    random.shuffle(names)
    assert hash_of({name: options[name] for name in names}) == hash_of(options)
    assert differing([options, options]) == () and legend(options, ()) == {}
