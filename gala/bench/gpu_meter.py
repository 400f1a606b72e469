"""What a GPU does and draws while something runs on it, as its driver (NVML) says.

Unproven: not yet run on a GPU.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gala.errors import UserError
from gala.files import commands

EVERY_S = 0.1
"""Between two looks; drivers themselves look every 20 to 200 ms."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """One look.

    Attributes:
        utilisation: share of the driver's last period in which any kernel ran, in [0, 1].
        watts: power draw of the whole board.
        memory_mb: memory in use, by whomever.
    """

    utilisation: float
    watts: float
    memory_mb: float


class Meter:
    """Looks again and again, in a thread of its own, between ``with`` and its end.

    Args:
        look: takes a look.
        every_s: pause between two looks.

    Attributes:
        looks: all of them.
    """

    def __init__(self, look: Callable[[], Look], every_s: float = EVERY_S) -> None:
        self._look, self._every_s = look, every_s
        self.looks: list[Look] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="gpu-meter", daemon=True)
        self._error: Exception | None = None

    def __enter__(self) -> Meter:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._stop.set()
        self._thread.join()

    def mean(self) -> Look:
        """The mean of all looks.

        Raises:
            UserError: the driver would not say.
        """
        if self._error is not None or not self.looks:
            raise UserError(f"the GPU's driver does not answer: {self._error or 'no time to ask'}")
        return Look(
            utilisation=statistics.fmean(each.utilisation for each in self.looks),
            watts=statistics.fmean(each.watts for each in self.looks),
            memory_mb=statistics.fmean(each.memory_mb for each in self.looks),
        )

    def _watch(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            try:
                self.looks.append(self._look())
            except Exception as error:
                self._error = error
                return
            due = max(due + self._every_s, time.monotonic())
            self._stop.wait(due - time.monotonic())


def eye_on(uuid: str, nvml: Any = None) -> Callable[[], Look]:
    """What looks at a GPU.

    Args:
        uuid: as torch tells it. Indices would not do: the driver counts devices that
            ``CUDA_VISIBLE_DEVICES`` hides.
        nvml: the library; None: pynvml.

    Raises:
        UserError: the library is not installed, or the driver knows no such GPU.
    """
    if nvml is None:
        try:
            import pynvml
        except ImportError:
            raise UserError(
                "utilisation and power of a GPU need nvidia-ml-py", hint=commands.install("gpu")
            ) from None
        nvml = pynvml
    name = uuid if uuid.startswith("GPU-") else f"GPU-{uuid}"
    try:
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByUUID(name.encode())
    except nvml.NVMLError as error:
        raise UserError(f"the GPU's driver does not answer: {error}") from None

    def look() -> Look:
        return Look(
            utilisation=nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100,
            watts=nvml.nvmlDeviceGetPowerUsage(handle) / 1e3,
            memory_mb=nvml.nvmlDeviceGetMemoryInfo(handle).used / 2**20,
        )

    return look
