"""False alarms and power of fidelity and diversity, on simulated people whose images cluster.

    python tests/benchmarks/clusters.py [DRAWS] [SIZE]

A person is a point in 32 dimensions, its 16 images lie around it. In each draw all people are new: some are
trained on, some held out, some stand for the samples. For each form of samples it prints the share of
perfect sets that each verdict calls bad, that each number puts beyond its limit (1 in 700 is promised),
and that it puts outside of its band (1 in 20; independent images do better than the stacks behind the band).
Then for each fault and number of people: the answers. With 200 draws of SIZE 256 it takes
an hour on one core.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from alzgan.device.streams import stream
from alzgan.evaluation.fidelity import INDEPENDENT, PEOPLE, UNKNOWN, fidelity, sets_of
from alzgan.evaluation.numbers import Number
from alzgan.evaluation.power import noticed
from alzgan.evaluation.reference import Images, Reference
from alzgan.evaluation.verdicts import answered, of_all, questions_of
from alzgan.metrics.sets import Features

DIMENSIONS, SLICES = 32, 16
SCALE = np.arange(1, DIMENSIONS + 1) ** -0.5  # of the features' deviations
POOL, GROUPS = 2500, 60


class Form(NamedTuple):
    """How samples come: whole stacks or one image each, with or without names; `form` as of `sets_of`."""

    stacks: bool
    names: bool
    form: str


FORMS = {
    "stacks with names": Form(True, True, PEOPLE),
    "stacks without names": Form(True, False, UNKNOWN),
    "independent images of a generator": Form(False, False, INDEPENDENT),
    "independent images of a folder": Form(False, False, UNKNOWN),
}


class Clusters:
    """A feature space in which an image is the row of its features.

    Args:
        table: (N, F).
    """

    name = space = extractor = "clusters"

    def __init__(self, table: np.ndarray):
        self.table, self.found = torch.from_numpy(table), {}

    def probabilities(self, features: torch.Tensor) -> None:
        """It knows no classes."""

    def together(self, *several: Images) -> list[tuple[Features, ...]]:
        """As of `alzgan.evaluation.spaces.Space`."""
        return [tuple(Features(self.table[each.pixels.flatten()], each.people, self) for each in several)]

    def once(self, what: str, find: Callable[[], Any]) -> Any:
        """As of `alzgan.evaluation.spaces.Space`."""
        if what not in self.found:
            self.found[what] = find()
        return self.found[what]


class World(NamedTuple):
    """One draw of people."""

    space: Clusters
    samples: Images
    reference: Reference


def people(noise: np.random.Generator, count: int, spread: float = 1.0) -> np.ndarray:
    """The images (count, SLICES, DIMENSIONS) of people: who they are, the slice's place, and noise."""
    kinds = spread * noise.normal(size=(count, 1, DIMENSIONS)) * SCALE
    places = 0.5 * np.linspace(-1, 1, SLICES)[:, None] * SCALE[::-1]
    return kinds + places + 0.25 * noise.normal(size=(count, SLICES, DIMENSIONS)) * SCALE


# What is wrong with a set: each takes people drawn for it, and gives their images.
FAULTS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "nothing": people,
    "half of the spread between people": lambda noise, count: people(noise, count, 0.6),
    "a shift of 0.6 deviations": lambda noise, count: people(noise, count) + 0.6 * SCALE,
    "a quarter of the kinds missing": lambda noise, count: without_kinds(noise, count, 0.25),
    "half of the kinds missing": lambda noise, count: without_kinds(noise, count, 0.5),
    "5 % noise": lambda noise, count: with_noise(noise, count, 0.05),
    "15 % noise": lambda noise, count: with_noise(noise, count, 0.15),
    "half noise": lambda noise, count: with_noise(noise, count, 0.5),
}


def without_kinds(noise: np.random.Generator, count: int, share: float) -> np.ndarray:
    """People without those at one end of the first dimension."""
    found = people(noise, 4 * count)
    return found[np.argsort(found.mean(1)[:, 0])[round(4 * share * count) :]][noise.permutation(count)]


