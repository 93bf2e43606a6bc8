"""What a user waits for around the training: commands, the first step, decoding, and how data sets grow."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from lightning import Callback, Trainer

from alzgan.benchmarks.contest import STATUS, peak_mebibytes, status
from alzgan.data.arrays import decode

REPEATS = 3
BATCHES = 20


class ExitAtFirstStep(Callback):
    """End the process as soon as one step is done: its whole time is that from the command to there."""

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        """Leave, without what belongs to the end of a run."""
        os._exit(0)


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns in a new process, whose memory and caches are its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def command_seconds(arguments: Sequence[str], code: int) -> float:
    """Median time of `python -m alzgan.train ARGUMENTS`, which must exit with the code.

    Raises:
        RuntimeError: it exits with another.
    """
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        command = [sys.executable, "-m", "alzgan.train", *arguments]
        result = subprocess.run(command, capture_output=True, text=True)
        seconds.append(time.perf_counter() - start)
        if result.returncode != code:
            raise RuntimeError(f"{' '.join(command)} has failed:\n{result.stderr}")
    return statistics.median(seconds)


def start_times(overrides: Sequence[str]) -> dict[str, float]:
    """Seconds to the first training step with cached data, of `--help` and of a refused override."""
    with tempfile.TemporaryDirectory() as folder:
        # One after the other in one folder would be the same run.
        run_dir = f"run_dir={folder}/${{now:%H-%M-%S-%f}}"
        first_step = [*overrides, run_dir, "+callbacks.exit._target_=alzgan.benchmarks.costs.ExitAtFirstStep"]
        command_seconds(first_step, code=0)  # fills the caches
        return {
            "first_step": command_seconds(first_step, code=0),
            "help": command_seconds(["--help"], code=0),
            "refused_override": command_seconds(["model.latent_dim=many", run_dir], code=1),
        }


def decoding_times(root: str, image_size: int, channels: int) -> dict[str, dict[str, float]]:
    """Of the first start on a folder (cold: into an empty cache) and the next one (warm)."""
    with tempfile.TemporaryDirectory() as cache:
        arguments = (root, image_size, channels, cache)
        return {name: apart(decode_once, *arguments) for name in ("cold", "warm")}


def decode_once(root: str, image_size: int, channels: int, cache: str) -> dict[str, float]:
    """Seconds, images a second and memory of one decoding in this process."""
    before = peak_mebibytes()
    start = time.perf_counter()
    images = decode(root, image_size=image_size, channels=channels, cache_dir=cache, progress=False).images
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "images_per_second": len(images) / seconds,
        "mebibytes_above_imports": peak_mebibytes() - before,
    }


def growth_with_images(counts: Sequence[int], image_size: int, batch: int) -> list[dict]:
    """Time and memory of the first batches of array files with so many grey images."""
    with tempfile.TemporaryDirectory() as folder:
        return [
            {"images": count, **apart(first_batches, Path(folder), count, image_size, batch)}
            for count in counts
        ]


def first_batches(folder: Path, count: int, image_size: int, batch: int) -> dict[str, float]:
    """Map an array file and take batches; the file's own pages are not counted."""
    from alzgan.data.loader import ShuffledBatches, SliceDataset

    path = folder / f"{count}.npy"
    write_noise(path, (count, image_size, image_size, 1))
    before = anonymous_mebibytes()
    start = time.perf_counter()
    images = np.load(path, mmap_mode="r", allow_pickle=False)
    data = SliceDataset(images, np.zeros(count, dtype=np.int64), np.arange(count))
    order = iter(ShuffledBatches(count, batch, seed=0, step=lambda: 0))
    data[next(order)]
    first = time.perf_counter() - start
    start = time.perf_counter()
    for _ in range(min(BATCHES, count // batch - 1)):
        data[next(order)]
    seconds = time.perf_counter() - start
    memory = anonymous_mebibytes() - before
    path.unlink()
    return {
        "first_batch_seconds": first,
        "images_per_second": min(BATCHES, count // batch - 1) * batch / seconds,
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
    return int(status()["RssAnon"].split()[0]) / 2**10 if STATUS.is_file() else peak_mebibytes()
