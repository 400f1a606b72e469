"""Loops of one's own, launched as users launch them."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

HEAD = """
import json, math, os, sys, time
import numpy as np
import torch
from torch import nn
import gala

rank = int(os.environ["RANK"])
torch.manual_seed(rank)
torch.set_num_threads(1)
folder = sys.argv[1]

def tell(**facts):
    with open(f"{folder}/{rank}.json", "w") as file:
        json.dump(facts, file)

def all_have(mine):
    # whether each agent has had what it wants once: who leaves at once leaves others without
    if mine:
        open(f"{folder}/{rank}.has", "w").close()
    return all(os.path.exists(f"{folder}/{r}.has") for r in range(int(os.environ["WORLD_SIZE"])))
"""


def launch(
    folder: Path, program: str, agents: int = 2, *, fails: bool = False
) -> list[dict[str, Any]]:
    """What each agent of ``program`` told, by torchrun; those that told nothing told ``{}``."""
    path = folder / "loop.py"
    path.write_text(HEAD + textwrap.dedent(program))
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone",
         f"--nproc-per-node={agents}", str(path), str(folder)],
        capture_output=True, text=True, timeout=200, cwd=folder,
    )  # fmt: skip
    assert (done.returncode != 0) == fails, done.stderr
    files = [folder / f"{rank}.json" for rank in range(agents)]
    return [json.loads(file.read_text()) if file.exists() else {} for file in files]