def with_noise(noise: np.random.Generator, count: int, share: float) -> np.ndarray:
    """People, a share of whose images are far from everybody."""
    found = people(noise, count)
    changed = noise.random(found.shape[:2]) < share
    found[changed] = 3 * noise.normal(size=(changed.sum(), DIMENSIONS)) * SCALE
    return found


def world(form: Form, fault: str, seed: int, size: int, trained_on: int = 120, held_out: int = 80) -> World:
    """One draw of people, with samples of a form and with a fault."""
    noise = stream(seed, "clusters")
    real = people(noise, trained_on + held_out)
    count = size // SLICES if form.stacks else size
    made = FAULTS[fault](noise, count)
    if not form.stacks:
        made = made[np.arange(count), noise.integers(SLICES, size=count)][:, None]
    who = np.repeat(np.arange(len(made)), made.shape[1])
    table = np.concatenate([real.reshape(-1, DIMENSIONS), made.reshape(-1, DIMENSIONS)])
    order = noise.permutation(len(who))
    samples = images(len(table) - len(who) + order, who[order] if form.names else None)
    owners = np.repeat(np.arange(len(real)), SLICES)
    sides = [
        images(np.flatnonzero(side), owners[side]) for side in (owners < trained_on, owners >= trained_on)
    ]
    return World(Clusters(table), samples, Reference(*sides, ["all"]))


def images(rows: np.ndarray, who: np.ndarray | None) -> Images:
    """Images whose one pixel is their row in the table."""
    return Images(torch.from_numpy(rows)[:, None, None, None], np.zeros(len(rows), int), who)


def judged(
    drawn: World, form: Form, seed: int, size: int, groups: int = GROUPS, with_power: bool = False
) -> tuple[list[Number], dict[str, str]]:
    """The numbers beside held-out people, and the answers."""
    sets = sets_of(drawn.samples, drawn.reference, size, POOL, groups, seed, form.form)
    numbers = of_all(fidelity(sets, [drawn.space], seed, whole=False))
    faults = noticed(sets, [drawn.space], numbers, seed) if with_power else []
    answers = (answered(question, numbers, faults) for question in questions_of(numbers))
    return numbers, {each["question"]: each["answer"] for each in answers}


def false_alarms(form: Form, seeds: range, size: int) -> dict[str, Counter]:
    """How many perfect sets each verdict calls bad, and each number puts beyond its limit or off its band."""
    found = {"bad": Counter(), "beyond": Counter(), "off the band": Counter()}
    for seed in seeds:
        numbers, answers = judged(world(form, "nothing", seed, size), form, seed, size)
        found["bad"].update(question for question, answer in answers.items() if answer == "bad")
        for number in numbers:
            found["beyond"][number.metric.name] += not number.within
            found["off the band"][number.metric.name] += (
                not number.unseen.low <= number.value <= number.unseen.high
            )
    return found


def power(seeds: range, size: int, trained_on: int, held_out: int) -> Iterator[tuple[str, Counter]]:
    """The answers to each question about independent images with each fault."""
    form = FORMS["independent images of a generator"]
    for fault in FAULTS:
        answers: Counter = Counter()
        for seed in seeds:
            drawn = world(form, fault, seed, size, trained_on, held_out)
            _, found = judged(drawn, form, seed, size, with_power=True)
            answers.update(f"{question} {answer}" for question, answer in found.items())
        yield fault, answers


def main(draws: int = 200, size: int = 256) -> None:
    """Print both tables."""
    for name, form in FORMS.items():
        for what, counts in false_alarms(form, range(draws), size).items():
            shares = {each: f"{count / draws:.1%}" for each, count in sorted(counts.items())}
            print(f"{name}, {what}: {shares}", flush=True)
    for trained_on, held_out in ((120, 80), (40, 20), (20, 6)):
        for fault, answers in power(range(draws // 5), size, trained_on, held_out):
            shares = {each: f"{count / (draws // 5):.0%}" for each, count in sorted(answers.items())}
            print(f"{trained_on} people trained on, {held_out} held out, {fault}: {shares}", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
