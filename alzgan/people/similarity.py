"""Who is in which slice, recovered from the images alone.

Neighbouring slices of one person share their fine detail, two people never do: what is left of a thumbnail
after its 5 x 5 mean is taken away correlates at 0.91 or more from slice to slice of one person of the Kaggle
set, and at 0.70 or less between people (the thumbnails themselves: 0.987 and 0.971). Single linkage over
these correlations gives the people; where no threshold stands out, nothing is guessed.
"""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from alzgan.errors import UserError
from alzgan.images.decoding import in_threads, read_image
from alzgan.images.folder import ImageFile

THUMBNAIL = (44, 52)  # width, height: a quarter of the Kaggle set's slices
FLOOR = 0.5  # correlation of detail below which two slices are not called alike
WIDE = 1.6  # in 1 - r; the widest WRONG band in phantoms and thinned real sets was 1.3, the right one is 3.2
CHAIN = 4  # slices; three could be a picture and two edited copies of it
IN_CHAINS = 0.9  # share of the images that must lie in a chain
BRANCHING = 0.05  # share of the images that may be linked three ways: slices form a line, copies a bush
MIXED = 0.05  # share of the people that may carry two classes: they may have come twice
BLOCK = 2048  # images a side of a block of correlations: 16 MiB
MAX_LINKS = 4_000_000  # links held before they are thinned to a forest: 48 MB

LINK = np.dtype([("first", np.int32), ("second", np.int32), ("r", np.float32)])


@dataclass(frozen=True)
class Band:
    """A range of thresholds over which the groups stay the same: `low` <= r < `high`."""

    groups: int
    low: float
    high: float
    links: int  # how many of the sorted links are above it

    @property
    def width(self) -> float:
        """By what factor 1 - r may vary."""
        return (1 - self.low) / max(1 - self.high, 1e-4)


@dataclass(frozen=True)
class Recovered:
    """What the images say: for each of them its person (0, 1, ...) and its place from 1, where known."""

    person: np.ndarray
    position: list[int | None]
    note: str


def thumbnails(root: Path | str, files: Sequence[ImageFile]) -> np.ndarray:
    """Read each image as grey and shrink it, antialiased, to uint8 (N, 52, 44).

    Images are stretched to this shape whatever their own: slices of one person share theirs, so they are
    stretched alike. 19 MB for 6,400 images, 229 MB for 100,000.

    Raises:
        BadImage: a file cannot be read; pass only files that can.
    """

    def thumbnail(file: ImageFile) -> np.ndarray:
        picture = Image.fromarray(read_image(Path(root) / file.path)).convert("L")
        return np.asarray(picture.resize(THUMBNAIL, Image.Resampling.BOX))

    result = np.empty((len(files), *THUMBNAIL[::-1]), np.uint8)
    for i, small in enumerate(in_threads(thumbnail, files)):
        result[i] = small
    return result


def contrast(thumbs: np.ndarray) -> np.ndarray:
    """Thumbnails as unit vectors, float16 (N, 2288), whose products are correlations of the images."""
    return in_blocks(thumbs, lambda images: images)


def detail(thumbs: np.ndarray) -> np.ndarray:
    """The same for what differs from the mean of the 5 x 5 pixels around."""
    return in_blocks(thumbs, lambda images: images - local_mean(images, radius=2))


def recover(thumbs: np.ndarray, labels: Sequence[str]) -> Recovered:
    """Group slices into people and put each person's slices in order.

    Exact copies count once. All people are ordered in the same direction, bottom up or top down.

    Args:
        thumbs: uint8 (N, 52, 44), from `thumbnails`.
        labels: the N classes; people do not change class within a scan, so mixing is evidence against.

    Raises:
        UserError: no threshold gives people beyond doubt; the line carries the evidence.
    """
    distinct, copy_of = distinct_images(thumbs)
    vectors = detail(thumbs[distinct])
    links = strongest_links(vectors)
    band = widest_band(links, len(vectors))
    if band is None or band.width < WIDE:
        raise UserError(f"the images do not say who is who: {evidence(links, len(vectors), band)}")
    chosen = links[: band.links]
    group = components(chosen, len(vectors))
    refuse_bushes(chosen, len(vectors), band)
    mixed = mixed_groups(group[copy_of].tolist(), labels)
    if mixed > MIXED * band.groups:
        raise UserError(f"the images do not say who is who: {mixed} of {band.groups} groups mix classes")
    position = align(thumbs[distinct], group, positions(chosen, group))
    note = f"{band.groups} people, the same for thresholds from r = {band.low:.3f} to {band.high:.3f}"
    note += f" on image detail; {mixed} carry two classes"
    return Recovered(group[copy_of], [int(p) or None for p in position[copy_of]], note)


