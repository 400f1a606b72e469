"""Real ALE games under the classic protocol."""

from pathlib import Path

import numpy as np
import pytest

from gala.config.sections import AtariConfig, EnvConfig
from gala.envs import VectorEnv, make_vector_env
from gala.envs.atari import game_of
from gala.envs.step import Step
from gala.errors import UserError
from gala.files.shipped import resolve
from gala.run.config import load


def breakout(*, seed: int = 3, threads: int = 1, num_envs: int = 2, **changes: object) -> VectorEnv:
    protocol = {name: changes.pop(name) for name in list(changes)
                if name in AtariConfig.__dataclass_fields__}  # fmt: skip
    bare = {"fire_second": False, "life_reset": False, "clear_stack": False}  # as ALE does it
    config = EnvConfig(
        id="ALE/Breakout-v5", num_envs=num_envs, atari=AtariConfig(**bare | protocol), **changes
    )  # type: ignore[arg-type]
    return make_vector_env(config, seed=seed, threads=threads)


def play(env: VectorEnv, steps: int, seed: int = 0) -> list[Step]:
    """Random actions; everything that must be kept is copied."""
    rng = np.random.default_rng(seed)
    env.reset()
    history = []
    for _ in range(steps):
        step = env.step(rng.integers(0, env.action_space.n, env.num_envs))
        step.obs = step.obs.copy()
        history.append(step)
    env.close()
    return history


def test_spaces_and_types() -> None:
    env = breakout()
    assert env.observation_space.shape == (4, 84, 84)
    assert env.action_space.n == 4 and env.frames_per_step == 4 and not env.restorable
    first = env.reset()
    assert first.shape == (2, 4, 84, 84) and first.dtype == np.uint8 and first.any()
    step = env.step(np.zeros(2, np.int64))
    assert step.reward.dtype == np.float32 and step.valid.all() and step.final_obs is None
    env.close()


def test_a_lost_life_ends_the_episode_but_not_the_game() -> None:
    history = play(breakout(), 450)
    lives_lost = sum(int(step.terminated.sum()) for step in history)
    games = [game for step in history for game in step.episodes]
    assert len(games) >= 2 and lives_lost >= 5 * len(games)
    # after a lost life the next action counts; only the row that begins a new game does not
    invalid = sum(int((~step.valid).sum()) for step in history)
    assert invalid == len(games)


def test_without_episodic_life_only_games_terminate() -> None:
    history = play(breakout(episodic_life=False), 450)
    games = sum(len(step.episodes) for step in history)
    ends = sum(int(step.terminated.sum()) for step in history[:-1])
    assert games >= 2 and ends == games


@pytest.mark.parametrize("autoreset", ["next-step", "same-step"])
def test_returns_are_sums_of_raw_rewards_of_full_games(autoreset: str) -> None:
    history = play(breakout(autoreset=autoreset, num_envs=1), 700)
    games = [game for step in history for game in step.episodes]
    assert games
    last = max(i for i, step in enumerate(history) if step.episodes)
    inside = history[: last + 1]
    assert sum(game.ret for game in games) == sum(float(step.reward[0]) for step in inside)
    assert sum(game.length for game in games) == sum(int(step.valid[0]) for step in inside)


@pytest.mark.parametrize("autoreset", ["next-step", "same-step"])
def test_the_frame_cap_truncates_and_does_not_count_the_no_ops(autoreset: str) -> None:
    history = play(breakout(autoreset=autoreset, max_frames=200), 120)
    ends = [step for step in history if step.truncated.any()]
    assert ends and all(not step.terminated[step.truncated].any() for step in ends)
    games = [game for step in history for game in step.episodes]
    assert len(games) == 4 and {game.length for game in games} == {50}


def test_a_time_limit_in_steps_is_a_frame_cap() -> None:
    history = play(breakout(max_episode_steps=30), 70)
    lengths = [game.length for step in history for game in step.episodes]
    assert len(lengths) >= 4 and set(lengths) == {30}


def test_games_shorter_than_their_no_ops_are_told_apart() -> None:
    # A new game can stand at a later frame than the end of the one before: after 2 + 4 frames
    # comes one that begins after 20 no-ops.
    history = play(breakout(max_frames=4, num_envs=4), 40)
    assert all(step.truncated.all() and step.valid.all() for step in history[::2])
    assert all(not step.valid.any() for step in history[1::2])
    games = [game for step in history for game in step.episodes]
    assert len(games) == 4 * 20 and {game.length for game in games} == {1}


def test_same_step_final_observations_are_those_of_the_next_step_mode() -> None:
    """Up to its end a game looks the same in both modes; ALE fills only the rows that ended."""
    histories = {}
    for mode in ("next-step", "same-step"):
        histories[mode] = play(breakout(autoreset=mode, num_envs=3), 170)
    first_end: dict[int, int] = {}
    for t, (one, other) in enumerate(zip(*histories.values(), strict=True)):
        for i in range(3):
            if i in first_end:
                continue
            assert one.reward[i] == other.reward[i] and one.terminated[i] == other.terminated[i]
            successor = other.obs if other.final_obs is None else other.final_obs
            assert np.array_equal(one.obs[i], successor[i])
            if other.final_obs is not None and not np.array_equal(other.obs[i], successor[i]):
                first_end[i] = t
                assert i in {game.env for game in other.episodes}
                assert not histories["next-step"][t + 1].valid[i]
                assert i in {game.env for game in histories["next-step"][t + 1].episodes}
    assert len(first_end) >= 2 and len(set(first_end.values())) >= 2


