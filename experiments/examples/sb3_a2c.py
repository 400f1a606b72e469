"""Stable-Baselines3's A2C on CartPole, as gossiping agents: five lines more than without.

    torchrun --standalone --nproc-per-node=4 experiments/examples/sb3_a2c.py [--steps 40000]

Without torchrun it is plain Stable-Baselines3. The lines that gossip needs are marked.
"""

import argparse
import os

from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

import gala  # gossip


class Gossip(BaseCallback):  # gossip
    """Average the policy with the neighbours' after every optimizer step."""

    def _on_training_start(self) -> None:
        policy = self.model.policy
        self.node = gala.gossip(policy, policy.optimizer, topology="ring")  # gossip

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        print(f"agent {self.node.rank}: {self.node.mix_count} mixes, ||x - mean|| = "
              f"{self.node.divergence:.3g}", flush=True)  # fmt: skip
        self.node.close()  # gossip


parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=40_000, help="of each agent")
options = parser.parse_args()
seed = int(os.environ.get("RANK", "0"))

env = make_vec_env("CartPole-v1", n_envs=8, seed=seed)
model = A2C("MlpPolicy", env, n_steps=8, gae_lambda=0.95, device="cpu", seed=seed)
model.learn(options.steps, callback=Gossip())  # gossip
mean, deviation = evaluate_policy(model, env, n_eval_episodes=20)
print(f"agent {seed}: return {mean:.1f} +- {deviation:.1f}", flush=True)
