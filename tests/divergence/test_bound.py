"""The bound against closed forms, brute force and simulated gossip."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gala.divergence.bound import Contraction, NoBound, contraction
from gala.topology import Topology, load_topology
from gala.topology.analysis import spectrum
from gala.topology.mixing import Mixing

Floats = NDArray[np.float64]


def topology_of(matrices: list[Floats], name: str = "given") -> Topology:
    """A topology with exactly these matrices, one per round."""
    rounds = []
    for matrix in matrices:
        target, source = np.nonzero(matrix - np.diag(np.diag(matrix)))
        rounds.append(
            Mixing.of(
                len(matrix),
                source.astype(np.int64),
                target.astype(np.int64),
                matrix[target, source],
                np.diag(matrix).copy(),
            )
        )
    return Topology(name=name, agents=len(matrices[0]), rounds=tuple(rounds))


def doubly_stochastic(agents: int, generator: np.random.Generator) -> Floats:
    """A random convex combination of the identity and permutations (Birkhoff)."""
    count = int(generator.integers(1, 4))
    shares = generator.dirichlet(np.ones(count + 1))
    matrix = shares[0] * np.eye(agents)
    for share in shares[1:]:
        matrix += share * np.eye(agents)[generator.permutation(agents)]
    return matrix


def row_stochastic(agents: int, generator: np.random.Generator) -> Floats:
    matrix = generator.random((agents, agents)) * (generator.random((agents, agents)) < 0.6)
    matrix += np.eye(agents) * 0.2
    return np.asarray(matrix / matrix.sum(axis=1, keepdims=True))


def bounded(model: Contraction | NoBound) -> Contraction:
    assert isinstance(model, Contraction), model
    return model


def disagreement(x: Floats) -> float:
    return float(np.linalg.norm(x - x.mean(axis=0)))


class LocalGroup:
    """The gossip itself, written from the description of the algorithm and not from the bound."""

    def __init__(self, matrices: list[Floats], *, delay: int, mix_every: int, size: int) -> None:
        self.matrices, self.delay, self.mix_every = matrices, delay, mix_every
        self.x = np.zeros((len(matrices[0]), size))
        self.published: list[Floats] = []
        self.mixes = 0

    def update(self, change: Floats) -> tuple[Floats, Floats]:
        """One update of everybody; parameters before and after the exchange."""
        self.published.append(self.x + change)
        own = self.published[-1]
        if len(self.published) % self.mix_every:
            self.x = own
            return own, self.x
        # before anything arrives everybody holds the common start
        late = (
            self.published[-1 - self.delay]
            if len(self.published) > self.delay
            else np.zeros_like(own)
        )
        matrix = self.matrices[self.mixes % len(self.matrices)]
        self.x = np.diag(np.diag(matrix)) @ own + (matrix - np.diag(np.diag(matrix))) @ late
        self.mixes += 1
        return own, self.x


# --- closed forms -----------------------------------------------------------------------------


@pytest.mark.parametrize("agents", [2, 3, 4, 8, 16])
@pytest.mark.parametrize("name", ["ring", "directed-ring", "exponential", "line", "star", "torus"])
def test_plain_gossip_has_the_factors_of_the_paper(name: str, agents: int) -> None:
    topology = load_topology(name, agents)
    beta = spectrum.beta(topology)
    assert beta is not None
    model = bounded(contraction(topology))
    assert model.beta == beta
    # slightly more is allowed, less never
    assert model.factor == pytest.approx(beta / (1 - beta), rel=3e-3, abs=1e-12)
    assert model.factor >= beta / (1 - beta) - 1e-9
    assert model.noise_factor == pytest.approx(beta / math.sqrt(1 - beta**2), rel=3e-3, abs=1e-12)
    assert model.before_mix == pytest.approx(1 + model.after_mix)
    assert model.noise_before_mix**2 == pytest.approx(1 + model.noise_after_mix**2)
    assert model.exact and model.lock_step and model.reason == "exact: lock-step"


@pytest.mark.parametrize(("delay", "second"), [(0, 0.707), (1, 0.912), (2, 0.963), (4, 0.989)])
def test_delay_on_a_directed_ring_of_four(delay: int, second: float) -> None:
    model = bounded(contraction(load_topology("directed-ring", 4), delay=delay))
    assert model.beta == pytest.approx(second, abs=5e-4)
    assert ("delay model, tau = " in model.reason) == (delay > 0)
    assert model.exact == (delay == 0)


def test_the_one_peer_exponential_graph_forgets_an_update_after_log2_mixes() -> None:
    model = bounded(contraction(load_topology("one-peer-exponential", 16)))
    assert model.beta == 0.0
    assert model.factor == pytest.approx(3.0)  # the norms are 1, 1, 1, 0
    assert model.noise_factor == pytest.approx(math.sqrt(3))


def test_the_complete_graph_leaves_the_last_update_only() -> None:
    model = bounded(contraction(load_topology("complete", 8)))
    assert model.factor == pytest.approx(0.0, abs=1e-12)
    assert model.before_mix == pytest.approx(1.0)


def test_updates_between_mixes_add_up() -> None:
    topology = load_topology("exponential", 8)
    once, thrice = bounded(contraction(topology)), bounded(contraction(topology, mix_every=3))
    assert thrice.after_mix == pytest.approx(3 * once.after_mix)
    assert thrice.before_mix == pytest.approx(3 * once.before_mix)
    assert thrice.noise_before_mix == pytest.approx(math.sqrt(3) * once.noise_before_mix)
    assert thrice.factor == thrice.before_mix and not thrice.lock_step
    assert thrice.beta == pytest.approx(once.beta ** (1 / 3))
    assert "mixing every 3 updates" in thrice.reason


def test_one_agent_has_no_disagreement() -> None:
    model = bounded(contraction(load_topology("ring", 1), delay=3))
    assert model.factor == model.noise_factor == model.before_mix == 0.0


# --- brute force ------------------------------------------------------------------------------


def augmented(matrix: Floats | None, agents: int, delay: int) -> Floats:
    """One update as a matrix on [Y(t), Y(t-1), ..., Y(t-tau)]; None: an update without a mix."""
    size = agents * (delay + 1)
    step = np.zeros((size, size))
    step[agents:, :-agents] = np.eye(size - agents)
    own = np.eye(agents) if matrix is None else np.diag(np.diag(matrix))
    step[:agents, :agents] = own
    if matrix is not None:
        step[:agents, size - agents :] += matrix - own
    return step


@settings(max_examples=60, deadline=None)
@example(seed=1, agents=4, period=1, delay=0, mix_every=1, balanced=True)  # oscillating terms
@given(
    seed=st.integers(0, 2**32),
    agents=st.integers(2, 6),
    period=st.integers(1, 3),
    delay=st.integers(0, 3),
    mix_every=st.integers(1, 3),
    balanced=st.booleans(),
)
def test_the_series_is_that_of_products_of_augmented_matrices(
    seed: int, agents: int, period: int, delay: int, mix_every: int, balanced: bool
) -> None:
    generator = np.random.default_rng(seed)
    make = doubly_stochastic if balanced else row_stochastic
    matrices = [make(agents, generator) for _ in range(period)]
    model = contraction(topology_of(matrices), delay=delay, mix_every=mix_every)
    if isinstance(model, NoBound) or model.factor > 200:
        return
    steps = [
        augmented(None if tick % mix_every else matrices[tick // mix_every], agents, delay)
        for tick in range(period * mix_every)
    ]
    worst = worst_squares = 0.0
    for last in range(period):
        row = steps[last * mix_every][:agents]  # right after the mix of round `last`
        total = squares = 0.0
        tick = last * mix_every
        while True:
            norm = float(np.linalg.norm(row[:, :agents] - row[:, :agents].mean(axis=0), 2))
            total, squares = total + norm, squares + norm**2
            if np.abs(row - row.mean(axis=0)).max() < 1e-12:
                break
            tick -= 1
            row = row @ steps[tick % len(steps)]
        worst, worst_squares = max(worst, total), max(worst_squares, squares)
    ages = {0, delay, delay - delay % mix_every}
    if ages == {delay}:
        assert model.after_mix == pytest.approx(worst, rel=0.02, abs=1e-9)
        assert model.noise_after_mix**2 == pytest.approx(worst_squares, rel=0.04, abs=1e-9)
    assert model.after_mix >= worst * (1 - 1e-4) - 1e-9
    assert model.noise_after_mix**2 >= worst_squares * (1 - 1e-4) - 1e-9


# --- measured <= promised ---------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    agents=st.integers(2, 8),
    period=st.integers(1, 4),
    delay=st.integers(0, 3),
    mix_every=st.integers(1, 3),
    balanced=st.booleans(),
    style=st.sampled_from(["random", "constant", "spiteful", "one agent", "bursts"]),
)
def test_measured_is_never_above_the_bound(
    seed: int,
    agents: int,
    period: int,
    delay: int,
    mix_every: int,
    balanced: bool,
    style: str,
) -> None:
    generator = np.random.default_rng(seed)
    make = doubly_stochastic if balanced else row_stochastic
    matrices = [make(agents, generator) for _ in range(period)]
    model = contraction(topology_of(matrices), delay=delay, mix_every=mix_every)
    if isinstance(model, NoBound):
        return
    local_group = LocalGroup(matrices, delay=delay, mix_every=mix_every, size=3)
    constant = generator.standard_normal((agents, 3))
    largest = 0.0
    for t in range(120):
        before = local_group.x
        if style == "random":
            change = generator.standard_normal((agents, 3))
        elif style == "constant":
            change = constant
        elif style == "one agent":
            change = np.zeros((agents, 3))
            change[0] = constant[0]
        elif style == "bursts":
            change = constant * float(generator.random() < 0.2)
        else:  # away from the mean, as far as allowed
            change = before - before.mean(axis=0) + 1e-9 * constant
        if style != "bursts" or change.any():
            change = change / np.linalg.norm(change)
        largest = max(largest, float(np.linalg.norm(change)))
        own, after = local_group.update(change)
        assert disagreement(own) <= model.before_mix * largest + 1e-9
        if (t + 1) % mix_every == 0:
            assert disagreement(after) <= model.after_mix * largest + 1e-9
        assert disagreement(after) <= model.factor * largest + 1e-9
        if model.skewed is not None:
            stage = generator.integers(0, 3, size=agents)[:, None]
            seen = np.where(stage == 0, before, np.where(stage == 1, own, after))
            assert disagreement(seen) <= model.skewed * largest + 1e-9


@pytest.mark.parametrize("name", ["ring", "directed-ring", "exponential", "one-peer-exponential"])
@pytest.mark.parametrize(("delay", "mix_every"), [(0, 1), (2, 1), (0, 3), (1, 2)])
def test_updates_that_conspire_reach_the_bound(name: str, delay: int, mix_every: int) -> None:
    """The bound cannot be improved: some sequence of updates comes within a few per cent of it."""
    topology = load_topology(name, 4)
    matrices = [topology.matrix(r) for r in range(topology.period or 1)]
    model = bounded(contraction(topology, delay=delay, mix_every=mix_every))
    horizon = 96 * mix_every * len(matrices)
    coefficients = []
    for start in range(horizon):
        local_group = LocalGroup(matrices, delay=delay, mix_every=mix_every, size=4)
        for t in range(horizon):
            _, x = local_group.update(np.eye(4) if t == start else np.zeros((4, 4)))
        coefficients.append(x - x.mean(axis=0))  # (I - J) C
    # every update turns its worst input into one common direction of a wide parameter space
    directions = np.zeros((horizon, 4, 4))
    common = None
    for start in reversed(range(horizon)):
        left, _, right = np.linalg.svd(coefficients[start])
        if common is None:
            common = left[:, 0]
        pulled = coefficients[start].T @ common
        directions[start] = np.outer(pulled / max(np.linalg.norm(pulled), 1e-12), np.eye(4)[0])
        assert right.shape == (4, 4)
    local_group = LocalGroup(matrices, delay=delay, mix_every=mix_every, size=4)
    for change in directions:
        _, x = local_group.update(change)
    reached = disagreement(x)
    assert reached <= model.after_mix + 1e-9
    assert reached >= (0.9 if name == "ring" else 0.45) * model.after_mix


def test_ages_that_conspire_can_leave_the_delay_model() -> None:
    """Why it is called a model: messages are picked, young or old, to pull agents apart."""
    topology = load_topology("directed-ring", 6)
    matrix, delay = topology.matrix(0), 3
    model = bounded(contraction(topology, delay=delay))
    x, published, largest = np.zeros((6, 1)), [], 0.0
    for _ in range(300):
        away = x - x.mean(axis=0) + 1e-6 * np.arange(6)[:, None]
        own = x + away / np.linalg.norm(away)
        published.append(own)
        x = np.diag(np.diag(matrix)) @ own
        for i in range(6):
            j = (i - 1) % 6
            received = [messages[j] for messages in published[-1 - delay :]]
            x[i] += matrix[i, j] * max(received, key=lambda y: y[0] * (own[i] - own.mean())[0])
        largest = max(largest, disagreement(own))
    assert largest > model.before_mix
    assert not model.exact and model.reason.startswith("delay model")


@pytest.mark.parametrize("mix_every", [1, 3])
def test_independent_updates_stay_below_their_expectation(mix_every: int) -> None:
    topology = load_topology("ring", 8)
    model = bounded(contraction(topology, mix_every=mix_every))
    generator = np.random.default_rng(3)
    local_group = LocalGroup([topology.matrix(0)], delay=0, mix_every=mix_every, size=400)
    seen = []
    for t in range(600):
        change = generator.standard_normal((8, 400))
        own, _ = local_group.update(change / math.sqrt(8 * 400))  # ||U||_F = 1 in the mean square
        if t > 200 and (t + 1) % mix_every == 0:
            seen.append(disagreement(own) ** 2)
    measured = math.sqrt(float(np.mean(seen)))
    assert measured <= model.noise_before_mix
    assert measured >= 0.3 * model.noise_before_mix
    # the worst case is far away from what happens
    assert measured < 0.6 * model.before_mix


def test_noise_in_the_slowest_direction_is_the_expectation() -> None:
    topology = load_topology("ring", 8)
    model = bounded(contraction(topology))
    slowest = np.cos(2 * np.pi * np.arange(8) / 8)[:, None]
    slowest /= np.linalg.norm(slowest)
    generator = np.random.default_rng(4)
    local_group = LocalGroup([topology.matrix(0)], delay=0, mix_every=1, size=2000)
    for _ in range(60):
        signs = generator.choice([-1.0, 1.0], size=(1, 2000)) / math.sqrt(2000)
        _, after = local_group.update(slowest * signs)
    assert disagreement(after) == pytest.approx(model.noise_factor, rel=0.05)


# --- who takes part ---------------------------------------------------------------------------


def test_a_dead_agent_changes_the_graph() -> None:
    ring = load_topology("ring", 5)
    full, line = (
        bounded(contraction(ring)),
        bounded(contraction(ring, alive=frozenset({0, 1, 2, 3}))),
    )
    # what is left is a line with self weights 2/3 at the ends: Metropolis weights
    expected = bounded(contraction(load_topology("line", 4)))
    assert line.factor == pytest.approx(expected.factor, rel=1e-6)
    assert line.factor > full.factor
    assert line.reason.endswith("4 of 5 agents")
    assert bounded(contraction(ring, alive=frozenset(range(5)))).factor == full.factor


def test_a_directed_ring_without_one_agent_follows_its_first() -> None:
    """Still a bound: agent 2's successor reaches everybody, though the mean is no longer kept."""
    model = bounded(contraction(load_topology("directed-ring", 4), alive=frozenset({0, 1, 3})))
    assert "row-stochastic only" in model.reason
    assert 0 < model.factor < 100


