"""Twenty-one sets of samples whose truth is known, and what is said of each.

    python tests/benchmarks/sets.py DIR [SEED]

DIR is a folder of real slices. A fifth of the people stand for the samples, a fifth are held out and the rest
were trained on. A line for each set, with the answers; those that differ from the truth are marked. How many
copies are found by the dose of each change is in `copies.py`.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from calibration import Judge, World, everybody, shuffled, world
from copies import CHANGES, changed
from torch import Tensor

from alzgan.device.streams import stream
from alzgan.evaluation.fidelity import PEOPLE, UNKNOWN
from alzgan.evaluation.reference import Images
from alzgan.metrics import measures

NOT_BAD = {"good", "cannot tell"}
NOT_GOOD = {"bad", "cannot tell"}
BAD, GOOD = {"bad"}, {"good"}
PERFECT = {"fidelity": NOT_BAD, "diversity": NOT_BAD, "copies": NOT_BAD, "anatomy": NOT_BAD}
# What training slices go through; each set is one of copies.
ALTERED = (
    "none",
    "turned by 4",
    "turned by 8",
    "turned by 15",
    "scaled by 0.85",
    "scaled by 1.1",
    "mirrored",
    "gamma 2",
    "inverted",
    "noise, sigma 10",
    "warped by 1.5 pixels",
)


class Known(NamedTuple):
    """Samples, and the answers that are true of them, by question; of other questions nothing is known."""

    name: str
    samples: Images
    answers: dict[str, set[str]]


def known_sets(found: World, count: int = 800) -> Iterator[Known]:
    """All sets, of so many images at most."""
    unseen = found.unseen.of(np.arange(min(count, len(found.unseen))))
    everyone = shuffled(found.reference.train, 1)
    train = everyone.of(np.arange(min(count, len(everyone))))
    without_names = replace(unseen, people=None)
    yield Known("unseen people with names", unseen, PERFECT)
    yield Known("unseen people without names", without_names, PERFECT)
    for name in ALTERED:
        yield Known(f"training images, {name}", with_pixels(train, CHANGES[name]), {"copies": BAD})
    for share in (0.1, 0.01):
        yield Known(f"unseen people, {share:.0%} turned copies", mixed(unseen, train, share), {"copies": BAD})
    noisy = with_pixels(unseen, CHANGES["noise, sigma 10"])
    yield Known("unseen people, noisy", noisy, {"fidelity": BAD})
    half = unseen.pixels.clone()
    half[::2] = torch.from_numpy(stream(0, "sets/noise").integers(0, 256, half[::2].shape, dtype=np.uint8))
    yield Known(
        "unseen people, half of them noise",
        replace(without_names, pixels=half),
        {"fidelity": BAD, "diversity": NOT_GOOD},
    )
    ghosts = (unseen.pixels.float() + unseen.pixels.roll(1, 0).float()) / 2
    yield Known("means of two unseen people", replace(without_names, pixels=ghosts.byte()), {"fidelity": BAD})
    first = np.array([np.flatnonzero(train.labels == label)[0] for label in np.unique(train.labels)])
    same = replace(train.of(np.resize(first, count)), people=None)
    yield Known("one image a class", same, {"diversity": BAD})
    few = np.flatnonzero(np.isin(unseen.people, np.unique(unseen.people)[::8]))
    few = replace(unseen.of(np.resize(few, count)), people=None)
    yield Known("an eighth of the unseen people, repeated", few, {"diversity": BAD})
    yield Known("training images, 20 people of a class missing", without_twenty(everyone), {"copies": BAD})


def with_pixels(images: Images, change) -> Images:
    """The images after a change of `copies.CHANGES`."""
    return replace(images, pixels=changed(images.pixels, change))


def mixed(unseen: Images, train: Images, share: float) -> Images:
    """Unseen people, with turned training images in the place of a share of theirs."""
    pixels: Tensor = unseen.pixels.clone()
    count = round(share * len(pixels))
    pixels[:count] = changed(train.pixels[:count], CHANGES["turned by 8"])
    return replace(unseen, pixels=pixels)


def without_twenty(train: Images) -> Images:
    """All but the 20 people of the largest class who have the largest ventricles."""
    label = Counter(train.labels.tolist()).most_common(1)[0][0]
    rows = np.flatnonzero(train.labels == label)
    ratio = measures(train.pixels[torch.from_numpy(rows)])["ventricle_ratio"].numpy()
    means = {person: ratio[train.people[rows] == person].mean() for person in np.unique(train.people[rows])}
    gone = sorted(means, key=means.get)[-20:]
    return train.of(np.flatnonzero(~np.isin(train.people, gone)))


def wrong(known: Known, answers: dict[str, str]) -> list[str]:
    """The questions whose answers are not true."""
    return [question for question, true in known.answers.items() if answers[question] not in true]


def main(root: str, seed: int = 0) -> None:
    """Print a line for each set."""
    judge, drawn = Judge(everybody(root), many=False), world(root, seed)
    for known in known_sets(drawn):
        form = UNKNOWN if known.samples.people is None else PEOPLE
        found, _ = judge.verdicts(known.samples, drawn.reference, seed, form)
        notes = judge.of_classes(known.samples, drawn.reference, seed)
        false = wrong(known, found)
        print(f"{known.name}: {found}{f'; NOT TRUE: {false}' if false else ''}; {notes}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1], *map(int, sys.argv[2:]))
