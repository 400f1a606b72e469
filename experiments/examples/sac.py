"""A single-file SAC on Pendulum, as gossiping agents: five lines more than without.

    torchrun --standalone --nproc-per-node=4 experiments/examples/sac.py [--steps 8000]

Without torchrun it is a plain SAC (Haarnoja et al. 2018). The lines that gossip needs are marked:
actor and critics are averaged, the target critics with the same weights, so that they stay the
Polyak average of what they follow, and so is the temperature.
"""

import argparse
import copy
import os

import gymnasium
import numpy as np
import torch
from torch import nn

import gala  # gossip

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=8_000, help="of each agent")
options = parser.parse_args()
rank = int(os.environ.get("RANK", "0"))
torch.manual_seed(rank)
torch.set_num_threads(1)
random = np.random.default_rng(rank)

BATCH, BEGIN, GAMMA, TAU, RATE, BOUND = 128, 500, 0.98, 0.01, 1e-3, 2.0


def network(inputs: int, outputs: int) -> nn.Sequential:
    """Two hidden layers."""
    return nn.Sequential(nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(),
                         nn.Linear(64, outputs))  # fmt: skip


def act(obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """An action within -1..1, and its log-probability."""
    mean, log_std = actor(obs).chunk(2, -1)
    normal = torch.distributions.Normal(mean, log_std.clamp(-5, 2).exp())
    raw = normal.rsample()
    squash = 2 * (np.log(2) - raw - nn.functional.softplus(-2 * raw))
    return raw.tanh(), (normal.log_prob(raw) - squash).sum(-1, keepdim=True)


env = gymnasium.make("Pendulum-v1")
actor, critics = network(3, 2), nn.ModuleList([network(4, 1), network(4, 1)])
targets, log_alpha = copy.deepcopy(critics), torch.zeros(1, requires_grad=True)
optimizers = [torch.optim.Adam(part, lr=RATE)
              for part in (critics.parameters(), actor.parameters(), [log_alpha])]  # fmt: skip
replay = [np.zeros((options.steps, n), np.float32) for n in (3, 1, 1, 3)]
returns, running = [], 0.0
obs, _ = env.reset(seed=rank)

node = gala.gossip(  # gossip
    [actor, critics], optimizers, topology="ring", every=4,  # gossip
    extra=[log_alpha], lagging=[(targets, critics)],  # gossip
)  # fmt: skip
for step in range(options.steps):
    with torch.no_grad():
        action = act(torch.as_tensor(obs))[0].numpy() if step > BEGIN else random.uniform(-1, 1, 1)
    following, reward, _, truncated, _ = env.step(BOUND * np.asarray(action, np.float32))
    for column, value in zip(replay, (obs, action, reward, following)):  # noqa: B905
        column[step] = value
    running += float(reward)
    obs = following
    if truncated:
        returns.append(running)
        running, (obs, _) = 0.0, env.reset()
    if step < BEGIN:
        continue
    rows = random.integers(step + 1, size=BATCH)
    s, a, r, after = (torch.from_numpy(column[rows]) for column in replay)
    alpha = log_alpha.exp().detach()
    with torch.no_grad():
        chosen, log_prob = act(after)
        value = torch.min(*(t(torch.cat([after, chosen], 1)) for t in targets)) - alpha * log_prob
        wanted = r + GAMMA * value
    critic_loss = sum((q(torch.cat([s, a], 1)) - wanted).square().mean() for q in critics)
    chosen, log_prob = act(s)
    best = torch.min(*(q(torch.cat([s, chosen], 1)) for q in critics))
    actor_loss = (alpha * log_prob - best).mean()
    alpha_loss = -(log_alpha.exp() * (log_prob.detach() - 1.0)).mean()
    gradients = [torch.autograd.grad(loss, list(part)) for loss, part in (
        (critic_loss, critics.parameters()), (actor_loss, actor.parameters()),
        (alpha_loss, [log_alpha]))]  # fmt: skip
    for optimizer, part in zip(optimizers, gradients):  # noqa: B905
        for p, gradient in zip(optimizer.param_groups[0]["params"], part):  # noqa: B905
            p.grad = gradient
        optimizer.step()
    with torch.no_grad():
        for p, t in zip(critics.parameters(), targets.parameters()):  # noqa: B905
            t.lerp_(p, TAU)
print(f"agent {rank}: {node.mix_count} mixes, ||x - mean|| = {node.divergence:.3g}", flush=True)
node.close()  # gossip
print(f"agent {rank}: return {np.mean(returns[-8:]):.1f}", flush=True)