def strongest_links(vectors: np.ndarray, floor: float = FLOOR) -> np.ndarray:
    """The maximum spanning forest of all pairs with r > floor, strongest link first.

    It has the same connected components at every threshold as all pairs have, with at most N - 1 links.
    Correlations are computed block by block, so memory grows with N, not with N squared.

    Args:
        vectors: unit vectors (N, F).
        floor: correlation in [-1, 1].

    Returns:
        structured array of `LINK`.
    """
    forest, waiting, count = np.empty(0, LINK), [], 0
    for found in links_above(vectors, floor):
        waiting.append(found)
        count += len(found)
        if count > MAX_LINKS:
            forest, waiting, count = spanning_forest([forest, *waiting], len(vectors)), [], 0
    return spanning_forest([forest, *waiting], len(vectors))


def spanning_forest(parts: list[np.ndarray], n: int) -> np.ndarray:
    """Thin links among n images to their maximum spanning forest, strongest first (Boruvka 1926)."""
    links = np.concatenate(parts)
    links = links[np.argsort(links["r"], kind="stable")]
    group, chosen = np.arange(n), [links[:0]]
    while len(links):
        first, second = group[links["first"]], group[links["second"]]
        best = np.full((2, n), -1)
        best[0, first] = best[1, second] = np.arange(len(links))  # the last one stays: the strongest
        best = best.max(axis=0)
        linked = np.flatnonzero(best >= 0)
        best = best[linked]
        chosen.append(links[np.unique(best)])
        partner = np.arange(n)
        partner[linked] = first[best] + second[best] - linked
        group = contract(partner)[group]
        links = links[group[links["first"]] != group[links["second"]]]
    forest = np.concatenate(chosen)
    return forest[np.argsort(-forest["r"], kind="stable")]


def widest_band(links: np.ndarray, n: int) -> Band | None:
    """The widest range of thresholds at which nearly all images lie in chains, and no group holds half.

    Args:
        links: a spanning forest, strongest first.
        n: number of images.
    """
    if not len(links):
        return None
    parent, size = list(range(n)), [1] * n
    r = [*links["r"].tolist(), FLOOR]
    chained, best = 0, None
    for k, (first, second) in enumerate(zip(links["first"].tolist(), links["second"].tolist(), strict=True)):
        one, other = root_of(parent, first), root_of(parent, second)
        sizes = size[one], size[other]
        parent[one], size[other] = other, sum(sizes)
        if 2 * size[other] > n:
            break
        if size[other] >= CHAIN:
            chained += sum(s for s in sizes if s < CHAIN)
        band = Band(n - k - 1, r[k + 1], r[k], k + 1)
        if chained >= IN_CHAINS * n and (best is None or band.width > best.width):
            best = band
    return best


def components(links: np.ndarray, n: int) -> np.ndarray:
    """Connected components (N,) of n images, numbered from 0 in the order of their first image."""
    parent = list(range(n))
    for first, second in zip(links["first"].tolist(), links["second"].tolist(), strict=True):
        parent[root_of(parent, first)] = root_of(parent, second)
    number: dict[int, int] = {}
    return np.array([number.setdefault(root_of(parent, i), len(number)) for i in range(n)], dtype=int)


