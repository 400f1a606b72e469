"""Exchange of policies: golden numbers, directions, bounds, and what an exchange leaves alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from batches import ACTIONS, N, filled, linear_learner, random_batch
from hypothesis import given
from hypothesis import strategies as st
from late_queue import LateStream
from torch import Tensor

from gala.config.sections import DistilConfig, RepelConfig
from gala.couplings.policy import (
    FAR,
    UNBOUND,
    Distillation,
    Policies,
    PolicyExchange,
    Repulsion,
    Said,
    ScoredExchange,
    attractions,
)
from gala.device.streams import Direct
from gala.gossip.message import NEVER
from gala.learning.learner import Learner
from gala.networks.heads import ActionHead, CategoricalHead, build_head
from gala.networks.model import Model
from gala.networks.outputs import Outputs

MISC = json.loads((Path(__file__).parents[1] / "golden" / "losses_misc.json").read_text())
GOLDEN = {case["name"]: case for case in MISC["cases"]}
HEAD = CategoricalHead(4)


@dataclass
class Heard:
    """What terms need of a :class:`~gala.gossip.listening.Listening`."""

    vectors: Tensor
    weights: Tensor


def policies(
    evaluate: Any = None, head: ActionHead = HEAD, score: float | None = None, **sections: Any
) -> Policies:
    return Policies(
        evaluate=evaluate,
        head=head,
        score=lambda: score,
        distil=DistilConfig(**sections.get("distil", {})),
        repel=RepelConfig(**sections.get("repel", {})),
    )


def heard(*weights: float, scores: Any = None) -> Heard:
    told = scores if scores is not None else [[0.0, 0.0]] * len(weights)
    return Heard(torch.tensor(told), torch.tensor(weights))


def said(dist: Tensor, value: Tensor | None = None) -> Said:
    """Of one neighbour, Float[N, A] each row."""
    value = torch.zeros(len(dist)) if value is None else value
    return Said(dist.unsqueeze(1), value.unsqueeze(1), torch.ones(len(dist), 1, dtype=torch.bool))


def equal(rows: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.full((rows,), 1 / rows, dtype=dtype)


def logits(seed: int, rows: int = 6, spread: float = 2.0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return spread * torch.randn(rows, 4, generator=g)


def outputs(dist: Tensor, value: Tensor | None = None) -> Outputs:
    dist = dist.clone().requires_grad_()
    value = torch.zeros(len(dist), dtype=dist.dtype) if value is None else value
    return Outputs(dist, value.clone().requires_grad_(), HEAD)


def distillation(weight: float = 1.0, **distil: Any) -> Distillation:
    return Distillation(heard(weight), 0, policies(distil=distil))  # type: ignore[arg-type]


# -- distillation


def test_the_pull_is_that_of_the_golden_file() -> None:
    case = GOLDEN["kl_teacher_student"]
    student, teacher = (
        torch.tensor(case[f"{who}_logits"], dtype=torch.float64) for who in ("student", "teacher")
    )
    rows, out = len(student), outputs(student)
    term = distillation(value_coef=0.0)
    value = torch.zeros(rows, dtype=torch.float64)
    loss = term.loss(said(teacher, value), out, equal(rows, torch.float64))
    loss.total.backward()
    assert loss.total.item() == pytest.approx(case["loss"], rel=1e-8)
    wanted = torch.tensor(case["grad_student"], dtype=torch.float64)
    torch.testing.assert_close(out.dist.grad, wanted, rtol=1e-7, atol=1e-9)
    assert loss.logged["losses/peer_kl"].item() == pytest.approx(case["loss"], rel=1e-6)


def test_it_pulls_policy_and_value_towards_the_neighbour() -> None:
    peer, value = logits(1), torch.linspace(-3, 3, 6)
    out = outputs(logits(2), torch.zeros(6))
    loss = distillation().loss(said(peer, value), out, equal(6))
    loss.total.backward()
    assert out.dist.grad is not None and out.value.grad is not None
    moved = out.dist - 0.5 * out.dist.grad
    assert bool((HEAD.kl(peer, moved) < HEAD.kl(peer, out.dist)).all())
    assert bool(((value - (out.value - out.value.grad)).abs() < value.abs()).all())


def test_each_neighbour_counts_by_its_weight() -> None:
    peers, own, weight = [logits(1), logits(2)], logits(3), equal(6)
    both = Distillation(heard(0.25, 0.5), 0, policies())  # type: ignore[arg-type]
    zeros = torch.zeros(6, 2)
    columns = Said(torch.stack(peers, 1), zeros, torch.ones(6, 2, dtype=torch.bool))
    total = both.loss(columns, outputs(own), weight).total
    parts = [
        distillation(w).loss(said(peer), outputs(own), weight).total
        for w, peer in zip((0.25, 0.5), peers, strict=True)
    ]
    torch.testing.assert_close(total, sum(parts))
    assert float(distillation(0.0).loss(said(peers[0]), outputs(own), weight).total.detach()) == 0


@given(st.floats(0.2, 20.0))
def test_temperature_keeps_the_fixed_point_and_the_scale(temperature: float) -> None:
    """At a high one the gradient is that of logits about their mean (Hinton et al. 2015)."""
    own, peer = logits(4, spread=0.01).double(), logits(5, spread=0.01).double()
    at, one = (
        distillation(value_coef=0.0, temperature=t).loss(
            said(peer), outputs(own), equal(6, torch.float64)
        )
        for t in (temperature, 1.0)
    )
    torch.testing.assert_close(at.total, one.total, rtol=0.1, atol=1e-7)
    same = distillation(temperature=temperature).loss(said(own), outputs(own), equal(6))
    assert same.total.item() == pytest.approx(0.0, abs=1e-5)


@given(st.integers(0, 50), st.floats(0.0, 1e6), st.floats(-1e9, 1e9))
def test_a_liar_pulls_no_harder_than_anybody_else(seed: int, spread: float, value: float) -> None:
    out = outputs(logits(seed))
    peer = said(logits(seed + 1, spread=spread), torch.full((6,), value))
    distillation(0.5).loss(peer, out, equal(6)).total.backward()
    assert out.dist.grad is not None and out.value.grad is not None
    assert float(out.dist.grad.abs().max()) <= 0.5 / 6 + 1e-6
    assert float(out.value.grad.abs().max()) <= 0.5 * 0.5 / 6 + 1e-6


@pytest.mark.parametrize("nonsense", [torch.nan, torch.inf, -torch.inf])
def test_what_is_no_output_teaches_nothing(nonsense: float) -> None:
    batch = random_batch(1)
    batch.dist.normal_(generator=torch.Generator().manual_seed(2))
    head = CategoricalHead(ACTIONS)

    def evaluate(vector: Tensor, batch: Any) -> tuple[Tensor, Tensor]:
        dist, value = batch.dist + vector[0], batch.value + vector[0]
        dist[0, 0, 0] = nonsense  # one row of one neighbour
        return dist, value

    vectors = Heard(torch.tensor([[0.0], [0.0]]), torch.tensor([0.3, 0.4]))
    term = Distillation(vectors, 1, policies(evaluate, head))  # type: ignore[arg-type]
    columns = term.targets(batch)
    assert columns.dist.shape == (3, 2, 2, ACTIONS) and columns.value.shape == (3, 2, 2)
    assert not bool(columns.usable[0, 0].any()) and int((~columns.usable).sum()) == 2
    assert bool(columns.dist.isfinite().all())
    out = outputs(2 * batch.dist.flatten(0, 1), batch.value.flatten())
    flat = Said(*(column.flatten(0, 1) for column in columns))
    loss = term.loss(flat, out, equal(6))
    loss.total.backward()
    assert out.dist.grad is not None and bool(out.dist.grad.isfinite().all())
    assert (out.dist.grad.abs().sum(-1) > 0).tolist() == [False] + [True] * 5


def test_a_policy_that_is_far_beyond_reason_teaches_nothing() -> None:
    head = build_head(gymnasium.spaces.Box(-1, 1, (1,), np.float32))
    dist = torch.zeros(2, 1, 2)  # mean and logarithm of the deviation
    batch = filled(torch.zeros(3, 1, N), torch.zeros(2, 1, 1), 2, dist=dist)
    for shift, usable in ((1.0, True), (1.4 * FAR**0.5, True), (1.5 * FAR**0.5, False)):
        moved = dist + torch.tensor([shift, 0.0])
        told = Heard(torch.zeros(1, 1), torch.ones(1))
        asked = policies(lambda vector, batch, moved=moved: (moved, torch.zeros(2, 1)), head)
        columns = Distillation(told, 1, asked).targets(batch)  # type: ignore[arg-type]
        assert bool(columns.usable.all()) == usable


def learner_with(
    target: Model, stream: Any = None, algorithm: str = "a2c", **changes: Any
) -> tuple[Learner, Model, Heard]:
    """A learner whose neighbour has the parameters of ``target``."""
    learner, network, model = linear_learner(algorithm, stream=stream, **changes)
    told = Heard(target.flat.data.clone().unsqueeze(0), torch.ones(1))
    asked = policies(model.consult, network.head)
    learner.auxiliaries.append(Distillation(told, model.flat.learned, asked))  # type: ignore[arg-type]
    return learner, model, told


def another(seed: int) -> Model:
    _, _, model = linear_learner()
    g = torch.Generator().manual_seed(seed)
    model.flat.data.copy_(torch.randn(model.flat.learned, generator=g))
    return model


@pytest.mark.parametrize("algorithm", ["a2c", "ppo", "vtrace"])
def test_without_rewards_a_policy_becomes_its_neighbours(algorithm: str) -> None:
    """A learning test of seconds; with the wrong sign the policies part."""
    target = another(3)
    learner, model, _ = learner_with(
        target, algorithm=algorithm, value_coef=0.0, entropy_coef=0.0, optimizer="adam", lr=0.05
    )
    found: list[tuple[float, float]] = []
    for seed in range(120):
        batch = random_batch(seed, t=8, b=4)
        for name in ("reward", "value", "next_value"):
            getattr(batch, name).zero_()
        batch.dist.copy_(model.evaluate(batch)[0][:-1])
        batch.version[:] = model.revision
        logged = learner.update(batch).numbers()
        found.append((logged["losses/peer_kl"], logged["losses/peer_value"]))
    assert found[0][0] > 0.1 and found[0][1] > 0.1
    assert found[-1][0] < 0.02 and found[-1][1] < 0.02
    obs = random_batch(999, t=8, b=4).obs[0]
    mine, theirs = model.module(obs)[0].softmax(-1), target.module(obs)[0].softmax(-1)
    assert float((mine - theirs).abs().max().detach()) < 0.15


@pytest.mark.parametrize("algorithm", ["a2c", "impact", "ppo"])
def test_recorded_and_replayed_late_it_is_the_same(algorithm: str) -> None:
    """Vectors and weights change in place between two replays of a recording."""
    plans = {"epochs": 2, "minibatches": 3} if algorithm == "ppo" else {}
    found = []
    for stream in (Direct(), LateStream()):
        learner, model, told = learner_with(another(4), stream, algorithm, **plans)
        batch = random_batch()
        for seed in range(5):
            if isinstance(stream, LateStream):
                stream.queue.drain()
            batch.obs.copy_(random_batch(seed).obs)
            told.vectors.copy_(another(seed).flat.data)
            told.weights.fill_(seed / 5)
            learner.update(batch)
        if isinstance(stream, LateStream):
            stream.queue.drain()
        found.append(model.flat.data.clone())
    assert torch.equal(*found)


def test_others_are_asked_under_the_masks_of_the_batch() -> None:
    _, _, model = linear_learner()
    batch = random_batch(1)
    batch.mask = torch.ones(3, 2, ACTIONS, dtype=torch.bool)
    batch.mask[..., 1] = False
    other = another(2)
    dist, value = model.consult(other.flat.data, batch)
    assert bool((dist.softmax(-1)[..., 1] == 0).all())
    plain, values = other.evaluate(batch)
    assert torch.equal(dist, plain[:-1]) and torch.equal(value, values[:-1])


# -- attraction and repulsion


@pytest.mark.parametrize(
    ("own", "others", "beta"),
    [
        (10.0, [20.0], [1.0]),
        (20.0, [10.0], [-1.0]),
        (10.0, [10.0], [0.0]),
        (10.0, [20.0, 15.0, 10.0], [1.0, 0.5, 0.0]),
        (10.0, [20.0, 0.0], [0.5, -0.5]),
        (-5.0, [-4.0, -9.0], [0.2, -0.8]),
        (10.0, [None, 20.0], [0.0, 1.0]),
        (None, [20.0, 0.0], [0.0, 0.0]),
    ],
)
def test_the_better_attract_and_the_worse_repel(
    own: float | None, others: list[float | None], beta: list[float]
) -> None:
    def told(score: float | None) -> list[float]:
        return [0.0, 0.0] if score is None else [1.0, score]

    present = torch.ones(len(others), dtype=torch.bool)
    found = attractions(torch.tensor(told(own)), torch.tensor([*map(told, others)]), present)
    assert found.tolist() == pytest.approx(beta)


def test_who_is_not_there_has_no_say() -> None:
    own, others = torch.tensor([1.0, 5.0]), torch.tensor([[1.0, 6.0], [1.0, 1e9]])
    assert attractions(own, others, torch.tensor([True, False])).tolist() == [1.0, 0.0]


def repulsion(own: float, other: float, **repel: Any) -> Repulsion:
    message = torch.tensor([0.0, 1.0, own])
    told = heard(0.5, scores=[[1.0, other]])
    return Repulsion(told, message, policies(repel=repel))  # type: ignore[arg-type]


@pytest.mark.parametrize(("own", "other", "sign"), [(1.0, 2.0, -1), (2.0, 1.0, 1)])
def test_a_step_leads_to_the_better_and_away_from_the_worse(
    own: float, other: float, sign: int
) -> None:
    peer, out = logits(1, spread=0.3), outputs(logits(2, spread=0.3))
    loss = repulsion(own, other).loss(said(peer), out, equal(6))
    loss.total.backward()
    assert out.dist.grad is not None
    moved = HEAD.kl(peer, out.dist - out.dist.grad) - HEAD.kl(peer, out.dist)
    assert bool((sign * moved > 0).all())
    assert float(loss.logged["policy/attraction"]) == pytest.approx(-sign)
    assert out.value.grad is None, "values are the agent's own"


def test_repulsion_ends_where_policies_are_far_enough_apart() -> None:
    peer, own = logits(1), logits(2)
    far = HEAD.kl(peer, own) > 1.0
    assert bool(far.any()) and not bool(far.all())
    out = outputs(own)
    repulsion(2.0, 1.0, limit=1.0).loss(said(peer), out, equal(6)).total.backward()
    assert out.dist.grad is not None
    assert torch.equal(out.dist.grad.abs().sum(-1) > 0, ~far)


def test_a_worse_neighbour_is_kept_at_the_limit_and_a_better_one_is_joined() -> None:
    for own, other, low, high in ((2.0, 1.0, 0.9, 1.3), (1.0, 2.0, -1e-6, 0.01)):
        peer, dist = logits(1), logits(1) + 0.1 * logits(2)
        for _ in range(400):
            out = outputs(dist)
            term = repulsion(own, other, coef=5.0, limit=1.0)
            term.loss(said(peer), out, equal(6)).total.backward()
            assert out.dist.grad is not None
            dist = dist - out.dist.grad
        kl = HEAD.kl(peer, dist)
        assert low <= float(kl.min()) and float(kl.max()) <= high, kl


# -- the coupling


class Node:
    """What a :class:`PolicyExchange` needs of a node."""

    lock_step, partial, staleness, every, stop_at = False, False, 0, 1, NEVER

    def __init__(self, message: Tensor) -> None:
        self.topology, self.jumped, self.mixes = None, 0, True
        self.published: list[Tensor] = []
        self._message, self.neighbours = message, (1,)
        self.adopts = torch.zeros_like(message)

    def publish(self, **counts: int) -> None:
        self.published.append(self._message.clone())

    def mix(self) -> bool:
        if self.jumped:
            self._message.copy_(self.adopts)
        return self.mixes

    def adopt(self, *, timeout_s: float) -> str:
        self._message.copy_(self.adopts)
        return "header"

    def snapshot(self, peers: Any) -> dict[int, Tensor]:
        return {0: self._message.clone(), 1: self._message + 1}


def exchange(score: float | None, *, scored: bool) -> tuple[PolicyExchange, Node, Tensor]:
    parameters = torch.tensor([1.0, 2.0, 3.0])
    message = torch.cat([parameters, torch.zeros(2)]) if scored else None
    node = Node(parameters if message is None else message)
    if message is None:
        return PolicyExchange(node, None, None), node, parameters  # type: ignore[arg-type]
    made = ScoredExchange(
        node, None, None, parameters=parameters, message=message, score=lambda: score  # type: ignore[arg-type]
    )  # fmt: skip
    return made, node, parameters


def test_parameters_are_published_and_stay_as_they_are() -> None:
    coupling, node, parameters = exchange(None, scored=False)
    assert coupling.exchange(1, 10) is False, "a mix changes nothing"
    assert node.published[0].tolist() == [1, 2, 3] == parameters.tolist()
    assert (coupling.topology, coupling.unbound) == (None, UNBOUND)


@pytest.mark.parametrize(("score", "told"), [(None, [0.0, 0.0]), (7.5, [1.0, 7.5])])
def test_returns_travel_behind_the_parameters(score: float | None, told: list[float]) -> None:
    coupling, node, parameters = exchange(score, scored=True)
    parameters += 1.0
    coupling.exchange(1, 10)
    assert node.published[0].tolist() == [2, 3, 4, *told]
    vectors = coupling.vectors(everybody=True)
    assert {j: vector.tolist() for j, vector in vectors.items()} == {0: [2, 3, 4], 1: [3, 4, 5]}


@pytest.mark.parametrize("scored", [False, True])
def test_whoever_joins_becomes_its_neighbour(scored: bool) -> None:
    coupling, node, parameters = exchange(1.0, scored=scored)
    node.adopts += 9.0
    assert coupling.join(0.0) == "header" and parameters.tolist() == [9, 9, 9]
    node.adopts += 1.0
    node.jumped = 4  # was left behind, and had to join anew
    assert coupling.exchange(1, 0) is True and parameters.tolist() == [10, 10, 10]
    assert coupling.jumped == 4
