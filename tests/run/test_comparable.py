"""What agents that learn from one another's policies cannot compare is refused in a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from gala.errors import UserError
from gala.run.request import read_request


@pytest.mark.parametrize("coupling", ["distil", "repel"])
@pytest.mark.parametrize("options", [(), ("--gossip.wire-format", "int8"), ("--gossip.every", "3")])
def test_what_can_be_compared_is_taken(coupling: str, options: tuple[str, ...]) -> None:
    if coupling == "repel" and "int8" in options:
        return
    request = read_request(["--coupling", coupling, *options], 3)
    assert request.config.publishes and request.config.coupling == coupling


@pytest.mark.parametrize(
    ("options", "rule", "field"),
    [
        (("--algorithm", "sac"), "learns from a replay", "--coupling"),
        (("--network.memory", "gru"), "is of the agent's own policy", "--network.memory"),
        (("--env.normalize-reward",), "a scale of their own", "--env.normalize-reward"),
        (("--gossip.trigger", "drift"), "needs gossip", "--gossip.trigger"),
        (("--gossip.epsilon-target", "0.1"), "needs gossip", "--gossip.epsilon-target"),
        (("--repel.coef", "1"), "is of --coupling repel", "--repel.coef"),
        (("--gossip.trust-radius", "5"), "that are averaged", "--gossip.trust-radius"),
    ],
)
def test_what_distillation_cannot_do(options: tuple[str, ...], rule: str, field: str) -> None:
    with pytest.raises(UserError, match=rule) as error:
        read_request(["--coupling", "distil", *options], 3)
    assert error.value.field == field


def test_values_are_not_compared_where_they_weigh_nothing() -> None:
    options = ("--env.normalize-reward", "--distil.value-coef", "0")
    assert read_request(["--coupling", "distil", *options], 3).config.distil.value_coef == 0
    read_request(["--coupling", "repel", "--env.normalize-reward"], 3)  # it compares none


def test_returns_are_not_rounded() -> None:
    with pytest.raises(UserError, match="rounds the returns"):
        read_request(["--coupling", "repel", "--gossip.wire-format", "bfloat16"], 3)


@pytest.mark.parametrize("weights", ["push-sum", "clipped", "trimmed"])
def test_rules_of_averaging_are_refused(tmp_path: Path, weights: str) -> None:
    graph = tmp_path / "graph.yaml"
    graph.write_text(f"family: complete\nweights: {weights}\n")
    with pytest.raises(UserError, match=f"has {weights} weights"):
        read_request(["--coupling", "distil", "--topology", str(graph)], 5)


def test_options_of_a_coupling_are_of_that_coupling() -> None:
    with pytest.raises(UserError, match="is of --coupling distil, and that of this run is gossip"):
        read_request(["--distil.coef", "2"], 3)
