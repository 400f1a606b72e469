"""A single-file PPO on CartPole, as gossiping agents: two lines more than without.

    torchrun --standalone --nproc-per-node=4 experiments/examples/ppo.py [--steps 40000]

Without torchrun it is a plain PPO (Schulman et al. 2017). The lines that gossip needs are marked.
"""

import argparse
import os

import gymnasium
import numpy as np
import torch
from torch import nn

import gala  # gossip

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=40_000, help="of each agent")
options = parser.parse_args()
rank = int(os.environ.get("RANK", "0"))
torch.manual_seed(rank)
torch.set_num_threads(1)

ENVS, HORIZON, EPOCHS, MINIBATCHES = 8, 64, 4, 4
GAMMA, LAMBDA, CLIP = 0.98, 0.9, 0.2


class ActorCritic(nn.Module):
    """Two small networks."""

    def __init__(self) -> None:
        super().__init__()
        self.actor = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 2))
        self.critic = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 1))

    def forward(self, obs: torch.Tensor) -> tuple[torch.distributions.Categorical, torch.Tensor]:
        """Policy and value."""
        return torch.distributions.Categorical(logits=self.actor(obs)), self.critic(obs).squeeze(-1)


envs = gymnasium.make_vec(
    "CartPole-v1",
    ENVS,
    vectorization_mode="sync",
    vector_kwargs={"autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP},
)
model = ActorCritic()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-5)
returns: list[float] = []
running = np.zeros(ENVS)
obs = torch.as_tensor(envs.reset(seed=rank)[0])

with gala.gossip(model, optimizer, topology="ring") as node:  # gossip
    for _ in range(options.steps // (ENVS * HORIZON)):
        rows = []
        for _ in range(HORIZON):
            with torch.no_grad():
                policy, value = model(obs)
                action = policy.sample()
            following, reward, terminated, truncated, info = envs.step(action.numpy())
            done = torch.as_tensor(terminated | truncated, dtype=torch.float32)
            rows.append((obs, action, policy.log_prob(action), value,
                         torch.as_tensor(reward, dtype=torch.float32), done))  # fmt: skip
            running += reward
            returns += running[terminated | truncated].tolist()
            running[terminated | truncated] = 0
            obs = torch.as_tensor(following)
        states, actions, log_probs, values, rewards, dones = map(torch.stack, zip(*rows))  # noqa: B905
        with torch.no_grad():
            following_value, carried = model(obs)[1], torch.zeros(ENVS)
        advantages = torch.zeros_like(rewards)
        for t in reversed(range(HORIZON)):
            alive = 1.0 - dones[t]
            delta = rewards[t] + GAMMA * alive * following_value - values[t]
            advantages[t] = carried = delta + GAMMA * LAMBDA * alive * carried
            following_value = values[t]
        targets = advantages + values
        data = [x.flatten(0, 1) for x in (states, actions, log_probs, advantages, targets)]
        for _ in range(EPOCHS):
            for part in torch.randperm(ENVS * HORIZON).chunk(MINIBATCHES):
                s, a, old, advantage, target = (x[part] for x in data)
                policy, value = model(s)
                ratio = (policy.log_prob(a) - old).exp()
                advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
                gain = torch.min(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage)
                loss = -gain.mean() + 0.5 * (value - target).square().mean()
                loss -= 0.01 * policy.entropy().mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 0.5)
                optimizer.step()
    print(f"agent {rank}: {node.mix_count} mixes, ||x - mean|| = {node.divergence:.3g}", flush=True)
print(f"agent {rank}: return {np.mean(returns[-20:]):.1f}", flush=True)
