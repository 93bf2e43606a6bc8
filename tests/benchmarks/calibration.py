"""Does the evaluation find what is wrong, and nothing where nothing is: verdicts on samples of known truth.

    python tests/benchmarks/calibration.py DIR [DRAWS] [FIRST]

DIR is a folder of real slices. First come samples that are bad by construction. Then, in each draw, a fifth
of the people stand for the samples, a fifth are held out and the rest were trained on, all drawn anew. They
come as stacks with names, as stacks without, and as one slice of each person. A line for each form and draw,
then the share that each verdict calls bad, and that each number puts beyond its limit and off its band. FIRST
is the first draw's number. `clusters.py` has the same of simulated people, and which faults are noticed.
"""

import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from alzgan.data.datamodule import MRIDataModule
from alzgan.data.features import digest_of
from alzgan.device.overhead import tune_process
from alzgan.device.streams import stream
from alzgan.evaluation.anatomy import anatomy
from alzgan.evaluation.copies import copies, on_copies
from alzgan.evaluation.fidelity import INDEPENDENT, PEOPLE, UNKNOWN, fidelity, sets_of
from alzgan.evaluation.numbers import Number
from alzgan.evaluation.reference import Images, Reference, images_of
from alzgan.evaluation.spaces import Space, chosen_spaces
from alzgan.evaluation.verdicts import answered, notes_on_classes, of_all, questions_of
from alzgan.files import cache_folder
from alzgan.images.likeness import Nearest, Search
from alzgan.metrics import ventricle_ratio
from alzgan.metrics.resampling import one_of_each
from alzgan.people.subjects import PARTS

SIZE, POOL, DRAWS = 1000, 2500, 100  # as of preset=fast
FRACTIONS = (0.6, 0.2, 0.2)


class World(NamedTuple):
    """People who were trained on, who are held out, and unseen ones who stand for the samples."""

    reference: Reference
    unseen: Images


def world(root: str, seed: int) -> World:
    """One draw of people."""
    data = MRIDataModule(root, image_size=64, channels=1, batch_size=1, split_seed=seed, fractions=FRACTIONS)
    data.setup()
    train, held_out, unseen = (images_of(data, [part]) for part in ("train", "validation", "test"))
    return World(Reference(train, held_out, data.classes), shuffled(unseen, seed))


def shuffled(images: Images, seed: int) -> Images:
    """In random order, as samples are."""
    return images.of(stream(seed, "calibration").permutation(len(images)))


def changed(images: Images, change: Callable[[np.ndarray], np.ndarray]) -> Images:
    """The same people, with other pixels."""
    pixels = change(images.pixels.numpy().astype(float))
    return Images(
        torch.from_numpy(pixels.round().clip(0, 255).astype(np.uint8)), images.labels, images.people
    )


def noise(pixels: np.ndarray) -> np.ndarray:
    """Of a standard deviation of 10 grey levels."""
    return pixels + stream(0, "calibration/noise").normal(0, 10, pixels.shape)


def blur(pixels: np.ndarray) -> np.ndarray:
    """With a standard deviation of a pixel."""
    return gaussian_filter(pixels, (0, 0, 1, 1))


def mirror_and_shift(pixels: np.ndarray) -> np.ndarray:
    """By 3 pixels down and 2 to the left."""
    return np.roll(pixels[..., ::-1], (3, -2), (2, 3))


def bad_samples(found: World) -> Iterator[tuple[str, Images]]:
    """Samples and what is wrong with them."""
    train = shuffled(found.reference.train, 1)
    yield "unseen people, noisy", changed(found.unseen, noise)
    yield "training images, blurred", changed(train, blur)
    one_each = np.array([np.flatnonzero(train.labels == label)[0] for label in np.unique(train.labels)])
    repeated = train.of(np.resize(one_each, 1200))
    yield "one image a class, repeated", Images(repeated.pixels, repeated.labels)
    for name, change in (
        ("as they are", np.asarray),
        ("mirrored, shifted", mirror_and_shift),
        ("noisy", noise),
    ):
        yield f"training images, {name}", changed(train, change)
    few = found.unseen.pixels.clone()
    few[:12] = torch.from_numpy(mirror_and_shift(train.pixels[:12].numpy()).copy())
    yield "unseen people, 1 % of them copies", Images(few, found.unseen.labels, found.unseen.people)
    yield "training images without 20 people of one class", without_twenty(train)


def without_twenty(train: Images) -> Images:
    """All but the 20 people of the largest class who have the largest ventricles."""
    label = Counter(train.labels.tolist()).most_common(1)[0][0]
    rows = np.flatnonzero(train.labels == label)
    ratio = ventricle_ratio(train.pixels[torch.from_numpy(rows)]).numpy()
    means = {person: ratio[train.people[rows] == person].mean() for person in np.unique(train.people[rows])}
    gone = sorted(means, key=means.get)[-20:]
    return train.of(np.flatnonzero(~np.isin(train.people, gone)))


