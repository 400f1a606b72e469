"""Environments of the user's: arguments, options, wrappers, and one line for what goes wrong."""

from __future__ import annotations

import multiprocessing
import re
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs import registration

from gala.config.sections import EnvConfig
from gala.envs import VectorEnv, make_vector_env
from gala.envs.making import find_spec, make_vector
from gala.errors import UserError

from .conftest import PLAIN, Write

WORKERS = pytest.mark.parametrize("workers", ["sync", "async"])


def make(name: str, **settings: Any) -> VectorEnv:
    return make_vector_env(EnvConfig(id=name, num_envs=2, **settings), seed=3)


def complaint(name: str, **settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        make(name, **settings).close()
    assert not multiprocessing.active_children() and "\n" not in str(caught.value)
    return str(caught.value)


SIZED = """
class Own(Plain):
    def __init__(self, size, *, colour="red"):
        self.observation_space = Box(-1.0, 9.0, (size,), np.float32)

    def observe(self):
        return np.full(self.observation_space.shape, self.time, np.float32)
"""


@WORKERS
def test_arguments_reach_the_constructor(write: Write, workers: str) -> None:
    env = make(write(SIZED), kwargs={"size": 5}, workers=workers)
    assert env.reset().shape == (2, 5)
    env.close()


def test_any_name_is_an_argument(write: Write) -> None:
    """Those that Gymnasium's make has itself, too."""
    text = """
class Own(Plain):
    def __init__(self, num_envs, max_episode_steps, id, wrappers):
        assert (num_envs, max_episode_steps, id, wrappers) == (1, 2, 3, 4)
"""
    arguments = {"num_envs": 1, "max_episode_steps": 2, "id": 3, "wrappers": 4}
    make(write(text), kwargs=arguments, max_episode_steps=7).close()


def test_arguments_reach_a_vectorised_form() -> None:
    with closing(
        make_vector(EnvConfig(id="CartPole-v1", kwargs={"sutton_barto_reward": True}))
    ) as env:
        assert type(env.unwrapped).__name__ == "CartPoleVectorEnv"
        env.reset(seed=1)
        assert not env.step(np.zeros(16, np.int64))[1].any(), (
            "that reward is 0 until the pole falls"
        )


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({}, "missing 1 required positional argument: 'size' (it takes size, colour)"),
        ({"size": 2, "sise": 3}, "unexpected keyword argument 'sise' (it takes size, colour)"),
    ],
)
def test_arguments_that_a_constructor_refuses(
    write: Write, kwargs: dict[str, Any], words: str
) -> None:
    name = write(SIZED)
    told = complaint(name, kwargs=kwargs)
    assert told.startswith(f"env.kwargs: {name}: Own.__init__() ") and told.endswith(words)


def test_arguments_that_a_vectorised_form_refuses() -> None:
    told = complaint("CartPole-v1", kwargs={"size": 1})
    assert told.startswith("env.kwargs: CartPole-v1: ") and "sutton_barto_reward" in told


def test_a_constructor_that_is_entered_and_raises(write: Write) -> None:
    name = write(SIZED)
    file, line = name.partition(":")[0] + ".py", PLAIN.count("\n") + 4
    told = complaint(name, kwargs={"size": "many"})
    assert told.startswith(f"{file}:{line}: env.id: {name} raised TypeError: ")


LEVELS = """
class Own(Plain):
    def reset(self, *, seed=None, options=None):
        self.level = options.pop("level")
        return super().reset(seed=seed)

    def observe(self):
        return np.full(3, self.level, np.float32)
"""


@WORKERS
@pytest.mark.parametrize("autoreset", ["next-step", "same-step"])
def test_every_reset_gets_the_options(write: Write, workers: str, autoreset: str) -> None:
    env = make(write(LEVELS), options={"level": 7}, workers=workers, autoreset=autoreset)
    rows, games = [env.reset().copy()], 0
    for _ in range(9):
        step = env.step(np.zeros(2, np.int64))
        rows.append(step.obs.copy())
        games += len(step.episodes)
    env.close()
    assert games >= 4 and np.all(np.stack(rows) == 7)


def test_a_first_reset_that_raises(write: Write) -> None:
    name = write(LEVELS)
    file, line = name.partition(":")[0] + ".py", PLAIN.count("\n") + 4
    for workers in ("sync", "async"):
        told = complaint(name, options={"stage": 1}, workers=workers)
        assert told == f"{file}:{line}: env.id: {name} raised KeyError: 'level'"


def test_options_and_wrappers_need_environments_that_are_made_one_by_one() -> None:
    wrappers = ("gymnasium.wrappers:TimeAwareObservation",)
    for settings in ({"options": {"low": -0.01, "high": 0.01}}, {"wrappers": wrappers}):
        env = make("CartPole-v1", **settings)
        assert not env.restorable
        assert env.observation_space.shape == (5 if "wrappers" in settings else 4,)
        assert np.all(np.abs(env.reset()[:, :4]) <= (0.01 if "options" in settings else 0.05))
        env.close()


WRAPPERS = """
class Own(Plain):
    pass


class Add(gymnasium.RewardWrapper):
    def reward(self, reward):
        return reward + 1


class Twice(gymnasium.RewardWrapper):
    def reward(self, reward):
        return reward * 2


def add(env):
    return Add(env)


def nothing(env):
    pass


def fails(env):
    raise RuntimeError("no")
"""


