"""A loop of Hugging Face's accelerate, whose agents gossip: three lines more than without.

    torchrun --standalone --nproc-per-node=4 experiments/examples/accelerated.py [--steps 300]

Needs ``pip install accelerate``. The lines that gossip needs are marked. Accelerate would see
torchrun's processes and make one synchronous group of them: it is shown one process only.
Gradients are accumulated over two batches; an exchange follows each step that was really made.
"""

import argparse
import os

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

import gala  # gossip

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=300, help="batches of each agent")
options = parser.parse_args()
rank = int(os.environ.get("RANK", "0"))
torch.set_num_threads(1)


def spirals(count: int, seed: int) -> torch.utils.data.TensorDataset:
    """Points of two spirals in noise, Float[count, 2], and which one."""
    random = np.random.default_rng(seed)
    name, turn = random.integers(2, size=count), 3.0 * np.sqrt(random.uniform(0.02, 1.0, count))
    angle = 1.5 * turn + np.pi * name
    points = np.stack([turn * np.cos(angle), turn * np.sin(angle)], 1)
    points = points + random.normal(0.0, 0.15, points.shape)
    return torch.utils.data.TensorDataset(torch.tensor(points).float(), torch.tensor(name))


torch.manual_seed(rank)
with gala.alone():  # gossip
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
model: nn.Module = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(),
                                 nn.Linear(64, 2))  # fmt: skip
loader = torch.utils.data.DataLoader(spirals(2_000, seed=10 + rank), batch_size=64, shuffle=True)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
model, optimizer, loader = accelerator.prepare(model, optimizer, loader)

with gala.gossip(model, optimizer, topology="ring") as node:  # gossip
    step = 0
    while step < options.steps:
        for points, names in loader:
            with accelerator.accumulate(model):
                loss = nn.functional.cross_entropy(model(points), names)
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
            step += 1
    print(f"agent {rank}: {node.mix_count} mixes, ||x - mean|| = {node.divergence:.3g}", flush=True)
test_x, test_y = spirals(2_000, seed=2).tensors
with torch.no_grad():
    right = (model(test_x).argmax(1) == test_y).float().mean()
print(f"agent {rank}: return {100 * right:.1f} percent right", flush=True)
