"""Warnings appear where they help, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from gala.topology import Topology, load_topology
from gala.topology.analysis import spectrum


def notes(topology: Topology) -> str:
    return " | ".join(spectrum.report(topology)["warnings"])


def written(tmp_path: Path, text: str, agents: int) -> Topology:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return load_topology(path, agents)


@pytest.mark.parametrize("name", ["ring", "exponential", "torus", "hypercube", "complete"])
def test_good_choices_are_left_alone(name: str) -> None:
    assert notes(load_topology(name, 4)) == notes(load_topology(name, 8)) == ""
    if name in ("exponential", "hypercube"):
        assert notes(load_topology(name, 64)) == ""


def test_a_ring_of_32() -> None:
    text = notes(load_topology("directed-ring", 32))
    assert "beta 0.995; an exponential graph gives 0.667" in text


@pytest.mark.parametrize(
    ("text", "agents", "expected"),
    [
        ("family: ring\n", 1, "one agent has nobody to gossip with"),
        ("family: star\nweights: uniform\n", 6, "agent 0 counts 2.67 times"),
        ("family: star\n", 9, "agent 0 is heard by 8 agents, the others by about 1"),
        (
            "family: complete\n",
            64,
            "63 messages per agent and update; an exponential graph needs 6",
        ),
        ("family: torus\n", 7, "7 is prime: this torus has one row, it is a ring"),
        ("family: one-peer-exponential\n", 6, "6 is no power of two"),
        ("family: {kind: ring, directed: true}\nschedule: rotate\n", 5, "single round here"),
        ("family: star\nweights: push-sum\n", 5, "no bound on the divergence is known"),
        ("edges: [[0, 1, 1.0], [1, 0, 1.0]]\n", 2, "some disagreement never shrinks (beta 1)"),
    ],
)
def test_each_trap_has_its_note(tmp_path: Path, text: str, agents: int, expected: str) -> None:
    assert expected in notes(written(tmp_path, text, agents))
