"""The meter with a driver that is made up."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from gala.bench.gpu_meter import Look, Meter, eye_on
from gala.errors import UserError


class NoAnswer(Exception):
    pass


class Driver:
    """NVML as far as it is used; each look finds more to do."""

    NVMLError = NoAnswer

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.looks = 0
        self.lost_after = 10**9

    def nvmlInit(self) -> None: ...

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes) -> str:
        self.asked.append(uuid)
        if b"beef" not in uuid:
            raise NoAnswer("Not Found")
        return "handle"

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> Any:
        assert handle == "handle"
        self.looks += 1
        if self.looks > self.lost_after:
            raise NoAnswer("GPU is lost")
        return SimpleNamespace(gpu=40 if self.looks % 2 else 60, memory=7)

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:
        return 150_000 if self.looks % 2 else 250_000

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> Any:
        return SimpleNamespace(used=3 * 2**20, total=9, free=6)


def test_units_are_shares_watts_and_megabytes() -> None:
    driver = Driver()
    look = eye_on("beef-01", driver)
    assert look() == Look(utilisation=0.4, watts=150.0, memory_mb=3.0)
    eye_on("GPU-beef-01", driver)
    assert driver.asked == [b"GPU-beef-01"] * 2, "torch leaves out what the driver wants"


def test_the_mean_is_that_of_the_time_it_was_open() -> None:
    driver = Driver()
    with Meter(eye_on("beef", driver), every_s=0.001) as meter:
        while len(meter.looks) < 10:
            time.sleep(0.001)
    count = len(meter.looks)
    time.sleep(0.01)
    assert len(meter.looks) == count, "it stops at the end"
    mean = meter.mean()
    assert mean.utilisation == pytest.approx(0.5, abs=0.011)
    assert mean.watts == pytest.approx(200, abs=5.1) and mean.memory_mb == 3.0


def test_a_driver_that_does_not_answer_is_one_line() -> None:
    driver = Driver()
    with pytest.raises(UserError, match="does not answer: Not Found"):
        eye_on("cafe", driver)
    driver.lost_after = 2
    with Meter(eye_on("beef", driver), every_s=0.001) as meter:
        time.sleep(0.05)
    with pytest.raises(UserError, match="GPU is lost"):
        meter.mean()


def test_without_the_extra_it_says_what_to_install() -> None:
    try:
        import pynvml  # noqa: F401
    except ImportError:
        with pytest.raises(UserError, match=r"pip install .*\[gpu\]"):
            eye_on("beef")
    else:
        pytest.skip("nvidia-ml-py is installed: what is said without it goes untested")
