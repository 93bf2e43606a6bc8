"""Values that change over a run, as functions of the fraction of the run that is done.

A schedule may replace any number of an optimizer (its learning rate, one of its betas), and those numbers of
the game's modules whose types say so (a penalty's weight, the average's half-life)::

    model.generator_optimizer.lr: {_target_: alzgan.schedules.Cosine, start: 2e-4, end: 5e-5}
"""

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

import torch
from torch import nn
from torch.optim import Optimizer

from alzgan.errors import SettingError, fraction

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]


class Played(Protocol):
    """What a follower reads of a game: its generator, and the number of images a step of all processes."""

    generator: nn.Module
    images_a_step: int


class Schedule:
    """A value that goes from `start` to `end` between the fractions `since` and `until` of the run.

    Args:
        start: the value up to `since`.
        end: the value from `until` on.
        until: fraction of the run, in [0, 1].
        since: fraction of the run, in [0, `until`].

    Raises:
        SettingError: `since` or `until` is out of its range.
    """

    def __init__(self, start: float, end: float, until: float = 1.0, since: float = 0.0):
        fraction(until=until, since=since)
        if since > until:
            raise SettingError(f"since={since} must not be after until={until}")
        self.start, self.end, self.until, self.since = start, end, until, since

    def __call__(self, done: float) -> float:
        """The value at the fraction `done` of the run, in [0, 1]."""
        length = self.until - self.since
        way = min(1.0, max(0.0, (done - self.since) / length)) if length > 0 else float(done >= self.until)
        return self.start + (self.end - self.start) * self.shape(way)

    def shape(self, way: float) -> float:
        """The share of the change that is complete after the share `way` of its time; both are in [0, 1]."""
        raise NotImplementedError


class Linear(Schedule):
    """A value that changes at a constant rate."""

    def shape(self, way: float) -> float:
        """The same share."""
        return way


class Cosine(Schedule):
    """A value that changes slowly at both ends (Loshchilov & Hutter 2017, "SGDR", without restarts)."""

    def shape(self, way: float) -> float:
        """Half a period of a cosine."""
        return (1 - math.cos(math.pi * way)) / 2


def value_at(value: Any, done: float) -> Any:
    """Evaluate a schedule, or each in a list; return any other value unchanged."""
    if isinstance(value, list | tuple) and any(isinstance(item, Schedule | float) for item in value):
        return tuple(float(value_at(item, done)) for item in value)  # Adam refuses an int beside a float
    return value(done) if isinstance(value, Schedule) else value


def make_optimizer(factory: OptimizerFactory, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """Make the optimizer with the first values of its schedules."""
    options = {name: value_at(value, 0.0) for name, value in getattr(factory, "keywords", {}).items()}
    return partial(factory, **options)(parameters)


class Schedules:
    """All schedules of a game's modules and optimizers.

    Each module's schedule is replaced by a tensor that follows it, because a CUDA graph reads tensors at each
    replay. Checkpoints keep the tensors that a module names in `kept_schedules`.

    Args:
        game: the module that contains all others.
        factories: of its optimizers, in order.
    """

    def __init__(self, game: nn.Module, factories: Iterable[OptimizerFactory]):
        self.of_modules = [
            (module, name, value)
            for module in game.modules()
            for name, value in list(vars(module).items())
            if isinstance(value, Schedule)
        ]
        for module, name, schedule in self.of_modules:
            delattr(module, name)
            kept = name in getattr(module, "kept_schedules", ())
            module.register_buffer(name, torch.tensor(schedule(0.0)), persistent=kept)
        self.of_optimizers = [
            {name: value for name, value in getattr(factory, "keywords", {}).items() if has_schedule(value)}
            for factory in factories
        ]

    def __bool__(self) -> bool:
        return bool(self.of_modules) or any(self.of_optimizers)

    def follow(self, done: float, optimizers: Iterable[Optimizer]) -> None:
        """Set every scheduled value for the fraction `done` of the run."""
        for module, name, schedule in self.of_modules:
            getattr(module, name).fill_(schedule(done))
        for optimizer, options in zip(optimizers, self.of_optimizers, strict=True):
            for group in optimizer.param_groups:
                group.update({name: in_float32(value_at(value, done)) for name, value in options.items()})


def in_float32(value: Any) -> Any:
    """Round a number, or each in a tuple, to float32, as a captured step reads it from a tensor."""
    if isinstance(value, tuple):
        return tuple(map(in_float32, value))
    return torch.tensor(value, dtype=torch.float32).item()


def has_schedule(value: Any) -> bool:
    """Whether an option is a schedule or a list with one."""
    items = value if isinstance(value, list | tuple) else [value]
    return any(isinstance(item, Schedule) for item in items)
