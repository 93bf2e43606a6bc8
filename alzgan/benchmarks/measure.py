"""One benchmark: the loops side by side, and what their times mean."""

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from alzgan.benchmarks import loops
from alzgan.benchmarks.contest import contest, interleave, quartiles, ratios
from alzgan.benchmarks.loops import LoopSettings
from alzgan.errors import UserError, at_least, one_of
from alzgan.files import write_json
from alzgan.runs.build import build_data, build_model, conditioned
from alzgan.runs.config import check_missing, compose_config
from alzgan.runs.provenance import provenance
from alzgan.text import aligned

OWN = ("run_dir", "loops", "rounds", "seconds", "trainer")
LOOPS = ("textbook", "textbook_resident", "bare", "bare_fast", "trainer", "fast")


def measure(settings: DictConfig, overrides: Sequence[str], run_dir: Path) -> dict[str, Any]:
    """Measure, print the table, write `benchmark.json`; returns what is in it.

    Args:
        settings: a composed `conf/benchmark.yaml`.
        overrides: of the command line; those of the data, the model and the callbacks hold for the training.
        run_dir: of the results.
    """
    check(settings, run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    bench = Bench(settings, overrides, run_dir)
    turns = settings.rounds * len(settings.loops)
    print(f"measuring {len(settings.loops)} loops in {turns} turns of {settings.seconds:g} s", flush=True)
    available = bench.available_loops()
    results = {
        **provenance(),
        "config": OmegaConf.to_container(settings, resolve=True),
        "loops": bench.contest({name: available[name] for name in settings.loops}),
    }
    write_json(run_dir / "benchmark.json", results)
    print("\n".join(["", *lines(results["loops"]), "", f"written to {run_dir / 'benchmark.json'}"]))
    return results


def check(settings: DictConfig, run_dir: Path) -> None:
    """Check what is asked of a benchmark."""
    check_missing(settings)
    try:
        at_least(1, rounds=settings.rounds)
        at_least(1e-3, seconds=settings.seconds)
        for name in settings.loops:
            one_of(LOOPS, loops=name)
    except ValueError as error:
        raise UserError(str(error)) from None
    if not settings.loops:
        raise UserError(f"loops is empty; choose of {', '.join(LOOPS)}")
    if settings.ckpt_path is not None:
        raise UserError(f"ckpt_path={settings.ckpt_path} is for alzgan.train: a benchmark starts anew")
    if str(settings.trainer.devices) != "1" or settings.trainer.num_nodes > 1:
        raise UserError(
            f"trainer.devices={settings.trainer.devices}: a benchmark is of one device; set it to 1"
        )
    for name, what in (("benchmark.json", "a benchmark"), ("checkpoints", "a run")):
        if (run_dir / name).exists():
            raise UserError(f"{run_dir} holds {what} already; choose another run_dir")


class Bench:
    """The loops of a benchmark.

    Args:
        settings: as of `measure`, and so are the rest.
        overrides: see there.
        run_dir: see there.
    """

    def __init__(self, settings: DictConfig, overrides: Sequence[str], run_dir: Path):
        self.run_dir = run_dir
        self.overrides = [text for text in overrides if text.lstrip("+~").split("=")[0] not in OWN]
        data = build_data(settings)
        self.settings = settings = conditioned(settings, data)
        build_model(settings)  # its errors are better told here than by a loop in a process of its own
        data.setup()  # makes the phantom, fills the cache
        self.folder = str(data.root)
        self.conditions = {name: settings.model.get(name, 0) for name in ("classes", "numbers")}

    def training(self, name: str, *overrides: str) -> DictConfig:
        """What `python -m alzgan.train` would train with, and a folder for it, without an end."""
        extra = ["trainer.max_epochs=1000000", "trainer.max_steps=-1", f"run_dir='{self.run_dir / name}'"]
        composed = compose_config("train", [*self.overrides, *extra, *overrides])
        composed.model.update(self.conditions)
        # Resolved, since it goes to processes that know no resolvers.
        return OmegaConf.create(OmegaConf.to_container(composed, resolve=True))

    def available_loops(self) -> dict[str, tuple[Any, LoopSettings]]:
        """Every loop there is, with its settings."""
        plain, fast = self.training("trainer"), self.training("fast", "trainer=fast")
        return {
            "textbook": (loops.textbook, LoopSettings(plain, self.folder)),
            "textbook_resident": (loops.textbook, LoopSettings(plain)),
            "bare": (loops.bare, LoopSettings(plain)),
            "bare_fast": (loops.bare, LoopSettings(fast)),
            "trainer": (loops.trainer, LoopSettings(plain)),
            "fast": (loops.trainer, LoopSettings(fast)),
        }

    def contest(self, chosen: dict[str, tuple[Any, LoopSettings]]) -> dict[str, Any]:
        """Time the loops against each other and say what each is worth."""
        with contest(chosen, self.run_dir) as contestants:
            times = interleave(contestants, self.settings.rounds, self.settings.seconds)
            facts = {loop.name: loop.finish() for loop in contestants}
        return summary(times, facts, self.settings.data.batch_size)


def summary(times: dict[str, list[float]], facts: dict[str, dict[str, Any]], batch: int) -> dict[str, Any]:
    """What the times mean, by loop: medians over the rounds, and against the textbook and the bare loop.

    `overhead` is what a Trainer adds to the bare loop of its precision.
    """
    flops = next((fact["flops_a_step"] for name, fact in facts.items() if name.startswith("bare")), None)
    found: dict[str, Any] = {}
    for name, seconds in times.items():
        median = statistics.median(seconds)
        found[name] = {
            "seconds_a_step": median,
            "images_per_second": batch / median,
            "rounds": seconds,
            **facts[name],
            **({"flops_per_second": flops / median} if flops else {}),
            **({"over_textbook": ratios(seconds, times["textbook"])} if "textbook" in times else {}),
        }
    for name, bare in (("trainer", "bare"), ("fast", "bare_fast")):
        if name in found and bare in found:
            found[name]["overhead"] = overhead(found[name], found[bare])
    return found


def overhead(trainer: dict[str, Any], bare: dict[str, Any]) -> dict[str, float]:
    """What a Trainer adds to a step: milliseconds with quartiles, percent, and mebibytes of peak memory."""
    extra = [1e3 * (ours - theirs) for ours, theirs in zip(trainer["rounds"], bare["rounds"], strict=True)]
    low, milliseconds, high = quartiles(extra)
    return {
        "milliseconds": milliseconds,
        "low": low,
        "high": high,
        "percent": milliseconds / 10 / bare["seconds_a_step"],
        "mebibytes": trainer["peak_mebibytes"] - bare["peak_mebibytes"],
    }


def lines(found: dict[str, Any]) -> Iterator[str]:
    """The table of the terminal, one row a loop."""
    header = ["loop", "images/s", "over textbook", "added to bare", "GFLOP/s", "peak MiB", "CUDA MiB"]
    table = [header]
    for name, loop in found.items():
        ratio, added = loop.get("over_textbook"), loop.get("overhead")
        table.append(
            [
                name,
                f"{loop['images_per_second']:.1f}",
                "{ratio:.2f} ({low:.2f} to {high:.2f})".format(**ratio) if ratio else "",
                "{milliseconds:+.2f} ms ({low:+.2f} to {high:+.2f}), {percent:+.1f} %".format(**added)
                if added
                else "",
                f"{loop['flops_per_second'] / 1e9:.0f}" if "flops_per_second" in loop else "",
                f"{loop['peak_mebibytes']:.0f}",
                f"{loop['peak_cuda_mebibytes']:.0f}" if "peak_cuda_mebibytes" in loop else "",
            ]
        )
    yield from aligned(table)
