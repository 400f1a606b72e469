"""Alarms: when they begin, what they say, when they are over."""

from gala.divergence.alarm import Alarm


def test_so_many_ticks_in_a_row_outside_of_the_bound() -> None:
    alarm = Alarm(3)
    assert [alarm.look(ratio, None) for ratio in (1.2, 1.2, 0.9, 1.2, 1.2)] == [None] * 5
    text = alarm.look(1.25, None)
    assert text is not None and "1.25 times as far apart as the bound allows" in text and alarm.on
    assert alarm.look(1.3, None) is None and alarm.on, "told once"
    assert alarm.look(0.5, None) is None and not alarm.on
    for _ in range(2):
        assert alarm.look(2.0, None) is None
    assert alarm.look(2.0, None) is not None, "and again when it begins again"


def test_the_limit_of_the_user_counts_without_any_bound() -> None:
    alarm = Alarm(1, limit=0.2)
    assert alarm.look(None, 0.2) is None
    text = alarm.look(None, 0.25)
    assert text is not None and "0.25" in text and "limit is 0.2" in text


def test_nothing_known_is_nothing_wrong() -> None:
    alarm = Alarm(1)
    assert alarm.look(None, None) is None and alarm.look(None, 1e9) is None and not alarm.on


def test_what_is_not_a_number_is_outside() -> None:
    assert Alarm(1, limit=1.0).look(None, float("nan")) is not None


def test_a_tick_without_a_bound_for_want_of_time_counts_neither_way() -> None:
    alarm = Alarm(2, limit=0.2)
    assert alarm.look(1.5, 0.1) is None
    for _ in range(3):
        assert alarm.look(None, 0.1, bounded=False) is None and not alarm.on
    assert "1.5 times as far" in str(alarm.look(1.5, 0.1)) and alarm.on
    assert alarm.look(None, 0.1, bounded=False) is None and alarm.on, "it is not over either"
    assert alarm.look(0.5, 0.1) is None and not alarm.on
    assert alarm.look(None, 0.3, bounded=False) is None
    assert "limit is 0.2" in str(alarm.look(None, 0.3, bounded=False)), "distances count always"


def test_a_tick_at_which_an_agent_was_measured_alone_counts_neither_way() -> None:
    alarm = Alarm(2, limit=0.2)
    assert alarm.look(None, 0.3) is None
    assert alarm.look(None, None, bounded=False) is None
    assert alarm.look(None, 0.3) is not None and alarm.on
    assert alarm.look(None, None, bounded=False) is None and alarm.on, "it is told once"
    assert alarm.look(None, 0.3) is None and alarm.on
