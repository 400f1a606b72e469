"""Who acts: the newest parameters, or a copy that trails them; and where it goes on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gala.agent.acting import Acting
from gala.config.sections import EnvConfig, LogConfig, NetworkConfig
from gala.learning.vmpo_config import VMPOConfig
from gala.networks.heads import CategoricalHead
from gala.networks.model import Model
from gala.networks.network import Network
from gala.networks.trunks import MLP
from gala.parameters.flat import FlatParameters
from gala.run import checkpoint
from gala.run.config import Config


def made(every: int, seed: int = 0) -> Acting:
    g = torch.Generator().manual_seed(seed)
    network = Network(MLP(4, (8,), g), None, 8, CategoricalHead(3), g)
    return Acting(Model(network, FlatParameters(network), torch.float32), every=every)


def change(acting: Acting, by: float = 1.0) -> None:
    """What an update does."""
    acting.newest.flat.data.add_(by)
    acting.newest.refresh()


def test_parameters_act_themselves_unless_a_copy_is_asked_for() -> None:
    acting = made(every=1)
    assert acting.model is acting.newest and acting.state_dict() == {}
    change(acting)
    assert acting.follow(1) == acting.newest.revision == 1


def test_a_copy_acts_and_says_which_revision_it_is() -> None:
    acting, obs = made(every=3), torch.ones(2, 4)
    first = acting.newest.act(obs)[0]
    for update in (1, 2):
        change(acting)
        assert acting.follow(update) == 0
        assert torch.equal(acting.model.act(obs)[0], first)
    change(acting)
    assert acting.follow(3) == acting.newest.revision == 3
    assert torch.equal(acting.model.act(obs)[0], acting.newest.act(obs)[0])
    assert not torch.equal(acting.model.act(obs)[0], first)


def test_a_copy_goes_on_from_its_state() -> None:
    acting = made(every=3)
    for update in range(1, 5):
        change(acting)
        acting.follow(update)
    other = made(every=3, seed=1)
    other.newest.flat.data.copy_(acting.newest.flat.data)
    other.newest.refresh()
    other.load_state_dict(acting.state_dict(), update=4)
    assert torch.equal(other.model.flat.data, acting.model.flat.data)
    assert other.newest.revision - other.revision == acting.newest.revision - acting.revision == 1
    change(other)
    assert other.follow(5) < other.newest.revision
    change(other)
    assert other.follow(6) == other.newest.revision


@pytest.mark.parametrize("state", [{}, None])
def test_who_has_no_state_begins_with_the_newest(state: dict[str, Any] | None) -> None:
    acting = made(every=3)
    change(acting)
    if state is None:
        acting.restart(7)
    else:
        acting.load_state_dict(state, update=7)
    assert torch.equal(acting.model.flat.data, acting.newest.flat.data)
    assert acting.revision == acting.newest.revision
    change(acting)
    assert acting.follow(9) < acting.newest.revision and acting.follow(10) == 2


def test_duals_are_saved_and_mixed_with_the_parameters(
    train_here: Callable[..., Any], tmp_path: Path
) -> None:
    config = Config(
        env=EnvConfig(id="gala/Identity-v0", num_envs=2),
        network=NetworkConfig(hidden=(8,)),
        algorithm="vmpo",
        vmpo=VMPOConfig(n_step=4, act_every=3, dual_lr=0.1),
        log=LogConfig(tensorboard=False),
        total_steps=8 * 10,
    )
    agent = train_here(config)
    state = checkpoint.load(checkpoint.path_of(checkpoint.folder_of(tmp_path / "run", 0), 10))
    assert state["layout"][-1] == ["duals.values", [3]]
    temperature, kl, deviation = state["params"][-3:].tolist()
    assert temperature != 1.0 and kl != 1.0 and deviation == 1.0
    assert state["acting"]["copied"] == 9 and agent.acting.model is not agent.model
    assert not torch.equal(state["acting"]["copy"], state["params"])
    assert agent.model.flat.learned == len(state["params"])  # what is published and mixed
