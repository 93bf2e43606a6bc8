"""Who is in which slice, recovered from the images alone.

Neighbouring slices of one person share their fine detail; slices of two people do not. Detail is a thumbnail
minus its 5 x 5 mean. On the Kaggle set it correlates at 0.91 or more between neighbouring slices, and at 0.70
or less between people (the thumbnails themselves: 0.987 and 0.971). Single linkage over these correlations
gives the people. If no threshold stands out, nothing is guessed.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy.cluster.hierarchy import DisjointSet
from scipy.ndimage import uniform_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, dijkstra, minimum_spanning_tree

from alzgan.errors import UserError
from alzgan.text import counted

FLOOR = 0.5  # least correlation of detail of two slices that are alike
WIDE = 1.6  # least width of a band; in phantoms and thinned sets wrong ones reached 1.3, the right one 3.2
CHAIN = 4  # least slices of a chain; three could be a picture and two edited copies of it
IN_CHAINS = 0.9  # least share of the images in a chain
BRANCHING = 0.05  # largest share of the images with three links: slices form lines, copies form clusters
MIXED = 0.05  # largest share of the people with two classes: a person may have come twice
MOST_COMPARED = 100_000  # most images to compare each with each; more would take hours
COMPARED = 2048  # images on each side of a block of correlations: 16 MiB
MAX_LINKS = 4_000_000  # links held before they are thinned to a forest: 48 MB

LINK = np.dtype([("first", np.int32), ("second", np.int32), ("r", np.float32)])
One = TypeVar("One", int, str)
Group = TypeVar("Group", str, str | None)


@dataclass(frozen=True)
class Band:
    """A range of thresholds over which the groups stay the same: `low` <= r < `high`."""

    groups: int
    low: float
    high: float
    links: int  # how many of the sorted links are above it

    @property
    def width(self) -> float:
        """The factor by which 1 - r may vary."""
        return (1 - self.low) / max(1 - self.high, 1e-4)


@dataclass(frozen=True)
class Recovered:
    """For each image its person (0, 1, ...), and its place in the scan from 1 where known."""

    person: np.ndarray
    position: list[int | None]
    note: str


def recover(thumbs: np.ndarray, labels: Sequence[str]) -> Recovered:
    """Group the slices of N `thumbnails` and labels into people, and put each person's slices in order.

    Exact copies count once. All people are ordered in the same direction, bottom up or top down. A person
    does not change class within a scan, so groups that mix labels are evidence against the grouping.

    Raises:
        UserError: no threshold gives people beyond doubt; the line gives the evidence.
    """
    distinct, copy_of = distinct_images(thumbs)
    n = len(distinct)
    links = strongest_links(detail(thumbs[distinct]))
    band = widest_band(links, n)
    if band is None or band.width < WIDE:
        raise UserError(f"the images do not say who is who: {evidence(links, n, band)}")
    links = links[: band.links]
    branches = int((degrees(links, n) > 2).sum())
    if branches > BRANCHING * n:
        raise UserError(
            f"the images do not say who is who: of {n} in {band.groups} groups, {branches} resemble "
            "three others or more, as copies do and slices in a row do not"
        )
    group = components(links, n)
    mixed = len(in_several(group[copy_of].tolist(), labels))
    if mixed > MIXED * band.groups:
        raise UserError(f"the images do not say who is who: {mixed} of {band.groups} groups mix classes")
    position = align(thumbs[distinct], group, positions(links, group))
    note = f"{band.groups} people, the same for thresholds from r = {band.low:.3f} to {band.high:.3f}"
    note += f" on image detail; {mixed} carry two classes"
    return Recovered(group[copy_of], [int(p) or None for p in position[copy_of]], note)


def distinct_images(thumbs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First image of each set of exact copies, and for every image the number of its set."""
    number: dict[bytes, int] = {}
    copy_of = np.array([number.setdefault(thumb.tobytes(), len(number)) for thumb in thumbs], dtype=int)
    return np.unique(copy_of, return_index=True)[1], copy_of


def contrast(thumbs: np.ndarray, change: Callable[[np.ndarray], np.ndarray] = np.asarray) -> np.ndarray:
    """Thumbnails as unit vectors (N, pixels) whose products are correlations of the (changed) images."""
    # float16 halves the memory of many images and moves a correlation by less than 0.0001.
    vectors = np.empty((len(thumbs), thumbs[:1].size or 1), np.float16)
    for start in range(0, len(thumbs), COMPARED):
        images = change(thumbs[start : start + COMPARED].astype(np.float32))
        vectors[start : start + COMPARED] = unit_vectors(images.reshape(len(images), -1))
    return vectors


def unit_vectors(rows: np.ndarray) -> np.ndarray:
    """Rows (N, F) minus their means, scaled to length 1; a constant row becomes 0."""
    rows = rows - rows.mean(axis=1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-3)


def detail(thumbs: np.ndarray) -> np.ndarray:
    """`contrast` of the difference from the mean of the 5 x 5 pixels around."""
    return contrast(thumbs, lambda images: images - uniform_filter(images, (1, 5, 5), mode="nearest"))


def blocks_of(vectors: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(vectors), COMPARED):
        yield vectors[start : start + COMPARED].astype(np.float32)


