"""Stable-Baselines3's PPO, DQN or SAC as gossiping agents: three lines more than without.

    torchrun --standalone --nproc-per-node=4 experiments/examples/sb3.py [--algorithm dqn]

Without torchrun it is plain Stable-Baselines3. The lines that gossip needs are marked.
"""

import argparse
import os

from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

import gala  # gossip

parser = argparse.ArgumentParser()
parser.add_argument("--algorithm", default="ppo", choices=("ppo", "dqn", "sac"))
parser.add_argument("--steps", type=int, default=40_000, help="of each agent")
options = parser.parse_args()
seed = int(os.environ.get("RANK", "0"))

common = {"policy": "MlpPolicy", "seed": seed, "device": "cpu"}
if options.algorithm == "ppo":
    model = PPO(env=make_vec_env("CartPole-v1", 8, seed=seed), n_steps=64, n_epochs=4, gamma=0.98,
                batch_size=128, learning_rate=1e-3, **common)  # fmt: skip
elif options.algorithm == "dqn":
    model = DQN(env=make_vec_env("CartPole-v1", 1, seed=seed), learning_rate=2.3e-3, batch_size=64,
                train_freq=64, gradient_steps=32, gamma=0.99, exploration_fraction=0.16,
                exploration_final_eps=0.04, target_update_interval=10, **common)  # fmt: skip
else:
    model = SAC(env=make_vec_env("Pendulum-v1", 1, seed=seed), learning_rate=1e-3, **common)
callback = gala.sb3.GossipCallback("ring", every=1 if options.algorithm == "ppo" else 8)  # gossip
model.learn(options.steps, callback=callback)  # gossip
node = callback.node
print(f"agent {node.rank}: {node.mix_count} mixes", flush=True)
mean, deviation = evaluate_policy(model, model.get_env(), n_eval_episodes=10)
print(f"agent {node.rank}: return {mean:.1f} +- {deviation:.1f}", flush=True)
