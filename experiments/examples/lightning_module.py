"""A module of Lightning whose agents gossip by a callback: seven lines more than without.

    torchrun --standalone --nproc-per-node=4 experiments/examples/lightning_module.py [--steps 300]

Needs ``pip install lightning``. The lines that gossip needs are marked. Lightning's Trainer has one
device in each of torchrun's processes, so that nothing is synchronised but what gossip averages.
"""

import argparse
import logging
import os

import lightning
import numpy as np
import torch
from torch import nn

import gala  # gossip

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=300, help="of each agent")
options = parser.parse_args()
rank = int(os.environ.get("RANK", "0"))
torch.set_num_threads(1)
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


def spirals(count: int, seed: int) -> torch.utils.data.TensorDataset:
    """Points of two spirals in noise, Float[count, 2], and which one."""
    random = np.random.default_rng(seed)
    name, turn = random.integers(2, size=count), 3.0 * np.sqrt(random.uniform(0.02, 1.0, count))
    angle = 1.5 * turn + np.pi * name
    points = np.stack([turn * np.cos(angle), turn * np.sin(angle)], 1)
    points = points + random.normal(0.0, 0.15, points.shape)
    return torch.utils.data.TensorDataset(torch.tensor(points).float(), torch.tensor(name))


class Classifier(lightning.LightningModule):
    """Says which spiral a point lies on."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(),
                                     nn.Linear(64, 2))  # fmt: skip

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        points, names = batch
        return nn.functional.cross_entropy(self.network(points), names)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=3e-3)


class Gossip(lightning.Callback):  # gossip
    """From the first step to the last."""

    def on_train_start(self, trainer, module):  # gossip
        self.node = gala.gossip(module, trainer.optimizers[0], topology="ring")  # gossip

    def on_train_end(self, trainer, module):  # gossip
        found = f"{self.node.mix_count} mixes, ||x - mean|| = {self.node.divergence:.3g}"
        print(f"agent {rank}: {found}", flush=True)
        self.node.close()  # gossip


torch.manual_seed(rank)
module = Classifier()
data = torch.utils.data.DataLoader(spirals(2_000, seed=10 + rank), batch_size=64, shuffle=True)
trainer = lightning.Trainer(
    accelerator="cpu", devices=1, max_steps=options.steps, logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    callbacks=[Gossip()],  # gossip
)  # fmt: skip
trainer.fit(module, data)
test_x, test_y = spirals(2_000, seed=2).tensors
with torch.no_grad():
    right = (module.network(test_x).argmax(1) == test_y).float().mean()
print(f"agent {rank}: return {100 * right:.1f} percent right", flush=True)
