"""What may come out of an environment, and what is dropped of it."""

from __future__ import annotations

import multiprocessing
from contextlib import closing
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

from gala.config.sections import EnvConfig
from gala.envs import VectorEnv, make_vector_env
from gala.envs.boundary import MASK, mismatch, raise_mistakes
from gala.envs.making import make_vector
from gala.errors import UserError

from .conftest import Write

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Gymnasium remarks on it, too
WORKERS = pytest.mark.parametrize("workers", ["sync", "async"])
BYTES = Box(0, 255, (2, 2), np.uint8)
FLOATS = Box(-1.0, 1.0, (3,), np.float32)


def make(name: str, **settings: Any) -> VectorEnv:
    return make_vector_env(EnvConfig(id=name, num_envs=2, **settings), seed=3)


@pytest.mark.parametrize(
    ("space", "value"),
    [
        (FLOATS, np.zeros(3)),
        (FLOATS, [0, 1, 2]),
        (FLOATS, np.full(3, 99.0)),
        (Box(-1.0, 1.0, ()), 0.5),
        (BYTES, np.zeros((2, 2), np.uint8)),
        (BYTES, np.zeros((2, 2), bool)),
        (BYTES, [[0, 1], [2, 3]]),
        (Discrete(3, start=5), np.int64(7)),
        (MultiBinary(2), np.array([True, False])),
        (MultiDiscrete([2, 3]), np.array([1, 2], np.int32)),
        (Dict(a=FLOATS, b=Discrete(2)), {"b": 1, "a": np.zeros(3, np.float32)}),
        (Tuple((FLOATS, Discrete(2))), (np.zeros(3), 0)),
    ],
)
def test_observations_that_fit(space: gymnasium.Space[Any], value: Any) -> None:
    assert mismatch(space, value) is None


@pytest.mark.parametrize(
    ("space", "value", "words"),
    [
        (FLOATS, np.zeros(4), "its observation is of shape (4,), its space announces (3,)"),
        (FLOATS, None, "is of shape (), its space announces (3,)"),
        (FLOATS, [[1], [2, 3]], "is no array, its space announces shape (3,)"),
        (FLOATS, ["a", "b", "c"], "is list, its space announces float32"),
        (Box(-1.0, 1.0, ()), None, "is NoneType, its space announces float32"),
        (BYTES, np.zeros((2, 2)), "is of float64, its space announces uint8"),
        (Discrete(3), np.zeros(3), "is of shape (3,), its space announces ()"),
        (Discrete(3, start=5), 8, "is 8, its space announces Discrete(3, start=5)"),
        (Discrete(3), 0.5, "is 0.5, its space announces Discrete(3)"),
        (Dict(a=FLOATS), {"b": 1}, "is ['b'], its space announces the parts ['a']"),
        (Dict(a=FLOATS), 3, "is int, its space announces the parts ['a']"),
        (Dict(a=Dict(b=FLOATS)), {"a": {"b": 1}}, "its observation ['a']['b'] is of shape ()"),
        (Tuple((FLOATS,)), (1, 2), "is of 2, its space announces a tuple of 1"),
        (Tuple((FLOATS, Discrete(2))), (np.zeros(3), 2), "its observation [1] is 2, its"),
    ],
)
def test_observations_that_do_not_fit(space: gymnasium.Space[Any], value: Any, words: str) -> None:
    rule = mismatch(space, value)
    assert rule is not None and words in rule


@WORKERS
def test_another_shape_at_the_first_reset(write: Write, workers: str) -> None:
    name = write("class Own(Plain):\n    def observe(self):\n        return np.zeros(4)\n")
    with pytest.raises(UserError) as caught:
        make(name, workers=workers)
    rule = "its observation is of shape (4,), its space announces (3,)"
    assert str(caught.value) == f"env.id: {name}: {rule}"
    assert not multiprocessing.active_children()


