"""Faults at a moment: what text means, and what is refused in one line."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gala import cli
from gala.config.faults import KINDS, LASTING, PLACES, Fault, as_faults, parse_fault
from gala.errors import UserError
from gala.files.yaml import parse_yaml
from gala.run.config import from_document
from gala.run.request import read_request


@given(
    rank=st.integers(0, 10**6),
    update=st.integers(1, 10**12),
    kind=st.sampled_from(KINDS),
    where=st.sampled_from(PLACES),
    seconds=st.floats(1e-3, 1e6),
    incarnation=st.integers(0, 100),
    order=st.randoms(),
)
def test_every_fault_is_read_as_it_is_written(order: Any, **fields: Any) -> None:
    if fields["kind"] not in LASTING:
        del fields["seconds"]
    parts = [f"{key} = {value}" for key, value in fields.items()]
    order.shuffle(parts)
    assert parse_fault(",".join(parts)) == Fault(**fields)


def test_the_rest_has_defaults() -> None:
    fault = parse_fault("rank=1,update=50,kind=stop")
    assert fault == Fault(rank=1, update=50, kind="stop")
    assert (fault.where, fault.seconds, fault.incarnation) == ("collect", 5.0, 0)
    assert str(fault) == "stop for 5 s at collect of update 50"


def test_several_stand_in_a_text_or_in_a_list() -> None:
    one, two = "rank=1,update=5,kind=kill", "rank=0,update=9,kind=nan,where=learn"
    for given_ in (f"{one};{two}", f" {one} ; {two};", [one, two], [f"{one};{two}"]):
        assert as_faults(given_) == (one, two)
    config = from_document(parse_yaml("{}", "x"), [("faults.at", f"{one};{two}")])
    assert config.faults.at == (one, two)
    again = from_document(parse_yaml(config.to_yaml(), "config.yaml"))
    assert again.faults.at == (one, two), "config.yaml reruns it"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rank=1,update=5,kind=kil", "no kind is named 'kil' (did you mean 'kill'?)"),
        ("rank=1,update=5,kind=diskfull", "did you mean 'disk-full'?"),
        ("rank=1,update=5,kind=kill,where=lern", "did you mean 'learn'?"),
        ("rank=1,updat=5,kind=kill", "'updat' is no part of a fault (did you mean 'update'?)"),
        ("rank=1,kind=kill", "update is missing (rank=1,update=50,kind=kill)"),
        ("kill", "'kill' is no part of a fault"),
        ("rank=1,update=5,kind", "kind needs a value (kind=kill)"),
        ("rank=1,update=5,kind=", "kind needs a value (kind=kill)"),
        ("rank=-1,update=5,kind=kill", "rank must be a whole number from 0, got '-1'"),
        ("rank=1,update=0,kind=kill", "update must be a whole number from 1, got '0'"),
        ("rank=1,update=1e3,kind=kill", "update must be a whole number from 1"),
        ("rank=²,update=1,kind=kill", "rank must be a whole number"),
        ("rank=1,rank=2,update=5,kind=kill", "rank is given twice"),
        ("rank=1,update=5,kind=kill,seconds=3", "kill has no seconds (stop, disk-full"),
        ("rank=1,update=5,kind=stop,seconds=nan", "seconds must be a number above 0"),
        ("rank=1,update=5,kind=stop,seconds=0", "seconds must be a number above 0"),
        ("rank=1,update=5,kind=kill;rank=2", "update is missing"),
        (["rank=1", "update=5"], "update is missing"),
        (7, "must be text such as rank=1,update=50,kind=kill"),
        ({"rank": 1}, "must be text such as"),
    ],
)
def test_mistakes_are_a_line(text: Any, message: str) -> None:
    with pytest.raises(UserError) as refusal:
        from_document(parse_yaml("{}", "x"), [("faults.at", text)])
    told = str(refusal.value)
    assert told.startswith("--faults.at: ") and message in told and "\n" not in told


@pytest.mark.parametrize(
    ("text", "more", "message"),
    [
        ("rank=3,update=5,kind=kill", (), "agent 3 is not there, this launch has 3 (rank=2)"),
        ("rank=1,update=5,kind=drop-network", ("--coupling", "none"), "drop-network drops"),
    ],
)
def test_what_cannot_happen_is_refused(text: str, more: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match="--faults.at") as refusal:
        read_request(["--faults.at", text, *more], agents=3)
    assert message in str(refusal.value)


def test_a_bad_fault_ends_the_command_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "--agents", "2", "--faults.at", "rank=1,update=5,kind=kil"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("gala: error: --faults.at: no kind is named 'kil'")
