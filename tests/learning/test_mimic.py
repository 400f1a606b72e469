"""Actor-Mimic: golden numbers, feature maps by hand, and that a student moves to its teacher."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from batches import N, Raw, filled
from late_queue import LateStream
from torch import Tensor

from gala.device.streams import Direct, Stream
from gala.experience import Batch
from gala.learning.a2c_config import A2CConfig
from gala.learning.algorithm import Terms
from gala.learning.learner import Learner
from gala.learning.mimic import FeatureMaps, MappedLearner, Mimic, NoNumbers, Taught
from gala.networks import Network
from gala.networks.heads import CategoricalHead
from gala.networks.model import Model
from gala.networks.outputs import Outputs
from gala.parameters.flat import FlatParameters

MISC = json.loads((Path(__file__).parents[1] / "golden" / "losses_misc.json").read_text())
GOLDEN = {case["name"]: case for case in MISC["cases"]}
HEAD = CategoricalHead(4)
CONFIG = A2CConfig(optimizer="adam", lr=0.02, optimizer_eps=1e-8, max_grad_norm=None)  # type: ignore[call-arg]


def nobody(batch: Batch) -> Taught:
    raise AssertionError("a loss asks nobody")


def terms(rows: int, dtype: torch.dtype = torch.float32) -> Terms:
    return Terms(torch.full((rows,), 1 / rows, dtype=dtype), NoNumbers())


def taught(dist: Tensor, features: Tensor | None = None, task: Tensor | None = None) -> Taught:
    rows = len(dist)
    features = torch.zeros(rows, 1) if features is None else features
    return Taught(dist, torch.zeros(rows, dtype=torch.int64) if task is None else task, features)


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_the_pull_is_that_of_the_golden_file(temperature: float) -> None:
    case = GOLDEN[f"actor_mimic_tau_{temperature}"]
    values, student = (
        torch.tensor(case[name], dtype=torch.float64) for name in ("teacher_q", "student_logits")
    )
    student.requires_grad_()
    teacher, rows = HEAD.tempered(values, temperature), len(values)
    out = Outputs(student, torch.zeros(rows), HEAD)
    loss = Mimic(CONFIG, nobody).loss(taught(teacher), out, terms(rows, torch.float64))
    loss.total.backward()
    entropy = HEAD.entropy(teacher).mean()  # which no student can change
    assert (loss.total + entropy).item() == pytest.approx(case["loss"], rel=1e-8)
    wanted = torch.tensor(case["grad_student"], dtype=torch.float64)
    torch.testing.assert_close(student.grad, wanted, rtol=1e-7, atol=1e-9)
    assert loss.logged["losses/mimic_kl"] == loss.total.detach()


def test_a_student_that_is_its_teacher_has_nothing_to_learn() -> None:
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    out = Outputs((logits + 3.0).requires_grad_(), torch.zeros(6), HEAD)
    loss = Mimic(CONFIG, nobody).loss(taught(logits), out, terms(6))
    loss.total.backward()
    assert loss.total.item() == pytest.approx(0, abs=1e-6)
    assert out.dist.grad is not None and float(out.dist.grad.abs().max()) < 1e-6


def test_rows_that_are_not_valid_do_not_count() -> None:
    logits = torch.zeros(2, 4, requires_grad=True)
    teacher = torch.tensor([[2.0, 0, 0, 0], [0, 9.0, 0, 0]])
    out = Outputs(logits, torch.zeros(2), HEAD)
    only = Terms(torch.tensor([1.0, 0.0]), NoNumbers())
    Mimic(CONFIG, nobody).loss(taught(teacher), out, only).total.backward()
    assert logits.grad is not None and not logits.grad[1].any()
    wanted = 0.25 - teacher[0].softmax(-1)
    torch.testing.assert_close(logits.grad[0], wanted)


def test_each_teacher_has_a_map_of_its_own() -> None:
    maps = FeatureMaps(2, [3, 1], torch.Generator().manual_seed(0))
    with torch.no_grad():
        maps.map.weight.copy_(torch.tensor([[1.0, 0], [0, 1], [1, 1], [2, 0], [9, 9], [9, 9]]))
        maps.map.bias.copy_(torch.tensor([0.0, 0, 1, -1, 9, 9]))
    features = torch.tensor([[3.0, 5.0], [3.0, 5.0]])
    wanted = torch.tensor([[1.0, 5.0, 7.0], [4.0, 0.0, 0.0]])
    error = maps.error(features, torch.tensor([0, 1]), wanted)
    # (3 - 1)^2 + 0 + (9 - 7)^2; (6 - 1 - 4)^2, and nothing of what lies behind its one number
    assert error.tolist() == [8.0, 1.0]


def test_features_are_pulled_and_the_maps_with_them() -> None:
    maps = FeatureMaps(2, [2], torch.Generator().manual_seed(0))
    features = torch.tensor([[1.0, -1.0], [0.5, 2.0]], requires_grad=True)
    out = Outputs(torch.zeros(2, 4), torch.zeros(2), HEAD, (features,))
    columns = taught(torch.zeros(2, 4), torch.tensor([[3.0, 0.0], [0.0, 3.0]]))
    loss = Mimic(CONFIG, nobody, maps, features=0.5).loss(columns, out, terms(2))
    loss.total.backward()
    error = loss.logged["losses/mimic_features"]
    assert loss.total.item() == pytest.approx(0.5 * error.item())
    assert features.grad is not None and maps.map.weight.grad is not None
    with torch.no_grad():
        moved = maps.error(features - 0.1 * features.grad, columns.task, columns.features).mean()
        maps.map.weight -= 0.1 * maps.map.weight.grad
        mapped = maps.error(features, columns.task, columns.features).mean()
    assert float(moved) < float(error) and float(mapped) < float(error)


def student(stream: Stream, features: float) -> tuple[Any, Network, Batch, Tensor]:
    """A learner without a trunk, a batch of one task, and its teacher's distributions."""
    network = Network(Raw(), None, N, HEAD, torch.Generator().manual_seed(0))
    model = Model(network, FlatParameters(network), torch.float32)
    g = torch.Generator().manual_seed(5)
    obs = torch.randn(5, 16, N, generator=g)
    batch = filled(obs, torch.zeros(4, 16, dtype=torch.int64), HEAD.size)
    dist = obs[:-1] @ torch.randn(N, HEAD.size, generator=g)
    said = Taught(dist, torch.zeros(4, 16, dtype=torch.int64), obs[:-1, :, :2] * 3.0)
    more: dict[str, Any] = {"lr": CONFIG.lr, "stream": stream}
    if not features:
        return Learner(Mimic(CONFIG, lambda batch: said), model, **more), network, batch, dist
    maps = FeatureMaps(N, [2], g)
    mimic = Mimic(CONFIG, lambda batch: said, maps, features)
    return MappedLearner(mimic, model, maps, **more), network, batch, dist


@pytest.mark.parametrize("features", [0.0, 0.1])
def test_a_student_becomes_its_teacher(features: float) -> None:
    learner, network, batch, dist = student(Direct(), features)
    first = learner.update(batch).numbers()
    for _ in range(400):
        last = learner.update(batch).numbers()
    said, _ = network(batch.obs[:-1].flatten(0, 1))
    assert first["losses/mimic_kl"] > 0.3 > 1e-3 > last["losses/mimic_kl"]
    assert float(HEAD.kl(dist.flatten(0, 1), said.detach()).mean()) < 1e-3
    if features:  # nothing of the student is free here: what falls is of the maps
        assert last["losses/mimic_features"] < 0.05 * first["losses/mimic_features"]
    assert math.isfinite(last["losses/entropy"])


@pytest.mark.parametrize("features", [0.0, 0.1])
def test_a_recorded_lesson_is_the_same(features: float) -> None:
    learned = []
    for stream in (Direct(), LateStream()):
        learner, network, batch, _ = student(stream, features)
        for _ in range(5):
            learner.update(batch)
        stream.download(network.logits.weight)
        learned.append(network.logits.weight.detach().clone())
    torch.testing.assert_close(*learned)
