"""Checks of the machine: what agents need of it before they are started."""

from __future__ import annotations

import mmap
import os
import resource
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from gala.doctor.finding import Finding, State, examine
from gala.gossip.shared_memory import shared_memory_root
from gala.launch.cores import CPU_QUOTA, bound_cores, cpu_quota

MIB = 2**20
SHARED_MEMORY_MIB = 256
"""Room for some agents that learn Atari; Docker gives 64 MiB if it is not asked for more."""
DESCRIPTORS, FEW_DESCRIPTORS = 1024, 128
DISK_MIB, LITTLE_DISK_MIB = 2048, 64
WRITTEN_MIB, SLOW_MIB_S = 16, 10.0
STORE_TIMEOUT_S = 20.0


def examine_machine(folder: Path) -> Iterator[Finding]:
    """All checks of this machine; ``folder`` is where runs will be written."""
    yield examine("shared memory", lambda: shared_memory(shared_memory_root()))
    yield examine("store", store)
    yield examine("host name", lambda: host_name(socket.gethostname()))
    yield examine("open files", lambda: open_files(*resource.getrlimit(resource.RLIMIT_NOFILE)))
    yield examine("threads", threads)
    yield examine("disk", lambda: disk(folder))


def shared_memory(root: Path) -> Finding:
    """Whether mailboxes can be made below ``root``, mapped, and how many fit."""
    name = "shared memory"
    try:
        with tempfile.TemporaryFile(dir=root) as file:
            file.truncate(mmap.PAGESIZE)
            with mmap.mmap(file.fileno(), mmap.PAGESIZE) as page:
                page[0] = 1
    except OSError as error:
        return Finding(
            name=name,
            state="wrong",
            message=f"{root} cannot be used: {error.strerror or error}",
            advice=f"make {root} writable, or --gossip.transport gloo",
        )
    free = shutil.disk_usage(root).free / MIB
    message = f"{free:,.0f} MiB free in {root}"
    if free >= SHARED_MEMORY_MIB:
        return Finding(name=name, state="ok", message=message)
    return Finding(
        name=name,
        state="warning",
        message=message,
        advice="large networks do not fit; docker run --shm-size 2g",
    )


def store() -> Finding:
    """Whether agents of this host can meet: a store serves, is found by name, and answers."""
    import torch.distributed as dist

    name, timeout = "store", timedelta(seconds=STORE_TIMEOUT_S)
    began = time.perf_counter()
    try:
        server = dist.TCPStore("localhost", 0, None, True, timeout, wait_for_workers=False)
        client = dist.TCPStore("localhost", server.port, None, False, timeout)
        server.set("asked", "yes")
        answered = client.get("asked") == b"yes"
    except RuntimeError as error:
        return Finding(
            name=name,
            state="wrong",
            message=f"localhost cannot be reached: {str(error).splitlines()[0]}",
            advice="see that localhost stands in /etc/hosts and no firewall or proxy is before it",
        )
    assert answered
    seconds = time.perf_counter() - began
    return Finding(name=name, state="ok", message=f"answers on localhost, {1e3 * seconds:.0f} ms")


def host_name(host: str) -> Finding:
    """Whether the name of this host means an address, which gloo wants to listen on."""
    try:
        addresses = sorted({str(found[4][0]) for found in socket.getaddrinfo(host, None)})
    except (OSError, UnicodeError) as error:
        return Finding(
            name="host name",
            state="warning",
            message=f"{host!r} is no address ({error.args[-1] if error.args else error})",
            advice=f"add {host} to /etc/hosts, or set GLOO_SOCKET_IFNAME=lo for one host",
        )
    return Finding(name="host name", state="ok", message=f"{host} is {', '.join(addresses)}")


def open_files(soft: int, hard: int) -> Finding:
    """Whether a launch may open what it needs: pipes of agents, connections of edges."""
    unlimited = soft == resource.RLIM_INFINITY
    message = "without limit" if unlimited else f"{soft:,} at most"
    state: State = "ok"
    if not unlimited and soft < DESCRIPTORS:
        state = "wrong" if soft < FEW_DESCRIPTORS else "warning"
    most = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(4 * DESCRIPTORS, hard)
    return Finding(
        name="open files",
        state=state,
        message=message,
        advice="" if state == "ok" else f"ulimit -n {max(most, DESCRIPTORS)}",
    )


def threads() -> Finding:
    """Whether torch takes no more threads than there are cores."""
    import torch

    count, cores, quota = torch.get_num_threads(), len(bound_cores()), cpu_quota(CPU_QUOTA)
    message = f"torch uses {count}, {cores} cores"
    if quota is not None and quota < cores:
        message += f", of which this container may use {quota:g}"
        cores = max(1, int(quota))
    if count <= cores:
        return Finding(name="threads", state="ok", message=message)
    advice = f"--threads 1, or OMP_NUM_THREADS={cores}"
    return Finding(name="threads", state="warning", message=message, advice=advice)


def disk(folder: Path) -> Finding:
    """Room, and speed of writing, where runs will be."""
    shown = folder.resolve()
    block = os.urandom(MIB)
    try:
        free = shutil.disk_usage(folder).free / MIB
        size = int(min(WRITTEN_MIB, max(free / 2, 1)))
        began = time.perf_counter()
        with tempfile.TemporaryFile(dir=folder) as file:
            for _ in range(size):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        speed = size / (time.perf_counter() - began)
    except OSError as error:
        return Finding(
            name="disk",
            state="wrong",
            message=f"{shown} cannot be written: {error.strerror or error}",
            advice="--run-dir on a disk with room that you may write to",
        )
    message = f"{free:,.0f} MiB free in {shown}, written at {speed:,.0f} MiB/s"
    if free < LITTLE_DISK_MIB:
        return Finding(name="disk", state="wrong", message=message, advice="make room")
    if free < DISK_MIB:
        advice = "make room: checkpoints and records grow"
        return Finding(name="disk", state="warning", message=message, advice=advice)
    if speed < SLOW_MIB_S:
        advice = "checkpoints hold agents up: --run-dir on a faster disk"
        return Finding(name="disk", state="warning", message=message, advice=advice)
    return Finding(name="disk", state="ok", message=message)
