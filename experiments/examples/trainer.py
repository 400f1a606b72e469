"""A Trainer of Hugging Face's transformers, whose agents gossip: five lines more than without.

    torchrun --standalone --nproc-per-node=4 experiments/examples/trainer.py [--steps 300]

Needs ``pip install transformers accelerate``. The lines that gossip needs are marked: the Trainer
makes its optimizer itself, so a callback begins the gossip. It would see torchrun's processes and
make one synchronous group of them: it is shown one process only.
"""

import argparse
import os
import tempfile
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments

import gala  # gossip

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=300, help="updates of each agent")
options = parser.parse_args()
rank = int(os.environ.get("RANK", "0"))
torch.set_num_threads(1)


class Waves(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Noisy sines of two frequencies at random phases, Float[16], and which one."""

    def __init__(self, count: int, seed: int) -> None:
        random = np.random.default_rng(seed)
        names = random.integers(2, size=count)
        angle = (0.4 + 0.3 * names)[:, None] * np.arange(16) + random.uniform(0, 6.3, (count, 1))
        waves = np.sin(angle) + random.normal(0.0, 0.3, angle.shape)
        self.waves, self.labels = torch.tensor(waves).float(), torch.tensor(names)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, k: int) -> dict[str, torch.Tensor]:
        return {"waves": self.waves[k], "labels": self.labels[k]}


class Ear(nn.Module):
    """Which of the two a wave is, as a Trainer wants it: with its loss."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(),
                                 nn.Linear(64, 2))  # fmt: skip

    def forward(self, waves: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Loss and logits of a batch."""
        logits = self.net(waves)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


class Gossip(TrainerCallback):
    """Begins once the Trainer has made its optimizer, and ends with the training."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **made: Any) -> None:
        """See :class:`transformers.TrainerCallback`."""
        self.node = gala.gossip(made["model"], made["optimizer"], topology="ring")  # gossip

    def on_train_end(self, args: Any, state: Any, control: Any, **made: Any) -> None:
        """Say how far apart the agents are, and leave."""
        mixes, distance = self.node.mix_count, self.node.divergence
        print(f"agent {rank}: {mixes} mixes, ||x - mean|| = {distance:.3g}", flush=True)
        self.node.close()  # gossip


torch.manual_seed(rank)
model = Ear()
with tempfile.TemporaryDirectory() as folder, gala.alone():  # gossip
    arguments = TrainingArguments(
        folder, max_steps=options.steps, per_device_train_batch_size=64, learning_rate=3e-3,
        use_cpu=True, seed=rank, save_strategy="no", report_to="none", disable_tqdm=True,
    )  # fmt: skip
    trainer = Trainer(model, arguments, train_dataset=Waves(2_000, seed=10 + rank))
trainer.add_callback(Gossip())  # gossip
trainer.train()
test = Waves(2_000, seed=2)
with torch.no_grad():
    right = (model(test.waves, test.labels)["logits"].argmax(1) == test.labels).float().mean()
print(f"agent {rank}: return {100 * right:.1f} percent right", flush=True)
