"""Plots of a report, as SVG that follows the text colour of the page in light and dark mode."""

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

INK = "#010203"  # stands for the page's text colour, which replaces it
SAMPLES, UNSEEN, TRAIN = "#D55E00", "#0072B2", "#009E73"  # safe for colour-blind readers
LEAST = 0.01  # of the limit: smaller values and negative ones are drawn there
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "text.parse_math": False,  # names of spaces and arms may contain dollar signs
}


def drawn(name: str, size: tuple[float, float], draw: Callable[[Figure], None], alone: bool = False) -> str:
    """A figure as SVG for a page; the same input gives the same text.

    Args:
        name: of the figure, unique on its page, because the names of its parts begin with it.
        size: width and height, in inches.
        draw: draws into the figure.
        alone: it is a file of its own, black on white, for pages that are light or dark.
    """
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        content = io.StringIO()
        paper = "white" if alone else "none"
        metadata = {"Date": None, "Creator": None}
        figure.savefig(content, format="svg", transparent=True, facecolor=paper, metadata=metadata)
    text = content.getvalue()
    text = text[text.index("<svg") :].replace(INK, "black" if alone else "currentColor")
    # The names of parts must be unique on the whole page.
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", text)
    return re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL).replace(
        "<svg", '<svg role="img"', 1
    )


def dagger(number: dict[str, Any]) -> str:
    """The mark of a number or curve in a space that the discriminator was trained on; empty for any other."""
    return " †" if number.get("trained") else ""  # older ones lack it


def distances(name: str, numbers: Sequence[dict[str, Any]]) -> str:
    """Distances to held-out people relative to the limit of unseen people, with the latter's interval."""
    rows = [number for number in numbers if number["limit"] > 0]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.axvline(1, color=UNSEEN, linewidth=1)
        units = [number["limit"] for number in rows]
        beside_unseen(axes, rows, lambda place, value: max(value / units[place], LEAST))
        as_multiples(axes)
        axes.set_xlabel("times the limit of unseen people")

    return drawn(name, (7, 0.8 + 0.34 * len(rows)), draw) if rows else ""


def shares(name: str, numbers: Sequence[dict[str, Any]]) -> str:
    """Numbers from 0 to about 1, with the interval of unseen people."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        beside_unseen(axes, numbers, lambda _, value: value)
        axes.set_xlim(left=min(0, *axes.get_xlim()))

    return drawn(name, (7, 0.6 + 0.34 * len(numbers)), draw) if numbers else ""


def as_multiples(axes: Axes) -> None:
    """Give the x axis a logarithmic scale with plain numbers, at 1, 2 and 5 times each power of 10."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def beside_unseen(axes: Axes, rows: Sequence[dict[str, Any]], scaled: Callable[[int, float], float]) -> None:
    """Draw a row for each number, from the top: a dot for the samples, a band for unseen people.

    Args:
        axes: to draw on.
        rows: the numbers.
        scaled: gives the position of a value in a row.
    """
    for place, number in enumerate(rows):
        band = [scaled(place, number["unseen"][end]) for end in ("low", "high")]
        axes.plot(band, [place, place], color=UNSEEN, linewidth=7, alpha=0.55, solid_capstyle="butt")
        axes.plot(scaled(place, number["value"]), place, "o", color=SAMPLES, markersize=7)
    axes.set_yticks(
        range(len(rows)), [f"{each['of']['words']}, {each['space']}{dagger(each)}" for each in rows]
    )
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.plot([], [], "o", color=SAMPLES, label="samples")
    axes.plot([], [], color=UNSEEN, linewidth=7, alpha=0.55, label="unseen people, 95 %")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)


