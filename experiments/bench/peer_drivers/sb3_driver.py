"""Stable-Baselines3's A2C with rl-zoo's parameters; a JSON line a rollout until it is killed.

Run by ../peers.py in an environment of its own:

    python sb3_driver.py pong|cartpole ENVS dummy|subproc [SEED]
"""

import json
import sys
import time

import ale_py
import gymnasium
from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_atari_env, make_vec_env
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecFrameStack

ENDLESS = 10**9


class Tell(BaseCallback):
    """Steps of all environments so far, and when; mean raw return of the last 100 games."""

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        games = [each["r"] for each in self.model.ep_info_buffer]  # raw, the newest 100
        found = {"t": time.time(), "steps": self.num_timesteps, "games": len(games)}
        if games:
            found["return"] = sum(games) / len(games)
        print(json.dumps(found), flush=True)


def main() -> None:
    """Train until somebody ends it."""
    game, envs, workers = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    gymnasium.register_envs(ale_py)
    vector = {
        "vec_env_cls": {"dummy": DummyVecEnv, "subproc": SubprocVecEnv}[workers],
        "vec_env_kwargs": {"start_method": "fork"} if workers == "subproc" else None,
    }
    if game == "pong":
        # no sticky actions, 30 no-ops, frame skip 4, episodic life, sign of the reward
        env = make_atari_env("PongNoFrameskip-v4", n_envs=envs, seed=seed, **vector)
        model = A2C(
            "CnnPolicy",
            VecFrameStack(env, n_stack=4),
            ent_coef=0.01,
            vf_coef=0.25,
            policy_kwargs={"optimizer_class": RMSpropTFLike, "optimizer_kwargs": {"eps": 1e-5}},
            device="cpu",
            seed=seed,
        )
    else:
        env = make_vec_env("CartPole-v1", n_envs=envs, seed=seed, **vector)
        model = A2C("MlpPolicy", env, ent_coef=0.0, device="cpu", seed=seed)
    model.learn(ENDLESS, callback=Tell(), log_interval=100)


if __name__ == "__main__":
    main()