def test_no_bound_for_pieces() -> None:
    ring = load_topology("ring", 6)
    model = contraction(ring, alive=frozenset({0, 1, 3, 4}))
    assert isinstance(model, NoBound)
    assert model.reason == (
        "no bound applies: with the others gone, nobody reaches both agent 3 and agent 0"
    )
    assert bounded(contraction(ring, alive=frozenset({3}))).factor == 0.0
    assert bounded(contraction(ring, alive=frozenset({3, 4}))).factor == pytest.approx(0.5)


def test_no_bound_without_contraction() -> None:
    swap = np.array([[0.0, 1.0], [1.0, 0.0]])  # both take over what the other had, for ever
    model = contraction(topology_of([swap]))
    assert isinstance(model, NoBound) and "does not contract" in model.reason


def test_no_bound_for_very_old_messages() -> None:
    model = contraction(load_topology("ring", 4), delay=10_000)
    assert isinstance(model, NoBound) and "10000 updates old" in model.reason


@pytest.mark.parametrize("name", ["directed-ring", "exponential", "star", "one-peer-exponential"])
@pytest.mark.parametrize("mix_every", [1, 4])
def test_a_larger_delay_never_promises_less_than_none(name: str, mix_every: int) -> None:
    """An old message is nearer to the common start: alone it would make the bound too small."""
    topology = load_topology(name, 8)
    none = bounded(contraction(topology, mix_every=mix_every))
    for delay in (1, 3, 4, 6):
        late = bounded(contraction(topology, delay=delay, mix_every=mix_every))
        assert late.before_mix >= none.before_mix
        assert late.noise_before_mix >= none.noise_before_mix
    assert (
        bounded(contraction(load_topology("directed-ring", 8), delay=8)).factor
        > bounded(contraction(load_topology("directed-ring", 8))).factor * 2
    )