@WORKERS
@pytest.mark.parametrize("autoreset", ["next-step", "same-step"])
def test_another_shape_in_a_later_episode(write: Write, workers: str, autoreset: str) -> None:
    text = """
class Own(Plain):
    games = 0

    def observe(self):
        self.games += self.time == 0
        return np.zeros(2 + (self.games < 3))
"""
    env = make(write(text), workers=workers, autoreset=autoreset)
    env.reset()
    with pytest.raises(UserError, match=r"is of shape \(2,\), its space announces \(3,\)"):
        for _ in range(20):
            env.step(np.zeros(2, np.int64))
    env.close()
    assert not multiprocessing.active_children()


@WORKERS
@pytest.mark.parametrize(
    ("result", "got"), [("obs", "ndarray"), ("(obs, {}, 1)", "tuple"), ("None", "NoneType")]
)
def test_resets_that_give_something_else(write: Write, workers: str, result: str, got: str) -> None:
    """As those of old environments do; of three numbers two could be taken for what is wanted."""
    text = f"""
class Old(gymnasium.Wrapper):
    def reset(self, *, seed=None, options=None):
        obs, _ = super().reset(seed=seed)
        return {result}


Own = Plain
"""
    name = write(text)
    with pytest.raises(UserError) as caught:
        make(name, workers=workers, wrappers=(f"{name.partition(':')[0]}:Old",))
    rule = f"its reset must return observation and info, got {got}"
    assert str(caught.value) == f"env.id: {name}: {rule}"
    assert not multiprocessing.active_children()


@WORKERS
@pytest.mark.parametrize("reward", ["None", "'1'", "np.ones(2)", "{}", "[[1], [2, 3]]"])
def test_rewards_that_are_no_numbers(write: Write, workers: str, reward: str) -> None:
    text = (
        f"class Own(Plain):\n    def step(self, action):\n        return self.observe(), {reward}"
    )
    env = make(write(f"{text}, False, False, {{}}\n"), workers=workers)
    env.reset()
    with pytest.raises(UserError, match="its reward must be a number, got "):
        for _ in range(2):
            env.step(np.zeros(2, np.int64))
    env.close()


@WORKERS
@pytest.mark.filterwarnings("ignore:.*old step API:DeprecationWarning")
@pytest.mark.parametrize(
    ("result", "words"),
    [
        ("(*super().step(action)[:3], {})", "its step must return .* and info: "),
        ("None", "its step must return .* and info: "),
        ("(np.zeros(3), 1.0, None, False, {})", "its terminated must be true or false, got None"),
        ("(np.zeros(3), 1.0, False, 'no', {})", "its truncated must be true or false, got 'no'"),
        ("(np.zeros(3), 1.0, float('nan'), False, {})", "its terminated must be .*, got nan"),
        ("(np.zeros(3), 1.0, np.ones(2, bool), False, {})", "its terminated must be true or"),
    ],
)
def test_steps_that_do_not_say_how_it_went_on(
    write: Write, workers: str, result: str, words: str
) -> None:
    text = f"class Own(Plain):\n    def step(self, action):\n        return {result}\n"
    with closing(make_vector(EnvConfig(id=write(text), num_envs=2, workers=workers))) as env:
        env.reset(seed=1)
        with pytest.raises(UserError, match=words):
            raise_mistakes(env.step(np.zeros(2, np.int64))[-1])


@pytest.mark.parametrize("end", ["np.bool_(True)", "1", "np.array([True])"])
def test_ends_of_other_kinds_are_ends(write: Write, end: str) -> None:
    text = (
        "class Own(Plain):\n    def step(self, action):\n"
        f"        return np.zeros(3), 1.0, {end}, False, {{}}\n"
    )
    with closing(make_vector(EnvConfig(id=write(text), num_envs=2, workers="sync"))) as env:
        env.reset(seed=1)
        _, _, terminated, truncated, info = env.step(np.zeros(2, np.int64))
        raise_mistakes(info)
        assert terminated.all() and not truncated.any()


@WORKERS
@pytest.mark.parametrize(
    "fault", ["raise LookupError('gone')", "raise SystemExit(9)", "raise BaseException"]
)
def test_what_close_raises_is_told_and_ends_nothing(
    write: Write, workers: str, fault: str, capfd: pytest.CaptureFixture[str]
) -> None:
    env = make(
        write(f"class Own(Plain):\n    def close(self):\n        {fault}\n"), workers=workers
    )
    env.reset()
    env.close()
    assert not multiprocessing.active_children()
    assert capfd.readouterr().err.count("its close() raised ") >= 2  # one is made to see its spaces


