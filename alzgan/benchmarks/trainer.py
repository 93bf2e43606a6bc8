"""alzgan's own training, paced for a contest or taken apart into stages."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

from hydra.utils import instantiate
from lightning import Callback, Trainer
from omegaconf import DictConfig

from alzgan.benchmarks.contest import Finished, Pace, elapsed, synchronize
from alzgan.callbacks.checkpoint import RunCheckpoint
from alzgan.callbacks.quality import Quality
from alzgan.callbacks.samples import FixedLatentSamples
from alzgan.gan import GAN
from alzgan.runtime.overhead import leave_out_needless_work
from alzgan.runtime.quiet import quiet
from alzgan.training import build_model, build_trainer

SAMPLES = 256
SKIP = 5  # first steps that do not count: kernels are chosen, graphs captured
STEPS = 20
SELDOM = 1_000_000


def train(settings: DictConfig, *probes: Callback) -> None:
    """Train as `alzgan.training.run` does, with callbacks added behind all others."""
    leave_out_needless_work()
    with quiet():
        data = instantiate(settings.data, _convert_="all")
        data.setup()
        trainer = build_trainer(settings, {}, None)
        trainer.callbacks.extend(probes)
        trainer.fit(build_model(settings), datamodule=data)


def paced(pace: Pace, settings: DictConfig) -> None:
    """The real Trainer with its callbacks and its logger: all that belongs to a step.

    What comes every few epochs would fall into some rounds and not into others: see `BetweenSteps`.
    """
    for name in ("quality", "samples"):
        if settings.callbacks.get(name) is not None:
            settings.callbacks[name].every_n_epochs = SELDOM
    train(settings, Paced(pace))


class Paced(Callback):
    """Let the Trainer run only when it is told to.

    Args:
        pace: the line to the process that measures.
    """

    def __init__(self, pace: Pace):
        self.pace = pace

    def on_train_start(self, trainer: Trainer, pl_module: GAN) -> None:
        """Wait for the first round."""
        self.pace.wait()

    def on_train_batch_end(self, *args: Any) -> None:
        """Count a step."""
        self.pace.step_done()


class Stages(Callback):
    """Seconds a step of each stage of the training, from a few steps on; the rest is Lightning's.

    A stage within a stage counts for itself alone. On a CUDA device each stage waits for the device, so that
    their sum is more than an undisturbed step takes; batches of a resident data set count as Lightning's.
    """

    def __init__(self):
        self.seconds: dict[str, float] = defaultdict(float)
        self.within = 0.0  # seconds of the stages within the one that runs

    def on_fit_start(self, trainer: Trainer, pl_module: GAN) -> None:
        """Put a clock around each stage."""
        data = trainer.datamodule
        for owner, method, stage in (
            (data.dataset, "__getitem__", "data"),
            (data, "on_after_batch_transfer", "data"),
            (pl_module, "latents", "latents"),
            (pl_module, "alternation", "making fakes"),  # what both steps within it leave
            (pl_module, "discriminator_step", "discriminator step"),
            (pl_module, "generator_step", "generator step"),
            *((callback, "on_train_batch_end", "callbacks") for callback in trainer.callbacks[:-1]),
        ):
            self.clock(owner, method, stage)

    def clock(self, owner: Any, method: str, stage: str) -> None:
        """Add the time of each call of an object's method to a stage."""
        original = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            outside, self.within = self.within, 0.0
            start = time.perf_counter()
            result = original(*args, **kwargs)
            synchronize()
            taken = time.perf_counter() - start
            self.seconds[stage] += taken - self.within
            self.within = outside + taken
            return result

        setattr(owner, method, timed)

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        """Begin to count after the first steps."""
        if trainer.global_step == SKIP:
            self.seconds.clear()
            self.start = time.perf_counter()
        self.end = time.perf_counter()

    def milliseconds(self, steps: int) -> dict[str, float]:
        """Of each stage, of a whole step, and of what is neither."""
        counted = steps - SKIP
        stages = {name: 1e3 * seconds / counted for name, seconds in self.seconds.items()}
        whole = 1e3 * (self.end - self.start) / counted
        rest = whole - sum(stages.values())
        return {**stages, "Lightning": rest, "step": whole}


class BetweenSteps(Callback):
    """Time what a run does now and then, beside the steps between, and end the run.

    Raises:
        Finished: when all is measured.
    """

    def __init__(self):
        self.found: dict[str, Any] = {}

    def on_train_batch_end(self, trainer: Trainer, pl_module: GAN, *args: Any) -> None:
        """Time some steps after the first ones, then the rest."""
        if trainer.global_step == SKIP:
            synchronize()
            self.start = time.perf_counter()
        if trainer.global_step == SKIP + STEPS:
            synchronize()
            self.measure(trainer, pl_module, (time.perf_counter() - self.start) / STEPS)
            raise Finished

    def measure(self, trainer: Trainer, gan: GAN, step: float) -> None:
        """Seconds of each task, and its share of the run's time at the intervals that are set."""
        seconds = elapsed(lambda: gan.sample(gan.latents(SAMPLES, "benchmark")))
        self.found["samples_per_second"] = SAMPLES / seconds
        for name, (task, every_n_steps) in self.tasks(trainer, gan).items():
            seconds = elapsed(task)
            share = seconds / (seconds + every_n_steps * step)
            self.found[name] = {"seconds": seconds, "every_n_steps": every_n_steps, "share": share}

    @staticmethod
    def tasks(trainer: Trainer, gan: GAN) -> dict[str, tuple[Callable[[], Any], int]]:
        """What the run's callbacks do, and after how many steps each."""
        epoch, tasks = trainer.num_training_batches, {}
        for callback in trainer.callbacks:
            if isinstance(callback, Quality):
                tasks["quality"] = partial(callback.measure, gan), callback.every_n_epochs * epoch
            elif isinstance(callback, FixedLatentSamples):
                steps = callback.every_n_train_steps or (callback.every_n_epochs or 0) * epoch
                if steps:
                    tasks["grid"] = partial(callback.draw, trainer, gan), steps
            elif isinstance(callback, RunCheckpoint):
                tasks["checkpoint"] = partial(callback.save, trainer, "last"), callback.every_n_train_steps
        return tasks


def stage_times(settings: DictConfig, steps: int) -> dict[str, float]:
    """Milliseconds a step by stage, in this process."""
    stages = Stages()
    settings.trainer.max_steps = steps + SKIP
    settings.callbacks.quality = None  # at the end of the run, not in a step
    train(settings, stages)
    return stages.milliseconds(steps + SKIP)


def times_between_steps(settings: DictConfig) -> dict[str, Any]:
    """What is between the steps, in this process."""
    clock = BetweenSteps()
    with contextlib.suppress(Finished):
        train(settings, clock)
    return clock.found
