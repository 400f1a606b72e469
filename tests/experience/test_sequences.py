"""Sequences: what is kept of unrolls, what is drawn, and what a checkpoint brings back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scripted import B, Scripted, step

from gala.config.sections import NetworkConfig, ReplayConfig
from gala.device.streams import Direct
from gala.envs.step import Step
from gala.experience import Batch, Collector
from gala.experience.replay import Replay
from gala.experience.sequences import SequenceStore, bytes_of_sequence, priority_of
from gala.experience.unroll import Layout
from gala.networks.build import build_network
from gala.networks.model import Model
from gala.parameters.flat import FlatParameters

T, GAMMA = 2, 0.5


def model_of(memory: str) -> Model:
    config = NetworkConfig(memory=memory, memory_size=8, hidden=(4,))  # type: ignore[arg-type]
    spaces = Scripted.observation_space, Scripted.action_space
    network = build_network(*spaces, config, seed=0, values="dueling")
    return Model(network, FlatParameters(network), torch.float32)


def replay(
    steps: list[Step], model: Model, *, draws: int = 64, save: bool = False, **options: Any
) -> tuple[Replay, SequenceStore]:
    memory = model.module.memory
    source = Collector(
        [Scripted(steps)],
        model.act,
        model.module.head,
        n_step=T,
        gamma=GAMMA,
        reward_clip=False,
        generator=torch.Generator().manual_seed(0),
        memory=None if memory is None else memory.shape,
        epsilon=(0.5,) * B,
    )
    settings: dict[str, Any] = {"capacity": 100, "burn_in": 0, "priority_exponent": 1.0,
                                "importance_exponent": 0.5} | options  # fmt: skip
    generator = torch.Generator().manual_seed(1)
    store = SequenceStore(source.layout, draws=draws, generator=generator, **settings)
    return Replay(source, store, ReplayConfig(warm_up=1, save=save)), store


def numbered(count: int) -> list[Step]:
    """Environment 0 shows 1, 2, 3 ..., environment 1 shows 1, 102, 103 ...; it ends after row 4."""
    return [
        step((k + 2, 100 + k + 2), reward=(k, 100 + k), terminated=(0, k == 4),
             valid=(1, k != 5))
        for k in range(count)
    ]  # fmt: skip


def drawn(made: Replay, updates: int) -> Batch:
    for _ in range(updates):
        batch = made.next()
    return batch


def test_sequences_are_what_happened_after_the_rows_before_them() -> None:
    made, store = replay(numbered(8), model_of("gru"), burn_in=2 * T)
    batch = drawn(made, 4)
    assert batch.burn_in == 4 and batch.obs.shape[:2] == (7, 64) and store.size == 4 * T * B
    assert not batch.valid[:4].any()
    found = set()
    for column in range(64):
        rows = batch.obs[:, column, 0].tolist()
        own = rows[4:]
        assert batch.reward[4:, column].tolist() == [own[1] - 2, own[2] - 2]
        assert own[2] == own[1] + 1 and (own[1] == own[0] + 1 or own == [1, 102, 103])
        if own[0] in (5, 7, 105):  # else an episode began less than 4 rows before
            assert rows[:4] in ([own[0] - 4 + k for k in range(4)], [1, 102, 103, 104])
        found.add(own[0])
    assert found == {1, 3, 5, 7, 103, 105, 107}


@pytest.mark.parametrize("memory", ["lstm", "gru", "gtrxl", "none"])
@pytest.mark.parametrize("burn_in", [0, T, 3 * T])
def test_a_replayed_sequence_has_the_values_that_were_acted_by(memory: str, burn_in: int) -> None:
    """With the same parameters; whatever was burned in, cut by ends, or begun in the middle."""
    model = model_of(memory)
    burn_in = 0 if memory == "none" else burn_in
    made, _ = replay(numbered(16), model, burn_in=burn_in, draws=200)
    source, acted = made._source, {}
    for _ in range(8):
        batch = made.next()
        unroll = source._batch  # type: ignore[attr-defined]
        for t in range(T):
            for b in range(B):
                acted[float(unroll.obs[t, b, 0]), b] = float(unroll.value[t, b])
    values = model.unroll(batch).value.view(burn_in + T, -1)
    checked = set()
    for column in range(200):
        for t in range(burn_in, burn_in + T):
            seen = float(batch.obs[t, column, 0])
            if seen == 1:
                continue  # both environments begin with it
            key = seen, int(seen > 100)
            assert values[t, column].item() == pytest.approx(acted[key], abs=1e-6)
            checked.add(key)
    assert len(checked) > 20
    evaluated = model.evaluate(batch)[1][:-1]
    torch.testing.assert_close(evaluated, values.detach())


def test_no_gradient_goes_through_the_burn_in() -> None:
    model = model_of("lstm")
    made, _ = replay(numbered(8), model, burn_in=T)
    batch = drawn(made, 4)
    out = model.unroll(batch)
    weight = batch.valid.flatten().float()
    model.zero_grad()
    (weight * out.value).sum().backward()
    found = model.flat.grad.clone()
    assert found.any()
    with torch.no_grad():
        _, _, state = model.module.unroll(batch.obs[:T], batch.memory, batch.begin[:T])
    _, value, _ = model.module.unroll(batch.obs[T:-1], state, batch.begin[T:-1])
    model.zero_grad()
    (batch.valid[T:].flatten().float() * value).sum().backward()
    torch.testing.assert_close(model.flat.grad, found)


def test_what_is_not_finite_and_what_has_no_successor_is_marked() -> None:
    steps = [
        step((2, 3), reward=(float("nan"), 1)),
        step((0, 0), reward=(1, 2), truncated=(0, 1), final=(9, 8)),
        step((5, 6), reward=(3, 4)),
        step((7, 8), reward=(5, 6)),
    ]
    made, _ = replay(steps, model_of("none"))
    batch = drawn(made, 2)
    assert bool(batch.reward.isfinite().all())
    marked = {(float(batch.reward[0, c]), float(batch.reward[1, c])): batch.final[:, c].tolist()
              for c in range(64)}  # fmt: skip
    assert marked == {(0, 1): [1, 0], (1, 2): [0, 1], (3, 5): [0, 0], (4, 6): [0, 0]}
    assert "reward of environment 0 is nan: not kept" in made.events()[0][1]


def layout(memory: bool = True) -> Layout:
    return Layout(
        steps=T, obs=(1,), obs_dtype=torch.float32, action=(), action_dtype=torch.int64, dist=2,
        masked=False, memory=(3,) if memory else None,
    )  # fmt: skip


def store_of(capacity: int, **options: Any) -> SequenceStore:
    settings: dict[str, Any] = {"burn_in": 0, "draws": 4000, "priority_exponent": 1.0,
                                "importance_exponent": 1.0} | options  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    return SequenceStore(layout(), capacity=capacity, generator=generator, **settings)


def unroll(*numbers: float, begins: bool = False, streams: list[int] | None = None) -> Batch:
    """One sequence an environment, whose observations are its number."""
    count = len(numbers)
    batch = layout().batch(torch.zeros(layout().size(count), dtype=torch.uint8), count)
    batch.obs[:] = torch.tensor(numbers)[None, :, None]
    batch.valid[:], batch.discount[:] = True, GAMMA
    batch.begin[0] = begins  # type: ignore[index]
    batch.stream = None if streams is None else np.array(streams)
    return batch


def shares(store: SequenceStore) -> dict[float, float]:
    """How often each sequence is drawn."""
    batch = store.batch(Direct())
    if not store.draw(batch):
        return {}
    numbers, counts = batch.obs[-1, :, 0].unique(return_counts=True)
    return dict(zip(numbers.tolist(), (counts / counts.sum()).tolist(), strict=True))


def test_new_ones_are_drawn_equally_and_old_ones_by_their_errors() -> None:
    store = store_of(8)
    store.push(unroll(1, 2))
    store.push(unroll(3, 4))
    assert shares(store) == pytest.approx(dict.fromkeys((1, 2, 3, 4), 0.25), abs=0.04)
    batch = store.batch(Direct())
    store.draw(batch)
    error = batch.obs[:-1, :, 0].clone()
    store.learned(error)
    assert shares(store) == pytest.approx({n: n / 10 for n in (1, 2, 3, 4)}, abs=0.04)
    store.draw(batch)  # the rarest weighs most, and 1
    weight = {float(n): float(w) for n, w in zip(batch.obs[-1, :, 0], batch.weight, strict=True)}
    assert weight == pytest.approx({1: 1.0, 2: 1 / 2, 3: 1 / 3, 4: 1 / 4})
    store.push(unroll(5, 6))  # as likely as the most surprising one
    assert shares(store) == pytest.approx({3: 3 / 15, 4: 4 / 15, 5: 4 / 15, 6: 4 / 15}, abs=0.04)
    assert store.metrics() == {"replay/priority_max": 4.0}


def test_exponents_of_nothing_draw_and_weigh_equally() -> None:
    store = store_of(8, priority_exponent=0.0)
    store.push(unroll(1, 2))
    batch = store.batch(Direct())
    store.draw(batch)
    store.learned(batch.obs[:-1, :, 0] ** 9)
    assert shares(store) == pytest.approx({1: 0.5, 2: 0.5}, abs=0.04)
    store.draw(batch)
    assert batch.weight is not None and bool((batch.weight == 1).all())


def test_errors_that_are_not_finite_change_no_priority() -> None:
    store = store_of(8)
    store.push(unroll(1, 2))
    batch = store.batch(Direct())
    store.draw(batch)
    store.learned(torch.full((T, 4000), float("nan")))
    assert shares(store) == pytest.approx({1: 0.5, 2: 0.5}, abs=0.04)
    store.draw(batch)
    store.learned(torch.zeros(T, 4000))  # nothing is forgotten for good
    assert set(shares(store)) == {1, 2}


def test_priority_is_the_largest_error_and_a_little_of_the_mean() -> None:
    error = torch.tensor([[1.0, 4.0], [3.0, 100.0], [50.0, 2.0]])
    valid = torch.tensor([[True, True], [True, False], [False, True]])
    found = priority_of(error, valid)
    torch.testing.assert_close(found, torch.tensor([0.9 * 3 + 0.1 * 2, 0.9 * 4 + 0.1 * 3]))
    assert priority_of(error, torch.zeros_like(valid)).tolist() == [0, 0]


def test_a_sequence_is_drawn_while_its_burn_in_is_there() -> None:
    store = store_of(8 * T, burn_in=2 * T)
    for k in range(2):  # in the middle of episodes: what was before is not known
        store.push(unroll(10 * k, 10 * k + 1))
        assert shares(store) == {}
    store.push(unroll(20, 21))
    assert set(shares(store)) == {20, 21}
    store.push(unroll(30, 31))
    assert set(shares(store)) == {20, 21, 30, 31}
    store.push(unroll(40, 41))  # replaces the first rows that 20 is burned in with
    assert set(shares(store)) == {30, 31, 40, 41}
    store.push(unroll(50, 51, begins=True))
    store.push(unroll(60, 61))
    assert set(shares(store)) == {50, 51, 60, 61}
    batch = store.batch(Direct())
    store.draw(batch)
    for rows, begin in zip(batch.obs[:, :, 0].T.tolist(), batch.begin.T.tolist(), strict=True):
        number = rows[-1]
        if number < 60:
            assert begin[2 * T] and rows[2 * T :] == [number] * (T + 1)
        else:
            assert rows[T:] == [number - 10] * T + [number] * (T + 1) and begin[T]


def test_rows_of_another_environment_are_never_burned_in_with() -> None:
    store = store_of(20 * T, burn_in=T)
    store.push(unroll(10, 20, streams=[7, 8]))
    store.push(unroll(21, 30, streams=[8, 9]))  # an actor was late, another one began in the middle
    store.push(unroll(11, 12, streams=[7, 7]))  # and brings two at once
    assert set(shares(store)) == {11, 12, 21}
    batch = store.batch(Direct())
    store.draw(batch)
    pairs = {(float(batch.obs[0, c, 0]), float(batch.obs[-1, c, 0])) for c in range(4000)}
    assert pairs == {(10, 11), (11, 12), (20, 21)}


@pytest.mark.parametrize("capacity", [9, 40])
@pytest.mark.parametrize("burn_in", [0, 2 * T])
def test_what_was_saved_goes_on_to_the_same_draws(capacity: int, burn_in: int) -> None:
    model = model_of("lstm")
    options: dict[str, Any] = {"capacity": capacity * B * T, "burn_in": burn_in, "save": True}
    steps = numbered(60)
    (whole, _), (before, _) = replay(steps, model, **options), replay(steps, model, **options)

    def learn(made: Replay) -> Batch:
        batch = made.next()
        if batch.envs:
            made.learned(0, batch.obs[:-1, :, 0])
        return batch

    for _ in range(15):
        learn(whole)
        learn(before)
    after, _ = replay(steps, model, **options)
    after.load_state_dict(before.state_dict())
    for _ in range(15):
        one, other = learn(whole), learn(after)
        for name in ("obs", "action", "reward", "memory", "begin", "weight", "valid", "cut"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name
    assert not after.events()


def test_of_what_was_saved_a_smaller_replay_keeps_the_newest() -> None:
    large, small = store_of(8 * T, burn_in=T), store_of(4 * T, burn_in=T)
    for k in range(3):
        large.push(unroll(10 * k, 10 * k + 1, begins=k == 0))
    assert small.load_state_dict(large.state_dict(whole=True), restored=True) is None
    assert small.size == 4 * T and set(shares(small)) == {20, 21}  # rows before 10 are gone
    small.push(unroll(30, 31))
    assert set(shares(small)) == {30, 31}
    other = store_of(8 * T, burn_in=T)
    other.load_state_dict(large.state_dict(whole=True), restored=False)
    other.push(unroll(30, 31))  # other episodes, of which the beginning is not known
    assert set(shares(other)) == {0, 1, 10, 11, 20, 21}


def test_what_was_not_saved_or_is_of_another_length_begins_empty() -> None:
    store = store_of(8)
    store.push(unroll(1, 2))
    saved = store.state_dict(whole=True)
    assert "kept" not in store.state_dict(whole=False)
    assert "not asked for" in (store_of(8).load_state_dict({}, restored=True) or "")
    saved["kept"]["reward"] = torch.zeros(2, T + 1)
    fresh = store_of(8)
    assert "another length" in (fresh.load_state_dict(saved, restored=True) or "")
    assert fresh.size == 0


def test_the_memory_that_is_named_is_what_is_taken() -> None:
    store = store_of(64 * T, burn_in=0)
    taken = sum(each.numel() * each.element_size() for each in store._kept.values())
    taken += store._previous.nbytes + store._following.nbytes + store._depth.nbytes
    taken += store._tree._nodes.nbytes
    assert taken <= 64 * bytes_of_sequence(layout()) <= 1.2 * taken
