"""What the scripts of the peers share: the images they train on, the clock, and the samples they leave.

    python tests/benchmarks/peers/PEER.py RUN OUT [--minutes 20 60] [--count 1000] [--seed 0]

A peer trains on the images of the people in train of a run of alzgan: the same people, crop, size and greys.
Minutes are the processor's, over the number of threads: neither other programs nor the time spent on samples
count. Samples go to `OUT/20_minutes`, as PNG files, for `alzgan.evaluate
samples=`, and what was done to `OUT/peer.json`.
"""

import argparse
import random
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from alzgan.device.pixels import to_float
from alzgan.files import write_json
from alzgan.generation.formats import write_png
from alzgan.runs.config import checkpoint_file, compose_config
from alzgan.runs.data import data_of_run, run_and_data


class Peer(Protocol):
    """A generative model in training.

    Attributes:
        batch_size: real images in a step.
    """

    batch_size: int

    def step(self, real: Tensor) -> None:
        """Take one step on real images (batch_size, 1, side, side) in [-1, 1]."""

    def sample(self, count: int) -> Tensor:
        """Images (count, 1, side, side) in [-1, 1]."""


def compete(name: str, make: Callable[[int], Peer], packages: Sequence[str]) -> None:
    """Train the peer that `make(side)` gives as the command line says, and save its samples.

    Args:
        name: of the peer, in words.
        make: makes the peer for images of a side in pixels, a multiple of 16.
        packages: whose versions are recorded.
    """
    options = command_line()
    torch.manual_seed(options.seed)
    random.seed(options.seed)  # lightweight-gan decides by it whether to augment
    images = images_in_train(options.run)
    peer = make(images.shape[-1])
    marks: list[dict[str, float]] = []
    about = {
        "name": name,
        "seed": options.seed,
        "threads": torch.get_num_threads(),
        "packages": {package: version(package) for package in ("torch", *packages)},
        "batch_size": peer.batch_size,
        "samples": marks,
    }
    spent, steps, batches = 0.0, 0, endless(images, peer.batch_size)
    for minutes in sorted(options.minutes):
        while spent < 60 * minutes:
            start = seconds()
            peer.step(next(batches))
            spent, steps = spent + seconds() - start, steps + 1
        marks.append({"minutes": minutes, "steps": steps})
        print(f"{minutes:g} minutes: {steps:,} steps of {peer.batch_size} images", flush=True)
        start, folder = seconds(), options.out / f"{minutes:g}_minutes"
        folder.mkdir(parents=True, exist_ok=True)
        write_json(options.out / "peer.json", about)  # sampling can take longer than training
        save(peer, options.count, folder)
        marks[-1]["seconds_of_sampling"] = seconds() - start
        write_json(options.out / "peer.json", about)


def seconds() -> float:
    """The processor's time so far, over the number of threads."""
    return time.process_time() / torch.get_num_threads()


def command_line() -> argparse.Namespace:
    """The command line's values."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path, help="a run of alzgan, for its people and their images")
    parser.add_argument("out", type=Path, help="a folder for samples")
    parser.add_argument("--minutes", type=float, nargs="+", default=[20.0, 60.0])
    parser.add_argument("--count", type=int, default=1000, help="of samples")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def images_in_train(run: Path) -> Tensor:
    """The images (N, 1, side, side) in [-1, 1] of the people that a run was trained on."""
    data = data_of_run(*run_and_data(checkpoint_file(str(run)), compose_config("evaluate", []), []))
    assert data.channels == 1, f"{run} was not trained on grey images"
    part = data.part("train")
    return to_float(part[range(len(part))][0])


def endless(images: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Batches of shuffled images, pass after pass; the last images of a pass that fill no batch wait."""
    while True:
        for rows in torch.randperm(len(images)).split(batch_size):
            if len(rows) == batch_size:
                yield images[rows]


def save(peer: Peer, count: int, folder: Path) -> None:
    """Save samples as PNG files."""
    for first in range(0, count, 100):
        for number, image in enumerate(peer.sample(min(100, count - first)), first):
            write_png(folder / f"{number:04}.png", image, {})
