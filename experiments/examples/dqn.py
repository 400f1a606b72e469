"""A single-file DQN on CartPole, as gossiping agents: two lines more than without.

    torchrun --standalone --nproc-per-node=4 experiments/examples/dqn.py [--steps 20000]

Without torchrun it is a plain double DQN (van Hasselt et al. 2016). The lines that gossip needs are
marked. The target network is a copy that is taken of what was mixed: it does not go along itself.
"""

import argparse
import os

import gymnasium
import numpy as np
import torch
from torch import nn

import gala  # gossip

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=20_000, help="of each agent")
options = parser.parse_args()
rank = int(os.environ.get("RANK", "0"))
torch.manual_seed(rank)
torch.set_num_threads(1)
random = np.random.default_rng(rank)

BATCH, BEGIN, EVERY, COPY, GAMMA, CAPACITY = 64, 1_000, 4, 400, 0.99, 20_000


def q_network() -> nn.Sequential:
    """Values of both actions."""
    return nn.Sequential(nn.Linear(4, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(),
                         nn.Linear(128, 2))  # fmt: skip


env = gymnasium.make("CartPole-v1")
q, target = q_network(), q_network()
target.load_state_dict(q.state_dict())
optimizer = torch.optim.Adam(q.parameters(), lr=1e-3)
replay = [np.zeros((CAPACITY, n), np.float32) for n in (4, 1, 1, 4, 1)]
returns, running = [], 0.0
obs, _ = env.reset(seed=rank)

with gala.gossip(q, optimizer, topology="ring") as node:  # gossip
    for step in range(options.steps):
        epsilon = max(1.0 - step / (0.25 * options.steps), 0.03)
        if random.random() < epsilon:
            action = int(random.integers(2))
        else:
            with torch.no_grad():
                action = int(q(torch.as_tensor(obs)).argmax())
        following, reward, terminated, truncated, _ = env.step(action)
        for column, value in zip(replay, (obs, action, reward, following, terminated)):  # noqa: B905
            column[step % CAPACITY] = value
        running += float(reward)
        obs = following
        if terminated or truncated:
            returns.append(running)
            running, (obs, _) = 0.0, env.reset()
        if step < BEGIN or step % EVERY:
            continue
        rows = random.integers(min(step + 1, CAPACITY), size=BATCH)
        s, a, r, after, ended = (torch.from_numpy(column[rows]) for column in replay)
        with torch.no_grad():
            best = q(after).argmax(1, keepdim=True)
            wanted = r + GAMMA * (1.0 - ended) * target(after).gather(1, best)
        loss = nn.functional.smooth_l1_loss(q(s).gather(1, a.long()), wanted)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(q.parameters(), 10.0)
        optimizer.step()
        if step % COPY == 0:
            target.load_state_dict(q.state_dict())
    print(f"agent {rank}: {node.mix_count} mixes, ||x - mean|| = {node.divergence:.3g}", flush=True)
print(f"agent {rank}: return {np.mean(returns[-20:]):.1f}", flush=True)
