"""A benchmark: time several training loops side by side and compare them."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from alzgan.benchmarks import loops
from alzgan.benchmarks.contest import Loop, contest, interleave, quartiles
from alzgan.errors import UserError, at_least, one_of
from alzgan.files import write_json
from alzgan.runs.build import build_data, build_model, conditioned
from alzgan.runs.config import check_missing, compose_config
from alzgan.runs.provenance import provenance
from alzgan.runs.signatures import check_types
from alzgan.text import aligned

OWN = ("run_dir", "loops", "rounds", "seconds", "trainer")  # settings that are not passed on to the training
LOOPS: dict[str, tuple[Loop, tuple[str, ...]]] = {  # by name, with overrides
    "textbook": (loops.textbook, ()),
    "bare": (loops.bare, ()),
    "bare_fast": (loops.bare, ("trainer=fast",)),
    "trainer": (loops.trainer, ()),
    "fast": (loops.trainer, ("trainer=fast",)),
}
WITHOUT_TRAINER = {"trainer": "bare", "fast": "bare_fast"}


def measure(settings: DictConfig, overrides: Sequence[str], run_dir: Path) -> None:
    """Measure, write `benchmark.json` and print the table.

    Args:
        settings: a composed `conf/benchmark.yaml`.
        overrides: of the command line; those of data, model and callbacks are passed on to the training.
        run_dir: folder of the results.
    """
    check(settings, run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    bench = Bench(settings, overrides, run_dir)
    turns = settings.rounds * len(settings.loops)
    print(f"measuring {len(settings.loops)} loops in {turns} turns of {settings.seconds:g} s", flush=True)
    results = {
        **provenance(),
        "config": OmegaConf.to_container(settings, resolve=True),
        "loops": bench.contest({name: LOOPS[name] for name in settings.loops}),
    }
    write_json(run_dir / "benchmark.json", results)
    print("\n".join(["", *lines(results["loops"]), "", f"written to {run_dir / 'benchmark.json'}"]))


def check(settings: DictConfig, run_dir: Path) -> None:
    """Check the settings.

    Raises:
        UserError: they cannot be measured.
    """
    check_missing(settings)
    check_types(settings, {"rounds": int, "seconds": float})
    at_least(1, rounds=settings.rounds)
    at_least(1e-3, seconds=settings.seconds)
    for name in settings.loops:
        one_of(LOOPS, loops=name)
    if not settings.loops:
        raise UserError(f"loops is empty; choose of {', '.join(LOOPS)}")
    if settings.ckpt_path is not None:
        raise UserError(f"ckpt_path={settings.ckpt_path}: a benchmark does not continue a run; leave it out")
    if str(settings.trainer.devices) != "1" or settings.trainer.num_nodes > 1:
        raise UserError(
            f"trainer.devices={settings.trainer.devices}: a benchmark uses one device; set it to 1"
        )
    for name, what in (("benchmark.json", "a benchmark"), ("checkpoints", "a run")):
        if (run_dir / name).exists():
            raise UserError(f"{run_dir} contains {what}; choose another run_dir")


class Bench:
    """What the loops of a benchmark share. For the arguments see `measure`."""

    def __init__(self, settings: DictConfig, overrides: Sequence[str], run_dir: Path):
        self.run_dir = run_dir
        self.overrides = [text for text in overrides if text.lstrip("+~").split("=")[0] not in OWN]
        data = build_data(settings)
        self.settings = settings = conditioned(settings, data)
        build_model(settings)  # so that errors are not reported in the process of a loop
        data.setup()  # draws the phantom and fills the cache
        self.root = str(data.root)
        self.conditions = {name: settings.model.get(name, 0) for name in ("classes", "numbers")}

    def training(self, name: str, *overrides: str) -> DictConfig:
        """The config of a training without an end, in a folder of its own."""
        extra = ["trainer.max_epochs=1000000", "trainer.max_steps=-1", f"run_dir='{self.run_dir / name}'"]
        composed = compose_config("train", [*self.overrides, *extra, *overrides])
        composed.model.update(self.conditions)
        composed.data.root = self.root
        OmegaConf.resolve(composed)  # the processes of the loops lack the resolvers
        return composed

    def contest(self, chosen: Mapping[str, tuple[Loop, Sequence[str]]]) -> dict[str, Any]:
        """Time the loops, which are given as in `LOOPS`, and compare them."""
        plans = {name: (loop, self.training(name, *options)) for name, (loop, options) in chosen.items()}
        with contest(plans, self.run_dir) as runs:
            times = interleave(runs, self.settings.rounds, self.settings.seconds)
            memory = {name: run(0) for name, run in runs.items()}
        return summary(times, memory, self.settings.data.batch_size)


def summary(times: dict[str, list[float]], memory: dict[str, Any], batch: int) -> dict[str, Any]:
    """The times of each loop, compared with the textbook and the bare loop."""
    found: dict[str, Any] = {}
    for name, seconds in times.items():
        median = statistics.median(seconds)
        found[name] = {
            "seconds_a_step": median,
            "images_per_second": batch / median,
            "rounds": seconds,
            **memory[name],
        }
        if "textbook" in times:
            found[name]["over_textbook"] = ratios(seconds, times["textbook"])
        if (bare := WITHOUT_TRAINER.get(name)) in times:
            found[name]["overhead"] = overhead(seconds, times[bare])
    return found


def ratios(times: list[float], reference: list[float]) -> dict[str, float]:
    """The speed relative to the reference in the same round: median and quartiles over the rounds."""
    low, ratio, high = quartiles([theirs / ours for ours, theirs in zip(times, reference, strict=True)])
    return {"ratio": ratio, "low": low, "high": high}


def overhead(trainer: list[float], bare: list[float]) -> dict[str, float]:
    """The time that a Trainer adds to a step of the bare loop: milliseconds with quartiles, and percent."""
    extra = [1e3 * (ours - theirs) for ours, theirs in zip(trainer, bare, strict=True)]
    low, milliseconds, high = quartiles(extra)
    percent = milliseconds / 10 / statistics.median(bare)
    return {"milliseconds": milliseconds, "low": low, "high": high, "percent": percent}


def lines(found: dict[str, Any]) -> list[str]:
    """The table for the terminal, with a row for each loop."""
    ratio = "{ratio:.2f} ({low:.2f} to {high:.2f})"
    added = "{milliseconds:+.2f} ms ({low:+.2f} to {high:+.2f}), {percent:+.1f} %"
    table = [["loop", "images/s", "over textbook", "added to bare", "peak MiB", "CUDA MiB"]]
    for name, loop in found.items():
        table.append(
            [
                name,
                f"{loop['images_per_second']:.1f}",
                ratio.format(**loop["over_textbook"]) if "over_textbook" in loop else "",
                added.format(**loop["overhead"]) if "overhead" in loop else "",
                f"{loop['peak_mebibytes']:.0f}",
                f"{loop['peak_cuda_mebibytes']:.0f}" if "peak_cuda_mebibytes" in loop else "",
            ]
        )
    return aligned(table)
