"""Fine-tuning of a small network on data that differ, as in federated learning: two lines more.

    torchrun --standalone --nproc-per-node=4 experiments/examples/finetuning.py [--steps 300]

Without torchrun it is plain fine-tuning: two lines more than without gossip, which are marked. All
agents begin with one network, trained on signals of five kinds. Each then has signals of two of
ten kinds alone, which it shows to nobody: what travels, every tenth step, are parameters, and
they come to know the kinds of all agents.
"""

import argparse
import os

import numpy as np
import torch
from torch import nn

import gala  # gossip

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=300, help="of each agent")
options = parser.parse_args()
rank, agents = (int(os.environ.get(name, default)) for name, default in
                (("RANK", "0"), ("WORLD_SIZE", "1")))  # fmt: skip
torch.set_num_threads(1)


def signals(kinds: list[int], count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Waves of ten frequencies with any phase, in noise: Float[count, 64] and which one."""
    random = np.random.default_rng(seed)
    names, phases = random.choice(kinds, count), random.uniform(0, 2 * np.pi, (count, 1))
    angles = 2 * np.pi * (1 + names[:, None]) * np.arange(64) / 64 + phases
    waves = np.sin(angles) + random.normal(0.0, 0.3, (count, 64))
    return torch.tensor(waves, dtype=torch.float32), torch.tensor(names)


def fit(network: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor,
        steps: int, seed: int) -> None:  # fmt: skip
    """Steps of 64 signals each."""
    random = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randint(len(x), (64,), generator=random)
        loss = nn.functional.cross_entropy(network(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def right(network: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    """Percent."""
    with torch.no_grad():
        return 100 * float((network(x).argmax(1) == y).float().mean())


torch.manual_seed(0)  # of all agents: they begin with one network
network = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 64), nn.ReLU(),
                        nn.Linear(64, 10))  # fmt: skip
fit(network, torch.optim.Adam(network.parameters(), lr=1e-3), *signals([0, 2, 4, 6, 8], 4_000, 1),
    steps=300, seed=1)  # fmt: skip
own = sorted({(2 * rank + k) % 10 for k in range(2 if agents > 1 else 10)})
print(f"agent {rank}: has the kinds {own}", flush=True)
optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
with gala.gossip(network, optimizer, topology="complete", every=10) as node:  # gossip
    fit(network, optimizer, *signals(own, 2_000, 10 + rank), steps=options.steps, seed=rank)
    print(f"agent {rank}: {node.mix_count} mixes, ||x - mean|| = {node.divergence:.3g}", flush=True)
everybody = sorted({(2 * r + k) % 10 for r in range(agents) for k in range(2)})
print(f"agent {rank}: return {right(network, *signals(everybody, 2_000, 2)):.1f} percent right, "
      f"of all agents' kinds", flush=True)  # fmt: skip
