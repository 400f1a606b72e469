"""A2C on Pong with nothing around it, one process; a JSON line a rollout until it is killed.

Run by ../peers.py in gala's own environment, none of whose code it uses:

    python bare_loop.py ENVS THREADS [channels-last] [compile]

What can be had for little: ALE's own vector of environments, 64 filters in bfloat16, torch's fused
optimizer. Its variables for OpenMP and malloc are those of gala's agents; ../peers.py sets them.
What gala does without is here to be tried, by ../not_taken.py.
"""

import json
import sys
import time

import gymnasium
import torch
from ale_py.vector_env import AtariVectorEnv
from torch import nn
from torch.nn import functional as F

STEPS, GAMMA, RATE, ENTROPY, VALUE, CLIP = 5, 0.99, 7e-4, 0.01, 0.5, 0.5


def main() -> None:
    """Train until somebody ends it."""
    envs, threads, tried = int(sys.argv[1]), int(sys.argv[2]), set(sys.argv[3:])
    assert tried <= {"channels-last", "compile"}, tried
    layout = torch.channels_last if "channels-last" in tried else torch.contiguous_format
    torch.set_num_threads(threads)
    env = AtariVectorEnv(
        "pong",
        envs,
        num_threads=threads,
        reward_clipping=False,
        repeat_action_probability=0.0,
        life_loss_info=True,
        use_fire_reset=True,
        noop_max=30,
        autoreset_mode=gymnasium.vector.AutoresetMode.NEXT_STEP,
    )
    convolutions = nn.Sequential(
        nn.Conv2d(4, 32, 8, 4), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU(),
        nn.Conv2d(64, 64, 3, 1), nn.ReLU(), nn.Flatten(), nn.Linear(3136, 512), nn.ReLU(),
    ).to(memory_format=layout)  # type: ignore[call-overload]  # fmt: skip
    heads = nn.Linear(512, 7)
    parameters = [*convolutions.parameters(), *heads.parameters()]
    optimizer = torch.optim.Adam(parameters, RATE, (0.0, 0.99), 1e-5, fused=True)

    def network(obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            features = convolutions(obs.to(torch.bfloat16, memory_format=layout) / 255)
        out = heads(features.float())
        return out[:, :6], out[:, 6]

    if "compile" in tried:
        network = torch.compile(network, dynamic=False)
    first, _ = env.reset(seed=1)
    obs = torch.zeros((STEPS + 1, *first.shape), dtype=torch.uint8)
    obs[0].copy_(torch.from_numpy(first))
    actions = torch.zeros((STEPS, envs), dtype=torch.int64)
    reward, going = (torch.zeros((STEPS, envs)) for _ in range(2))
    steps = 0
    while True:
        with torch.no_grad():
            for t in range(STEPS):
                logits, _ = network(obs[t])
                actions[t] = torch.multinomial(logits.softmax(-1), 1).squeeze(-1)
                new, gained, ended, cut, _ = env.step(actions[t].numpy())
                obs[t + 1].copy_(torch.from_numpy(new))
                reward[t].copy_(torch.from_numpy(gained).sign())
                going[t].copy_(torch.from_numpy(~(ended | cut)))
            target = network(obs[STEPS])[1]
            targets = []
            for t in reversed(range(STEPS)):
                target = reward[t] + GAMMA * going[t] * target
                targets.append(target)
        wanted = torch.cat(targets[::-1])
        logits, value = network(obs[:STEPS].flatten(0, 1))
        log_p = F.log_softmax(logits, -1)
        chosen = log_p.gather(-1, actions.view(-1, 1)).squeeze(-1)
        gain = wanted - value
        entropy = -(log_p.exp() * log_p).sum(-1).mean()
        loss = -(gain.detach() * chosen).mean() + VALUE * gain.square().mean() - ENTROPY * entropy
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        obs[0].copy_(obs[STEPS])
        steps += STEPS * envs
        print(json.dumps({"t": time.time(), "steps": steps}), flush=True)


if __name__ == "__main__":
    main()
