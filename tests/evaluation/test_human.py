"""Human-normalised scores."""

from __future__ import annotations

import ale_py.roms
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gala.evaluation.human import ATARI_57, game_of, human_normalized


def test_the_57_games_are_games_of_the_emulator() -> None:
    assert len(ATARI_57) == 57
    assert set(ATARI_57) <= set(ale_py.roms.get_all_rom_ids())
    assert all(human > random for random, human in ATARI_57.values())


@pytest.mark.parametrize(
    ("env_id", "game"),
    [
        ("ALE/Pong-v5", "pong"),
        ("ALE/MsPacman-v5", "ms_pacman"),
        ("ALE/UpNDown-v5", "up_n_down"),
        ("ALE/Qbert-v5", "qbert"),
        ("PongNoFrameskip-v4", "pong"),
        ("SpaceInvadersDeterministic-v0", "space_invaders"),
        ("BeamRider-v4", "beam_rider"),
        ("pong", "pong"),
        ("ALE/Tetris-v5", None),
        ("CartPole-v1", None),
        ("gala/Identity-v0", None),
        ("", None),
    ],
)
def test_game_of_an_environment(env_id: str, game: str | None) -> None:
    assert game_of(env_id) == game


def test_every_emulator_id_of_the_57_is_understood() -> None:
    for game in ATARI_57:
        camel = "".join(part.capitalize() for part in game.split("_"))
        assert game_of(f"ALE/{camel}-v5") == game


def test_hand_computed_values() -> None:
    assert human_normalized("ALE/Pong-v5", -20.7) == 0.0
    assert human_normalized("ALE/Pong-v5", 14.6) == 1.0
    assert human_normalized("ALE/Pong-v5", 21.0) == pytest.approx(41.7 / 35.3)
    assert human_normalized("ALE/Breakout-v5", 1.7 + 2 * 28.8) == pytest.approx(2.0)
    assert human_normalized("CartPole-v1", 500.0) is None


@given(st.sampled_from(sorted(ATARI_57)), st.floats(-1e5, 1e5), st.floats(0.1, 1e5))
def test_more_points_are_a_higher_score(game: str, score: float, more: float) -> None:
    low, high = human_normalized(game, score), human_normalized(game, score + more)
    assert low is not None and high is not None and low < high
