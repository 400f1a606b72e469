"""The clock of this host against that of another one, over a store that rank 0 serves.

Each rank sends pings; rank 0 answers with its time. The offset is what the answer says less the
middle of the round trip, wrong by half of that trip at most (Cristian's algorithm). The shortest
trip of several counts.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from datetime import timedelta
from typing import Any

from gala.doctor.finding import Finding

PINGS = 10
WAIT_S = 60.0
LARGEST_OFFSET_S = 0.5
"""Beyond it times of records, and what is drawn over them, are confusing."""

ONE_HOST = Finding(
    name="clock",
    state="ok",
    message="one host; with --store URL --rank R --size N on each of several they are compared",
)


def compare_clocks(address: str, rank: int, size: int, *, wait_s: float = WAIT_S) -> Finding:
    """The clock of this host against rank 0's; on rank 0, the worst of all others.

    Args:
        address: ``tcp://host:port``, as for ``gala launch``; rank 0 serves it.
        rank: of this host among those that ask.
        size: how many hosts ask.
        wait_s: how long to wait for one of them.
    """
    from gala.launch.launch import store_at

    try:
        store = store_at(address, serve=rank == 0)
        store.set_timeout(timedelta(seconds=wait_s))
        offsets = _answer(store, size) if rank == 0 else [_ask(store, rank)]
    except RuntimeError as error:  # torch's DistNetworkError and DistStoreError among them
        return Finding(
            name="clock",
            state="wrong",
            message=f"no answer over {address}: {str(error).splitlines()[0]}",
            advice=f"run gala doctor on all {size} hosts at the same time, and open the port",
        )
    worst = max(offsets, key=lambda each: abs(each["offset_s"]))
    offset, doubt = worst["offset_s"], worst["doubt_s"]
    direction = "ahead of" if offset > 0 else "behind"
    who = worst["host"] if rank == 0 else "this host"
    message = f"{who} is {1e3 * abs(offset):.0f} ms {direction} rank 0 (+- {1e3 * doubt:.0f} ms)"
    if abs(offset) - doubt <= LARGEST_OFFSET_S:
        return Finding(name="clock", state="ok", message=message)
    advice = "set the clocks by NTP: chronyc makestep, or timedatectl set-ntp true"
    return Finding(name="clock", state="warning", message=message, advice=advice)


def _ask(store: Any, rank: int) -> dict[str, Any]:
    """The offset of this host's clock, told to rank 0 as well."""
    trips = []
    for number in range(PINGS):
        sent = time.time()
        store.set(f"ping/{rank}/{number}", "")
        theirs = float(store.get(f"pong/{rank}/{number}"))
        received = time.time()
        trips.append((received - sent, (sent + received) / 2 - theirs))
    trip, offset = min(trips)
    found = {"offset_s": offset, "doubt_s": trip / 2, "host": socket.gethostname()}
    store.set(f"offset/{rank}", json.dumps(found))
    with contextlib.suppress(RuntimeError):  # rank 0, which serves the store, may be gone with it
        store.get(f"read/{rank}")
    return found


def _answer(store: Any, size: int) -> list[dict[str, Any]]:
    """Answer the pings of each other rank in turn; their offsets."""
    found = []
    for rank in range(1, size):
        for number in range(PINGS):
            store.get(f"ping/{rank}/{number}")
            store.set(f"pong/{rank}/{number}", repr(time.time()))
        found.append(json.loads(store.get(f"offset/{rank}")))
        store.set(f"read/{rank}", "")
    return found
