"""One benchmark: the parts that were asked for, one after the other, and what they say."""

import contextlib
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from alzgan.benchmarks import costs, loops, report, trainer
from alzgan.benchmarks.contest import contest, interleave, quartiles, ratios
from alzgan.benchmarks.loops import LoopSettings
from alzgan.runtime.cli import CONF
from alzgan.runtime.errors import UserError
from alzgan.runtime.files import write_json
from alzgan.runtime.provenance import provenance

OWN = (
    "run_dir",
    "parts",
    "loops",
    "rounds",
    "seconds",
    "batch_sizes",
    "image_sizes",
    "image_counts",
    "trainer",
)

NO_BAR = "++callbacks.progress.bar=false"


def measure(settings: DictConfig, overrides: Sequence[str], run_dir: Path) -> dict[str, Any]:
    """Measure, print the table, write `benchmark.json` and `benchmark.png`; returns the former.

    Args:
        settings: a composed `conf/benchmark.yaml`.
        overrides: of the command line; those of the data, the model and the callbacks hold for the training.
        run_dir: of the results.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    bench = Bench(settings, overrides, run_dir)
    data = settings.data
    results: dict[str, Any] = {
        **provenance(),
        "batch_size": data.batch_size,
        "image_shape": [data.channels, data.image_size, data.image_size],
        "config": OmegaConf.to_container(settings, resolve=True),
    }
    for part in settings.parts:
        turns = settings.rounds * len(settings.loops)
        told = f", {turns} turns of {settings.seconds:g} s" if part == "loops" else ""
        print(f"measuring: {part}{told}", flush=True)
        results[part] = getattr(bench, part)()
    write_json(run_dir / "benchmark.json", results)
    print("\n".join(["", *report.lines(results), "", f"written to {run_dir / 'benchmark.json'}"]))
    report.plot(results, run_dir / "benchmark.png")
    return results


def compose_settings(name: str, overrides: Sequence[str]) -> DictConfig:
    """`conf/NAME.yaml` with overrides, in a verb or in a script that has called `config.register`."""
    started = GlobalHydra.instance().is_initialized()
    with contextlib.nullcontext() if started else initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(name, list(overrides))


class Bench:
    """The parts of a benchmark, one method each.

    Args:
        settings: as of `measure`, and so are the rest.
        overrides: see there.
        run_dir: see there.
    """

    def __init__(self, settings: DictConfig, overrides: Sequence[str], run_dir: Path):
        self.settings = settings
        self.run_dir = run_dir
        self.overrides = [text for text in overrides if text.lstrip("+~").split("=")[0] not in OWN]
        data = instantiate(settings.data, _convert_="all")
        data.setup()  # makes the phantom, fills the cache
        if "growth" in settings.parts and (most := max(settings.batch_sizes, default=0)) > len(data):
            raise UserError(f"batch_sizes: {most} is more than the {len(data)} images to train on")
        self.folder = str(data.root)

    def training(self, name: str, *overrides: str) -> DictConfig:
        """What `python -m alzgan.train` would train with, and a folder for it, without an end."""
        extra = ["trainer.max_epochs=1000000", "trainer.max_steps=-1", f"run_dir='{self.run_dir / name}'"]
        composed = compose_settings("train", [*self.overrides, *extra, *overrides])
        # Resolved, since it goes to processes that know no resolvers.
        return OmegaConf.create(OmegaConf.to_container(composed, resolve=True))

    def loops(self) -> dict[str, Any]:
        """The chosen loops side by side: the contest that everything else explains."""
        available = self.available_loops()
        return self.contest({name: available[name] for name in self.settings.loops})

    def available_loops(self) -> dict[str, tuple[Any, Any]]:
        """Every loop there is, with its settings."""
        plain, fast = self.training("trainer"), self.training("fast", "trainer=fast")
        bfloat16 = fast.trainer.precision
        return {
            "product": (loops.product, LoopSettings(plain)),
            "product_fast": (loops.product, LoopSettings(plain, precision=bfloat16)),
            "textbook": (loops.textbook, LoopSettings(plain, self.folder)),
            "textbook_resident": (loops.textbook, LoopSettings(plain)),
            "bare": (loops.bare, LoopSettings(plain)),
            "bare_fast": (loops.bare, LoopSettings(plain, precision=bfloat16)),
            "trainer": (trainer.paced, plain),
            "fast": (trainer.paced, fast),
        }

    def contest(
        self, chosen: dict[str, tuple[Any, Any]], rounds: int | None = None, batch: int | None = None
    ) -> dict[str, Any]:
        """Time the loops against each other and say what each is worth."""
        with contest(chosen, self.run_dir) as contestants:
            times = interleave(contestants, rounds or self.settings.rounds, self.settings.seconds)
            facts = {loop.name: loop.finish() for loop in contestants}
        return summary(times, facts, batch or self.settings.data.batch_size)

    def stages(self) -> dict[str, float]:
        """Milliseconds of a step by stage, in the default trainer."""
        return costs.apart(trainer.stage_times, self.training("stages", NO_BAR), 20)

    def between(self, *overrides: str) -> dict[str, Any]:
        """Sampling, the quality metric, a grid and a checkpoint alone, and their share of a run."""
        return costs.apart(trainer.times_between_steps, self.training("between", NO_BAR, *overrides))

    def start(self) -> dict[str, float]:
        """Seconds until something happens."""
        return costs.start_times(self.overrides)

    def decoding(self) -> dict[str, Any]:
        """The first start on the folder, and the next."""
        return costs.decoding_times(self.folder, self.settings.data.image_size, self.settings.data.channels)

    def growth(self) -> dict[str, Any]:
        """Speed of the Trainer by batch size and by image size; time and memory by number of images."""
        settings, data = self.settings, self.settings.data
        small = "data.batch_size=16"  # of the largest images, more would take minutes
        return {
            "by_batch_size": {n: self.speed(f"data.batch_size={n}") for n in settings.batch_sizes},
            "by_image_size": {n: self.speed(f"data.image_size={n}", small) for n in settings.image_sizes},
            "by_number_of_images": costs.growth_with_images(
                settings.image_counts, data.image_size, data.batch_size
            ),
        }

    def speed(self, *overrides: str) -> dict[str, float]:
        """Images and floating-point operations a second, and peak memory, of the Trainer under overrides."""
        settings = self.training("growth_" + overrides[0].split(".")[-1].replace("=", "_"), *overrides)
        alone = {"trainer": (trainer.paced, settings)}
        found = self.contest(alone, rounds=1, batch=settings.data.batch_size)["trainer"]
        flops = costs.apart(loops.flops_a_step, LoopSettings(settings))
        return {
            "batch_size": settings.data.batch_size,
            "images_per_second": found["images_per_second"],
            "flops_per_second": flops / found["seconds_a_step"],
            "peak_mebibytes": found["peak_mebibytes"],
        }


def summary(times: dict[str, list[float]], facts: dict[str, dict[str, Any]], batch: int) -> dict[str, Any]:
    """What the times mean, by loop: medians over the rounds, and against the textbook and the bare loop.

    `overhead` is what a Trainer adds to the bare loop of its precision.
    """
    flops = next((fact["flops_a_step"] for name, fact in facts.items() if name.startswith("bare")), None)
    found: dict[str, Any] = {}
    for name, seconds in times.items():
        median = statistics.median(seconds)
        found[name] = {"seconds_a_step": median, "rounds": seconds, **facts[name]}
        own_flops = facts[name].get("flops_a_step", flops)
        if own_flops:
            found[name]["flops_per_second"] = own_flops / median
        if name.startswith("product"):
            continue
        found[name]["images_per_second"] = batch / median
        if "textbook" in times:
            found[name]["over_textbook"] = ratios(seconds, times["textbook"])
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
