"""Copies of one image in a folder, exact or not, mirrored or turned: one picture must not be on both sides.

What an image has beyond the mean of the 5 x 5 pixels around tells copies from neighbours: on the Kaggle set
two slices of one person correlate at 0.973 at most, a slice and itself as a JPEG of quality 50, with blur,
with noise or at 0.7 of its size at 0.978 or more. What else augmentation does to an image is looked for among
images of different people: neighbouring slices of one person are as alike as an image and itself altered.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from alzgan.files import cache_folder, cache_path, cached
from alzgan.images.arrays import stamp
from alzgan.images.folder import ImageFile
from alzgan.images.likeness import alike_others
from alzgan.images.thumbnails import SQUARE
from alzgan.people.similarity import COMPARED, MANY, blocks_of, detail, unit_vectors

COPIES = 3  # version; raise it when the same images would give other pairs
COPY = 0.975  # correlation of detail from which on two images are one
EXACT = 0.999  # from which on not even neighbours of a smooth template are so alike
ALIKE = 0.93  # similarity from which on images of two people are one; on the Kaggle set all are below 0.91
SEARCHED = 10_000  # images beyond which altered ones are not looked for; so many take a minute of a core
CANDIDATE = 0.9  # the same of what mirroring and turning leave as it is; copies have 0.95 or more
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
    """Two files that show one image: their indices, how the second shows it, and how alike they are."""

    first: int
    second: int
    how: str
    r: float


def find_copies(
    squares: np.ndarray, files: Sequence[ImageFile], people: Sequence[str] | None = None
) -> list[Copy]:
    """All pairs of copies among images, by pixels and by names.

    Of more than `MANY` images those alone whose thumbnails are equal, each with the first of them.

    Args:
        squares: thumbnails (N, 48, 48), uint8.
        files: the N files.
        people: who is in each. Copies of up to `SEARCHED` images between two people are found when altered,
            too: see `alzgan.images.likeness.LOOKED_FOR`.
    """
    by_pixels = copies_by_pixels if len(squares) <= MANY else equal
    pairs = {(copy.first, copy.second): copy for copy in copies_by_name(files)}
    if people is not None and len(squares) <= SEARCHED:
        pairs |= {(copy.first, copy.second): copy for copy in altered(squares, people)}
    pairs |= {(copy.first, copy.second): copy for copy in by_pixels(squares)}
    return [pairs[key] for key in sorted(pairs)]


def copies_by_name(files: Sequence[ImageFile]) -> Iterator[Copy]:
    """Files named as augmented copies of another one that lies in the same folder."""
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
    """Images whose detail is the same, in one of the eight ways to lay a square down."""
    vectors = detail(squares)
    for first, second in alike(np.concatenate([unturned(block) for block in blocks_of(vectors)]), CANDIDATE):
        yield from same_detail(vectors.reshape(-1, SQUARE, SQUARE), first, second)


def equal(squares: np.ndarray) -> Iterator[Copy]:
    """Images whose thumbnails are equal, in one of the eight ways to lay a square down.

    Shrinking rounds rows before columns, so a picture and itself turned by 90 degrees may differ here by one.
    """
    first: dict[bytes, int] = {}
    for index, square in enumerate(squares):
        if square.min() == square.max():
            continue  # of one value: it would be a copy of all others of that
        turned = {way: turn(square[None])[0] for way, turn in TURNS.items()}
        other = first.setdefault(min(each.tobytes() for each in turned.values()), index)
        if other != index:
            how = next(way for way, each in turned.items() if np.array_equal(each, squares[other]))
            yield Copy(other, index, how, 1.0)


def unturned(vectors: np.ndarray) -> np.ndarray:
    """What squares (N, S * S) are like however they lie: unit vectors of the mean of all eight ways.

    The mean is the same in each eighth of the square, so one of them says it.
    """
    images, half = vectors.reshape(-1, SQUARE, SQUARE), SQUARE // 2
    top = images[:, :half] + images[:, : half - 1 : -1]
    quarter = top[:, :, :half] + top[:, :, : half - 1 : -1]
    rows, columns = np.triu_indices(half)
    return unit_vectors((quarter + quarter.transpose(0, 2, 1))[:, rows, columns])


def alike(vectors: np.ndarray, least: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Indices of the pairs of unit vectors whose product is at least so much, a block at a time."""
    for i, rows in enumerate(blocks_of(vectors)):
        for j, columns in enumerate(blocks_of(vectors[i * COMPARED :]), start=i):
            r = rows @ columns.T
            first, second = np.nonzero(np.triu(r, 1) >= least if i == j else r >= least)
            yield first + i * COMPARED, second + j * COMPARED


