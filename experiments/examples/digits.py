"""Handwritten digits with batch norms, each agent with other digits: two lines more than without.

    torchrun --standalone --nproc-per-node=4 experiments/examples/digits.py [--steps 400]

Without torchrun it is plain supervised learning. The lines that gossip needs are marked. Each agent
sees some digits nine times as often as others, as in federated learning; what it has averaged
names all of them. Running statistics of the batch norms are averaged as moments.
"""

import argparse
import os

import numpy as np
import torch
from torch import nn

import gala  # gossip

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=400, help="of each agent")
options = parser.parse_args()
rank, agents = (int(os.environ.get(name, default)) for name, default in
                (("RANK", "0"), ("WORLD_SIZE", "1")))  # fmt: skip
torch.set_num_threads(1)


def digits(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Seven-segment digits, blurred and in noise: Float[count, 1, 8, 8] and their names."""
    random = np.random.default_rng(seed)
    segments = np.array([[c == "1" for c in row] for row in (
        "1110111", "0010010", "1011101", "1011011", "0111010",
        "1101011", "1101111", "1010010", "1111111", "1111011")], np.float32)  # fmt: skip
    masks = np.zeros((7, 8, 8), np.float32)
    boxes = ((0, 1, 2, 6), (1, 4, 1, 2), (1, 4, 6, 7), (3, 4, 2, 6),
             (4, 7, 1, 2), (4, 7, 6, 7), (6, 7, 2, 6))  # fmt: skip
    for mask, (top, bottom, left, right) in zip(masks, boxes):  # noqa: B905
        mask[top:bottom, left:right] = 1.0
    names = random.integers(10, size=count)
    pictures = np.einsum("ns,shw->nhw", segments[names], masks)
    pictures = pictures * random.uniform(0.6, 1.4, (count, 1, 1)) + random.normal(
        0.0, 0.45, pictures.shape)  # fmt: skip
    return torch.tensor(pictures[:, None], dtype=torch.float32), torch.tensor(names)


x, y = digits(4_000, seed=1)
test_x, test_y = digits(2_000, seed=2)
weights = torch.where(y % agents == rank, 9.0, 1.0)
torch.manual_seed(rank)
model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(),
    nn.Linear(512, 10),
)  # fmt: skip
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

with gala.gossip(model, optimizer, topology="ring", buffers=True) as node:  # gossip
    for _ in range(options.steps):
        rows = torch.multinomial(weights, 64)
        loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"agent {rank}: {node.mix_count} mixes, ||x - mean|| = {node.divergence:.3g}", flush=True)
model.eval()
with torch.no_grad():
    right = (model(test_x).argmax(1) == test_y).float().mean()
print(f"agent {rank}: return {100 * right:.1f} percent right", flush=True)
