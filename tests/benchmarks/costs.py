"""What a step is made of, what is between the steps, what a user waits for, and how cost grows.

    python tests/benchmarks/costs.py FOLDER [PART ...] [override=value ...]

Parts: stages, between, start, growth, product; all of them take some minutes. Leave the machine alone
meanwhile.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, Trainer
from omegaconf import DictConfig, OmegaConf
from torch.utils.flop_counter import FlopCounterMode

from alzgan.benchmarks.contest import STATUS, Finished, peak_memory, synchronize
from alzgan.benchmarks.loops import BareGame, device_of, train
from alzgan.callbacks.checkpoint import RunCheckpoint
from alzgan.callbacks.quality import Quality
from alzgan.callbacks.samples import FixedLatentSamples
from alzgan.data.loader import ShuffledBatches, SliceDataset
from alzgan.gan import GAN
from alzgan.runs.config import compose_config

SAMPLES = 256
SKIP = 5  # first steps that do not count: kernels are chosen, graphs captured
STEPS = 20
REPEATS = 3
COUNTS = (1000, 10_000, 100_000, 1_000_000)
PRODUCT_SIDE = 2048


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
            (pl_module, "draw_turns", "draws"),
            (pl_module, "step", "making fakes"),  # what both losses and their descents leave
            (pl_module, "discriminator_loss", "discriminator loss"),
            (pl_module, "generator_loss", "generator loss"),
            (pl_module, "descend", "gradients and Adam"),
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
        return {**stages, "Lightning": whole - sum(stages.values()), "step": whole}


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
        labels = trainer.datamodule.draw_labels(SAMPLES, "benchmark").to(gan.device)
        seconds = elapsed(lambda: gan.sample(gan.latents(SAMPLES, "benchmark"), labels))
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
                    tasks["grid"] = partial(callback.draw, trainer), steps
            elif isinstance(callback, RunCheckpoint):
                tasks["checkpoint"] = partial(callback.save, trainer, "last"), callback.every_n_train_steps
        return tasks


class ExitAtFirstStep(Callback):
    """End the process as soon as one step is done: its whole time is that from the command to there."""

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        """Leave, without what belongs to the end of a run."""
        os._exit(0)


def stage_times(settings: DictConfig, steps: int = STEPS) -> dict[str, float]:
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


def start_times(overrides: Sequence[str]) -> dict[str, float]:
    """Seconds to the first training step with cached data, of `--help`, and of two refused overrides."""
    with tempfile.TemporaryDirectory() as folder:
        # One after the other in one folder would be the same run.
        run_dir = f"run_dir={folder}/${{now:%H-%M-%S-%f}}"
        first_step = [*overrides, run_dir, "+callbacks.exit._target_=costs.ExitAtFirstStep"]
        command_seconds(first_step, code=0)  # fills the caches
        return {
            "first_step": command_seconds(first_step, code=0),
            "help": command_seconds(["--help"], code=0),
            "unknown_name": command_seconds(["model.latent_dimension=1", run_dir], code=1),
            "bad_value": command_seconds(["model.latent_dim=many", run_dir], code=1),
        }


def command_seconds(arguments: Sequence[str], code: int) -> float:
    """Median time of `python -m alzgan.train ARGUMENTS`, which must exit with the code.

    Raises:
        RuntimeError: it exits with another.
    """
    seconds = []
    here = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    for _ in range(REPEATS):
        start = time.perf_counter()
        command = [sys.executable, "-m", "alzgan.train", *arguments]
        environment = {**os.environ, "PYTHONPATH": here}
        result = subprocess.run(command, capture_output=True, text=True, env=environment)
        seconds.append(time.perf_counter() - start)
        if result.returncode != code:
            raise RuntimeError(f"{' '.join(command)} has failed:\n{result.stderr}")
    return statistics.median(seconds)


def growth_with_images(counts: Sequence[int], image_size: int = 64, batch: int = 64) -> list[dict]:
    """Time and memory of the first batches of array files with so many grey images."""
    with tempfile.TemporaryDirectory() as folder:
        return [
            {"images": count, **apart(first_batches, Path(folder), count, image_size, batch)}
            for count in counts
        ]


def first_batches(folder: Path, count: int, image_size: int, batch: int) -> dict[str, float]:
    """Map an array file and take batches; the file's own pages are not counted."""
    path = folder / f"{count}.npy"
    write_noise(path, (count, image_size, image_size, 1))
    before = anonymous_mebibytes()
    start = time.perf_counter()
    images = np.load(path, mmap_mode="r", allow_pickle=False)
    data = SliceDataset(images, np.zeros(count, dtype=np.int64), np.arange(count))
    order = iter(ShuffledBatches(count, batch, seed=0, step=lambda: 0))
    data[next(order)]
    first = time.perf_counter() - start
    steps = min(STEPS, count // batch - 1)
    start = time.perf_counter()
    for _ in range(steps):
        data[next(order)]
    seconds = time.perf_counter() - start
    memory = anonymous_mebibytes() - before
    path.unlink()
    return {
        "first_batch_seconds": first,
        "images_per_second": steps * batch / seconds,
        "mebibytes": memory,
    }


def write_noise(path: Path, shape: tuple[int, int, int, int]) -> None:
    """Write a .npy file without holes, in which the system would have to make pages at each look."""
    block = np.random.default_rng(0).integers(256, size=(1000, *shape[1:]), dtype=np.uint8)
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, shape[0], len(block)):
            file.write(block[: shape[0] - start].data)


