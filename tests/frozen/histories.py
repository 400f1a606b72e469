"""Parameter histories of A2C, written down once and held for good.

    python tests/frozen/histories.py CASE        runs one case and prints its history
    python tests/frozen/histories.py --write     writes all of them anew into histories.json

A case is a whole training run through the command line. After each of its first updates the
parameters are known by their checksum and by a few samples. Write them anew only in a commit that
is meant to change what is computed, and say why in its body.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FILE = HERE / "histories.json"
SAMPLES = 8

INSTRUCTIONS = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
}
"""Processors with wider vectors compute as those do where the histories were written: sums of other
lengths are rounded otherwise, and nothing could be held to the bit."""

QUICK = "--log.tensorboard false --threads 1 --checkpoint.keep 99 --seed 7 --device cpu".split()
PICTURES = (
    "--env.id ALE/Pong-v5 --env.num-envs 2 --env.atari.screen-size 36 --network.kind nature-cnn "
    "--network.filters [8,8,8] --network.hidden [32] --env.reward-clip true --a2c.gae-lambda 0.95 "
    "--env.atari.noop-min 0 --env.atari.noop-max 29 --env.atari.fire-second false "
    "--total-steps 60 --checkpoint.every-steps 10"
).split()
CARTPOLE = (
    "--env.id CartPole-v1 --env.num-envs 4 --network.hidden [16,16] --a2c.n-step 8 "
    "--a2c.gae-lambda 0.8 --a2c.lr 2e-3 --a2c.lr-schedule linear --a2c.entropy-schedule linear "
    "--a2c.optimizer adam"
).split()
IDENTITY = "--env.id gala/Identity-v0 --env.num-envs 4 --network.hidden [16]".split()
IDENTITY += "--total-steps 600 --checkpoint.every-steps 20".split()
GAUSSIAN = (
    "--env.id MountainCarContinuous-v0 --env.num-envs 3 --network.hidden [16] --a2c.optimizer adam "
    "--a2c.normalize-advantage true --env.max-episode-steps 20 --total-steps 450 "
    "--checkpoint.every-steps 15"
).split()

CASES: dict[str, tuple[int, list[str]]] = {
    "identity": (1, IDENTITY),
    "identity, same-step, truncated": (
        1, [*IDENTITY, "--env.autoreset", "same-step", "--env.max-episode-steps", "7"],
    ),
    "cartpole": (1, [*CARTPOLE, *"--total-steps 1280 --checkpoint.every-steps 32".split()]),
    "gaussian": (1, GAUSSIAN),
    "gaussian, same-step": (1, [*GAUSSIAN, "--env.autoreset", "same-step"]),
    "pictures, float32": (1, [*PICTURES, "--network.precision", "float32"]),
    "pictures, bfloat16": (1, [*PICTURES, "--network.precision", "bfloat16"]),
    "lock-step pair": (
        2,
        [*CARTPOLE, *"--total-steps 1280 --checkpoint.every-steps 64".split(),
         *"--gossip.max-staleness 0 --topology ring".split()],
    ),
}  # fmt: skip
"""Number of agents and options of each; the agents of a case begin alike."""


def run(case: str, folder: Path) -> dict[str, list[Any]]:
    """Train, and read the history of each agent: ``{rank: [[update, checksum, samples], ...]}``."""
    import torch

    agents, options = CASES[case]
    command = [sys.executable, "-m", "gala", "train", *options, *QUICK, "--run-dir", str(folder)]
    command += ["--agents", str(agents)] if agents > 1 else []
    environment = os.environ | INSTRUCTIONS | {"OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, list[Any]] = {}
    for rank in range(agents):
        history = []
        for path in sorted((folder / f"rank_{rank:02d}" / "checkpoints").glob("update_*.pt")):
            vector = torch.load(path, weights_only=True)["params"]
            places = torch.linspace(0, len(vector) - 1, SAMPLES).long()
            digest = hashlib.sha256(vector.numpy().tobytes()).hexdigest()[:16]
            samples = [float(value) for value in vector[places]]
            history.append([int(path.stem.removeprefix("update_")), digest, samples])
        assert len(history) >= 3, (case, rank, history)
        found[str(rank)] = history
    return found


def machine() -> dict[str, str]:
    """What bits depend on besides the program, see :data:`INSTRUCTIONS`."""
    import torch

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if "model name" in line), "")
    version = torch.__version__.partition("+")[0]
    capability = torch.backends.cpu.get_cpu_capability().replace("AVX512", "AVX2")
    return {"torch": version, "cpu": f"{model} {capability}"}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        if sys.argv[1:] == ["--write"]:
            histories = {
                case: run(case, Path(scratch) / str(number)) for number, case in enumerate(CASES)
            }
            text = {"machine": machine(), "histories": histories}
            FILE.write_text(json.dumps(text).replace('], ["', '],\n["') + "\n")
        else:
            print(json.dumps(run(sys.argv[1], Path(scratch) / "run"), indent=1))