@WORKERS
def test_wrappers_are_called_in_order(write: Write, workers: str) -> None:
    name = write(WRAPPERS)
    module = name.partition(":")[0]
    for wrappers, reward in (("add", "Twice"), 4.0), (("Twice", "add"), 3.0):
        env = make(name, wrappers=tuple(f"{module}:{each}" for each in wrappers), workers=workers)
        env.reset()
        assert np.all(env.step(np.zeros(2, np.int64)).reward == reward)
        env.close()


@pytest.mark.parametrize(
    ("wrapper", "words"),
    [
        ("nothing", r"env.wrappers: \w+:nothing must return an environment, got NoneType$"),
        ("fails", r"^\w+.py:\d+: env.wrappers: \w+:fails raised RuntimeError: no$"),
        ("ad", r"env.wrappers: module \w+ has no 'ad' \(did you mean 'add'\?\)$"),
    ],
)
def test_wrappers_that_do_not_wrap(write: Write, wrapper: str, words: str) -> None:
    name = write(WRAPPERS)
    assert re.search(words, complaint(name, wrappers=(f"{name.partition(':')[0]}:{wrapper}",)))


@pytest.mark.parametrize("name", ["ALE/Pong-v5", "gala/Identity-v0"])
@pytest.mark.parametrize(
    "own", [{"kwargs": {"a": 1}}, {"options": {"a": 1}}, {"wrappers": ("a:b",)}]
)
def test_vectors_of_their_own_take_none(name: str, own: dict[str, Any]) -> None:
    (field,) = own
    told = complaint(name, **own)
    assert told.startswith(f"env.{field}: {name} takes none (")


def test_what_is_named_instead_is_there() -> None:
    plain = re.search(r"ale_py:\S+", complaint("DonkeyKong-v5", kwargs={"a": 1}))
    assert plain is not None
    assert find_spec(plain[0]).id == plain[0].partition(":")[2] == "ALE/DonkeyKong-v5"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Own = 1 / 0", r"^own_envs_\d+.py:\d+: env.id: .* raised ZeroDivisionError: division"),
        ("import torhc\nOwn = Plain", r"^own_envs_\d+.py:\d+: .* No module named 'torhc'$"),
        ("Own = dict", r"raised TypeError: The environment must inherit from the gymnasium.Env"),
        ("class Own(gymnasium.Env): pass", r"raised .*action space"),
        (
            "class Own(Plain):\n    def __init__(self):\n        raise OSError('no level.txt')",
            r"^own_envs_\d+.py:\d+: env.id: .* raised OSError: no level.txt$",
        ),
        (
            "class Own(Plain):\n    def __init__(self):\n        raise BaseException('bare')",
            r"^own_envs_\d+.py:\d+: env.id: .* raised BaseException: bare$",
        ),
        (
            "import random\nclass Own(Plain):\n    def __init__(self):\n"
            "        self.observation_space = Box(-1, random.random(), (2,))",
            r"^env.id: own\S+ cannot be made: .*not equivalent",
        ),
    ],
)
def test_modules_that_are_wrong(write: Write, text: str, words: str) -> None:
    assert re.search(words, complaint(write(text)))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("own_envs.py:Own-v0", "(for example my_module:Own-v0, for my_module.py in the current"),
        ("./own_envs:Own-v0", "env.id: './own_envs' is no module's name"),
        ("json:Xyzzyx-v0", "(json has to register it: gymnasium.register('Xyzzyx-v0', entry"),
    ],
)
def test_modules_and_ids_that_are_wrong(tmp_path: Path, name: str, words: str) -> None:
    assert words in complaint(name)


def test_the_nearest_id_is_one_of_the_modules(write: Write) -> None:
    name = write("class Own(Plain):\n    pass\n")
    assert complaint(name.replace("Own", "Owm")).endswith(f"(did you mean {name.split(':')[1]!r}?)")


def declare(folder: Path, body: str) -> None:
    """An installed package that declares how to register its environments."""
    (folder / "games_of_mine.py").write_text(f"import gymnasium\n\ndef register():\n    {body}\n")
    described = folder / "games_of_mine-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: games-of-mine\nVersion: 1.0\n"
    )
    lines = "[gymnasium.envs]\nMine = games_of_mine:register\n"
    (described / "entry_points.txt").write_text(lines)


@pytest.fixture
def forget() -> Iterator[None]:
    yield
    gymnasium.registry.pop("Mine/Pole-v0", None)
    sys.modules.pop("games_of_mine", None)


@pytest.mark.usefixtures("forget")
@pytest.mark.parametrize("name", ["Mine/Pole-v0", "Pole-v0"])
def test_packages_register_what_they_declare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    entry = "gymnasium.envs.classic_control:CartPoleEnv"
    declare(tmp_path, f"gymnasium.register({name!r}, entry_point={entry!r})")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_spec("Mine/Pole-v0").entry_point == entry


@pytest.mark.usefixtures("forget")
def test_package_that_cannot_register(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(tmp_path, "raise OSError('no games here')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="games_of_mine:register.*no games here"):
        find_spec("Mine/Pole-v0")
    assert registration.current_namespace is None, "others are registered as ever"
