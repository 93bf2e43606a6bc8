"""A benchmark's results as lines and as a picture."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from alzgan.runtime.sweep import aligned


def lines(results: dict[str, Any]) -> list[str]:
    """The table of the terminal."""
    return [line for part, show in PARTS.items() if part in results for line in show(results[part])]


def loop_lines(loops: dict[str, Any]) -> Iterator[str]:
    """One row a loop."""
    table = [
        [
            "loop",
            "images/s",
            "over textbook",
            "added to bare",
            "GFLOP/s",
            "of product",
            "peak MiB",
            "CUDA MiB",
        ]
    ]
    for name, loop in loops.items():
        product = loops.get("product_fast" if name.endswith("fast") else "product", {})
        rate, best = loop.get("flops_per_second"), product.get("flops_per_second")
        table.append(
            [
                name,
                f"{loop['images_per_second']:.1f}" if "images_per_second" in loop else "",
                "{ratio:.2f} ({low:.2f} to {high:.2f})".format(**loop["over_textbook"])
                if "over_textbook" in loop
                else "",
                "{milliseconds:+.2f} ms ({low:+.2f} to {high:+.2f}), {percent:+.1f} %".format(
                    **loop["overhead"]
                )
                if "overhead" in loop
                else "",
                f"{rate / 1e9:.0f}" if rate else "",
                f"{rate / best:.0%}" if rate and best else "",
                f"{loop['peak_mebibytes']:.0f}",
                f"{loop['peak_cuda_mebibytes']:.0f}" if "peak_cuda_mebibytes" in loop else "",
            ]
        )
    yield from aligned(table)


def stage_lines(stages: dict[str, float]) -> Iterator[str]:
    """A line: where a step's time goes."""
    yield "a step in ms: " + ", ".join(f"{name} {value:.2f}" for name, value in stages.items())


def between_lines(between: dict[str, Any]) -> Iterator[str]:
    """A line: what is between the steps, and how much of a run it takes at the intervals that are set."""
    tasks = [
        f"{name} {task['seconds']:.2f} s every {task['every_n_steps']} steps ({task['share']:.1%} of a run)"
        for name, task in between.items()
        if isinstance(task, dict)
    ]
    yield "; ".join([f"sampling: {between['samples_per_second']:.0f} images/s", *tasks])


def start_lines(start: dict[str, float]) -> Iterator[str]:
    """A line: what a user waits for."""
    yield (
        f"to the first step: {start['first_step']:.1f} s; --help: {start['help']:.1f} s; "
        f"a refused override: {start['refused_override']:.1f} s"
    )


def decoding_lines(decoding: dict[str, Any]) -> Iterator[str]:
    """A line a start."""
    for name, found in decoding.items():
        yield f"decoding, {name}: {found['seconds']:.2f} s, {found['images_per_second']:.0f} images/s"


def growth_lines(growth: dict[str, Any]) -> Iterator[str]:
    """A line for each thing that grows."""
    for name in ("batch_size", "image_size"):
        table = [[name.replace("_", " "), "batch", "images/s", "GFLOP/s", "peak MiB"]]
        for size, found in growth[f"by_{name}"].items():
            speed, rate = found["images_per_second"], found["flops_per_second"] / 1e9
            batch, peak = found["batch_size"], found["peak_mebibytes"]
            table.append([str(size), str(batch), f"{speed:.1f}", f"{rate:.0f}", f"{peak:.0f}"])
        yield from aligned(table) if table[1:] else ()
    for row in growth["by_number_of_images"]:
        yield (
            f"an array of {row['images']:,} images: first batch after {row['first_batch_seconds']:.3f} s, "
            f"{row['mebibytes']:.0f} MiB beyond the map, then {row['images_per_second']:,.0f} images/s taken"
        )


PARTS = {
    "loops": loop_lines,
    "stages": stage_lines,
    "between": between_lines,
    "start": start_lines,
    "decoding": decoding_lines,
    "growth": growth_lines,
}


def plot(results: dict[str, Any], path: Path) -> None:
    """Draw the loops' images/s and, if measured, what grows; without matplotlib print one line."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no picture: pip install 'alzgan[plot]'")
        return
    panels = list(panels_of(results))
    if not panels:
        return
    figure = Figure(figsize=(max(6, 4.5 * len(panels)), 4), layout="constrained")
    for axes, draw in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        draw(axes)
    figure.suptitle(
        f"{results['device']}, {results['threads']} threads, torch {results['packages']['torch']}"
    )
    figure.savefig(path)


def panels_of(results: dict[str, Any]) -> Iterator[Callable[[Any], None]]:
    """What there is to draw: each draws itself on matplotlib's axes."""
    channels, height, width = results["image_shape"]
    shape = f"{height} x {width} x {channels}"
    loops = {n: v for n, v in results.get("loops", {}).items() if "images_per_second" in v}
    if loops:
        yield partial(draw_loops, loops, f"{shape}, batch {results['batch_size']}")
    growth = results.get("growth", {})
    if sizes := growth.get("by_batch_size"):
        yield partial(draw_growth, speeds(sizes), shape, "batch size", "images/s")
    if sizes := growth.get("by_image_size"):
        batch = next(iter(sizes.values()))["batch_size"]
        yield partial(draw_growth, speeds(sizes), f"batch {batch}", "image size", "images/s")
    if rows := growth.get("by_number_of_images"):
        memory = {row["images"]: row["mebibytes"] for row in rows}
        yield partial(draw_growth, memory, "beyond the memory map", "images in the array", "MiB")


def speeds(sizes: dict[Any, dict[str, float]]) -> dict[int, float]:
    """Images/s by size."""
    return {int(size): found["images_per_second"] for size, found in sizes.items()}


def draw_loops(loops: dict[str, Any], title: str, axes: Any) -> None:
    """A bar a loop, with its images/s and, where it is known, its ratio to the textbook loop."""
    bars = axes.barh(list(loops), [loop["images_per_second"] for loop in loops.values()])
    ratios = [loop.get("over_textbook", {}).get("ratio") for loop in loops.values()]
    labels = [
        number(loop["images_per_second"]) + (f" ({ratio:.2f} x)" if ratio else "")
        for loop, ratio in zip(loops.values(), ratios, strict=True)
    ]
    axes.bar_label(bars, labels, padding=3)
    axes.set_xlim(0, 1.5 * max(loop["images_per_second"] for loop in loops.values()))
    axes.set_title(title)
    axes.invert_yaxis()
    axes.set_xlabel("images/s (times the textbook loop's)" if any(ratios) else "images/s")


def draw_growth(values: dict[int, float], title: str, size: str, value: str, axes: Any) -> None:
    """A line over sizes, with a tick at each that was measured; logarithmic where the values span decades."""
    found = list(values.values())
    wide = min(found) > 0 and max(found) > 10 * min(found)
    (axes.loglog if wide else axes.semilogx)(list(values), found, "o-")
    axes.set_xticks(list(values), [f"{size:,}" for size in values])
    axes.minorticks_off()
    for point in values.items():
        axes.annotate(number(point[1]), point, xytext=(0, 6), textcoords="offset points", ha="center")
    axes.margins(0.15)
    if not wide and max(found) > 0:
        axes.set_ylim(0, 1.15 * max(found))
    axes.set_title(title)
    axes.set_xlabel(size)
    axes.set_ylabel(value)


def number(value: float) -> str:
    """Three digits, or all of those before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
