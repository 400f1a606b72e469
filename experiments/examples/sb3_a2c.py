"""Stable-Baselines3's A2C on CartPole, as gossiping agents: two lines more than without.

    torchrun --standalone --nproc-per-node=4 experiments/examples/sb3_a2c.py [--steps 40000]

Without torchrun it is plain Stable-Baselines3. The lines that gossip needs are marked: what it
trains is a module with an optimizer like any other, so that it needs no callback.
"""

import argparse
import os

from stable_baselines3 import A2C
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

import gala  # gossip

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=40_000, help="of each agent")
options = parser.parse_args()
seed = int(os.environ.get("RANK", "0"))

env = make_vec_env("CartPole-v1", n_envs=8, seed=seed)
model = A2C("MlpPolicy", env, n_steps=8, gae_lambda=0.95, device="cpu", seed=seed)
with gala.gossip(model.policy, model.policy.optimizer, topology="ring") as node:  # gossip
    model.learn(options.steps)
    print(f"agent {seed}: {node.mix_count} mixes, ||x - mean|| = {node.divergence:.3g}", flush=True)
mean, deviation = evaluate_policy(model, env, n_eval_episodes=20)
print(f"agent {seed}: return {mean:.1f} +- {deviation:.1f}", flush=True)