def strongest_links(vectors: np.ndarray, floor: float = FLOOR) -> np.ndarray:
    """`spanning_forest` of all pairs of unit vectors (N, F) with r > floor; memory grows with N only."""
    held = [np.empty(0, LINK)]
    for pairs in pairs_above(vectors, floor):
        held.append(np.rec.fromarrays(pairs, LINK))
        if sum(map(len, held)) > MAX_LINKS:
            held = [spanning_forest(held, len(vectors))]
    return spanning_forest(held, len(vectors))


def pairs_above(vectors: np.ndarray, floor: float) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Both indices and the product of each pair of unit vectors with a product above `floor`, in blocks."""
    for i, rows in enumerate(blocks_of(vectors)):
        for j, columns in enumerate(blocks_of(vectors[i * COMPARED :]), start=i):
            r = rows @ columns.T
            if i == j:
                r = np.triu(r, 1)
            first, second = np.nonzero(r > floor)
            yield first + i * COMPARED, second + j * COMPARED, r[first, second]


def spanning_forest(parts: list[np.ndarray], n: int) -> np.ndarray:
    """The maximum spanning forest, strongest link first; at any threshold it connects the same images."""
    tree = minimum_spanning_tree(-graph_of(np.concatenate(parts), n)).tocoo()
    forest = np.rec.fromarrays([tree.row, tree.col, -tree.data], LINK)
    return forest[np.argsort(tree.data, kind="stable")]


def components(links: np.ndarray, n: int) -> np.ndarray:
    """Connected components (N,) of n images, numbered from 0 in the order of their first image."""
    return connected_components(graph_of(links, n), directed=False)[1]


def graph_of(links: np.ndarray, n: int) -> coo_array:
    return coo_array((links["r"], (links["first"], links["second"])), (n, n))


def degrees(links: np.ndarray, n: int) -> np.ndarray:
    """How many links each of n images has."""
    return np.bincount(np.concatenate([links["first"], links["second"]]), minlength=n)


def widest_band(links: np.ndarray, n: int) -> Band | None:
    """The widest range of thresholds at which nearly all n images lie in chains, and no group holds half."""
    groups = DisjointSet(range(n))
    lows = [*links["r"][1:].tolist(), FLOOR]
    chained, best = 0, None
    for k, (first, second, high) in enumerate(links.tolist()):
        sizes = groups.subset_size(first), groups.subset_size(second)
        groups.merge(first, second)
        if 2 * sum(sizes) > n:
            break
        if sum(sizes) >= CHAIN:
            chained += sum(s for s in sizes if s < CHAIN)
        band = Band(n - k - 1, lows[k], high, k + 1)
        if chained >= IN_CHAINS * n and (best is None or band.width > best.width):
            best = band
    return best


def positions(links: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Place (N,) of each image in its group, from 1, where the group's links form one line; else 0."""
    graph, degree = graph_of(links, len(group)), degrees(links, len(group))
    ends = np.flatnonzero(degree < 2)
    starts = ends[np.unique(group[ends], return_index=True)[1]]  # one end of each group
    steps = dijkstra(graph, directed=False, indices=starts, unweighted=True, min_only=True)
    return np.where(np.isin(group, group[degree > 2]), 0, steps + 1).astype(int)


def leaks(thumbs: np.ndarray, parts: Sequence[str], threshold: float = 0.98) -> np.ndarray:
    """The test images (indices) with a train image whose `thumbnails` correlate above the threshold.

    `parts` says "train", "validation" or "test" for each. On the Kaggle set no two people reach 0.98; among
    the 3,929 slices of the 110 people of the LGG set two pairs do.
    """
    vectors, part = contrast(thumbs), np.asarray(parts)
    train, test = vectors[part == "train"], vectors[part == "test"]
    found = [
        np.any([(some @ others.T > threshold).any(axis=1) for others in blocks_of(train)], axis=0)
        for some in blocks_of(test)
    ]
    return np.flatnonzero(part == "test")[np.concatenate(found)] if found else np.empty(0, int)


def align(thumbs: np.ndarray, group: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Reverse the people whose first slice looks more like the last slice of the largest group."""
    size = np.bincount(group)
    first, last = np.flatnonzero(position == 1), np.flatnonzero((position > 0) & (position == size[group]))
    if not len(first):
        return position
    first, last = first[np.argsort(group[first])], last[np.argsort(group[last])]
    # Whole thumbnails instead of details: in any person the outline shows the height of a slice.
    starts, ends = contrast(thumbs[first]).astype(np.float32), contrast(thumbs[last]).astype(np.float32)
    largest = np.argmax(size[group[first]])
    upright = (starts - ends) @ (starts[largest] - ends[largest]) >= 0
    turned = np.isin(group, group[first][~upright])
    return np.where(turned, size[group] + 1 - position, position)


def in_several(people: Sequence[One], groups: Sequence[Group]) -> dict[One, list[Group]]:
    """The people in more than one group, with their groups, in the order of the files."""
    groups_of: dict[One, dict[Group, None]] = defaultdict(dict)
    for person, group in zip(people, groups, strict=True):
        groups_of[person][group] = None
    return {person: list(several) for person, several in groups_of.items() if len(several) > 1}


def evidence(links: np.ndarray, n: int, band: Band | None) -> str:
    """What was tried and found, for an error line."""
    if not len(links):
        return f"no two of {counted(n, 'different image')} correlate above {FLOOR} in detail"
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
