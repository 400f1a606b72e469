"""Prepared numbers in place of random ones."""

import numpy as np
from numpy.typing import NDArray


class Script:
    """Prepared numbers for each agent, in the order of its updates."""

    def __init__(self, numbers: NDArray[np.float64]) -> None:
        self.numbers, self.used = numbers, np.zeros(len(numbers), np.int64)

    def draw(self, agents: NDArray[np.int64]) -> NDArray[np.float64]:
        found = self.numbers[agents, self.used[agents]]
        self.used[agents] += 1
        return found
