"""A benchmark's results as lines and as a picture."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alzgan.runtime.sweep import aligned


def lines(results: dict[str, Any]) -> list[str]:
    """The table of the terminal."""
    return [line for part, show in PARTS.items() if part in results for line in show(results[part])]


def loop_lines(loops: dict[str, Any]) -> Iterator[str]:
    """One row a loop."""
    table = [
        ["loop", "images/s", "over textbook", "over bare", "GFLOP/s", "of product", "peak MiB", "CUDA MiB"]
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
        table = [[name.replace("_", " "), "images/s", "GFLOP/s", "peak MiB"]]
        for size, found in growth[f"by_{name}"].items():
            speed, rate = found["images_per_second"], found["flops_per_second"] / 1e9
            table.append([str(size), f"{speed:.1f}", f"{rate:.0f}", f"{found['peak_mebibytes']:.0f}"])
        yield from aligned(table)
    for row in growth["by_number_of_images"]:
        yield (
            f"an array of {row['images']:,} images: first batch after {row['first_batch_seconds']:.3f} s, "
            f"{row['mebibytes']:.0f} MiB beyond the map, then {row['images_per_second']:.0f} images/s"
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
    """Draw the loops' images/s and, if measured, their growth; without matplotlib print one line."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no picture: pip install 'alzgan[plot]'")
        return
    loops = {n: v for n, v in results.get("loops", {}).items() if "images_per_second" in v}
    growth = results.get("growth", {})
    grown = ("batch_size", "image_size") if growth else ()
    figure = Figure(figsize=(5 * (1 + len(grown)), 4), layout="constrained")
    axes = figure.subplots(1, 1 + len(grown), squeeze=False)[0]
    axes[0].barh(list(loops), [loop["images_per_second"] for loop in loops.values()])
    axes[0].invert_yaxis()
    axes[0].set_xlabel("images/s")
    for axis, name in zip(axes[1:], grown, strict=True):
        sizes = growth[f"by_{name}"]
        axis.loglog(list(sizes), [found["images_per_second"] for found in sizes.values()], "o-")
        axis.set_xlabel(name.replace("_", " "))
        axis.set_ylabel("images/s")
    figure.savefig(path)
