"""The trade-off plot: how near samples are to unseen people, against how many are near training images."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from matplotlib.transforms import IdentityTransform

from alzgan.report.labels import line_to, placed
from alzgan.report.plots import INK, LEAST, SAMPLES, UNSEEN, as_multiples, dagger, drawn

WIDTH = 266  # points; 355 pixels of a page, as wide as a phone shows without scaling
HEIGHT, MORE, MOST = 280, 8, 560  # points; for each recipe; at most
LEFT, RIGHT, BOTTOM, TOP = 23, 5, 32, 44  # points beside the axes
FONT = 8.5  # points; 11.3 pixels of a page
DOT = 5.5  # points across
LOOKS: dict[bool, dict[str, Any]] = {  # of seeds of a recipe and of samples of others
    False: {"marker": "o", "color": SAMPLES, "label": "seed of a recipe", "gid": "seeds"},
    True: {"marker": "s", "color": INK, "label": "samples of others", "gid": "others"},
}
BAND: dict[str, Any] = {"facecolor": UNSEEN, "alpha": 0.25, "linewidth": 0}
LEGEND: dict[str, Any] = {"ncols": 2, "borderpad": 0, "handlelength": 1.2, "columnspacing": 1.2}
LONGEST = 28  # characters of a label
PERCENTAGES = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)  # that the axis may mark


def tradeoff(name: str, rows: Sequence[dict[str, Any]], far: str, near: str, alone: bool = False) -> str:
    """Distance from unseen people against nearness to training images, as narrow as a phone's screen.

    Each seed is a dot. A line joins the means of a recipe's seeds from step to step; hairlines join a mean
    and its seeds. A recipe is named once, at its last step. Samples of others are squares. Bands hold 95 % of
    draws of unseen people. Distances are over those of unseen people, which depend on the image size.
    Percentages are drawn at their square root, because the deviation of a share grows with it.

    Args:
        name: of the figure.
        rows: of the table of settings, and of samples of others.
        far: metric of the distance to unseen people.
        near: metric of the share of samples that are too near to a training image.
        alone: see `drawn`.

    Returns:
        The figure; empty if it had fewer than two dots.
    """
    pairs = [(row, row["cells"].get(far), row["cells"].get(near)) for row in rows]
    known = [row | positions(x, y) | {"mark": dagger(x)} for row, x, y in pairs if x and y]
    groups: dict[tuple[bool, str], list[dict[str, Any]]] = defaultdict(list)
    for row in sorted(known, key=lambda row: row["step"]):
        groups[row["others"], row["group"]].append(row)
    height = min(HEIGHT + MORE * len(groups), MOST)

    def draw(figure: Figure) -> None:
        figure.set_layout_engine("none")
        figure.set_dpi(72)  # a pixel is a point
        inner = (LEFT / WIDTH, BOTTOM / height, 1 - (LEFT + RIGHT) / WIDTH, 1 - (BOTTOM + TOP) / height)
        axes = figure.add_axes(inner)
        seeds, unseen = (np.vstack([row[which] for row in known]) for which in ("seeds", "unseen"))
        scale(axes, np.vstack([seeds, unseen]))
        axes.set_xlabel(
            f"{known[0]['cells'][far]['of']['words']}, times that of unseen people", fontsize=FONT
        )
        axes.set_title("% of samples too near to a training image", fontsize=FONT, loc="left", x=-0.05, pad=5)
        lines = draw_samples(axes, groups)
        axes.axvspan(unseen[:, 0].min(), unseen[:, 0].max(), gid="unseen-x", **BAND)
        axes.axhspan(
            unseen[:, 1].min(), unseen[:, 1].max(), gid="unseen-y", **BAND, label="unseen people, 95 %"
        )
        last = [steps[-1] for steps in groups.values()]
        names = [shortened(row["group"] or row["name"]) + row["mark"] for row in last]
        unnamed = write_names(axes, names, np.vstack([row["mean"] for row in last]), seeds, lines)
        if unnamed:
            axes.plot([], [], linestyle="", label=f"{unnamed} not named")
        above = -0.06, 1 + 14 / axes.bbox.height
        axes.legend(loc="lower left", bbox_to_anchor=above, fontsize=FONT, **LEGEND)

    dots = sum(len(row["seeds"]) for row in known)
    return drawn(name, (WIDTH / 72, height / 72), draw, alone) if dots > 1 else ""


def positions(x: dict[str, Any], y: dict[str, Any]) -> dict[str, np.ndarray]:
    """Positions (N, 2) of each seed, of their mean, and of both ends of unseen people's interval."""
    found = {
        "seeds": [*zip(x["values"], y["values"], strict=True)],
        "mean": [(x["mean"], y["mean"])],
        "unseen": [(x["unseen"][end], y["unseen"][end]) for end in ("low", "high")],
    }
    unit = x["unseen"]["mean"], 0.01
    return {which: np.maximum(np.array(pairs) / unit, (LEAST, 0)) for which, pairs in found.items()}


