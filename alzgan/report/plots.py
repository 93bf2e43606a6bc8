"""Plots of a report: SVG that takes the page's own text colour, in light and dark."""

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

INK = "#010203"  # no colour of a plot: replaced by the page's text colour
SAMPLES, UNSEEN, TRAIN = "#D55E00", "#0072B2", "#009E73"  # told apart by the colour-blind, too
SHARES = ("precision", "recall", "density", "coverage", "alpha_precision", "beta_recall")
LEAST = 0.01  # of the limit: what is below, or below 0, is drawn there
DISTANCES = ("kernel_distance", "frechet", "mind")
STYLE = {
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
    "text.parse_math": False,  # names of spaces and arms are text, whatever dollars they hold
}


def drawn(name: str, size: tuple[float, float], draw: Callable[[Figure], None]) -> str:
    """A figure as SVG for a page; the same input gives the same text.

    Args:
        name: of the figure, different for each of a page: its inner names begin with it.
        size: width and height, in inches.
        draw: draws into the figure.
    """
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        content = io.StringIO()
        figure.savefig(content, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = content.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    # Names of parts are of the whole page: two figures must not share one.
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", text)
    return re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL).replace(
        "<svg", '<svg role="img"', 1
    )


def distances(name: str, numbers: Sequence[dict[str, Any]]) -> str:
    """Distances to the held-out people over the limit of unseen people's, with their interval."""
    rows = [n for metric in DISTANCES for n in numbers if n["metric"] == metric and n["limit"] > 0]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for place, number in enumerate(rows):
            unit = number["limit"]
            low, high = (max(number["unseen"][end] / unit, LEAST) for end in ("low", "high"))
            axes.plot(
                [low, high], [place, place], color=UNSEEN, linewidth=7, alpha=0.55, solid_capstyle="butt"
            )
            axes.plot(max(number["value"] / unit, LEAST), place, "o", color=SAMPLES, markersize=7)
        axes.axvline(1, color=UNSEEN, linewidth=1)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("times the limit of unseen people")
        label_rows(axes, rows)

    return drawn(name, (7, 0.8 + 0.34 * len(rows)), draw) if rows else ""


def shares(name: str, numbers: Sequence[dict[str, Any]]) -> str:
    """Precision, recall and their like, beside unseen people's interval."""
    rows = [n for metric in SHARES for n in numbers if n["metric"] == metric]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for place, number in enumerate(rows):
            ends = [number["unseen"][end] for end in ("low", "high")]
            axes.plot(ends, [place, place], color=UNSEEN, linewidth=7, alpha=0.55, solid_capstyle="butt")
            axes.plot(number["value"], place, "o", color=SAMPLES, markersize=7)
        axes.set_xlim(left=min(0, *axes.get_xlim()))
        label_rows(axes, rows)

    return drawn(name, (7, 0.6 + 0.34 * len(rows)), draw) if rows else ""


def label_rows(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    """Name each row, the first one on top."""
    axes.set_yticks(range(len(rows)), [f"{words(n['metric'])}, {n['space']}" for n in rows])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.plot([], [], "o", color=SAMPLES, label="samples")
    axes.plot([], [], color=UNSEEN, linewidth=7, alpha=0.55, label="unseen people, 95 %")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)


def curves(name: str, found: Sequence[dict[str, Any]]) -> str:
    """A distance against N, one plot for each space, with what it heads for."""
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
            axes.set_title(curve["space"], fontsize=11)
            axes.set_xlabel("N")
            axes.set_ylim(bottom=min(0, *axes.get_ylim()))
        for axes in grid.flat[len(found) :]:
            axes.set_axis_off()
        figure.axes[0].set_ylabel(words(found[0]["metric"]))
        figure.axes[0].legend()

    return drawn(name, (3.1 * columns + 0.4, 2.9 * rows), draw) if found else ""


def similarities(name: str, copies: dict[str, Any]) -> str:
    """How alike samples, and unseen people's images, are to their nearest training image."""
    histogram = copies["histogram"]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        steps(axes, histogram["edges"], {"samples": histogram["samples"], "held_out": histogram["unseen"]})
        axes.axvline(
            copies["threshold"], color=INK, linestyle="--", linewidth=1, label="99 % of held-out people's"
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
            axes.set_title(words(measure["name"]), fontsize=11)
            axes.set_xlabel(measure["unit"], fontsize=9)
            axes.set_yticks([])
        for axes in grid.flat[len(measures) :]:
            axes.set_axis_off()
        grid.flat[0].legend(fontsize=8)

    return drawn(name, (9, 2.2 * -(-len(measures) // 3)), draw) if measures else ""


def steps(axes: Axes, edges: Sequence[float], counts: dict[str, Sequence[int]]) -> None:
    """Histograms as shares, one over the other."""
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
    """What each way of training changes for unseen people, with its interval."""
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


def tradeoff(name: str, rows: Sequence[dict[str, Any]]) -> str:
    """How far from unseen people against how near to training images; the steps of one run are a line.

    A run is named at its last step, together with those that end at the same place. Distances are over those
    of unseen people, which depend on size.
    """
    known = [row for row in rows if row["cells"]["frechet"] and row["cells"]["share_above_threshold"]]

    def draw(figure: Figure) -> None:
        axes, ends = figure.subplots(), []
        for group in dict.fromkeys(row["group"] for row in known):
            steps = sorted((row for row in known if row["group"] == group), key=lambda row: row["step"])
            x = [row["cells"]["frechet"]["mean"] / row["cells"]["frechet"]["unseen"]["mean"] for row in steps]
            y = [100 * row["cells"]["share_above_threshold"]["mean"] for row in steps]
            axes.plot(x, y, "o-", color=SAMPLES, markersize=5, linewidth=1)
            ends.append((x[-1], y[-1], steps[-1]["name"]))
        for *end, name in together(ends):
            axes.annotate(name, end, (4, 3), textcoords="offset points", fontsize=8, color=INK, rotation=20)
        place = 1, 100 * known[0]["cells"]["share_above_threshold"]["unseen"]["mean"]
        axes.plot(*place, "D", color=UNSEEN)
        axes.annotate("unseen people", place, (6, 4), textcoords="offset points", fontsize=8, color=UNSEEN)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(bottom=0)
        axes.set_xlabel("Fréchet distance to held-out people, over that of unseen people")
        axes.set_ylabel("% nearer to a training image")

    return drawn(name, (8, 5), draw) if known else ""


def together(ends: Sequence[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
    """Names at places (x, y, name), those joined whose places a label cannot tell apart."""
    found: list[tuple[float, float, str]] = []
    for x, y, name in sorted(ends):
        near = next((each for each in found if x < 1.1 * each[0] and abs(y - each[1]) < 0.3), None)
        if near is None:
            found.append((x, y, name))
        else:
            found[found.index(near)] = (*near[:2], f"{near[2]}, {name}")
    return found


def words(name: str) -> str:
    """A name as one reads it."""
    return {
        "frechet": "Fréchet distance",
        "mind": "MIND",
        "vendi": "Vendi score",
        "wasserstein": "Wasserstein distance",
        "membership_auc": "membership AUC",
        "train_test_distance": "C_T",
    }.get(name, name.replace("_", " "))