def same_detail(images: np.ndarray, first: np.ndarray, second: np.ndarray) -> Iterator[Copy]:
    """Of pairs of unit images (N, S, S), those that are copies, each in the way that fits best."""
    for start in range(0, len(first), COMPARED):
        one, two = first[start : start + COMPARED], second[start : start + COMPARED]
        base = images[one].astype(np.float32)
        r = np.stack([(base * turn(images[two]).astype(np.float32)).sum((1, 2)) for turn in TURNS.values()])
        ways = list(TURNS)
        for k in np.flatnonzero(r.max(0) >= COPY):
            way = ways[r[:, k].argmax()]
            yield Copy(int(one[k]), int(two[k]), way, round(float(r[:, k].max()), 4))


def altered(squares: np.ndarray, people: Sequence[str]) -> Iterator[Copy]:
    """Images of two people that are most alike to each other, and so alike that they are one.

    Of one person's slices only the most alike one counts: its neighbours are nearly as alike.
    """
    who = np.unique(people, return_inverse=True)[1]
    found = alike_others(squares, who)
    rows, columns = np.nonzero(found.similarity.numpy() >= ALIKE)
    pairs = np.sort(np.stack([rows, found.index[rows, columns]], 1), 1)
    r = dict(zip(map(tuple, pairs.tolist()), found.similarity[rows, columns].tolist(), strict=True))
    best: dict[tuple[int, int], int] = {}
    for one, two in sorted(r, key=r.get):
        best[one, who[two]], best[two, who[one]] = two, one
    for one, two in r:
        if best[one, who[two]] == two and best[two, who[one]] == one:
            yield Copy(one, two, ALTERED, round(r[one, two], 4))


def known_copies(
    root: Path,
    files: Sequence[ImageFile],
    squares: Callable[[], np.ndarray],
    cache_dir: Path | str | None = None,
    people: Sequence[str] | None = None,
) -> list[Copy]:
    """`find_copies`, kept in the cache until a file changes.

    Args:
        root: of the files.
        files: that can be read.
        squares: gives their thumbnails, where they are needed.
        cache_dir: see `alzgan.files.cache_folder`.
        people: who is in each, where that is known.
    """
    key = os.path.realpath(root), stamp(root, files), *(people or ())
    return cached(
        cache_path(cache_folder(cache_dir), "copies.json", COPIES, *key),
        lambda: find_copies(squares(), files, people),
        lambda kept: [Copy(int(one), int(two), str(how), float(r)) for one, two, how, r in kept],
    )


def tied(copies: Sequence[Copy], names: Sequence[str]) -> list[str]:
    """For each image a name that it shares with all that must stay together, the least of theirs.

    Images of one name stay together, and so do copies, with all of their names' images.
    """
    place = {name: number for number, name in enumerate(sorted(set(names)))}
    pairs = [[place[names[copy.first]], place[names[copy.second]]] for copy in copies]
    one, two = np.array(pairs, int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(pairs)), (one, two)), shape=(len(place), len(place)))
    _, group = connected_components(graph, directed=False)
    least: dict[int, str] = {}
    for name, number in place.items():
        least.setdefault(group[number], name)
    return [least[group[place[name]]] for name in names]