def curves(name: str, found: Sequence[dict[str, Any]]) -> str:
    """A distance against N, one plot for each space, with its extrapolation."""
    columns = min(len(found), 3)
    rows = -(-len(found) // 3)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes, curve in zip(grid.flat, found, strict=False):
            for side, colour in (("samples", SAMPLES), ("unseen", UNSEEN)):
                label = {"samples": "samples", "unseen": "unseen people"}[side]
                axes.plot(curve["n"], curve[side], "o-", color=colour, markersize=4, label=label)
                if curve[f"{side}_at_infinity"] is not None:
                    axes.axhline(curve[f"{side}_at_infinity"], color=colour, linestyle=":", linewidth=1.2)
            axes.set_title(curve["space"] + dagger(curve), fontsize=11)
            axes.set_xlabel("N")
            axes.set_ylim(bottom=min(0, *axes.get_ylim()))
        for axes in grid.flat[len(found) :]:
            axes.set_axis_off()
        figure.axes[0].set_ylabel(found[0]["of"]["words"])
        figure.axes[0].legend()

    return drawn(name, (3.1 * columns + 0.4, 2.9 * rows), draw) if found else ""


def similarities(name: str, copies: dict[str, Any]) -> str:
    """Similarities of samples and of unseen people's images to their nearest training images."""
    histogram = copies["histogram"]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        steps(axes, histogram["edges"], {"samples": histogram["samples"], "held_out": histogram["unseen"]})
        axes.axvline(
            copies["threshold"],
            color=INK,
            linestyle="--",
            linewidth=1,
            label=f"{copies['most']} of held-out people's",
        )
        axes.axvline(copies["certain"], color=INK, linestyle=":", linewidth=1.6, label="copies beyond")
        axes.set_xlabel("correlation of detail with the nearest training image, aligned")
        axes.legend(loc="upper left")

    return drawn(name, (7, 3), draw)


def anatomy(name: str, measures: Sequence[dict[str, Any]]) -> str:
    """Distributions of each measure."""

    def draw(figure: Figure) -> None:
        columns = 3
        grid = figure.subplots(-(-len(measures) // columns), columns, squeeze=False)
        for axes, measure in zip(grid.flat, measures, strict=False):
            steps(axes, measure["edges"], {side: measure[side] for side in ("samples", "held_out", "train")})
            axes.set_title(measure["name"].replace("_", " "), fontsize=11)
            axes.set_xlabel(measure["unit"], fontsize=9)
            axes.set_yticks([])
        for axes in grid.flat[len(measures) :]:
            axes.set_axis_off()
        grid.flat[0].legend(fontsize=8)

    return drawn(name, (9, 2.2 * -(-len(measures) // 3)), draw) if measures else ""


def steps(axes: Axes, edges: Sequence[float], counts: dict[str, Sequence[int]]) -> None:
    """Draw histograms as shares, on the same axes."""
    looks = {
        "samples": (SAMPLES, "samples", 1.8),
        "held_out": (UNSEEN, "held-out people", 1.8),
        "train": (TRAIN, "training people", 1),
    }
    for side, values in counts.items():
        colour, label, width = looks[side]
        share = np.asarray(values) / max(sum(values), 1)
        axes.stairs(share, edges, color=colour, label=label, linewidth=width)


def effects(name: str, utility: dict[str, Any]) -> str:
    """The change for unseen people by each way of training, with its interval."""
    arms = [arm for arm in utility["arms"] if arm["difference"]]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for place, arm in enumerate(arms):
            told = arm["difference"]
            axes.plot([told["low"], told["high"]], [place, place], color=SAMPLES, linewidth=2)
            axes.plot(told["mean"], place, "o", color=SAMPLES)
        axes.axvline(0, color=INK, linewidth=1)
        if utility["detectable"] is not None:
            axes.axvspan(-utility["detectable"], utility["detectable"], color=UNSEEN, alpha=0.15)
        axes.set_yticks(range(len(arms)), [arm["name"] for arm in arms])
        axes.invert_yaxis()
        axes.set_xlabel("change of the probability of the right class")

    return drawn(name, (7, 1 + 0.4 * len(arms)), draw) if arms else ""
