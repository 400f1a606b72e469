"""Which device an agent gets."""

from __future__ import annotations

import pytest
import torch

from gala.errors import UserError
from gala.launch import Launch
from gala.training import choose_device


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.parametrize("threads", [1, 3, 4])
def test_processes_are_dealt_out_over_devices(two_gpus: None, threads: int) -> None:
    """However many agents each of them holds."""
    found = [
        choose_device(
            "auto",
            Launch(
                rank=first,
                agents=4 * threads,
                local_rank=first,
                local_agents=4 * threads,
                crowd=tuple(range(first, first + threads)),
            ),
        )
        for first in range(0, 4 * threads, threads)
    ]
    assert found == [torch.device("cuda", k) for k in (0, 1, 0, 1)]


def test_a_device_has_the_name_that_its_tensors_give_it(two_gpus: None) -> None:
    assert choose_device("cuda", Launch()) == torch.device("cuda", 0)
    assert choose_device("cuda:1", Launch()) == torch.device("cuda", 1)
    with pytest.raises(UserError, match="this host has 2 CUDA devices"):
        choose_device("cuda:2", Launch())


def test_without_a_gpu_it_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto", Launch()) == torch.device("cpu") == choose_device("cpu", Launch())
