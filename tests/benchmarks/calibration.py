"""How often perfect samples are called bad: false alarms of every verdict and number, on real slices.

    python tests/benchmarks/calibration.py DIR [DRAWS] [FIRST] [copies]

DIR is a folder of real slices. In each draw a fifth of the people stand for the samples, a fifth are held out
and the rest were trained on, all drawn anew. The samples come as stacks with names and as stacks without. A
line for each form and draw, then the share that each verdict calls bad, and that each number puts beyond its
limit and off its band. FIRST is the first draw's number; with `copies` nothing else is judged, which takes a
tenth of the time. `clusters.py` does the same with simulated people, also for independent images, of which a
folder has too few, and says which faults are noticed; `sets.py` has samples that are bad.
"""

import sys
from collections import Counter, defaultdict
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from alzgan.data.datamodule import MRIDataModule
from alzgan.device.overhead import tune_process
from alzgan.device.streams import stream
from alzgan.evaluation.anatomy import Measured, anatomy
from alzgan.evaluation.copies import copies, on_copies
from alzgan.evaluation.fidelity import PEOPLE, UNKNOWN, fidelity, sets_of
from alzgan.evaluation.numbers import Number
from alzgan.evaluation.reference import Images, Reference, images_of
from alzgan.evaluation.spaces import at_hand, chosen_spaces
from alzgan.evaluation.verdicts import answered, notes_on_classes, of_all, questions_of
from alzgan.files import cache_folder, digest_of
from alzgan.images.likeness import Nearest, Search
from alzgan.people.subjects import PARTS

SIZE, POOL, DRAWS = 1000, 2500, 100  # as of preset=fast
FRACTIONS = (0.6, 0.2, 0.2)


class World(NamedTuple):
    """People who were trained on, who are held out, and unseen ones who stand for the samples."""

    reference: Reference
    unseen: Images


def world(root: str, seed: int) -> World:
    """One draw of people."""
    data = MRIDataModule(root, image_size=64, channels=1, split_seed=seed, fractions=FRACTIONS)
    data.read()
    train, held_out, unseen = (images_of(data, [part]) for part in ("train", "validation", "test"))
    return World(Reference(train, held_out, data.classes), shuffled(unseen, seed))


def everybody(root: str) -> Images:
    """All images of the folder."""
    data = MRIDataModule(root, image_size=64, channels=1)
    data.read()
    return images_of(data, list(PARTS))


def shuffled(images: Images, seed: int) -> Images:
    """In random order, as samples are."""
    return images.of(stream(seed, "calibration").permutation(len(images)))


def nearest_others(images: Images) -> Tensor:
    """Similarities (N, N) of each image to the 6 most alike ones of other people; -1 to all others."""
    who = torch.from_numpy(np.unique(images.people, return_inverse=True)[1])
    search = Search(images.pixels, who)
    search.levels = tuple((side, 3 * count, steps) for side, count, steps in search.levels)
    found = search.several(images.pixels, who)
    return torch.full((len(who), len(who)), -1.0).scatter_(1, found.index, found.similarity)


class Judge:
    """Gives verdicts; what is known of the images of the folder is computed once.

    Args:
        everything: all images with their people.
        many: so many draws follow that all images are compared with each other first.
    """

    def __init__(self, everything: Images, many: bool = True):
        tune_process()
        self.spaces = chosen_spaces(at_hand(), cache_folder(), torch.device("cpu"))
        for space in self.spaces:
            space.sets(Images(everything.pixels))
        self.row_of = {digest_of(image[None]): row for row, image in enumerate(everything.pixels)}
        self.measured = Measured()
        self.similarity = nearest_others(everything) if many else None

    def verdicts(
        self, samples: Images, reference: Reference, seed: int, form: str = PEOPLE, alone: bool = False
    ) -> tuple[dict[str, str], list[Number]]:
        """The answers, or that on copies `alone`, with how many copies there are, and the numbers."""
        sets = sets_of(samples, reference, SIZE, POOL, DRAWS, seed, form)
        numbers = []
        if not alone:
            numbers = fidelity(sets, self.spaces, seed, whole=False)
            numbers += anatomy(sets, seed, self.measured).numbers
        nearest, theirs = (self.nearest(images, reference) for images in (samples, reference.held_out))
        copied = copies(nearest, theirs, samples.people, reference, sets, self.spaces, seed)
        found = [answered(question, numbers) for question in questions_of(numbers)] + [on_copies(copied)]
        answers = {each["question"]: each["answer"] for each in found}
        share = f"{copied.copies.above / len(samples):.1%}, certain {copied.copies.certain_count}"
        return answers | {"above": share}, [*of_all(numbers), *copied.numbers]

    def nearest(self, images: Images, reference: Reference) -> Nearest:
        """By the search for copies."""
        rows, train = self.rows_of(images.pixels), self.rows_of(reference.train.pixels)
        if self.similarity is None or None in rows:
            return Search(reference.train.pixels).nearest(images.pixels)
        best = self.similarity[rows][:, train].max(1)
        return Nearest(best.values, best.indices)

    def rows_of(self, pixels: Tensor) -> list[int | None]:
        """Which images of the folder these are."""
        return [self.row_of.get(digest_of(image[None])) for image in pixels]

    def of_classes(self, samples: Images, reference: Reference, seed: int) -> list[str]:
        """What is said of each class."""
        numbers = []
        for label, name in enumerate(reference.classes):
            real = reference.of_class(label)
            sets = sets_of(samples.of_class(label), real, SIZE, POOL, DRAWS, seed)
            if sets is not None:
                numbers += fidelity(sets, self.spaces, seed, name, whole=False)
                numbers += anatomy(sets, seed, self.measured, name).numbers
        return notes_on_classes(numbers)


def main(root: str, draws: int = 100, first: int = 0, alone: bool = False) -> None:
    """Print a line for each set of samples, and the sums over the draws."""
    judge = Judge(everybody(root))
    sums: dict[str, Counter] = defaultdict(Counter)
    for seed in range(first, first + draws):
        drawn = world(root, seed)
        for form, samples in forms_of(drawn.unseen).items():
            found, numbers = judge.verdicts(samples, drawn.reference, seed, form[1], alone)
            print(f"{form[0]}, draw {seed}: {found}", flush=True)
            sums[f"{form[0]}, bad"].update(question for question in found if found[question] == "bad")
            for each in numbers:
                name = f"{each.metric.name} {each.space}"
                sums[f"{form[0]}, beyond"][name] += not each.within
                sums[f"{form[0]}, off the band"][name] += (
                    not each.unseen.low <= each.value <= each.unseen.high
                )
        if (seed + 1 - first) % 50 == 0 or seed + 1 == first + draws:
            print_rates(sums, seed + 1 - first)


def print_rates(sums: dict[str, Counter], draws: int) -> None:
    """Print how often what happened in so many draws."""
    for what, counts in sums.items():
        shares = {name: f"{count / draws:.1%}" for name, count in sorted(counts.items()) if count}
        print(f"{draws} draws, {what}: {shares}", flush=True)


def forms_of(unseen: Images) -> dict[tuple[str, str], Images]:
    """The same people as samples may come, by what that is called and `sets_of` calls it."""
    return {
        ("stacks with names", PEOPLE): unseen,
        ("stacks without names", UNKNOWN): replace(unseen, people=None),
    }


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    numbers = [word for word in sys.argv[2:] if word != "copies"]
    main(sys.argv[1], *map(int, numbers), alone="copies" in sys.argv[2:])
