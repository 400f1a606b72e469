"""Agents in lock-step, killed at any moment: ``killing.py TOPOLOGY AGENTS KILLS SEED ROOT``.

They are forked from one process, so that a life costs no loading of libraries. Prints as JSON the
longest standstill of an agent that was not among the victims, and the last updates of all.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

import torch
from fake_transport import identity

from gala.gossip.node import GossipNode
from gala.gossip.shared_memory import SharedMemoryTransport
from gala.launch.processes import die_with_parent
from gala.topology import load_topology

PATIENCE_S = 60.0
"""``gossip.timeout_s``: whoever waits for the dead waits so long."""


class Group:
    """Agents in processes of their own, in lock-step over shared memory below ``root``."""

    def __init__(self, topology: str, agents: int, root: Path) -> None:
        self.topology, self.root = load_topology(topology, agents), root
        # of each: when its last update was over, and its number
        self.words = memoryview(mmap.mmap(-1, 16 * agents)).cast("d")
        self.incarnations = dict.fromkeys(range(agents), -1)
        self.pids: dict[int, int] = {}
        for rank in range(agents):
            self.start(rank)

    def start(self, rank: int) -> None:
        """Let the next incarnation begin."""
        self.incarnations[rank] += 1
        self.words[2 * rank] = 0.0
        self.pids[rank] = os.fork()
        if not self.pids[rank]:
            try:
                die_with_parent(signal.SIGKILL)
                self._live(rank)
            finally:
                os._exit(1)

    def kill(self, rank: int) -> None:
        """SIGKILL, and wait for the end."""
        os.kill(self.pids[rank], signal.SIGKILL)
        os.waitpid(self.pids.pop(rank), 0)

    def update(self, rank: int) -> int:
        """The last one that is over."""
        return int(self.words[2 * rank + 1])

    def longest_wait(self, ranks: set[int]) -> float:
        """Seconds since the last update of that one of ``ranks`` that waits longest."""
        return max(time.monotonic() - self.words[2 * rank] for rank in ranks)

    def all_go_on(self) -> bool:
        """Whether each has done an update in its incarnation."""
        return all(self.words[2 * rank] for rank in self.incarnations)

    def _live(self, rank: int) -> NoReturn:
        vector, incarnation, agents = torch.zeros(64), self.incarnations[rank], self.topology.agents
        box = SharedMemoryTransport(
            rank=rank, agents=agents, payload_bytes=256, identity=identity(), root=self.root
        )
        node = GossipNode(
            rank=rank,
            topology=self.topology,
            vector=vector,
            transport=box,
            identity=identity(),
            max_staleness=0,
            timeout_s=PATIENCE_S,
            incarnation=incarnation,
        )
        header = node.adopt(timeout_s=10.0) if incarnation else None
        update = header.update if header is not None else 0
        while True:
            time.sleep(1e-3)
            update += 1
            node.publish(update=update, step=update)
            node.mix()
            update += node.jumped
            self.words[2 * rank + 1] = update
            self.words[2 * rank] = time.monotonic()


def main(topology: str, agents: int, kills: int, seed: int, root: Path) -> None:
    """Kill one, or two at once, again and again as soon as all go on."""
    torch.set_num_threads(1)
    dice, group = random.Random(seed), Group(topology, agents, root)
    everybody, standstill = set(range(agents)), 0.0
    deadline = time.monotonic() + 4 * PATIENCE_S

    def watch(seconds: float, survivors: set[int], *, to_the_last: bool = False) -> None:
        nonlocal standstill
        until = time.monotonic() + seconds
        while time.monotonic() < until or (to_the_last and not group.all_go_on()):
            assert time.monotonic() < deadline, group.words.tolist()
            standstill = max(standstill, group.longest_wait(survivors))
            time.sleep(1e-3)

    while not group.all_go_on():
        time.sleep(1e-3)
    for _ in range(kills):
        watch(dice.uniform(0.0, 0.1), everybody)
        victims = set(dice.sample(sorted(everybody), 1 + (agents > 3 and dice.random() < 0.3)))
        for rank in victims:
            group.kill(rank)
        watch(dice.uniform(0.0, 0.3), everybody - victims)
        for rank in victims:
            group.start(rank)
        watch(0.0, everybody - victims, to_the_last=True)
    watch(1.0, everybody)
    updates = [group.update(rank) for rank in range(agents)]
    for rank in everybody:
        group.kill(rank)
    print(json.dumps({"standstill": standstill, "updates": updates}))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]), Path(sys.argv[5]))
