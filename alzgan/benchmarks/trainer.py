"""alzgan's own training, paced for a contest or taken apart into stages."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from hydra.utils import instantiate
from lightning import Callback, Trainer
from omegaconf import DictConfig

from alzgan.benchmarks.contest import Finished, Pace, synchronize
from alzgan.callbacks.quality import Quality
from alzgan.gan import GAN
from alzgan.runtime.overhead import ask_the_runtime_for_devices
from alzgan.runtime.quiet import quiet
from alzgan.training import build_model, build_trainer

SAMPLES = 256


def train(settings: DictConfig, *probes: Callback) -> None:
    """Train as `alzgan.training.run` does, with callbacks added behind all others."""
    ask_the_runtime_for_devices()
    with quiet():
        data = instantiate(settings.data, _convert_="all")
        data.setup()
        trainer = build_trainer(settings, {}, None)
        trainer.callbacks.extend(probes)
        trainer.fit(build_model(settings), datamodule=data)


def paced(pace: Pace, settings: DictConfig) -> None:
    """The real Trainer with its callbacks and its logger."""
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

    On a CUDA device each stage waits for the device, so their sum is more than a step takes; batches of a
    resident data set count as Lightning's.

    Args:
        skip: first steps that do not count.
    """

    def __init__(self, skip: int = 3):
        self.skip = skip
        self.seconds: dict[str, float] = defaultdict(float)

    def on_fit_start(self, trainer: Trainer, pl_module: GAN) -> None:
        """Put a clock around each stage."""
        data = trainer.datamodule
        for owner, method, stage in (
            (data.dataset, "__getitem__", "data"),
            (data, "on_after_batch_transfer", "data"),
            (pl_module, "latents", "latents"),
            (pl_module, "discriminator_step", "discriminator step"),
            (pl_module, "generator_step", "generator step"),
            *((callback, "on_train_batch_end", "callbacks") for callback in trainer.callbacks[:-1]),
        ):
            self.clock(owner, method, stage)

    def clock(self, owner: Any, method: str, stage: str) -> None:
        """Add the time of each call of an object's method to a stage."""
        original = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = original(*args, **kwargs)
            synchronize()
            self.seconds[stage] += time.perf_counter() - start
            return result

        setattr(owner, method, timed)

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        """Begin to count after the first steps."""
        if trainer.global_step == self.skip:
            self.seconds.clear()
            self.start = time.perf_counter()
        self.end = time.perf_counter()

    def milliseconds(self, steps: int) -> dict[str, float]:
        """Of each stage, of a whole step, and of what is neither."""
        counted = steps - self.skip
        stages = {name: 1e3 * seconds / counted for name, seconds in self.seconds.items()}
        whole = 1e3 * (self.end - self.start) / counted
        rest = whole - sum(stages.values())
        return {**stages, "fakes and Lightning": rest, "step": whole}


class QualityClock(Callback):
    """Time the quality metric and sampling alone, before the first step, and end the run.

    Raises:
        Finished: when both are measured.
    """

    def __init__(self):
        self.found: dict[str, float] = {}

    def on_train_start(self, trainer: Trainer, pl_module: GAN) -> None:
        """Measure both once, after a warm-up."""
        pl_module.sample(pl_module.latents(64, "benchmark"))
        seconds = elapsed(lambda: pl_module.sample(pl_module.latents(SAMPLES, "benchmark")))
        self.found["samples_per_second"] = SAMPLES / seconds
        quality = next((c for c in trainer.callbacks if isinstance(c, Quality)), None)
        if quality is not None:
            self.found["quality_samples"] = quality.n_samples
            self.found["quality_seconds"] = elapsed(lambda: quality.measure(pl_module))
        raise Finished


def elapsed(action: Callable[[], object]) -> float:
    """Seconds that the action takes, the device included."""
    synchronize()
    start = time.perf_counter()
    action()
    synchronize()
    return time.perf_counter() - start


def stage_times(settings: DictConfig, steps: int) -> dict[str, float]:
    """Milliseconds a step by stage, in this process."""
    stages = Stages()
    settings.trainer.max_steps = steps + stages.skip
    settings.callbacks.quality = None  # at the end of the run, not in a step
    train(settings, stages)
    return stages.milliseconds(steps + stages.skip)


def quality_times(settings: DictConfig) -> dict[str, float]:
    """Seconds of a quality measurement, and samples a second, in this process."""
    clock = QualityClock()
    with contextlib.suppress(Finished):
        train(settings, clock)
    return clock.found
