"""Sample Factory's APPO on Pong with its own Atari parameters; a JSON line an update until killed.

Run by ../peers.py in an environment of its own:

    python sample_factory_driver.py pong ENVS WORKERS EPOCHS
"""

import json
import sys
import tempfile
import time

import gymnasium
from ale_py.registration import register_v0_v4_envs
from sample_factory.algo.runners.runner import AlgoObserver
from sample_factory.envs.env_utils import register_env
from sample_factory.train import make_runner
from sf_examples.atari.atari_utils import make_atari_env
from sf_examples.atari.train_atari import parse_atari_args

ENDLESS = 10**9


class Tell(AlgoObserver):
    """Steps that were learned from so far, and when."""

    def on_training_step(self, runner, training_iteration_since_resume) -> None:
        steps = sum(runner.env_steps.values())
        print(json.dumps({"t": time.time(), "steps": steps}), flush=True)


def make_pong(name, config, env_config, render_mode=None):
    """The environments of its examples; ale-py tells old versions of Gymnasium only when asked."""
    if "PongNoFrameskip-v4" not in gymnasium.registry:
        register_v0_v4_envs()
    return make_atari_env("atari_pong", config, env_config, render_mode)


def main() -> None:
    """Train until somebody ends it."""
    envs, workers, epochs = map(int, sys.argv[2:5])
    register_env("atari_pong", make_pong)
    with tempfile.TemporaryDirectory() as folder:
        config = parse_atari_args([
            "--algo=APPO", "--env=atari_pong", "--experiment=bench", f"--train_dir={folder}",
            "--device=cpu", "--seed=1", f"--train_for_env_steps={ENDLESS}",
            "--summaries_use_frameskip=False",  # count steps, not frames
            # its documentation's advice for throughput: a worker a core, double-buffered sampling
            f"--num_workers={workers}", f"--num_envs_per_worker={envs // workers}",
            "--worker_num_splits=2", "--async_rl=True",
            f"--num_epochs={epochs}",
            "--decorrelate_envs_on_one_worker=False",  # steps before the first update: not counted
        ])  # fmt: skip
        _, runner = make_runner(config)
        runner.register_observer(Tell())
        runner.init()
        runner.run()


if __name__ == "__main__":
    main()
