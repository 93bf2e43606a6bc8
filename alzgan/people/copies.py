"""Find copies of one image in a folder, exact, mirrored, turned or altered, to keep them in one part.

An image minus its 5 x 5 mean tells copies from neighbours: on the Kaggle set two slices of one person
correlate at 0.973 at most; a slice and its copy as a JPEG of quality 50, with blur, with noise or at 0.7 of
its size correlate at 0.978 or more. Other alterations are sought between people only, because neighbouring
slices of one person are as alike as an image and its altered copy.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from alzgan.files import cache_folder, cache_path, cached
from alzgan.images.arrays import stamp
from alzgan.images.folder import ImageFile
from alzgan.images.likeness import alike_others
from alzgan.images.thumbnails import SQUARE
from alzgan.people.similarity import (
    COMPARED,
    LINK,
    MOST_COMPARED,
    blocks_of,
    components,
    detail,
    pairs_above,
    unit_vectors,
)

COPIES_VERSION = 6  # version; raise it when the same images would give other pairs
COPY = 0.975  # least correlation of detail of two copies
EXACT = 0.999  # above any correlation of neighbouring slices, even of a smooth template
# Least similarity of copies between two people. On the Kaggle set all others are below 0.91; where people are
# more alike, `standing_out` asks for more.
ALIKE = 0.93
# Above the median of all images' best matches in other people, in Fisher's z: by chance 1 in 30,000.
DEVIATIONS = 4
SEARCHED = 10_000  # most images among which altered copies are sought; so many take a minute of a core
CANDIDATE = 0.9  # least correlation of the mean of all eight orientations; copies have 0.95 or more
AUGMENTED = re.compile(r"(?P<original>.+?)_(?:aug(?:mented)?(?:_?\w+)?|(?:flip|rot)\w*)", re.IGNORECASE)
UNTURNED = "same"
ALTERED = "altered"
TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    UNTURNED: lambda images: images,
    "turned by 90": lambda images: np.rot90(images, 1, (1, 2)),
    "turned by 180": lambda images: np.rot90(images, 2, (1, 2)),
    "turned by 270": lambda images: np.rot90(images, 3, (1, 2)),
    "mirrored": lambda images: images[:, :, ::-1],
    "mirrored and turned by 90": lambda images: np.rot90(images[:, :, ::-1], 1, (1, 2)),
    "mirrored and turned by 180": lambda images: images[:, ::-1],
    "mirrored and turned by 270": lambda images: np.rot90(images[:, :, ::-1], 3, (1, 2)),
}


class Copy(NamedTuple):
    """Two files of one image: their indices, how the second is altered, and how alike they are."""

    first: int
    second: int
    how: str
    r: float


def find_copies(
    squares: np.ndarray, files: Sequence[ImageFile], people: Sequence[str] | None = None
) -> list[Copy]:
    """All pairs of copies among images, by pixels and by names.

    Among more than `MOST_COMPARED` images only equal thumbnails are found, each paired with the first one.

    Args:
        squares: thumbnails (N, 48, 48), uint8.
        files: the N files.
        people: the person in each. If given, altered copies between two people are found too, among up to
            `SEARCHED` images: see `alzgan.images.likeness.LOOKED_FOR`.
    """
    by_pixels = copies_by_pixels if len(squares) <= MOST_COMPARED else equal
    found = list(copies_by_name(files))
    if people is not None and len(squares) <= SEARCHED:
        found += altered(squares, people)
    found += by_pixels(squares)
    pairs = {(copy.first, copy.second): copy for copy in found}  # a later way counts in place of an earlier
    return [pairs[key] for key in sorted(pairs)]


def copies_by_name(files: Sequence[ImageFile]) -> Iterator[Copy]:
    """Files named as augmented copies of another file in the same folder."""
    index = {os.path.splitext(file.path)[0]: number for number, file in enumerate(files)}
    for stem, number in index.items():
        folder, _, name = stem.rpartition("/")
        match = AUGMENTED.fullmatch(name)
        original = index.get("/".join(filter(None, [folder, match["original"]]))) if match else None
        if original is not None:
            yield Copy(min(original, number), max(original, number), "augmented, by its name", float("nan"))


def is_augmented(file: ImageFile) -> bool:
    """Whether the file is named as an augmented copy."""
    return AUGMENTED.fullmatch(os.path.splitext(file.path)[0].rpartition("/")[2]) is not None


def copies_by_pixels(squares: np.ndarray) -> Iterator[Copy]:
    """Images of the same detail, in one of the eight orientations of a square."""
    vectors = detail(squares)
    means = np.concatenate([unturned(block) for block in blocks_of(vectors)])
    for first, second, _ in pairs_above(means, CANDIDATE):
        yield from same_detail(vectors.reshape(-1, SQUARE, SQUARE), first, second)


def equal(squares: np.ndarray) -> Iterator[Copy]:
    """Images with equal thumbnails, in one of the eight orientations of a square.

    Shrinking rounds rows before columns, so a picture turned by 90 degrees may differ by one and be missed.
    """
    first: dict[bytes, int] = {}
    for index, square in enumerate(squares):
        if square.min() == square.max():
            continue  # a constant image would be a copy of every other one
        turned = {way: turn(square[None])[0] for way, turn in TURNS.items()}
        other = first.setdefault(min(each.tobytes() for each in turned.values()), index)
        if other != index:
            how = next(way for way, each in turned.items() if np.array_equal(each, squares[other]))
            yield Copy(other, index, how, 1.0)


def unturned(vectors: np.ndarray) -> np.ndarray:
    """Vectors that do not depend on orientation: the mean of all eight orientations of squares (N, S * S).

    The mean repeats in each eighth of the square, so one eighth is enough. The vectors have length 1.
    """
    images, half = vectors.reshape(-1, SQUARE, SQUARE), SQUARE // 2
    top = images[:, :half] + images[:, : half - 1 : -1]
    quarter = top[:, :, :half] + top[:, :, : half - 1 : -1]
    rows, columns = np.triu_indices(half)
    return unit_vectors((quarter + quarter.transpose(0, 2, 1))[:, rows, columns])


def same_detail(images: np.ndarray, first: np.ndarray, second: np.ndarray) -> Iterator[Copy]:
    """The pairs of unit images (N, S, S) that are copies, each in its best orientation."""
    for start in range(0, len(first), COMPARED):
        one, two = first[start : start + COMPARED], second[start : start + COMPARED]
        base = images[one].astype(np.float32)
        r = np.stack([(base * turn(images[two]).astype(np.float32)).sum((1, 2)) for turn in TURNS.values()])
        ways = list(TURNS)
        for k in np.flatnonzero(r.max(0) >= COPY):
            way = ways[r[:, k].argmax()]
            yield Copy(int(one[k]), int(two[k]), way, round(float(r[:, k].max()), 4))


def altered(squares: np.ndarray, people: Sequence[str]) -> Iterator[Copy]:
    """Pairs of images of two people that are each other's best match and are alike enough to be copies.

    Of the slices of two people only the best pair counts, because neighbours of a copy are nearly as alike.
    """
    who = np.unique(people, return_inverse=True)[1]
    found = alike_others(squares, who)
    similarity = found.similarity.numpy()
    rows, columns = np.nonzero(similarity >= standing_out(similarity.max(1)))
    pairs = np.sort(np.stack([rows, found.index[rows, columns]], 1), 1)
    similarities = found.similarity[rows, columns].tolist()
    r = {(one, two): value for (one, two), value in zip(pairs.tolist(), similarities, strict=True)}
    best: dict[tuple[int, int], int] = {}
    for one, two in sorted(r, key=lambda pair: r[pair]):
        best[one, who[two]], best[two, who[one]] = two, one
    for one, two in r:
        if best[one, who[two]] == two and best[two, who[one]] == one:
            yield Copy(one, two, ALTERED, round(r[one, two], 4))


def standing_out(similarity: np.ndarray) -> float:
    """The least similarity of copies, given that (N,) of each image to the nearest of another person.

    It is from `ALIKE` to `COPY`. The spread is that between the median and the upper quartile, so a
    quarter of the images may be copies.
    """
    median, quartile = np.arctanh(np.quantile(similarity, (0.5, 0.75)).clip(max=COPY))
    deviation = (quartile - median) / NormalDist().inv_cdf(0.75)
    return float(np.tanh(median + DEVIATIONS * deviation).clip(ALIKE, COPY))


def known_copies(
    root: Path,
    files: Sequence[ImageFile],
    squares: Callable[[], np.ndarray],
    cache_dir: Path | str | None = None,
    people: Sequence[str] | None = None,
) -> list[Copy]:
    """`find_copies`, cached until a file changes.

    Args:
        root: the folder of the files.
        files: the readable ones.
        squares: returns their thumbnails; called on demand.
        cache_dir: see `alzgan.files.cache_folder`.
        people: the person in each, if known.
    """
    key = os.path.realpath(root), stamp(root, files), *(people or ())
    return cached(
        cache_path(cache_folder(cache_dir), "copies.json", COPIES_VERSION, *key),
        lambda: find_copies(squares(), files, people),
        lambda kept: [Copy(int(one), int(two), str(how), float(r)) for one, two, how, r in kept],
    )


def tied(copies: Sequence[Copy], names: Sequence[str]) -> list[str]:
    """For each image the name of its unit: the first name among all images that must stay together.

    Images of one name stay together. A copy joins the units of both its names.
    """
    place = {name: number for number, name in enumerate(sorted(set(names)))}
    links = [(place[names[copy.first]], place[names[copy.second]], 1.0) for copy in copies]
    group = components(np.array(links, LINK), len(place))
    least: dict[int, str] = {}
    for name, number in place.items():
        least.setdefault(group[number], name)
    return [least[group[place[name]]] for name in names]