def anonymous_mebibytes() -> float:
    """Memory of this process that is no file's, now; on systems that do not tell, its peak with files."""
    if not STATUS.is_file():
        return peak_memory()["peak_mebibytes"]
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return int(lines["RssAnon"].split()[0]) / 2**10


def product_rates(settings: DictConfig) -> dict[str, float]:
    """FLOP/s of a square matrix product in float32 and bfloat16, and FLOPs of a step of the game."""
    device, rates = device_of(settings), {}
    for name, kind in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        left, right = (torch.randn(PRODUCT_SIDE, PRODUCT_SIDE, device=device).to(kind) for _ in "ab")
        # A CPU's convolutions are by another library than its products, which can be twice as fast.
        pixels, kernels = left.view(1, -1, 16, PRODUCT_SIDE).permute(0, 3, 1, 2), right.t()[:, :, None, None]
        ways = (partial(torch.mm, left, right), partial(torch.conv2d, pixels, kernels.contiguous()))
        best = min(elapsed(way) for way in ways for _ in range(STEPS))
        rates[name] = 2 * PRODUCT_SIDE**3 / best
    return {**rates, "flops_a_step": flops_of(BareGame(settings))}


def flops_of(game: BareGame) -> int:
    """FLOPs of a step without penalties, of which a multiply-add is two."""
    with FlopCounterMode(display=False) as counter:
        game.play(game.draw_turns(), ())
    return counter.get_total_flops()


def elapsed(action: Callable[[], object]) -> float:
    """Seconds that the action takes, the device included."""
    synchronize()
    start = time.perf_counter()
    action()
    synchronize()
    return time.perf_counter() - start


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns in a process with caches of its own, forked from one that has run nothing."""
    with ProcessPoolExecutor(1, mp_context=get_context("forkserver")) as pool:
        return pool.submit(function, *arguments).result()


def endless(folder: Path, overrides: Sequence[str]) -> DictConfig:
    """Resolved settings of a training without an end."""
    extra = ["trainer.max_epochs=1000000", f"run_dir='{folder}'", "++callbacks.progress.bar=false"]
    composed = compose_config("train", [*overrides, *extra])
    return OmegaConf.create(OmegaConf.to_container(composed, resolve=True))


def main() -> None:
    """Measure the parts and print what was found."""
    if len(sys.argv) < 2 or not Path(sys.argv[1]).is_dir():
        sys.exit(__doc__)
    overrides = ["data=mri", f"data.root='{sys.argv[1]}'", *(text for text in sys.argv[2:] if "=" in text)]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        parts = {
            "stages": lambda: apart(stage_times, endless(folder / "stages", overrides)),
            "between": lambda: apart(times_between_steps, endless(folder / "between", overrides)),
            "start": lambda: start_times(overrides),
            "growth": lambda: growth_with_images(COUNTS),
            "product": lambda: apart(product_rates, endless(folder / "product", overrides)),
        }
        for name in [text for text in sys.argv[2:] if "=" not in text] or parts:
            print(name, json.dumps(parts[name](), indent=2), flush=True)


if __name__ == "__main__":
    main()