def test_what_a_later_step_raises_is_a_crash(write: Write) -> None:
    text = "class Own(Plain):\n    def step(self, action):\n        raise RuntimeError('lost')\n"
    env = make(write(text), workers="sync")
    env.reset()
    with pytest.raises(RuntimeError, match="lost"):
        env.step(np.zeros(2, np.int64))
    env.close()


CHANGING = """
class Own(Plain):
    def step(self, action):
        *rest, _ = super().step(action)
        return (*rest, [{}, {"x": 1}, {"x": "text"}, {"x": {"y": None}}, None][self.time])
"""


@WORKERS
@pytest.mark.parametrize("autoreset", ["next-step", "same-step"])
def test_infos_that_nobody_reads_are_dropped(write: Write, workers: str, autoreset: str) -> None:
    env = make(write(CHANGING), workers=workers, autoreset=autoreset)
    env.reset()
    finals = []
    for _ in range(9):
        step = env.step(np.zeros(2, np.int64))
        if step.final_obs is not None:
            finals.append(step.final_obs)
    env.close()
    assert len(finals) == (3 if autoreset == "same-step" else 0)
    assert all(np.all(final == 3) for final in finals)


MASKED = """
class Own(Plain):
    first = True

    def reset(self, *, seed=None, options=None):
        obs, _ = super().reset(seed=seed)
        return obs, {"action_mask": np.array([1, 0], np.int8), "other": self} if self.first else {}

    def step(self, action):
        *rest, _ = super().step(action)
        return (*rest, {"action_mask": [0, 1] if self.time < 2 else [0, 1, 1]})
"""


@WORKERS
def test_masks_pass_and_keep_their_shape(write: Write, workers: str) -> None:
    with closing(make_vector(EnvConfig(id=write(MASKED), num_envs=2, workers=workers))) as env:
        _, info = env.reset(seed=1)
        assert info.keys() == {MASK, f"_{MASK}"} and info[MASK].tolist() == [[1, 0]] * 2
        *_, info = env.step(np.zeros(2, np.int64))
        assert info[MASK].tolist() == [[0, 1]] * 2
        *_, info = env.step(np.zeros(2, np.int64))
        with pytest.raises(UserError, match=r"mask is of shape \(3,\), the first was .* \(2,\)"):
            raise_mistakes(info)


@WORKERS
def test_masks_that_come_later_are_refused(write: Write, workers: str) -> None:
    name = write(MASKED.replace("first = True", "first = False"))
    with closing(make_vector(EnvConfig(id=name, num_envs=2, workers=workers))) as env:
        assert env.reset(seed=1)[1] == {}
        *_, info = env.step(np.zeros(2, np.int64))
        with pytest.raises(UserError, match="did not come with the first reset"):
            raise_mistakes(info)


def test_a_vectorised_form_of_the_users(write: Write) -> None:
    text = """
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

Own = Plain


class Many(VectorEnv):
    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(self, num_envs, fault=None):
        self.num_envs, self.fault = num_envs, fault
        self.single_observation_space = Plain.observation_space
        self.single_action_space = Plain.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)

    def reset(self, *, seed=None, options=None):
        if self.fault == "raise":
            raise LookupError("no seed")
        return np.zeros((self.num_envs, 4 if self.fault else 3), np.float32), {}


gymnasium.register("Many-v0", Plain, vector_entry_point=Many)
"""
    module = write(text).partition(":")[0]
    assert make(f"{module}:Many-v0").reset().shape == (2, 3)
    with pytest.raises(UserError, match=rf"^{module}.py:\d+: env.id: .* LookupError: no seed$"):
        make(f"{module}:Many-v0", kwargs={"fault": "raise"})
    with pytest.raises(UserError, match=r"is of shape \(2, 4\), its space announces \(2, 3\)"):
        make(f"{module}:Many-v0", kwargs={"fault": "shape"})
