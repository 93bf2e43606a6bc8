"""How often a reading study errs, with simulated readers: `python tests/benchmarks/readers.py [DRAWS]`."""

import sys
from collections import Counter

import numpy as np

from alzgan.metrics.reading import APART, CANNOT, ONE, OPEN, judged

MARGIN = 0.1
IMAGES = 0.15  # the deviation between images of the chance to be recognised
READERS = {"guess": (0.5, 0.0), "right in 65 %": (0.65, 0.0), "right in 55 to 75 %": (0.65, 0.1)}


def answers_of(
    noise: np.random.Generator, readers: int, images: int, chance: float, spread: float
) -> tuple[np.ndarray, np.ndarray]:
    """The answers (R, N) of readers, and which images are synthetic."""
    truth = np.arange(images) % 2
    chances = chance + spread * noise.uniform(-1, 1, (readers, 1)) + IMAGES * noise.uniform(-1, 1, images)
    called = np.where(noise.random((readers, images)) < chances, truth, 1 - truth)
    return noise.integers(1, 4, called.shape) + 3 * called, truth


def main(draws: int) -> None:
    """Print a row for each kind and number of readers and of images."""
    for kind, (chance, spread) in READERS.items():
        for readers in (1, 2, 3, 5):
            for images in (100, 200, 400):
                noise, found, covered = np.random.default_rng(0), Counter[str](), 0
                for _ in range(draws):
                    answers, truth = answers_of(noise, readers, images, chance, spread)
                    told = judged(answers, truth, np.arange(images), ONE, MARGIN)
                    accuracy = told["all"]["accuracy"]
                    found[told["answer"]] += 1
                    covered += accuracy["low"] <= chance <= accuracy["high"]
                shares = "  ".join(f"{found[each] / draws:6.1%} {each}" for each in (APART, CANNOT, OPEN))
                print(f"{kind}, {readers} x {images}: {shares}  {covered / draws:6.1%} covered", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