# --- cost -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["directed-ring", "exponential", "torus", "one-peer-exponential"])
def test_is_cheap_enough_to_ask_while_training(name: str) -> None:
    """Not a benchmark: an alarm for the complexity. The second call is a look into the cache."""
    topology = load_topology(name, 16)
    start = time.perf_counter()
    for delay in range(9):
        contraction(topology, delay=delay)
    first = time.perf_counter() - start
    start = time.perf_counter()
    for delay in range(9):
        contraction(topology, delay=delay)
    assert first < 5
    assert time.perf_counter() - start < 0.1 * max(first, 0.01)


def test_ten_thousand_agents() -> None:
    circulant = bounded(contraction(load_topology("exponential", 10_000), delay=2))
    assert circulant.factor > 0
    torus = load_topology("torus", 10_000)
    model, beta = bounded(contraction(torus)), spectrum.beta(torus)
    assert beta is not None and model.factor == pytest.approx(beta / (1 - beta))
    assert model.noise_factor == pytest.approx(beta / math.sqrt(1 - beta**2))
    late = bounded(contraction(torus, delay=2))
    assert not late.exact and "delay model" in late.reason
    # a mix sees what is two updates older: never better than without delay, and not much worse
    assert model.after_mix <= late.after_mix <= 4 * model.after_mix
    assert beta <= late.beta < 1