def nearest_others(images: Images) -> Tensor:
    """Similarities (N, N) of each image to the 16 most alike ones of other people; -1 to all others."""
    who = torch.from_numpy(np.unique(images.people, return_inverse=True)[1])
    found = Search(images.pixels, who).several(images.pixels, 8, who)
    return torch.full((len(who), len(who)), -1.0).scatter_(1, found.index, found.similarity)


class Judge:
    """Gives verdicts; what is known of the images of the folder is computed once.

    Args:
        everything: all images with their people.
        spaces: of the features.
    """

    def __init__(self, everything: Images, spaces: list[Space]):
        self.spaces = spaces
        for space in spaces:
            space.sets(Images(everything.pixels))
        self.row_of = {digest_of(image[None]): row for row, image in enumerate(everything.pixels)}
        self.similarity = nearest_others(everything)

    def verdicts(
        self, samples: Images, reference: Reference, seed: int, form: str = PEOPLE
    ) -> tuple[dict[str, str], list[Number]]:
        """The answer to each question, with how many copies there are, and the numbers."""
        sets = sets_of(samples, reference, SIZE, POOL, DRAWS, seed, form)
        numbers = fidelity(sets, self.spaces, seed, whole=False) + anatomy(sets, seed).numbers
        nearest, theirs = (self.nearest(images, reference) for images in (samples, reference.held_out))
        copied = copies(nearest, theirs, samples.people, reference, sets, self.spaces, seed)
        found = [answered(question, numbers) for question in questions_of(numbers)] + [on_copies(copied)]
        answers = {each["question"]: each["answer"] for each in found}
        share = f"{copied.copies.above / len(samples):.1%}, certain {copied.copies.certain_count}"
        return answers | {"above": share}, [*of_all(numbers), *copied.numbers]

    def nearest(self, images: Images, reference: Reference) -> Nearest:
        """By the search for copies."""
        rows, train = (
            [self.row_of.get(digest_of(image[None])) for image in each.pixels]
            for each in (images, reference.train)
        )
        if None in rows:
            return Search(reference.train.pixels).nearest(images.pixels)
        best = self.similarity[rows][:, train].max(1)
        return Nearest(best.values, best.indices)

    def of_classes(self, samples: Images, reference: Reference, seed: int) -> list[str]:
        """What is said of each class."""
        numbers = []
        for label, name in enumerate(reference.classes):
            real = reference.of_class(label)
            sets = sets_of(samples.of_class(label), real, SIZE, POOL, DRAWS, seed)
            if sets is not None:
                numbers += fidelity(sets, self.spaces, seed, name, whole=False)
                numbers += anatomy(sets, seed, name).numbers
        return notes_on_classes(numbers)


def main(root: str, draws: int = 100, first: int = 0) -> None:
    """Print a line for each set of samples, and the sums over the draws."""
    tune_process()
    data = MRIDataModule(root, image_size=64, channels=1, batch_size=1)
    data.setup()
    everything = images_of(data, list(PARTS))
    judge = Judge(everything, chosen_spaces(None, cache_folder(), torch.device("cpu")))
    if first == 0:
        known = world(root, 0)
        for name, samples in bad_samples(known):
            form = PEOPLE if samples.people is not None else UNKNOWN
            found, _ = judge.verdicts(samples, known.reference, 0, form)
            print(f"{name}: {found}; {judge.of_classes(samples, known.reference, 0)}", flush=True)
    sums: dict[str, Counter] = defaultdict(Counter)
    for seed in range(first, first + draws):
        drawn = world(root, seed)
        for form, samples in forms_of(drawn.unseen, seed).items():
            found, numbers = judge.verdicts(samples, drawn.reference, seed, *form[1:])
            print(f"{form[0]}, draw {seed}: {found}", flush=True)
            sums[f"{form[0]}, bad"].update(question for question in found if found[question] == "bad")
            for each in numbers:
                name = f"{each.metric.name} {each.space}"
                sums[f"{form[0]}, beyond"][name] += not each.within
                sums[f"{form[0]}, off the band"][name] += (
                    not each.unseen.low <= each.value <= each.unseen.high
                )
    for what, counts in sums.items():
        print(f"{what}: { {name: f'{count / draws:.1%}' for name, count in sorted(counts.items())} }")


def forms_of(unseen: Images, seed: int) -> dict[tuple[str, str], Images]:
    """The same people as samples may come, by what that is called and `sets_of` calls it."""
    one_each = unseen.of(one_of_each(unseen.people, seed, 0))
    return {
        ("stacks with names", PEOPLE): unseen,
        ("stacks without names", UNKNOWN): replace(unseen, people=None),
        ("one slice of each person", INDEPENDENT): replace(one_each, people=None),
    }


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1], *map(int, sys.argv[2:]))
