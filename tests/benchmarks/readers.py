"""How often a reading study errs, with simulated readers: `python tests/benchmarks/readers.py [DRAWS]`."""

import sys
from collections import Counter

import numpy as np

from alzgan.metrics.reading import APART, CANNOT, CHANCE, ONE, OPEN, THREE, judged

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


def triples_of(
    noise: np.random.Generator, people: int, triples: int, spread: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A reader's answers (1, N), who names what looks oddest; the truths; the people in each triple (N, 2).

    Synthetic images look as odd as real ones. The deviation between people is `spread`, and 1 between the
    images of a person.
    """
    who = np.stack([noise.permutation(people)[:2] for _ in range(triples)])
    synthetic = noise.normal(0, np.hypot(1, spread), (triples, 1))
    real = noise.normal(0, spread, people)[who] + noise.normal(0, 1, who.shape)
    places = noise.permuted(np.tile(np.arange(3), (triples, 1)), axis=1)
    odd = np.take_along_axis(np.hstack([synthetic, real]), places, 1)
    return odd.argmax(1)[None] + 1, places.argmin(1) + 1, who


def of_triples(draws: int) -> None:
    """Print how often an interval contains chance if the same people are in many triples."""
    for people, triples in ((20, 100), (80, 100), (80, 400)):
        for spread in (0.0, 0.6, 1.0):
            noise, covered = np.random.default_rng(0), 0
            for _ in range(draws):
                told = judged(*triples_of(noise, people, triples, spread), THREE, MARGIN)["all"]["accuracy"]
                covered += told["low"] <= CHANCE[THREE] <= told["high"]
            print(
                f"{triples} triples of {people} people who differ by {spread}: {covered / draws:6.1%} covered"
            )


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
    draws = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    main(draws)
    of_triples(draws)
