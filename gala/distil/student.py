"""The student: an actor-learner whose loss is what its teachers say, in a run folder of its own."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch loads, as in gala eval

import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from gala.agent.acting import Acting
from gala.agent.actor_learner import ActorLearner, Parts
from gala.agent.callbacks import Callbacks
from gala.agent.equipment import choose_device
from gala.agent.measuring import DivergenceMeter
from gala.agent.plan import vector_size
from gala.agent.progress import Progress
from gala.agent.recorder import Recorder
from gala.agent.setting import Setting
from gala.agent.training import exit_code
from gala.config.sections import EnvConfig
from gala.config.tree import Config
from gala.couplings.coupling import Independent
from gala.device.choose import stream_on
from gala.device.streams import Stream
from gala.distil.lesson import Lesson, require_free, shares, student_config
from gala.distil.teachers import Task, Teacher, Teachers, environments
from gala.divergence.policy import PolicyDivergence
from gala.divergence.updates import Updates
from gala.envs import VectorEnv, make_vector_env
from gala.envs.step import env_seeds
from gala.errors import NotFinite, UserError
from gala.experience import Collector
from gala.launch.launch import Launch
from gala.launch.signals import STOPPING, StopRequest
from gala.learning.auxiliary import Decorrelation
from gala.learning.learner import Learner
from gala.learning.mimic import FeatureMaps, MappedLearner, Mimic
from gala.networks import Network
from gala.networks.build import describe, network_of
from gala.networks.model import Model, choose_precision
from gala.parameters.flat import FlatParameters
from gala.parameters.schedule import scaled_lr
from gala.run.folder import prepare
from gala.telemetry.console import Console
from gala.topology import load_topology


def distil(lesson: Lesson, *, quiet: bool) -> tuple[int, list[Teacher]]:
    """Teach a student until its steps are done, or until asked to stop.

    Args:
        lesson: what is asked for.
        quiet: show nothing on standard output.

    Returns:
        The exit code, and its teachers; none where it was stopped.

    Raises:
        UserError: a teacher is missing or does not fit, or the folder cannot be made.
    """
    require_free(lesson.into)
    device = choose_device(dict(lesson.options).get("device", "auto"), Launch())
    teachers = [Teacher(path, device) for path in lesson.teachers]
    tasks = environments(teachers)
    config = student_config(teachers[0].config, tasks[0], len(teachers), lesson.options)
    _require_memory(config, teachers)
    with ExitStack() as stack:
        envs = _environments(config, tasks, stack)
        network = network_of(config, envs[0].observation_space, envs[0].action_space)
        setting = _setting(lesson, config, device, network)
        stop = stack.enter_context(_asked())
        opening = _opening(lesson, setting, teachers, envs, network)
        student = _build(lesson, setting, teachers, envs, network, stop, None if quiet else opening)
        stack.callback(student.close)
        try:
            with student.stream.current():
                student.run()
        except NotFinite as lost:
            raise UserError(str(lost), file=lesson.into, hint="a smaller --a2c.lr") from None
        code = exit_code([student], stop)
    return code, [] if code or stop.requested else teachers


@contextmanager
def _asked() -> Iterator[StopRequest]:
    """Within, signals are wishes to stop; after it they are what they were."""
    before = {number: signal.getsignal(number) for number in STOPPING}
    try:
        yield StopRequest().install()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _require_memory(config: Config, teachers: Sequence[Teacher]) -> None:
    """Refuse a student that forgets what a teacher goes by.

    Raises:
        UserError: naming the option.
    """
    for each in teachers:
        if each.policy.model.memory is not None and not config.network.remembers:
            memory = each.config.network.memory
            rule = f"{each.path} goes by what it remembers, and the student remembers nothing"
            raise UserError(rule, field="--network.memory", hint=memory)


def _environments(config: Config, tasks: Sequence[EnvConfig], stack: ExitStack) -> list[VectorEnv]:
    """A vector for each teacher; ``stack`` closes them.

    Raises:
        UserError: one cannot be made.
    """
    threads = config.threads or Launch().threads
    torch.set_num_threads(threads)
    counts = shares(config.env.num_envs, len(tasks))
    made = []
    for task, count, seed in zip(tasks, counts, env_seeds(config.seed, len(tasks)), strict=True):
        env = make_vector_env(replace(task, num_envs=count), seed=seed, threads=threads)
        stack.callback(env.close)
        made.append(env)
    return made


def _setting(lesson: Lesson, config: Config, device: torch.device, network: Network) -> Setting:
    """The run folder, and what the agent in it is given.

    Raises:
        UserError: it cannot be made.
    """
    topology = load_topology(config.topology, 1)
    facts: dict[str, Any] = {
        "command": lesson.command,
        "distilled": [str(path) for path in lesson.teachers],
        "torch": torch.__version__,
        "parameters": vector_size(network),
        "frames_per_step": 1,
    }
    run = prepare(
        lesson.into,
        config=config,
        agents=1,
        topology=topology.to_json(),
        facts=facts,
        resume=False,
    )
    return Setting(
        config=config,
        launch=Launch(),
        run=run,
        run_id=run.read_meta()["run_id"],
        topology=topology,
        device=device,
        threads=config.threads or Launch().threads,
    )


def _build(
    lesson: Lesson,
    setting: Setting,
    teachers: Sequence[Teacher],
    envs: Sequence[VectorEnv],
    network: Network,
    stop: StopRequest,
    opening: list[str] | None,
) -> ActorLearner:
    """The student, ready to run; it shows ``opening`` and its progress, None: nothing."""
    config, stream = setting.config, stream_on(setting.device)
    model = _model(setting, network)
    memory = network.memory
    source = Collector(
        envs,
        model.act,
        network.head,
        n_step=config.learning.n_step,
        gamma=config.learning.gamma,
        reward_clip=False,
        generator=torch.Generator(setting.device).manual_seed(setting.seed(0)),
        stream=stream,
        memory=None if memory is None else memory.shape,
    )
    learner = _learner(lesson, setting, teachers, [env.num_envs for env in envs], model, stream)
    coupling = Independent()
    progress = Progress(setting, coupling, stop)
    recorder = Recorder(setting, progress.reader, _console(setting, opening))
    norms = Updates(model.flat.weights, stream if setting.device.type != "cpu" else None)
    behaviour = PolicyDivergence(source.recent, model.at, network.head.kl)
    return ActorLearner(
        Parts(
            setting=setting,
            stream=stream,
            model=model,
            acting=Acting(model, every=1),
            source=source,
            learner=learner,
            coupling=coupling,
            norms=norms,
            meter=DivergenceMeter(setting, model.flat, norms, coupling, behaviour),
            progress=progress,
            recorder=recorder,
            callbacks=Callbacks(
                {}, rank=0, run=setting.run.path, flat=model.flat, tell=recorder.tell
            ),
        )
    )


def _model(setting: Setting, network: Network) -> Model:
    network = network.to(setting.device)
    dtype = choose_precision(setting.config.network.precision, network, setting.device)
    flat = FlatParameters(network, buffers=network.statistics)
    return Model(network, flat, dtype, observations=setting.steps_per_update)


def _learner(
    lesson: Lesson,
    setting: Setting,
    teachers: Sequence[Teacher],
    counts: Sequence[int],
    model: Model,
    stream: Stream,
) -> Learner:
    config, begin = setting.config, 0
    tasks = []
    for teacher, count in zip(teachers, counts, strict=True):
        tasks.append(Task(teacher, slice(begin, begin + count), lesson.temperature))
        begin += count
    teach = Teachers(tasks, counts, setting.device).teach
    coef = config.network.decorrelate
    more: dict[str, Any] = {
        "lr": scaled_lr(config.learning, config.env.num_envs),
        "stream": stream,
        "auxiliaries": [Decorrelation(coef)] if coef else [],
    }
    if not lesson.features:
        return Learner(Mimic(config.learning, teach), model, **more)
    widths, generator = [each.width for each in teachers], torch.Generator()
    size = model.module.logits.in_features
    maps = FeatureMaps(size, widths, generator.manual_seed(setting.seed(3))).to(setting.device)
    mimic = Mimic(config.learning, teach, maps, lesson.features)
    return MappedLearner(mimic, model, maps, **more)


def _console(setting: Setting, opening: list[str] | None) -> partial[Console] | None:
    if opening is None:
        return None
    return partial(
        Console,
        run_dir=setting.run.path,
        opening=opening,
        agents=1,
        total_steps=setting.config.total_steps,
        every_s=setting.config.log.console_s,
    )


def _opening(
    lesson: Lesson,
    setting: Setting,
    teachers: Sequence[Teacher],
    envs: Sequence[VectorEnv],
    network: Network,
) -> list[str]:
    """Lines for the terminal: who teaches what, and to whom."""
    config, temperature = setting.config, lesson.temperature
    heat = "" if temperature is None else f", temperature {temperature:g}"
    maps = f", features {lesson.features:g}" if lesson.features else ""
    return [
        f"gala: a student of {len(teachers)} teachers, {config.total_steps:,} steps, "
        f"seed {config.seed}",
        *(
            f"  teacher    {each.text}; {env.num_envs} environments"
            for each, env in zip(teachers, envs, strict=True)
        ),
        *(f"  {name:10} {text}" for name, text in envs[0].opening),
        f"  learns     {config.learning.n_step} steps of each environment an update{heat}{maps}, "
        f"on {setting.device}",
        f"  network    {describe(network, config.network)}",
        f"  run        {setting.run.path}",
    ]
