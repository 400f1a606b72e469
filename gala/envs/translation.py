"""Between an environment and a policy: what it gives and takes, what the policy sees and does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from gala.envs.actions import ActionPlan, plan_actions
from gala.envs.flattening import Part, parts_of
from gala.envs.masks import Masks
from gala.envs.spaces import ObservationPlan, plan_observations
from gala.errors import UserError

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Translation:
    """Both directions, for one kind of environments.

    Attributes:
        given: the environment's observation space; that of its actions is ``actions.given``.
        observations: what becomes of observations.
        actions: what becomes of actions.
    """

    given: gymnasium.Space[Any]
    observations: ObservationPlan
    actions: ActionPlan

    def masks(self) -> Masks:
        """A new reader of the masks."""
        return Masks(self.given, self.actions.logits)

    def batch(self, observation: Any) -> tuple[Any, int, bool]:
        """One observation of the environment, or B of them, as B.

        Args:
            observation: of the space :attr:`given`, or with one axis more in front everywhere.

        Returns:
            What :meth:`~gala.envs.spaces.ObservationPlan.converter` takes; B; whether it was one.

        Raises:
            UserError: it is of another shape, or lacks a part.
        """
        parts = parts_of(self.given)
        leaves = [_leaf(part, observation) for part in parts]
        own = [part.space.shape or () for part in parts]
        if [leaf.shape for leaf in leaves] == own:
            return _nested(parts, [leaf[None] for leaf in leaves]), 1, True
        counts = {len(leaf) if leaf.ndim else 0 for leaf in leaves}
        if [leaf.shape[1:] for leaf in leaves] == own and len(counts) == 1 and 0 not in counts:
            return _nested(parts, leaves), counts.pop(), False
        for part, leaf, shape in zip(parts, leaves, own, strict=True):
            if leaf.shape not in (shape, (*leaf.shape[:1], *shape)):
                what = f"observation {part.name}".strip()
                rule = f"{what} has the shape {list(leaf.shape)}"
                hint = f"{list(shape)}, or of several {['B', *shape]}".replace("'", "")
                raise UserError(rule, hint=hint)
        raise UserError("the parts of the observation are not of one and the same number of them")


def translate(
    observation_space: gymnasium.Space[Any],
    action_space: gymnasium.Space[Any],
    *,
    channels: str = "auto",
    pad: int | None = None,
) -> Translation:
    """Decide what becomes of observations and actions.

    Args:
        observation_space: of one environment.
        action_space: of one environment.
        channels: the user's word on pictures, ``env.channels``.
        pad: likewise, ``env.pad_channels``.

    Raises:
        UserError: a space that is not supported, or that can be read in more than one way.
    """
    actions = plan_actions(action_space)
    masked = Masks(observation_space, actions.logits).in_observations
    seen = plan_observations(observation_space, channels=channels, masked=masked, pad=pad)
    return Translation(given=observation_space, observations=seen, actions=actions)


def difference(one: Translation, other: Translation) -> tuple[str, str] | None:
    """What of two kinds of environments keeps one network from both, in words; None: nothing.

    The number of a picture's channels does not count: ``env.pad_channels`` makes them equal.
    """
    if _form(one.observations.space) != _form(other.observations.space):
        return f"observes {one.observations.text}", f"observes {other.observations.text}"
    if one.actions.space != other.actions.space:
        return f"acts by {one.actions.text}", f"acts by {other.actions.text}"
    return None


def _form(space: gymnasium.Space[Any]) -> tuple[Any, ...]:
    """What observations need to have in common for one network."""
    if not isinstance(space, gymnasium.spaces.Box):
        return (space,)
    picture = len(space.shape) == 3
    scale = float(space.high.max()) if space.dtype == np.uint8 else None
    return space.shape[picture:], str(space.dtype), scale


def _leaf(part: Part, observation: Any) -> Array:
    try:
        return part.of(observation)
    except (KeyError, IndexError, TypeError):
        raise UserError(f"the observation has no part {part.name!r}") from None


def _nested(parts: list[Part], leaves: list[Array]) -> Any:
    """The leaves where the paths of their parts lead."""
    if not parts[0].path:
        return leaves[0]
    whole: dict[str | int, Any] = {}
    for part, leaf in zip(parts, leaves, strict=True):
        inner = whole
        for key in part.path[:-1]:
            inner = inner.setdefault(key, {})
        inner[part.path[-1]] = leaf
    return whole


def allowed(masks: Masks, batch: Any, given: Any, count: int) -> NDArray[np.bool_] | None:
    """Bool[B, K], the actions that are allowed; None: all are.

    Args:
        masks: of the translation.
        batch: B observations, which may hold masks.
        given: masks that come beside them, [K] or [B, K] of truth values; None: none do.
        count: B.

    Raises:
        UserError: ``given`` is of another shape.
    """
    if given is None:
        nothing: Mapping[str, Any] = {}
        return masks.of_reset(batch, nothing)
    found = np.asarray(given, np.bool_)
    wanted = (count, masks.logits)
    if not masks.logits or found.reshape(-1).size != count * masks.logits:
        rule = f"the mask has the shape {list(found.shape)}, wanted {list(wanted)}"
        raise UserError(rule, field="action_masks")
    return found.reshape(wanted)