def test_after_a_lost_life_the_player_presses_fire() -> None:
    env = breakout(num_envs=1)
    env.reset()
    waiting = [env.step(np.zeros(1, np.int64)) for _ in range(60)]
    assert sum(int(step.terminated[0]) for step in waiting) == 1  # the ball of the reset is lost
    picture = waiting[-1].obs.copy()
    assert np.array_equal(env.step(np.zeros(1, np.int64)).obs, picture)  # nothing moves
    for _ in range(4):
        after = env.step(np.ones(1, np.int64)).obs.copy()
    assert not np.array_equal(after, picture)
    env.close()


@pytest.mark.parametrize("action", [-1, 4])
def test_an_action_that_does_not_exist_is_refused(action: int) -> None:
    env = breakout()
    env.reset()
    with pytest.raises(AssertionError, match="no such action"):
        env.send(np.array([0, action]))
    env.close()


def test_closing_ends_the_threads() -> None:
    def threads() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    before = threads()
    env = breakout(threads=2)
    env.reset()
    assert threads() >= before + 2
    env.send(np.zeros(2, np.int64))  # a step in flight does no harm
    env.close()
    assert threads() == before
    env.close()


def test_the_seed_decides_and_threads_do_not_matter() -> None:
    first, same, other = (
        np.stack([step.obs for step in play(breakout(seed=seed, threads=threads), 40)])
        for seed, threads in ((3, 1), (3, 2), (4, 1))
    )
    assert np.array_equal(first, same) and not np.array_equal(first, other)


def test_neighbouring_seeds_share_no_game() -> None:
    def games(seed: int) -> set[bytes]:
        env = breakout(seed=seed, num_envs=4, sticky_actions=0.5, screen_size=42)
        env.reset()
        seen = [env.step(np.full(4, 2 + t // 9 % 2)).obs.copy() for t in range(60)]
        env.close()
        return {np.ascontiguousarray(game).tobytes() for game in np.stack(seen, axis=1)}

    assert len(games(7)) == len(games(8)) == 4 and not games(7) & games(8)


@pytest.mark.parametrize("seed", [0, 2**31 - 1, 2**63])
def test_any_seed_is_accepted(seed: int) -> None:
    assert play(breakout(seed=seed), 1)[0].valid.all()


def test_rewards_are_raw() -> None:
    env = make_vector_env(EnvConfig(id="ALE/MsPacman-v5", num_envs=2), seed=1)
    assert max(float(step.reward.max()) for step in play(env, 150)) >= 10


@pytest.mark.parametrize(
    ("game", "background"),
    [("Pong", 87), ("Seaquest", 32), ("Freeway", 142), ("Breakout", 0), ("SpaceInvaders", 0),
     ("BeamRider", 0), ("Qbert", 0)],
)  # fmt: skip
def test_the_colours_of_fields(game: str, background: int) -> None:
    """Those that docs/environments.md names; Pong's is in its experiment file."""
    env = make_vector_env(EnvConfig(id=f"ALE/{game}-v5", num_envs=2), seed=1)
    pixels = np.bincount(play(env, 10)[-1].obs.ravel(), minlength=256)
    assert pixels.argmax() == background
    if game == "Pong":
        assert load(resolve("experiments", "pong")).network.background == background
        assert pixels.max() > 0.7 * pixels.sum()


@pytest.mark.parametrize(
    ("changes", "shape"),
    [
        ({"screen_size": 64, "frame_stack": 2}, (2, 64, 64)),
        ({"grayscale": False}, (12, 84, 84)),
    ],
)
def test_other_pictures(changes: dict[str, object], shape: tuple[int, ...]) -> None:
    env = breakout(**changes)
    assert env.reset().shape == (2, *shape) == (2, *env.observation_space.shape)
    assert play(env, 3)[-1].obs.shape == (2, *shape)


@pytest.mark.parametrize(
    ("name", "game"),
    [
        ("ALE/Pong-v5", "pong"),
        ("PongNoFrameskip-v4", "pong"),
        ("pong", "pong"),
        ("ALE/SpaceInvaders-v5", "space_invaders"),
        ("SpaceInvadersNoFrameskip-v4", "space_invaders"),
        ("Pong-v4", "pong"),
        ("MsPacmanDeterministic-v4", "ms_pacman"),
        ("Tetris-v1", None),
        ("CartPole-v1", None),
        ("gala/Identity-v0", None),
    ],
)
def test_names_of_games(name: str, game: str | None) -> None:
    assert game_of(name) == game


def test_unknown_games_bring_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no Atari game is called 'Brekout' .*'Breakout'"):
        game_of("ALE/Brekout-v5")
    with pytest.raises(UserError, match=r"no environment is called 'brekout' .*Breakout"):
        make_vector_env(EnvConfig(id="brekout"), seed=1)