@pytest.mark.parametrize("name", ["base", "random-regular"])
def test_ten_thousand_agents_with_delay(name: str) -> None:
    topology = load_topology(name, 10_000)
    model = bounded(contraction(topology, delay=2, mix_every=2))
    assert model.factor >= bounded(contraction(topology)).factor and not model.exact


def test_many_agents_that_do_not_keep_the_mean_have_no_bound() -> None:
    model = contraction(load_topology("directed-ring", 900), alive=frozenset(range(1, 900)))
    assert isinstance(model, NoBound) and "899 agents are too many" in model.reason


@pytest.mark.parametrize("name", ["ring", "small-world", "erdos-renyi"])
def test_a_dead_agent_changes_the_graph_of_many(name: str) -> None:
    """Too many for series of dense products: what is left is computed sparsely, not the whole."""
    agents = 900
    full = load_topology(name, agents)
    model = contraction(full, alive=frozenset(range(1, agents)))
    kept = full.matrix(0)[1:, 1:]
    np.fill_diagonal(kept, 0.0)
    np.fill_diagonal(kept, 1 - kept.sum(axis=1))
    expected = float(np.abs(np.linalg.eigvalsh(kept - 1 / (agents - 1))).max())
    model = bounded(model)
    assert 1 - model.beta == pytest.approx(1 - expected, rel=1e-4)
    assert model.factor == pytest.approx(expected / (1 - expected), rel=1e-4)
    assert model.beta != spectrum.beta(full)
    assert not model.exact and model.reason.endswith("899 of 900 agents")


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), agents=st.integers(3, 9), missing=st.integers(1, 2))
def test_those_who_are_left_give_the_weight_of_the_dead_to_themselves(
    seed: int, agents: int, missing: int
) -> None:
    generator = np.random.default_rng(seed)
    matrices = [doubly_stochastic(agents, generator) for _ in range(2)]
    present = sorted(generator.permutation(agents)[missing:].tolist())
    kept = [matrix[np.ix_(present, present)] for matrix in matrices]
    kept = [matrix + np.diag(1 - matrix.sum(axis=1)) for matrix in kept]
    model = contraction(topology_of(matrices), alive=frozenset(present))
    expected = contraction(topology_of(kept))
    assert isinstance(model, NoBound) == isinstance(expected, NoBound)
    if isinstance(model, Contraction) and isinstance(expected, Contraction):
        assert model.factor == pytest.approx(expected.factor, rel=1e-6, abs=1e-9)
        assert model.beta == pytest.approx(expected.beta, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "agents"), [("random-peer", 210), ("one-peer-exponential", 400), ("star", 900)]
)
def test_never_the_numbers_of_the_full_graph_when_someone_is_missing(
    name: str, agents: int
) -> None:
    full = load_topology(name, agents)
    model = contraction(full, alive=frozenset(range(1, agents)))
    if isinstance(model, Contraction):
        assert model.beta != spectrum.beta(full)
    else:
        assert "no bound applies" in model.reason
