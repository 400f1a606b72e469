"""What becomes of observations: every kind of space, beside Gymnasium's own flattening."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Text, Tuple
from gymnasium.vector.utils import concatenate, create_empty_array
from hypothesis import given, settings
from hypothesis import strategies as st

from gala.envs.spaces import ONE_HOT, plan_observations
from gala.envs.translation import difference, translate
from gala.errors import UserError


def box(*shape: int, dtype: Any = np.uint8, low: Any = None, high: Any = None) -> Box:
    default = (0, 1) if dtype is bool else (0, 255) if dtype == np.uint8 else (-np.inf, np.inf)
    low, high = default[0] if low is None else low, default[1] if high is None else high
    return Box(low, high, shape, dtype)


def batch(space: gymnasium.Space, count: int = 3, seed: int = 0) -> tuple[Any, list[Any]]:
    """What ``count`` environments give, together and one by one."""
    space.seed(seed)
    each = [space.sample() for _ in range(count)]
    return concatenate(space, each, create_empty_array(space, count)), each


PICTURES = [
    # given, channels x height x width, where the channels are
    (box(84, 84, 6), (6, 84, 84), "channels last"),
    (box(96, 96, 12), (12, 96, 96), "channels last"),
    (box(210, 160, 3), (3, 210, 160), "channels last"),
    (box(40, 48, 3), (3, 40, 48), "channels last"),
    (box(3, 40, 48), (3, 40, 48), "channels first"),
    (box(4, 84, 84), (4, 84, 84), "channels first"),
    (box(84, 84, 1), (1, 84, 84), "channels last"),
    (box(84, 84), (1, 84, 84), "no channels"),
    (box(4, 84, 84, 3), (12, 84, 84), "channels last, 4 frames"),
    (box(4, 3, 84, 84), (12, 84, 84), "channels first, 4 frames"),
    (box(4, 210, 160, 1), (4, 210, 160), "channels last, 4 frames"),
    (box(10, 10, 4, dtype=bool), (4, 10, 10), "channels last"),
    (box(7, 7, 3), (3, 7, 7), "channels last"),
    (box(8, 8, 111, dtype=bool), (111, 8, 8), "channels last"),
    (box(19, 19, 17, dtype=np.int8, low=0, high=1), (17, 19, 19), "channels last"),
    (box(64, 64, 3, dtype=np.float32, low=-1, high=1), (3, 64, 64), "channels last"),
    (box(64, 64, 3, dtype=np.float32), (3, 64, 64), "channels last"),
]


@pytest.mark.parametrize(("space", "shape", "place"), PICTURES)
def test_pictures_have_their_channels_first(space: Box, shape: tuple[int, ...], place: str) -> None:
    plan = plan_observations(space)
    assert plan.kind == "picture" and plan.space.shape == shape and f", {place}:" in plan.text
    together, each = batch(space)
    seen = plan.converter()(together)
    assert seen.shape == (3, *shape) and seen.dtype == plan.space.dtype
    channels = shape[0]
    for row, one in zip(seen, each, strict=True):
        frames = one if one.ndim == 4 else one[None]
        if one.ndim == 2:
            frames = one[None, :, :, None]
        elif "first" in place:
            frames = np.moveaxis(frames, 1, -1)
        expected = np.concatenate(list(frames), -1)  # frames side by side, height x width x all
        for channel in (0, channels // 2, channels - 1):
            scaled = (row[channel] * 2.0 - 1) if space.low.min() == -1 else row[channel]
            np.testing.assert_allclose(scaled, expected[:, :, channel], atol=1e-6)


@settings(max_examples=200, deadline=None)
@given(
    height=st.integers(3, 40),
    wider=st.integers(0, 9),
    channels=st.integers(1, 60),
    dtype=st.sampled_from([np.uint8, bool, np.float32]),
    frames=st.integers(0, 2),
)
def test_channels_are_found_or_asked_for_and_never_mistaken(
    height: int, wider: int, channels: int, dtype: Any, frames: int
) -> None:
    width = height + wider
    for place, shape in (
        ("last", (height, width, channels)),
        ("first", (channels, height, width)),
    ):
        given_shape = (frames, *shape) if frames else shape
        space = box(*given_shape, dtype=dtype, low=0, high=255 if dtype is np.uint8 else 1)
        try:
            plan = plan_observations(space)
        except UserError as error:
            assert error.field == "env.channels"
            assert height == channels or (wider and 2 * channels > height)
            plan = plan_observations(space, channels=place)
        if not wider or channels < height:  # 7 channels of 3x6 read as well as 3 of 6x7
            assert plan.space.shape == (channels * max(frames, 1), height, width)


@pytest.mark.parametrize(
    ("space", "dtype", "high", "text"),
    [
        (box(9, 9, 2), np.uint8, 255, "9x9x2 bytes"),
        (box(9, 9, 2, dtype=bool), np.uint8, 1, "9x9x2 booleans"),
        (box(9, 9, 2, high=10), np.uint8, 10, "0..10 -> 0..1"),
        (box(9, 9, 2, dtype=np.int64, low=0, high=12), np.uint8, 12, "int64"),
        (box(9, 9, 2, dtype=np.int64, low=-3, high=5), np.float32, 1, "-3..5 -> 0..1"),
        (box(9, 9, 2, dtype=np.int32, low=0, high=1000), np.float32, 1, "0..1000 -> 0..1"),
        (box(9, 9, 2, dtype=np.float64, low=0, high=255), np.float32, 1, "0..255 -> 0..1"),
        (box(9, 9, 2, dtype=np.float32, low=0, high=1), np.float32, 1, "0..1 -> 0..1"),
        (box(40, 40, 2, dtype=np.float32), np.float32, np.inf, "as they are"),
    ],
)
def test_pixels_are_scaled_by_their_bounds(space: Box, dtype: type, high: float, text: str) -> None:
    plan = plan_observations(space)
    assert plan.space.dtype == dtype and plan.space.high.max() == high and text in plan.text
    ends = np.stack([np.full(space.shape, end) for end in (space.low.min(), space.high.max())])
    if np.isfinite(ends).all():
        seen = plan.converter()(ends.astype(space.dtype))
        assert seen[0].max() == 0 and seen[1].min() == pytest.approx(high)


@pytest.mark.parametrize(
    "space",
    [box(5, 5, 5), box(10, 10, 10, dtype=bool), box(4, 84, 4), box(84, 4, 84), box(20, 24, 16),
     box(84, 84, 3, 4), box(84, 84, 3, 1), box(16, 7, 7, 3), box(2, 4, 84, 84, 3), box(7, 5, 3),
     box(40, 40, 40, dtype=np.float32)],
)  # fmt: skip
def test_what_cannot_be_told_is_asked_for(space: Box) -> None:
    with pytest.raises(UserError, match=r"env\.channels: .*none: flatten") as error:
        plan_observations(space)
    assert "\n" not in str(error.value)
    assert plan_observations(space, channels="none").kind == "vector"


def test_the_user_can_say_where_the_channels_are() -> None:
    cube = box(5, 6, 7)
    assert plan_observations(cube, channels="first").space.shape == (5, 6, 7)
    assert plan_observations(cube, channels="last").space.shape == (7, 5, 6)
    assert plan_observations(box(5, 6), channels="last").space.shape == (1, 5, 6)
    assert plan_observations(box(16, 7, 7, 3), channels="last").space.shape == (48, 7, 7)
    for space in (box(5), box(), box(2, 3, 4, 5, 6), Discrete(3), Dict(a=cube, b=cube)):
        with pytest.raises(UserError, match=r"env\.channels: .*\(auto"):
            plan_observations(space, channels="last")


VECTORS = [
    (box(dtype=np.float32), 1),
    (box(4, dtype=np.float32), 4),
    (box(4, 3, dtype=np.float64), 12),
    (box(2, 3, 4, dtype=np.float32), 24),
    (box(4, 20, 30, dtype=np.float32), 2400),  # without bounds and small: features
    (box(1, 2, 3, 4, 5, dtype=np.float32), 120),
    (box(28, 28), 784),
    (box(1, 2, 2), 4),
]


@pytest.mark.parametrize(("space", "width"), VECTORS)
def test_other_boxes_are_vectors(space: Box, width: int) -> None:
    plan = plan_observations(space)
    together, each = batch(space)
    seen = plan.converter()(together)
    assert plan.kind == "vector" and plan.space.shape == (width,) and seen.shape == (3, width)
    scale = 255 if space.dtype == np.uint8 else 1
    np.testing.assert_allclose(seen * scale, [np.ravel(one) for one in each], rtol=1e-5)
    assert seen.dtype == np.float32 and all(plan.space.contains(row) for row in seen)


def test_vectors_of_float32_and_bytes_are_not_copied() -> None:
    for space in (box(4, dtype=np.float32), box(4, 3, dtype=np.float32), box(4, 84, 84),
                  box(84, 84, 3), box(9, 9, 2, dtype=bool)):  # fmt: skip
        together, _ = batch(space)
        seen = plan_observations(space).converter()(together)
        assert np.shares_memory(seen, together) == (space.dtype != bool)


def leaves() -> st.SearchStrategy[gymnasium.Space]:
    shapes = st.lists(st.integers(1, 3), max_size=3).map(tuple)
    sizes = st.integers(1, 5)
    return st.one_of(
        st.builds(lambda shape: Box(-2.0, 5.0, shape, np.float32), shapes),
        st.builds(lambda shape: Box(-2, 5, shape, np.int16), shapes),
        st.builds(lambda n, start: Discrete(n, start=start), sizes, st.integers(-3, 3)),
        st.builds(lambda ns: MultiDiscrete(ns), st.lists(sizes, min_size=1, max_size=3)),
        st.builds(
            lambda a, b: MultiDiscrete([[a, b], [b, a]], start=[[1, 2], [3, 4]]), sizes, sizes
        ),
        st.builds(MultiBinary, sizes),
        st.builds(lambda a, b: MultiBinary((a, b)), sizes, sizes),
    )


def composed(inner: st.SearchStrategy[gymnasium.Space]) -> st.SearchStrategy[gymnasium.Space]:
    names = st.text("zyxabc", min_size=1, max_size=2)
    dicts = st.dictionaries(names, inner, min_size=1, max_size=3).map(Dict)
    return st.one_of(dicts, st.lists(inner, min_size=1, max_size=3).map(Tuple))


@settings(max_examples=150, deadline=None)
@given(space=st.recursive(leaves(), composed, max_leaves=6), seed=st.integers(0, 1000))
def test_flattening_is_gymnasiums(space: gymnasium.Space, seed: int) -> None:
    together, each = batch(space, 4, seed)
    plan = plan_observations(space, channels="none")
    assert plan.kind == "vector"
    seen = plan.converter()(together)
    expected = [np.ravel(gymnasium.spaces.flatten(space, one)) for one in each]
    assert seen.dtype == np.float32
    np.testing.assert_array_equal(seen, np.asarray(expected, np.float32))
    assert all(plan.space.contains(row) for row in seen)


def test_parts_are_named_and_the_buffer_is_written_anew() -> None:
    space = Dict(position=box(2, dtype=np.float32), inside=Tuple([Discrete(3), MultiBinary(2)]))
    plan = plan_observations(space)
    assert plan.text == (
        "3 parts -> 7 numbers: position 2 (2 float32); inside.0 3 (one of 3, one-hot); "
        "inside.1 2 (2 bits)"
    )
    convert = plan.converter()
    first = convert(batch(space, seed=1)[0]).copy()
    convert(batch(space, seed=2)[0])
    np.testing.assert_array_equal(convert(batch(space, seed=1)[0]), first)


def test_a_part_without_numbers_takes_no_place() -> None:
    space = Dict(empty=box(0, dtype=np.float32), position=box(2, dtype=np.float32))
    plan = plan_observations(space)
    assert plan.space.shape == (2,) and "empty 0 (0 float32); position 2" in plan.text
    together, each = batch(space)
    expected = [one["position"] for one in each]
    np.testing.assert_array_equal(plan.converter()(together), expected)


def test_a_container_of_one_is_what_it_holds() -> None:
    plan = plan_observations(Dict(image=box(7, 7, 3)))
    assert plan.kind == "picture" and plan.space.shape == (3, 7, 7)
    assert plan.converter()({"image": np.zeros((2, 7, 7, 3), np.uint8)}).shape == (2, 3, 7, 7)
    assert plan_observations(Tuple([Dict(a=Discrete(3))])).space.shape == (3,)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (Text(5), "observation space Text.* is not supported"),
        (
            Dict(image=box(7, 7, 3), mission=Text(5)),
            "part mission .*Text.*wrapper can leave it out",
        ),
        (Dict(image=box(84, 84, 3), speed=box(2)), r"hold a picture \(image, 84x84x3\).*Filter"),
        (box(0, dtype=np.float32), "holds no numbers"),
        (Dict(), "holds no numbers"),
        (Tuple([Discrete(ONE_HOT + 1), Discrete(2)]), "0: a choice of 4,097 is too wide"),
        (Discrete(10**9), "1,000,000,000 states are too many"),
    ],
)
def test_spaces_that_are_refused(space: gymnasium.Space, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        plan_observations(space)
    assert "\n" not in str(error.value)


def test_small_pictures_are_parts_of_a_vector() -> None:
    space = Dict(direction=Discrete(4), image=box(7, 7, 3))
    plan = plan_observations(space)
    seen = plan.converter()({"image": np.full((2, 7, 7, 3), 255), "direction": np.array([1, 3])})
    assert seen.tolist() == [[0, 1, 0, 0] + [1] * 147, [0, 0, 0, 1] + [1] * 147]


@pytest.mark.parametrize("start", [0, 5])
def test_one_of_many_states_is_its_number(start: int) -> None:
    plan = plan_observations(Discrete(10_000, start=start))
    assert plan.kind == "index" and plan.space == Discrete(10_000)
    seen = plan.converter()(np.array([start, start + 9_999]))
    assert seen.dtype == np.int64 and seen.tolist() == [0, 9_999]
    assert "10,000 states" in plan.text


@pytest.mark.parametrize("space", [Discrete(9, start=2), Discrete(9_000, start=2)])
@pytest.mark.parametrize("wrong", [1, 9_002])
def test_a_state_that_is_none_is_said(space: Discrete, wrong: int) -> None:
    with pytest.raises(UserError, match=f"the environments gave {wrong}, outside of Discrete"):
        plan_observations(space).converter()(np.array([2, wrong]))


def test_the_cost_of_states_grows_with_their_number_alone() -> None:
    """What one step writes is counted in numbers, not in seconds."""
    for states in (ONE_HOT, 50 * ONE_HOT):
        plan = plan_observations(Discrete(states))
        convert = plan.converter()
        seen = convert(np.arange(16))
        assert seen.nbytes <= 16 * ONE_HOT * 4
        if plan.kind == "vector":
            assert convert(np.arange(16)) is seen and seen.sum() == 16  # the same array again


@pytest.mark.parametrize(
    ("space", "place"),
    [
        (box(10, 10, 4, dtype=bool), "last"),
        (box(6, 8, 8, dtype=np.float32, low=-1, high=1), "first"),
    ],
)
def test_channels_of_zeros_stand_behind_the_others(space: Box, place: str) -> None:
    plain, plan = (plan_observations(space, channels=place, pad=pad) for pad in (None, 10))
    together, _ = batch(space)
    count, *sides = plain.space.shape or ()
    seen = plan.converter()(together)
    assert plan.space.shape == (10, *sides) and plan.space.dtype == plain.space.dtype
    assert seen.dtype == plan.space.dtype and not seen[:, count:].any()
    np.testing.assert_array_equal(seen[:, :count], plain.converter()(together))
    assert plan.text == f"{plain.text}, and {10 - count} of zeros"
    same = plan_observations(space, channels=place, pad=count)
    assert same.space == plain.space and same.text == plain.text


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (box(10, 10, 4, dtype=bool), "must be at least the 4 channels that there are, got 3"),
        (box(4, dtype=np.float32), "no picture, and have no channels"),
        (Discrete(3), "no picture, and have no channels"),
    ],
)
def test_channels_that_cannot_be_added(space: gymnasium.Space, words: str) -> None:
    with pytest.raises(UserError, match=f"env.pad_channels: .*{words}"):
        plan_observations(space, pad=3)


def test_what_keeps_one_network_from_two_environments() -> None:
    few, many = box(10, 10, 4, dtype=bool), box(10, 10, 7, dtype=bool)
    two, three = Discrete(2), Discrete(3)
    one = translate(few, two, channels="last")
    assert difference(one, translate(many, two, channels="last")) is None
    words = ("acts by one of 2", "acts by one of 3")
    assert difference(one, translate(many, three, channels="last")) == words
    for other in (box(10, 12, 4, dtype=bool), box(10, 10, 4), box(400)):
        differs = difference(one, translate(other, two, channels="auto"))
        assert differs is not None and differs[1].startswith("observes ")
    quantities = [Box(low, high, (2,), np.float32) for low, high in ((-2, 2), (-9, 9), (0, np.inf))]
    near, far, open_ended = (translate(box(3, dtype=np.float32), each) for each in quantities)
    assert difference(near, far) is None  # both are -1 to 1 for a policy
    assert difference(near, open_ended) is not None