def scale(axes: Axes, places: np.ndarray) -> None:
    """Give axes their scales and limits, for multiples and percentages (N, 2)."""
    right, top = places.max(0) * (1.15, 1.1)
    as_multiples(axes)
    axes.set_xlim(places[:, 0].min() / 1.1, right)
    axes.set_yscale("function", functions=(np.sqrt, np.square))
    axes.set_ylim(0, top)
    marks = [0, *(each for each in PERCENTAGES if 0.015 * top < each <= top)]
    axes.set_yticks(marks, [f"{each:g}" for each in marks])
    axes.tick_params(labelsize=FONT)


def draw_samples(axes: Axes, groups: dict[tuple[bool, str], list[dict[str, Any]]]) -> list[np.ndarray]:
    """Draw dots and lines of rows by recipe, and give the positions (N, 2) of each line."""
    rows = [row for steps in groups.values() for row in steps]
    paths = [np.vstack([row["mean"] for row in steps]) for steps in groups.values()]
    hairs = [np.vstack([row["mean"], seed]) for row in rows if len(row["seeds"]) > 1 for seed in row["seeds"]]
    for (others, _), path in zip(groups, paths, strict=True):
        axes.plot(*path.T, color=LOOKS[others]["color"], linewidth=1.2)
    for line in hairs:
        axes.plot(*line.T, color=SAMPLES, linewidth=0.6)
    for others, look in LOOKS.items():
        seeds = [row["seeds"] for row in rows if row["others"] == others]
        if seeds:
            axes.plot(*np.vstack(seeds).T, linestyle="", markersize=DOT, clip_on=False, zorder=3, **look)
    return paths + hairs


def write_names(
    axes: Axes, names: Sequence[str], ends: np.ndarray, dots: np.ndarray, lines: Sequence[np.ndarray]
) -> int:
    """Write names beside their points where they cover no dot and no other name.

    Args:
        axes: to write on, with their final limits; a pixel is a point.
        names: of the points.
        ends: position (N, 2) of each point.
        dots: positions (M, 2).
        lines: positions (K, 2) of each line.

    Returns:
        How many names found no room.
    """
    pixels = axes.transData.transform
    bends = [pixels(line) for line in lines]
    passed = [np.empty((0, 2)), *(sampled(*ends) for line in bends for ends in pairwise(line))]
    sizes = [extent(each) for each in names]
    frame = axes.get_window_extent().extents
    places = placed(pixels(ends), sizes, pixels(dots), DOT / 2, np.vstack(passed), frame)
    for name, point, box in zip(names, pixels(ends), places, strict=True):
        if box is not None:
            left, bottom = box[:2]
            axes.text(left, bottom, name, fontsize=FONT, va="bottom", transform=IdentityTransform())
            end = line_to(point, box)
            if end is not None:
                axes.plot(
                    *zip(point, end, strict=True), color=INK, linewidth=0.5, transform=IdentityTransform()
                )
    return sum(box is None for box in places)


def sampled(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Positions (N, 2) from one to another, at most 4 points apart."""
    return np.linspace(one, other, int(np.hypot(*(other - one)) / 4) + 2)


def extent(name: str) -> tuple[float, float]:
    """Width and height of a name, in points."""
    font = FontProperties(size=FONT)
    width = text_to_path.get_text_width_height_descent(name, font, False)[0]
    return width, text_to_path.get_text_width_height_descent("Äp", font, False)[1]


def shortened(name: str) -> str:
    """A name without its middle if it is long: its end may be the value that tells it from others."""
    half = LONGEST // 2
    return name if len(name) <= LONGEST else f"{name[: half - 1]}…{name[-half:]}"
