"""An agent without learning: a random walk that gossips over tcp, and says what it sees.

Run as a program: rank, size and store come from the environment, as for any agent. Says its state
five times a second as a line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time

import torch

from gala.config.sections import GossipConfig
from gala.gossip.joining import make_node
from gala.launch.credentials import Security
from gala.launch.launch import from_environment
from gala.topology import load_topology

PARAMETERS = 2500


def main(listen: str | None = None) -> None:
    """Gossip until somebody ends it."""
    torch.set_num_threads(1)
    launch = from_environment(security=Security(listen=listen)).register()
    launch.keep()
    vector = torch.full((PARAMETERS,), float(launch.rank))
    node = make_node(
        launch=launch,
        topology=load_topology("ring", launch.agents),
        vector=vector,
        layout_hash="bb" * 8,
        run="aa" * 8,
        gossip=GossipConfig(transport="tcp"),
    )
    events: list[str] = []
    said = 0.0
    for update in range(1, 10**9):
        time.sleep(0.02)  # an update
        vector += 0.001 * torch.randn(PARAMETERS)
        node.publish(update=update, step=update)
        node.mix()
        events += [f"{kind}: {text}" for kind, text in node.events]
        node.events.clear()
        if time.monotonic() - said > 0.2:
            said = time.monotonic()
            states = {j: node.peer_state(j).name for j in node.neighbours}
            print(
                json.dumps({
                    "mixes": node.counters.mixes, "updates": update, "states": states,
                    "events": events, "files": len(os.listdir("/proc/self/fd")),
                    "incarnation": launch.incarnation,
                }),
                flush=True,
            )  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
