"""Values that change over a run, as functions of the fraction of it that is done.

A schedule may stand wherever a number does in an optimizer (its learning rate, one of its betas) and in the
modules of the game that say so (a penalty's weight, the average's half-life)::

    model.generator_optimizer.lr: {_target_: alzgan.schedules.Cosine, start: 2e-4, end: 5e-5}
"""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from alzgan.errors import SettingError, fraction

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]


class Schedule:
    """From `start` to `end`, between the fractions `since` and `until` of the run.

    Args:
        start: the first value.
        end: the last value.
        until: in [0, 1]; from there on the value stays.
        since: in [0, 1]; up to there it is the first one.

    Raises:
        SettingError: one of these is no fraction, or the end lies before the beginning.
    """

    def __init__(self, start: float, end: float, until: float = 1.0, since: float = 0.0):
        fraction(until=until, since=since)
        if since > until:
            raise SettingError(f"since={since} must not be behind until={until}")
        self.start, self.end, self.until, self.since = start, end, until, since

    def __call__(self, done: float) -> float:
        """The value when the fraction `done` in [0, 1] of the run is done."""
        length = self.until - self.since
        way = min(1.0, max(0.0, (done - self.since) / length)) if length > 0 else float(done >= self.until)
        return self.start + (self.end - self.start) * self.shape(way)

    def shape(self, way: float) -> float:
        """Which part of the change is made on which part of the way, both from 0 to 1."""
        raise NotImplementedError


class Linear(Schedule):
    """Evenly."""

    def shape(self, way: float) -> float:
        """As far as the way."""
        return way


class Cosine(Schedule):
    """Slowly at both ends (Loshchilov & Hutter 2017, "SGDR", without restarts)."""

    def shape(self, way: float) -> float:
        """Half a wave of the cosine."""
        return (1 - math.cos(math.pi * way)) / 2


def value_at(value: Any, done: float) -> Any:
    """The value of a schedule, or of each in a list of them; what is none stays as it is."""
    if isinstance(value, list | tuple) and any(isinstance(item, Schedule | float) for item in value):
        return tuple(float(value_at(item, done)) for item in value)  # Adam takes no 0 beside a 0.99
    return value(done) if isinstance(value, Schedule) else value


def make_optimizer(factory: OptimizerFactory, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The optimizer with the values that its schedules begin with."""
    options = {name: value_at(value, 0.0) for name, value in getattr(factory, "keywords", {}).items()}
    return partial(factory, **options)(parameters)


class Schedules:
    """All schedules of a game's modules and optimizers.

    A schedule in a module's attribute is replaced by a tensor, which follows it: what a CUDA graph has
    recorded reads the tensor anew. Checkpoints have those that a module names in `kept_schedules`.

    Args:
        game: the module that holds all others.
        factories: of its optimizers, in their order.
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
        self.of_optimizers = [dict(changing(getattr(factory, "keywords", {}))) for factory in factories]

    def __bool__(self) -> bool:
        return bool(self.of_modules) or any(self.of_optimizers)

    def follow(self, done: float, optimizers: Iterable[Optimizer]) -> None:
        """Set every value to where it is when the fraction `done` of the run is done."""
        for module, name, schedule in self.of_modules:
            getattr(module, name).fill_(schedule(done))
        for optimizer, options in zip(optimizers, self.of_optimizers, strict=True):
            for group in optimizer.param_groups:
                group.update({name: in_float32(value_at(value, done)) for name, value in options.items()})


def in_float32(value: Any) -> Any:
    """The nearest float32 of a number, or of each in a tuple: what a captured step reads from a tensor."""
    if isinstance(value, tuple):
        return tuple(map(in_float32, value))
    return torch.tensor(value, dtype=torch.float32).item()


def changing(options: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The options that are, or hold, a schedule."""
    for name, value in options.items():
        items = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(item, Schedule) for item in items):
            yield name, value
