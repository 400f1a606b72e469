"""A store into which anybody writes: with credentials nothing is believed that nobody signed."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import torch.distributed as dist

from gala.errors import UserError
from gala.launch import authority
from gala.launch import rendezvous as module
from gala.launch.authority import derive
from gala.launch.credentials import Credentials
from gala.launch.launch import Launch
from gala.launch.rendezvous import Rendezvous

OURS = Credentials(derive(b"correct horse battery staple"))
THEIRS = Credentials(derive(b"another secret, as long"))


@pytest.fixture
def store() -> dist.Store:
    return dist.HashStore()


def of(store: dist.Store, credentials: Credentials | None = OURS) -> Rendezvous:
    return Rendezvous(store, lambda: store, credentials)


def launch(store: dist.Store, rank: int) -> Launch:
    return Launch(rank=rank, agents=2, local_group=(rank,), rendezvous=of(store))


def test_members_read_what_members_write(store: dist.Store) -> None:
    one, two = launch(store, 0), launch(store, 1)
    assert one.share("plan", {"a": 1}) == two.share("plan") == {"a": 1}
    assert two.register().incarnation == 0 and two.register().incarnation == 1
    assert b'"a"' not in store.get("gala/plan") and two.shared("nothing") is None


@pytest.mark.parametrize("stranger", [None, THEIRS])
def test_what_strangers_write_is_not_there(
    store: dist.Store, stranger: Credentials | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN_S", 0.01)
    lies = of(store, stranger)
    lies.set("gala/plan", json.dumps({"run_dir": "/"}))
    lies.set("incarnation/1/0", "begun")
    two = launch(store, 1)
    assert two.shared("plan") is None and two.register().incarnation == 0
    ours = two.rendezvous
    assert ours is not None
    ours.wait(["gala/plan"], timedelta(seconds=0.05), by=0)
    with pytest.raises(UserError, match="gala/plan in the store was not written by this run"):
        ours.get("gala/plan")


def test_what_was_overwritten_is_written_again(store: dist.Store) -> None:
    one = launch(store, 0)
    one.share("plan", [1])
    store.set("gala/plan", "[2]")
    assert one.rendezvous is not None
    one.rendezvous.repair()
    assert launch(store, 1).shared("plan") == [1]


@pytest.fixture
def three(tmp_path: Path, store: dist.Store) -> list[Launch]:
    """Three agents, each with a certificate of its own."""
    authority.write(tmp_path / "keys", 3)
    return [
        replace(
            launch(store, rank),
            agents=3,
            rendezvous=of(store, Credentials(authority.read(tmp_path / "keys", rank))),
        )
        for rank in range(3)
    ]


def test_the_plan_is_passed_on_as_rank_0_signed_it(three: list[Launch], store: dist.Store) -> None:
    """A store that came back empty is told by agent 1; agent 2, and rank 0 itself, believe it."""
    zero, one, two = three
    zero.share("plan", {"run_dir": "runs/a"})
    signed = store.get("gala/plan")
    assert one.share("plan") == {"run_dir": "runs/a"}
    store.delete_key("gala/plan")
    assert one.rendezvous is not None
    one.rendezvous.repair()
    assert store.get("gala/plan") == signed
    again = replace(zero, rendezvous=of(store, zero.rendezvous._credentials))  # type: ignore[union-attr]
    assert again.shared("plan") == two.share("plan") == {"run_dir": "runs/a"}


def test_no_other_agent_replaces_the_plan(three: list[Launch], store: dist.Store) -> None:
    zero, one, two = three
    zero.share("plan", "ours")
    signed = store.get("gala/plan")
    assert one.share("plan") == "ours"
    for teller in (zero, one):
        rogue = two.rendezvous
        assert rogue is not None and teller.rendezvous is not None
        rogue.set("gala/plan", json.dumps("theirs"))  # signed, by an agent of the run
        assert zero.shared("plan") is None and one.shared("plan") is None
        with pytest.raises(UserError, match="was not written by this run"):
            teller.rendezvous.pass_on("gala/plan", by=0)
        teller.rendezvous.repair()
        assert store.get("gala/plan") == signed


def test_no_other_agent_speaks_or_counts_for_one(three: list[Launch], store: dist.Store) -> None:
    zero, one, two = three
    one.put("wanted", True)
    rogue = two.rendezvous
    assert rogue is not None
    rogue.set("gala/wanted/1", "false")
    with pytest.raises(UserError, match="was not written by this run"):
        zero.told("wanted", 1)
    rogue.set("incarnation/1/0", "begun")
    assert one.register().incarnation == 0


def test_a_value_does_not_answer_for_another_key(store: dist.Store) -> None:
    one = launch(store, 0)
    one.share("plan", [1])
    store.set("gala/other", store.get("gala/plan"))
    assert one.shared("other") is None


def test_without_credentials_everything_is_as_before(store: dist.Store) -> None:
    one = replace(launch(store, 0), rendezvous=of(store, None))
    one.share("plan", [1])
    assert store.get("gala/plan") == b"[1]"
