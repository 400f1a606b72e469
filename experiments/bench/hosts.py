"""Hosts that are network namespaces of this machine, and what a cut link does to a run.

    python experiments/bench/hosts.py [--cut 30] [--delay-ms 50] [--loss 5]

Two and three hosts with a bad network train CartPole over gloo; then the link of the last one is
cut, and healed. Packets are spoilt by netem; where the kernel has none, messages are spoilt by
gala's own faults instead, and the result says so. Needs root, ip and tc. Writes
experiments/results/hosts.{json,md}.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recording import ROOT, records, table, write

from gala.launch.processes import bound_to

NETWORK = "10.77.0"
PORT = 29477


def why_not() -> str | None:
    """Why this machine cannot play several hosts; None when it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for tool in ("ip", "tc"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed (Debian: iproute2)"
    done = subprocess.run(["ip", "netns", "add", "gala-try"], capture_output=True, text=True)
    if done.returncode != 0:
        return f"network namespaces are not allowed here: {done.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", "gala-try"], check=True)
    return None


def ip(*words: object) -> None:
    """``ip WORDS``."""
    subprocess.run(["ip", *map(str, words)], check=True, capture_output=True)


class Hosts:
    """Hosts 0 to N - 1 on one bridge, each a network namespace with one interface.

    Args:
        count: N.
    """

    def __init__(self, count: int) -> None:
        self.names = [f"gala-h{host}" for host in range(count)]
        self.close()
        ip("link", "add", "gala-br", "type", "bridge")
        ip("link", "set", "gala-br", "up")
        for host, name in enumerate(self.names):
            ip("netns", "add", name)
            ip(
                "link",
                "add",
                f"gala-v{host}",
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                name,
            )
            ip("link", "set", f"gala-v{host}", "master", "gala-br", "up")
            ip("-n", name, "addr", "add", f"{NETWORK}.{host + 1}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                ip("-n", name, "link", "set", device, "up")

    @property
    def store(self) -> str:
        """Address of the store: on host 0."""
        return f"tcp://{NETWORK}.1:{PORT}"

    def spoil(self, *, delay_ms: float, loss: float) -> bool:
        """Delay and lose packets (percent) that leave any host; False where the kernel cannot."""
        for name in self.names:
            netem = ["netem", "delay", f"{delay_ms}ms", "loss", f"{loss}%"]
            command = ["ip", "netns", "exec", name, "tc", "qdisc", "add", "dev", "eth0", "root"]
            done = subprocess.run([*command, *netem], capture_output=True)
            if done.returncode != 0:
                return False
        return True

    def start(self, host: int, command: list[str], log: Path) -> subprocess.Popen[bytes]:
        """Run ``command`` on a host."""
        with open(log, "wb") as file:
            return subprocess.Popen(
                ["ip", "netns", "exec", self.names[host], *command],
                stdout=file, stderr=subprocess.STDOUT, start_new_session=True, cwd=ROOT,
                preexec_fn=bound_to(os.getpid()),
            )  # fmt: skip

    def cut(self, host: int) -> None:
        """Nothing passes to or from ``host`` any more."""
        ip("link", "set", f"gala-v{host}", "down")

    def heal(self, host: int) -> None:
        """Everything passes again."""
        ip("link", "set", f"gala-v{host}", "up")

    def close(self) -> None:
        """Remove all of it."""
        for host, name in enumerate(self.names):
            # by hand: the kernel removes what is in a namespace later, in its own time
            subprocess.run(["ip", "link", "del", f"gala-v{host}"], capture_output=True)
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
        subprocess.run(["ip", "link", "del", "gala-br"], capture_output=True)


class LocalGroup:
    """One agent on each of ``hosts``, with a run folder that all of them see."""

    def __init__(self, hosts: Hosts, folder: Path, *arguments: object) -> None:
        self.run, self.folder = folder / "run", folder
        size = len(hosts.names)
        self.processes = []
        for rank in range(size):
            command = [
                sys.executable, "-m", "gala", "launch", "--rank", rank, "--size", size,
                "--store", hosts.store, *arguments, "--run-dir", self.run,
                "--gossip.transport", "gloo", "--threads", 1, "--topology", "ring",
                "--divergence.every-s", 1, "--log.every-s", 0.25, "--log.no-tensorboard",
            ]  # fmt: skip
            log = folder / f"host{rank}.log"
            self.processes.append(hosts.start(rank, [*map(str, command)], log))

    def rows(self) -> dict[int, list[dict[str, Any]]]:
        """Records so far."""
        with contextlib.suppress(ValueError):  # a half-written line
            return records(self.run)
        return self.rows()

    def wait_until(self, condition: Callable[[dict[int, list[dict[str, Any]]]], bool]) -> float:
        """Wait for something that shows in the records; returns the seconds that it took."""
        began = time.monotonic()
        while True:
            rows = self.rows()
            if len(rows) == len(self.processes) and all(rows.values()) and condition(rows):
                return time.monotonic() - began
            dead = [p.args for p in self.processes if p.poll() is not None]
            if dead or time.monotonic() - began > 180:
                logs = "".join(path.read_text()[-2000:] for path in self.folder.glob("*.log"))
                raise RuntimeError(f"the run ended or hangs: {logs}")
            time.sleep(0.1)

    def finish(self) -> list[int]:
        """Ask all to stop; returns their exit codes."""
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        return [process.wait(timeout=120) for process in self.processes]

    def kill(self) -> None:
        """End whatever is still there."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def mixes(rows: dict[int, list[dict[str, Any]]]) -> list[int]:
    """Mixes of each agent."""
    return [each[-1]["gossip/mixes"] for each in rows.values()]


def measure(count: int, cut_s: float, delay_ms: float, loss: float) -> dict[str, Any]:
    """Train, cut, heal."""
    hosts = Hosts(count)
    spoilt = hosts.spoil(delay_ms=delay_ms, loss=loss)
    faults = [] if spoilt else ["--faults.delay-ms", delay_ms, "--faults.drop", loss / 100]
    with tempfile.TemporaryDirectory() as name:
        local_group = LocalGroup(hosts, Path(name), "cartpole", "--total-steps", 10**9, *faults)
        try:
            local_group.wait_until(lambda rows: min(mixes(rows)) > 50)
            time.sleep(10)
            before = local_group.rows()
            hosts.cut(count - 1)
            cut_at = time.time()
            time.sleep(cut_s)
            during = local_group.rows()
            hosts.heal(count - 1)
            healed_at = time.time()
            together = mixes(during)
            lonely = count - 1
            local_group.wait_until(lambda rows: mixes(rows)[lonely] > together[lonely] + 5)
            again_s = time.time() - healed_at
            time.sleep(10)
            after = local_group.rows()
            codes = local_group.finish()
        finally:
            local_group.kill()
            hosts.close()

    def rate(rows: list[dict[str, Any]], start: float, end: float) -> float:
        some = [row for row in rows if start <= row["t"] <= end]
        return float((some[-1]["step"] - some[0]["step"]) / (some[-1]["t"] - some[0]["t"]))

    def relative(rows: dict[int, list[dict[str, Any]]]) -> float:
        return float(max(each[-1]["divergence/relative"] for each in rows.values()))

    ratios = [rows[-1]["divergence/epsilon_ratio"] for rows in after.values()]
    return {
        "hosts": count,
        "netem": spoilt,
        "exit_codes": codes,
        "steps_per_second_before": [rate(r, cut_at - 8, cut_at) for r in before.values()],
        "steps_per_second_during": [rate(r, cut_at, cut_at + cut_s) for r in during.values()],
        "relative_distance_before": relative(before),
        "relative_distance_at_the_end_of_the_cut": relative(during),
        "relative_distance_after": relative(after),
        "epsilon_ratio_after": max(ratios) if None not in ratios else None,
        "mixing_again_s": again_s,
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cut", type=float, default=30.0, help="seconds")
    parser.add_argument("--delay-ms", type=float, default=50.0, help="of each packet")
    parser.add_argument("--loss", type=float, default=5.0, help="percent of packets")
    options = parser.parse_args()
    reason = why_not()
    if reason is not None:
        sys.exit(f"cannot measure: {reason}")
    results = [measure(n, options.cut, options.delay_ms, options.loss) for n in (2, 3)]
    lines = [
        [
            str(found["hosts"]),
            f"{sum(found['steps_per_second_before']):,.0f}",
            f"{sum(found['steps_per_second_during']):,.0f}",
            f"{100 * found['relative_distance_before']:.2g} %",
            f"{100 * found['relative_distance_at_the_end_of_the_cut']:.2g} %",
            f"{100 * found['relative_distance_after']:.2g} %",
            f"{found['epsilon_ratio_after']:.2g}" if found["epsilon_ratio_after"] else "no bound",
            f"{found['mixing_again_s']:.0f}",
        ]
        for found in results
    ]
    header = [
        "hosts", "steps/s before the cut", "during", "distance to the mean before", "at its end",
        "10 s after the first mixes", "divergence / bound then", "mixing again after s",
    ]  # fmt: skip
    what = (
        "packet (netem)" if results[0]["netem"] else "message (--faults; no netem in this kernel)"
    )
    text = f"""# Several hosts, a bad network, a cut link

CartPole, one agent per host over gloo; every {what} is {options.delay_ms:.0f} ms late, and
{options.loss:.0f} % are lost. The link of the last host is cut for {options.cut:.0f} s. Hosts are
network namespaces of one machine. How soon agents mix again after the healing is decided by TCP,
whose attempts have become rare by then. "No bound": messages are too many updates old for one that
says anything.

{table(header, lines)}
"""
    write("hosts", {"cut_s": options.cut, "results": results}, text)


if __name__ == "__main__":
    main()
