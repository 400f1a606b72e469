"""Reading the policies of a run folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch

from gala.errors import UserError
from gala.evaluation.command import evaluate
from gala.policy.trained_run import last_return, load_run
from gala.run import checkpoint

MakeRun = Callable[..., Path]


def record(run: Path, rank: int, *lines: object) -> None:
    path = run / f"rank_{rank:02d}" / "metrics.jsonl"
    path.write_text("".join(x if isinstance(x, str) else json.dumps(x) + "\n" for x in lines))


def test_newest_checkpoint_of_each_agent(identity_run: MakeRun) -> None:
    run = identity_run(1.0, 2.0)
    folder = checkpoint.folder_of(run, 1)
    newer = {**checkpoint.load(checkpoint.path_of(folder, 101)), "update": 500, "step": 9}
    checkpoint.save(folder, 500, newer, keep=2)
    trained = load_run(run)
    assert {rank: each.update for rank, each in trained.snapshots.items()} == {0: 100, 1: 500}
    checkpoint.path_of(folder, 500).write_bytes(b"torn")
    assert load_run(run).snapshots[1].update == 101


def test_the_mean_is_the_mean_of_all_agents(identity_run: MakeRun) -> None:
    trained = load_run(identity_run(1.0, 2.0, 6.0))
    mean = trained.mean()
    expected = torch.stack([each.params for each in trained.snapshots.values()]).mean(0)
    assert torch.allclose(mean.params, expected, atol=1e-7)
    assert mean.params.dtype == torch.float32
    assert (mean.agent, mean.update, mean.step) == ("mean", 102, 6000)


def test_selection_by_name_and_rank(identity_run: MakeRun) -> None:
    trained = load_run(identity_run(1.0, 2.0))
    assert [s.agent for s in trained.select("mean")] == ["mean"]
    assert [s.agent for s in trained.select("all")] == ["mean", 0, 1]
    assert [s.agent for s in trained.select("1")] == [1]
    assert [s.agent for s in trained.select(0)] == [0]


@pytest.mark.parametrize("coupling", ["none", "distil", "repel"])
def test_agents_that_never_met_have_no_mean(identity_run: MakeRun, coupling: str) -> None:
    run = identity_run(1.0, 2.0)
    text = (run / "config.yaml").read_text()
    for line in ("coupling: gossip", "agents: null"):
        assert line in text
    text = text.replace("coupling: gossip", f"coupling: {coupling}").replace(
        "agents: null", "agents: 2"
    )
    (run / "config.yaml").write_text(text)
    trained = load_run(run)
    assert [s.agent for s in trained.select("all")] == [0, 1]
    with pytest.raises(
        UserError, match=f"{coupling} never shared a parameter, their mean is no policy"
    ):
        trained.select("mean")
    report = evaluate(run, episodes=2, policy="greedy", json=True)
    assert [each["agent"] for each in report["results"]] == [0, 1]
    assert not (run / "mean.safetensors").exists()


@pytest.mark.parametrize("agent", ["2", "-1", "worst", "", "1.0", "³"])
def test_an_agent_that_is_not_there(identity_run: MakeRun, agent: str) -> None:
    with pytest.raises(UserError, match="--agent"):
        load_run(identity_run(1.0, 2.0)).select(agent)


def test_agents_without_a_checkpoint_are_named(identity_run: MakeRun) -> None:
    trained = load_run(identity_run(1.0, None, 3.0))
    assert trained.missing == (1,)
    assert [s.agent for s in trained.select("all")] == ["mean", 0, 2]
    with pytest.raises(UserError, match=r"agent 1 has no readable checkpoint \(known: 0, 2\)"):
        trained.select("1")
    with pytest.raises(UserError, match="there is no agent 3, this run has 3"):
        trained.select("3")


def test_best_is_chosen_by_training_records(identity_run: MakeRun) -> None:
    run = identity_run(1.0, 2.0, 3.0)
    record(run, 0, {"charts/episodic_return": 99.0}, {"charts/episodic_return": 5.0})
    record(run, 1, {"charts/episodic_return": 7.0}, {"charts/episodic_return": None})
    record(run, 2, {"charts/episodic_return": 6.0}, '{"charts/episodic_return": 10')
    assert load_run(run).best().agent == 1


def test_best_without_records_is_an_error(identity_run: MakeRun) -> None:
    run = identity_run(1.0, 2.0)
    record(run, 0, {"charts/episodic_return": None})
    with pytest.raises(UserError, match="no agent of this run recorded a finished episode"):
        load_run(run).select("best")


def test_last_return_of_a_large_file_is_read_from_its_end(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    filler = json.dumps({"event": "x", "message": "y" * 1000}) + "\n"
    early, late = ({"charts/episodic_return": value} for value in (1.0, -21.0))
    path.write_text(json.dumps(early) + "\n" + filler * 400 + json.dumps(late) + "\n" + filler)
    assert path.stat().st_size > 2**18
    assert last_return(path) == -21.0
    assert last_return(tmp_path / "missing") is None


def test_the_mean_is_exported_by_parameter_name(identity_run: MakeRun) -> None:
    trained = load_run(identity_run(1.0, 3.0))
    path = trained.export()
    assert path == trained.folder.path / "mean.safetensors"
    tensors = safetensors.torch.load_file(path)
    assert list(tensors) == sorted(name for name, _ in trained.layout)
    assert torch.equal(tensors["logits.weight"], 2 * torch.eye(4))
    flat = torch.cat([tensors[name].reshape(-1) for name, _ in trained.layout])
    assert torch.equal(flat, trained.mean().params)
    with safetensors.safe_open(path, "pt") as file:
        facts = file.metadata()
    assert facts["env_id"] == "gala/Identity-v0"
    assert json.loads(facts["network"])["background"] == 0
    assert (facts["agents"], facts["updates"], facts["steps"]) == ("[0, 1]", "[100, 101]", "3000")


# -- folders that are no trained run


def test_no_folder_and_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such run folder"):
        load_run(tmp_path / "nowhere")
    with pytest.raises(UserError, match="is not a run folder"):
        load_run(tmp_path)


def test_no_checkpoint_yet(identity_run: MakeRun) -> None:
    with pytest.raises(UserError, match="holds no readable checkpoint yet"):
        load_run(identity_run(None, None))


def test_a_meta_file_without_agents(identity_run: MakeRun) -> None:
    run = identity_run(1.0)
    (run / "meta.json").write_text("{}")
    with pytest.raises(UserError, match="meta.json: agents: names no number of agents"):
        load_run(run)


def test_agents_of_different_networks_are_not_averaged(identity_run: MakeRun) -> None:
    run = identity_run(1.0, 2.0, 3.0)
    other = {"params": torch.zeros(6), "layout": [["w", [2, 3]]], "update": 300, "step": 1}
    checkpoint.save(checkpoint.folder_of(run, 2), 300, other, keep=1)
    text = r"update_000000300\.pt: holds another network than agent {}'s"
    with pytest.raises(UserError, match=text.format(0)):
        load_run(run)
    for file in checkpoint.folder_of(run, 0).iterdir():  # it has nothing to differ from
        file.unlink()
    with pytest.raises(UserError, match=text.format(1)):
        load_run(run)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"params": torch.zeros(6), "update": 1, "step": 1},
        {"params": torch.zeros(7), "layout": [["w", [2, 3]]], "update": 1, "step": 1},
        {"params": torch.zeros(6), "layout": [["w", [2, 3]]], "step": 1},
        {"params": torch.zeros(6), "layout": [["w", "ab"]], "update": 1, "step": 1},
        {"params": [0.0] * 6, "layout": [["w", [2, 3]]], "update": 1, "step": 1},
    ],
)
def test_a_checkpoint_of_something_else(identity_run: MakeRun, state: dict[str, object]) -> None:
    run = identity_run(1.0)
    checkpoint.save(checkpoint.folder_of(run, 0), 300, state, keep=1)
    with pytest.raises(UserError, match="is not a checkpoint of an agent"):
        load_run(run)


# -- agents that are no part of the mean


def rewrite(run: Path, rank: int, **changes: object) -> None:
    """The newest checkpoint of an agent, with changes; as another program may have written it."""
    path = checkpoint.path_of(checkpoint.folder_of(run, rank), 100 + rank)
    torch.save({**checkpoint.load(path), **changes}, path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_agent_that_is_not_finite_is_left_out_and_named(
    identity_run: MakeRun, value: float
) -> None:
    run = identity_run(1.0, 2.0, 3.0)
    params = load_run(run).snapshots[1].params.clone()
    params[7] = value
    rewrite(run, 1, params=params)
    trained = load_run(run)
    assert trained.averaged == (0, 2) and bool(trained.mean().params.isfinite().all())
    reason = "is not in the mean: its newest checkpoint, update_000000101.pt, is not finite"
    assert trained.left_out() == {1: reason}
    assert [s.agent for s in trained.select("all")] == ["mean", 0, 2]
    with pytest.raises(UserError, match=r"of agent 1, update_000000101\.pt, is not finite"):
        trained.select("1")
    with safetensors.safe_open(trained.export(), "pt") as file:
        assert file.metadata()["agents"] == "[0, 2]"


def test_no_agent_that_is_finite(identity_run: MakeRun) -> None:
    run = identity_run(1.0)
    rewrite(run, 0, params=torch.full_like(load_run(run).snapshots[0].params, float("nan")))
    with pytest.raises(UserError, match="no checkpoint with finite parameters"):
        load_run(run)


@pytest.mark.parametrize(("update", "averaged"), [(51, (0, 1, 2)), (50, (0, 2))])
def test_who_did_less_than_half_the_updates_is_left_out(
    identity_run: MakeRun, update: int, averaged: tuple[int, ...]
) -> None:
    run = identity_run(1.0, 2.0, 9.0)
    rewrite(run, 1, update=update)
    trained = load_run(run)
    assert trained.averaged == averaged
    parts = [trained.snapshots[rank].params for rank in averaged]
    assert torch.allclose(trained.mean().params, torch.stack(parts).mean(0))
    text = f"is not in the mean: far behind, {update} updates of 102"
    assert trained.left_out() == ({} if 1 in averaged else {1: text})
    assert trained.select("1")[0].update == update, "by itself it can be played"


def test_fields_of_another_version_are_passed_over(
    identity_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run = identity_run(0.0)
    meta = json.loads((run / "meta.json").read_text())
    (run / "meta.json").write_text(json.dumps(meta | {"gala": "9.9.9"}))
    with open(run / "config.yaml", "a") as file:
        file.write("from_the_future: {a: 1}\n")
    assert load_run(run).config.env.id == "gala/Identity-v0"
    note = capsys.readouterr().err
    assert "passed over from_the_future (the run was written by gala 9.9.9" in note
    assert note.count("\n") == 1
    with open(run / "config.yaml", "a") as file:
        file.write("seed: later\n")
    with pytest.raises(UserError, match=r"config.yaml:\d+: seed: .* written by gala 9.9.9"):
        load_run(run)


@pytest.mark.parametrize("content", [b"", b"\x00\xff", b"a: 1".ljust(9).decode().encode("utf-16")])
def test_a_damaged_configuration_is_one_line(identity_run: MakeRun, content: bytes) -> None:
    run = identity_run(0.0)
    (run / "config.yaml").write_bytes(content)
    with pytest.raises(UserError, match="config.yaml: is"):
        load_run(run)


@pytest.mark.parametrize("value", ['"abc"', "[1]", "NaN", "true", "1" + "0" * 400])
def test_returns_that_are_no_numbers_are_passed_over(tmp_path: Path, value: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"charts/episodic_return": 3.5}\n{"charts/episodic_return": ' + value + "}\n")
    assert last_return(path) == 3.5
