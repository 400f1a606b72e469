"""Environments whose steps are made elsewhere, by a worker at the other end of a link.

:class:`RemoteEnv` is the learner's side: a :class:`~gala.envs.step.VectorEnv` like any other, and
bit-identical to a local one of the same seed. ``poll`` in place of ``recv`` waits for nobody.
:func:`serve` is the worker's side. Neither needs torch.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from gala.config.sections import EnvConfig
from gala.envs import make_vector_env
from gala.envs.step import Array, Episode, State, Step, VectorEnv
from gala.envs.wire import Frame, Gone, Kind, Link
from gala.errors import UserError

_ALIGN = 8
_FINAL, _MASK = 1, 2
_ACTIONS = "?bBhHiIlLqQfd"
"""Types that an action may have, by NumPy's characters; their numbers travel."""
_GAME = np.dtype([("env", "<i8"), ("ret", "<f8"), ("length", "<i8")])


@dataclass(frozen=True, kw_only=True)
class Form:
    """What the arrays of a step of n environments are.

    Attributes:
        envs: n.
        obs: shape of one observation.
        dtype: its type, in NumPy's words.
        mask: K truth values that come with each observation; 0: none.
    """

    envs: int
    obs: tuple[int, ...]
    dtype: str
    mask: int

    @classmethod
    def of(cls, env: VectorEnv, envs: int, obs: Array) -> Form:
        """That of ``envs`` environments like those of ``env``, after its first reset.

        Args:
            env: gives the masks.
            envs: n.
            obs: [B, ...], what its reset returned.
        """
        mask = 0 if env.action_mask is None else env.action_mask.shape[1]
        return cls(envs=envs, obs=tuple(obs.shape[1:]), dtype=obs.dtype.str, mask=mask)

    def to_json(self) -> str:
        """As text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Form:
        """From :meth:`to_json`.

        Raises:
            ValueError: it is not.
        """
        given = json.loads(text)
        try:
            return cls(**given | {"obs": tuple(given["obs"])})
        except (TypeError, KeyError) as error:
            raise ValueError(str(error)) from None

    @property
    def size(self) -> int:
        """Bytes of the largest step, games aside."""
        return sum(_aligned(dtype.itemsize * math.prod(shape)) for dtype, shape in self._fields(3))

    def pack(self, step: Step, into: memoryview) -> tuple[int, int, memoryview]:
        """Write a step.

        Args:
            step: of n environments.
            into: at least :attr:`size` bytes, and 24 for each game that can end.

        Returns:
            Flags, number of games, and what was written.
        """
        arrays = [step.obs, step.reward, step.terminated, step.truncated, step.valid, step.first]
        flags = 0
        if step.final_obs is not None:
            arrays, flags = [*arrays, step.final_obs], flags | _FINAL
        if self.mask:
            full = np.ones((self.envs, self.mask), np.bool_)
            arrays = [*arrays, full if step.action_mask is None else step.action_mask]
            flags |= _MASK
        end = 0
        for array, (dtype, shape) in zip(arrays, self._fields(flags), strict=True):
            target = np.frombuffer(into, dtype, math.prod(shape), end).reshape(shape)
            target[...] = array
            end += _aligned(target.nbytes)
        games = np.array([(e.env, e.ret, e.length) for e in step.episodes], _GAME)
        np.frombuffer(into, _GAME, len(games), end)[:] = games
        return flags, len(games), into[: end + games.nbytes]

    def unpack(self, frame: Frame) -> Step:
        """The step of a frame; its arrays lie in the frame's payload.

        Raises:
            UserError: it is of another size.
        """
        fields, found, end = self._fields(frame.flags), [], 0
        size = sum(_aligned(dtype.itemsize * math.prod(shape)) for dtype, shape in fields)
        if frame.payload.nbytes != size + frame.count * _GAME.itemsize:
            raise UserError("a step of the other side has another size", field="env.id")
        for dtype, shape in fields:
            array = np.frombuffer(frame.payload, dtype, math.prod(shape), end).reshape(shape)
            found.append(array)
            end += _aligned(array.nbytes)
        obs, reward, terminated, truncated, valid, first, *more = found
        games = np.frombuffer(frame.payload, _GAME, frame.count, end)
        return Step(
            obs=obs,
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            valid=valid,
            final_obs=more.pop(0) if frame.flags & _FINAL else None,
            episodes=[Episode(int(e), float(r), int(n)) for e, r, n in games.tolist()],
            action_mask=more.pop(0) if frame.flags & _MASK else None,
            begins=first,
        )

    def _fields(self, flags: int) -> list[tuple[np.dtype[Any], tuple[int, ...]]]:
        rows, flag = (self.envs,), np.dtype(np.bool_)
        seen = np.dtype(self.dtype), (self.envs, *self.obs)
        fields = [seen, (np.dtype("<f4"), rows), *[(flag, rows)] * 4]
        if flags & _FINAL:
            fields.append(seen)
        if flags & _MASK:
            fields.append((flag, (self.envs, self.mask)))
        return fields


class RemoteEnv:
    """Environments at the other end of a link; see :class:`~gala.envs.step.VectorEnv`.

    Args:
        link: to a worker that was shown to be one; closed by :meth:`close`.
        config: of the environments, with their number.
        seed: of theirs.
        shown: one environment of the same kind, for what all have in common.
        form: what a step of theirs must be.
    """

    restorable = False

    def __init__(
        self, link: Link, config: EnvConfig, *, seed: int, shown: VectorEnv, form: Form
    ) -> None:
        self.link, self._form = link, form
        self.num_envs = config.num_envs
        self.observation_space: gymnasium.Space[Any] = shown.observation_space
        self.action_space: gymnasium.Space[Any] = shown.action_space
        self.opening, self.frames_per_step = shown.opening, shown.frames_per_step
        self.action_mask: NDArray[np.bool_] | None = None
        self._first: Array | None = None
        self._agreed = False
        link.send(Kind.ORDERS, orders_of(config, seed).encode())

    @property
    def masks(self) -> bool:
        """See :class:`~gala.envs.step.VectorEnv`."""
        return bool(self._form.mask)

    def begun(self) -> Array | None:
        """First observations, [B, ...], once they have come; for those who do not wait.

        Raises:
            Gone: the worker is over.
            UserError: it has no such environments, or others.
        """
        while self._first is None:
            frame = self.link.poll()
            if frame is None:
                return None
            self._open(frame)
        return self._first

    def reset(self) -> Array:
        """The first observations; there is no second reset.

        Raises:
            Gone: the worker is over.
            UserError: it has no such environments, or others.
        """
        while self._first is None:
            self._open(self.link.receive())
        return self._first

    def send(self, actions: Array) -> None:
        """See :class:`~gala.envs.step.VectorEnv`.

        Raises:
            Gone: the worker is over.
        """
        kind = _ACTIONS.index(actions.dtype.char)
        self.link.send(Kind.ACT, np.ascontiguousarray(actions).data, flags=kind)

    def poll(self) -> Step | None:
        """The outcome of the step that :meth:`send` started, once it has come.

        Raises:
            Gone: the worker is over.
            UserError: an environment has done wrong.
        """
        frame = self.link.poll()
        return None if frame is None else self._step(frame)

    def recv(self) -> Step:
        """See :class:`~gala.envs.step.VectorEnv`.

        Raises:
            Gone: the worker is over.
            UserError: an environment has done wrong.
        """
        return self._step(self.link.receive())

    def step(self, actions: Array) -> Step:
        """See :class:`~gala.envs.step.VectorEnv`."""
        self.send(actions)
        return self.recv()

    def state_dict(self) -> State:
        """Empty: a worker begins anew."""
        return {}

    def load_state_dict(self, state: State) -> None:
        """Nothing to restore."""

    def close(self) -> None:
        """Let the worker go."""
        try:
            self.link.send(Kind.BYE)
        except Gone:
            pass
        self.link.close()

    def _open(self, frame: Frame) -> None:
        """The form, and then the first observations."""
        if frame.kind == Kind.FORM and not self._agreed:
            if _form_in(frame) != self._form:
                here, there = self._form.to_json(), frame.text
                rule = "is another environment at its worker than in the agent"
                mistake = UserError(rule, field="env.id", hint=f"{there} instead of {here}")
                self.link.send(Kind.REFUSED, str(mistake).encode())
                raise mistake
            self._agreed = True
            return
        if frame.kind == Kind.STEP and not self._agreed:
            raise UserError("the other side has begun without a word", hint="is it a gala?")
        self._first = self._step(frame).obs

    def _step(self, frame: Frame) -> Step:
        if frame.kind == Kind.REFUSED:
            raise UserError(frame.text)
        if frame.kind != Kind.STEP:
            raise UserError(f"the other side sent a frame of kind {frame.kind}")
        step = self._form.unpack(frame)
        self.action_mask = step.action_mask
        return step


def orders_of(config: EnvConfig, seed: int) -> str:
    """What a worker is told: which environments it makes, and from which seed."""
    from pydantic import TypeAdapter

    plain = TypeAdapter(EnvConfig).dump_python(config, mode="json")
    return json.dumps({"env": plain, "seed": seed})


def read_orders(text: str) -> tuple[EnvConfig, int]:
    """Environments and seed of :func:`orders_of`.

    Raises:
        UserError: it is none; an agent of another version may know other options.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        given = json.loads(text)
        config = TypeAdapter(EnvConfig).validate_python(given["env"])
        return config, int(given["seed"])
    except (ValueError, KeyError, TypeError, ValidationError):
        rule = "the agent asks for environments with options that this version does not know"
        raise UserError(rule, hint="install the same version of gala on both") from None