def positions(links: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Place (N,) of each image in its group, from 1, where the group's links form one line; else 0."""
    neighbours: list[list[int]] = [[] for _ in group]
    for first, second in zip(links["first"].tolist(), links["second"].tolist(), strict=True):
        neighbours[first].append(second)
        neighbours[second].append(first)
    bushes = {group[i] for i, linked in enumerate(neighbours) if len(linked) > 2}
    position = np.zeros(len(group), dtype=int)
    for i, linked in enumerate(neighbours):
        if len(linked) < 2 and position[i] == 0 and group[i] not in bushes:
            for place, image in enumerate(walk(neighbours, i), start=1):
                position[image] = place
    return position


def leak_count(thumbs: np.ndarray, parts: Sequence[str], threshold: float = 0.98) -> int:
    """Count the test images that have a train image correlated above the threshold.

    Args:
        thumbs: uint8 (N, 52, 44), from `thumbnails`.
        parts: for each image "train", "validation" or "test".
        threshold: correlation of whole thumbnails; on the Kaggle set no two people reach 0.98.
    """
    vectors, parts = contrast(thumbs), np.asarray(parts)
    train, test = vectors[parts == "train"], vectors[parts == "test"]
    leaks = 0
    for some in blocks_of(test):
        leaking = np.zeros(len(some), dtype=bool)
        for others in blocks_of(train):
            leaking |= (some @ others.T > threshold).any(axis=1)
        leaks += int(leaking.sum())
    return leaks


def in_blocks(thumbs: np.ndarray, transform: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """float16 halves the memory of many images and moves a correlation by less than 0.0001."""
    vectors = np.empty((len(thumbs), math.prod(thumbs.shape[1:])), np.float16)
    for start in range(0, len(thumbs), BLOCK):
        rows = transform(thumbs[start : start + BLOCK].astype(np.float32))
        rows = rows.reshape(len(rows), -1)
        rows -= rows.mean(axis=1, keepdims=True)
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-3)  # a constant image is like none
        vectors[start : start + BLOCK] = rows
    return vectors


def local_mean(images: np.ndarray, radius: int) -> np.ndarray:
    """Mean of the square around each pixel of (N, H, W), edges repeated; by a running sum along each axis."""
    width = 2 * radius + 1
    for axis in (1, 2):
        pads = [(radius + (a == axis), radius) if a == axis else (0, 0) for a in range(3)]
        total = np.cumsum(np.pad(images, pads, mode="edge"), axis=axis, dtype=np.float32)
        length = images.shape[axis]
        after, before = np.arange(width, width + length), np.arange(length)
        images = (np.take(total, after, axis) - np.take(total, before, axis)) / width
    return images


def blocks_of(vectors: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(vectors), BLOCK):
        yield vectors[start : start + BLOCK].astype(np.float32)


def links_above(vectors: np.ndarray, floor: float) -> Iterator[np.ndarray]:
    for i, rows in enumerate(blocks_of(vectors)):
        for j, columns in enumerate(blocks_of(vectors[i * BLOCK :]), start=i):
            r = rows @ columns.T
            if i == j:
                r = np.triu(r, 1)
            first, second = np.nonzero(r > floor)
            found = np.empty(len(first), LINK)
            found["r"] = r[first, second]
            found["first"], found["second"] = first + i * BLOCK, second + j * BLOCK
            yield found


def contract(partner: np.ndarray) -> np.ndarray:
    """Follow each group's partner to the one that stands for all that are joined."""
    self = np.arange(len(partner))
    mutual = (partner[partner] == self) & (self < partner)
    partner = np.where(mutual, self, partner)
    while (partner != partner[partner]).any():
        partner = partner[partner]
    return partner


def root_of(parent: list[int], i: int) -> int:
    while parent[i] != i:
        parent[i] = i = parent[parent[i]]
    return i


def walk(neighbours: list[list[int]], start: int) -> Iterator[int]:
    """From one end of a line to the other."""
    before, here = None, start
    while here is not None:
        yield here
        before, here = here, next((i for i in neighbours[here] if i != before), None)


def align(thumbs: np.ndarray, group: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Turn round the people whose first slice looks more like the last one of the largest group.

    Whole thumbnails are compared: outlines say how high a slice lies, in anybody.
    """
    size = np.bincount(group)
    first, last = np.flatnonzero(position == 1), np.flatnonzero((position > 0) & (position == size[group]))
    if not len(first):
        return position
    first, last = first[np.argsort(group[first])], last[np.argsort(group[last])]
    starts, ends = contrast(thumbs[first]).astype(np.float32), contrast(thumbs[last]).astype(np.float32)
    largest = np.argmax(size[group[first]])
    upright = (starts - ends) @ (starts[largest] - ends[largest]) >= 0
    turned = np.isin(group, group[first][~upright])
    return np.where(turned, size[group] + 1 - position, position)


def distinct_images(thumbs: np.ndarray) -> tuple[list[int], np.ndarray]:
    """First image of each set of exact copies, and for every image the number of its set."""
    number: dict[bytes, int] = {}
    copy_of = np.array([number.setdefault(thumb.tobytes(), len(number)) for thumb in thumbs], dtype=int)
    return np.unique(copy_of, return_index=True)[1].tolist(), copy_of


def refuse_bushes(links: np.ndarray, n: int, band: Band) -> None:
    degree = np.bincount(np.concatenate([links["first"], links["second"]]), minlength=n)
    branches = int((degree > 2).sum())
    if branches > BRANCHING * n:
        raise UserError(
            f"the images do not say who is who: of {n} in {band.groups} groups, {branches} resemble "
            "three others or more, as copies do and slices in a row do not"
        )


def mixed_groups(group: Sequence[Hashable], names: Sequence[str]) -> int:
    """How many groups (N,) of images with names (N,), classes say, hold two names or more."""
    names_of = Counter(which for which, _ in set(zip(group, names, strict=True)))
    return sum(count > 1 for count in names_of.values())


def evidence(links: np.ndarray, n: int, band: Band | None) -> str:
    """What was tried and seen, for the line of a refusal."""
    if not len(links):
        return f"no two of {n} different images correlate above {FLOOR} in detail"
    tried = (
        f"from r > {links['r'][0]:.3f} to r > {FLOOR} on image detail the number of groups falls "
        f"from {n} to {n - len(links)}"
    )
    if band is None:
        return f"{tried} and is nowhere a set of people with {CHAIN} slices or more each"
    return (
        f"{tried} and its widest stable band, {band.groups} groups from {band.low:.3f} to {band.high:.3f}, "
        f"spans a factor {band.width:.2f} in 1 - r where {WIDE} is needed"
    )
