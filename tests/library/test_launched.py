"""Loops of one's own by torchrun (launching real processes): what they share and what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from loops import launch

from gala.doctor.run_folder import examine_run
from gala.simulation.past_run import read_past_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

RUN = """
model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
options = {"log.every_s": 0.2, "divergence.every_s": 0.25, "gossip.wire_format": "bfloat16"}
with gala.gossip(model, optimizer, topology="ring", run_dir=f"{folder}/run", env_id="Sines",
                 options=options) as node:
    k, began = 0, time.monotonic()
    while not all_have(node.certificate is not None and node.update >= 200
                       and time.monotonic() > began + 4.0):  # measured at a dozen moments
        x = torch.randn(32, 4)
        loss = (model(x) - x.sum(1, keepdim=True).sin()).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        k += 1
        node.log({"charts/episodic_return": -loss, "losses/mse": loss}, step=32 * k)
        time.sleep(0.002)
    tell(mixes=node.mix_count, divergence=node.divergence, seen=node.seen,
         certificate=node.certificate, state=node.state_dict())
"""


def records(run: Path, rank: int) -> list[dict[str, Any]]:
    lines = (run / f"rank_{rank:02d}" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_a_run_folder_holds_what_gala_train_writes(tmp_path: Path) -> None:
    told = launch(tmp_path, RUN, agents=3)
    run = tmp_path / "run"
    for rank, each in enumerate(told):
        assert each["mixes"] > 50 and each["seen"] == [0, 1, 2]
        assert 0.0 < each["divergence"] < each["certificate"]
        last = [record for record in records(run, rank) if "gossip/mixes" in record][-1]
        assert last["divergence/proven"] == 1.0
        # the total is a sketch's, with a standard error of a few percent
        assert last["divergence/total"] < 1.15 * last["divergence/epsilon"]
        assert last["losses/mse"] > 0.0 and last["step"] == 32 * last["update"]
        # trust is on, and refuses none of those that learn together
        assert last["gossip/messages_refused"] == 0
    assert {finding.state for finding in examine_run(run)} == {"ok"}
    assert read_past_run(run).wire == "bfloat16"


STATE = """
model = nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)

def steps(node, count):
    for _ in range(count):
        for p in model.parameters():
            p.grad = torch.full_like(p, -float(rank))
        optimizer.step()

with gala.gossip(model, optimizer, topology="ring", max_staleness=0) as node:
    steps(node, 4)
    state, own = node.state_dict(), {n: p.clone() for n, p in model.state_dict().items()}
with torch.no_grad():
    model.weight.add_(rank)  # so that a common start would show
kept = model.weight.tolist()
with gala.gossip(model, optimizer, topology="ring", max_staleness=0, start=state) as node:
    begun = model.weight.tolist()
    steps(node, 3)
    tell(update=node.update, mixes=node.mix_count, kept=kept, begun=begun)
"""


def test_a_resumed_rank_keeps_its_own_start_and_its_place(tmp_path: Path) -> None:
    for each in launch(tmp_path, STATE):
        assert (each["update"], each["mixes"]) == (7, 3)
        assert each["begun"] == each["kept"]


ALONG = """
from types import SimpleNamespace

online, target = nn.Linear(2, 1), nn.Linear(2, 1)
alpha = torch.zeros(1, requires_grad=True)
rms = SimpleNamespace(mean=np.zeros(3), var=np.ones(3), count=1.0)
optimizers = [torch.optim.SGD(online.parameters(), lr=1.0), torch.optim.SGD([alpha], lr=1.0)]
with gala.gossip(online, optimizers, topology="complete", max_staleness=0, extra=[alpha],
                 lagging=[(target, online)], statistics=[rms]) as node:
    begun = target.weight.tolist()
    rms.mean += 4.0 * rank
    with torch.no_grad():
        target.weight.fill_(2.0 * rank)
    for p in (*online.parameters(), alpha):
        p.grad = torch.full_like(p, -float(rank))
    before = online.weight.clone()
    for each in optimizers:
        each.step()
    tell(begun=begun, target=target.weight.tolist(), alpha=alpha.tolist(), mean=rms.mean.tolist(),
         var=rms.var.tolist(), moved=(online.weight - before).tolist(), mixes=node.mix_count)
"""


def test_targets_extras_and_statistics_are_mixed_with_the_same_weights(tmp_path: Path) -> None:
    first, second = launch(tmp_path, ALONG)
    assert first["begun"] == second["begun"], "targets start together, too"
    for each in (first, second):
        assert each["mixes"] == 1, "both optimizers stepped once: one exchange"
        assert each["moved"] == [pytest.approx([0.5, 0.5], abs=1e-5)]
        assert each["alpha"] == pytest.approx([0.5], abs=1e-6)
        assert each["target"] == [pytest.approx([1.0, 1.0], abs=1e-6)]
        assert each["mean"] == pytest.approx([2.0] * 3, abs=1e-5)
        assert each["var"] == pytest.approx([5.0] * 3, abs=1e-4)  # 1 + the spread of the means


PUSH_SUM = """
model = nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
options = {"divergence.every_s": 0.2, "log.every_s": 0.2}
with open(f"{folder}/{rank}.yaml", "w") as file:
    file.write("version: 1\\nfamily: {kind: ring, directed: true}\\nweights: push-sum\\n")
with gala.gossip(model, optimizer, topology=f"{folder}/{rank}.yaml") as node:
    optimizer.step()
    blind = node.divergence
with gala.gossip(model, optimizer, topology=f"{folder}/{rank}.yaml", run_dir=f"{folder}/run",
                 options=options) as node:
    while not all_have(math.isfinite(node.divergence)):
        for p in model.parameters():
            p.grad = torch.randn_like(p)
        optimizer.step()
        time.sleep(0.005)
    tell(blind=math.isnan(blind), found=node.divergence, seen=node.seen)
"""


def test_under_push_sum_divergence_is_measured_or_not_a_number(tmp_path: Path) -> None:
    for each in launch(tmp_path, PUSH_SUM):
        assert each["blind"] is True
        assert 0.0 <= each["found"] < 10.0 and each["seen"] == [0, 1]


WRONG = """
try:
    model = nn.Linear(2, 2 if rank else 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    if {failing} and rank == 1:
        optimizer = None
    every = 2 if {apart} and rank == 1 else 1
    if {apart} or {failing}:
        model = nn.Linear(2, 2)
        optimizer = optimizer and torch.optim.SGD(model.parameters(), lr=0.1)
    gala.gossip(model, optimizer, topology="ring", every=every)
except Exception as error:
    tell(kind=type(error).__name__, text=str(error))
    while not all_have(True):  # rank 0 serves the store that the others read
        time.sleep(0.005)
"""


@pytest.mark.parametrize(
    ("failing", "apart", "kinds", "says"),
    [
        (False, False, ("UserError", "UserError"),
         ("weight has the shape [3, 2] on rank 0 and [2, 2] on rank 1",
          "weight has the shape [2, 2] on rank 1 and [3, 2] on rank 0")),
        (False, True, ("UserError", "UserError"),
         ("every is 1 on rank 0 and 2 on rank 1", "every is 2 on rank 1 and 1 on rank 0")),
        pytest.param(True, False, ("UserError", "TypeError"),
         ("rank 1 failed: optimizer: must be a torch.optim.Optimizer, got NoneType",
          "optimizer: must be a torch.optim.Optimizer, got NoneType"), marks=pytest.mark.long),
    ],
)  # fmt: skip
def test_each_rank_says_what_differs_before_anything_is_shared(
    tmp_path: Path, failing: bool, apart: bool, kinds: tuple[str, str], says: tuple[str, str]
) -> None:
    told = launch(tmp_path, WRONG.replace("{failing}", str(failing)).replace("{apart}", str(apart)))
    assert tuple(each["kind"] for each in told) == kinds
    assert tuple(each["text"] for each in told) == says