def serve(link: Link, orders: str) -> None:
    """Make environments and step them until the agent is done with them.

    Args:
        link: to the agent.
        orders: of :func:`orders_of`.

    Raises:
        Gone: the agent has ended without a word.
        UserError: the environments cannot be made, have done wrong, or the agent wants others.
    """
    config, seed = read_orders(orders)
    env = make_vector_env(config, seed=seed)
    try:
        obs = env.reset()
        form = Form.of(env, env.num_envs, obs)
        link.send(Kind.FORM, form.to_json().encode())
        room = memoryview(bytearray(form.size + _GAME.itemsize * 2 * env.num_envs))
        _answer(link, form, _first_step(env, obs), room)
        while (frame := link.receive()).kind == Kind.ACT:
            env.send(_actions_in(frame, env))
            _answer(link, form, env.recv(), room)
        if frame.kind == Kind.REFUSED:
            raise UserError(frame.text)
    finally:
        env.close()


def _answer(link: Link, form: Form, step: Step, room: memoryview) -> None:
    flags, games, payload = form.pack(step, room)
    link.send(Kind.STEP, payload, flags=flags, count=games)


def _first_step(env: VectorEnv, obs: Array) -> Step:
    """What was no step: observations, each the first of a game."""
    none = np.zeros(env.num_envs, np.bool_)
    return Step(
        obs=obs,
        reward=np.zeros(env.num_envs, np.float32),
        terminated=none,
        truncated=none,
        valid=none,
        final_obs=None,
        episodes=[],
        action_mask=env.action_mask,
    )


def _actions_in(frame: Frame, env: VectorEnv) -> Array:
    """[B, ...], a copy: environments may keep their actions."""
    assert frame.flags < len(_ACTIONS), frame.flags
    given = np.frombuffer(frame.payload, np.dtype(_ACTIONS[frame.flags])).copy()
    return given.reshape(env.num_envs, *(env.action_space.shape or ()))


def _form_in(frame: Frame) -> Form | None:
    try:
        return Form.from_json(frame.text)
    except ValueError:
        return None


def _aligned(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN
