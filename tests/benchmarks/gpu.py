"""Every GPU figure that the project is held to, in one run of under 10 minutes.

    python tests/benchmarks/gpu.py FOLDER_OF_SLICES [--run-dir DIR]
    python tests/benchmarks/gpu.py FOLDER_OF_SLICES --rehearse    tiny, on the CPU: does this script run?

First whether a graph trains the weights that its steps would, and whether a fast run that was stopped ends
as the one that was not. Then, for batches of 128 and 512, the textbook loop from the files and on resident
data, the bare CUDA-graph loop, alzgan's Trainer with trainer=default and trainer=fast, and the latter with
each of its options turned the other way; the time of an epoch of 6,400 images; the stages of a step, and the
share of what is between steps. Last, what `alzgan.generate` and `alzgan.evaluate` make of the device. What is
measured is written after each part.
"""

import argparse
import contextlib
import itertools
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from costs import apart, stage_times, times_between_steps  # beside this file
from kills import differing, loads, train
from lightning import Trainer
from omegaconf import DictConfig

import alzgan
from alzgan.benchmarks import loops
from alzgan.benchmarks.contest import Pace
from alzgan.benchmarks.measure import LOOPS, Bench, lines, ratios
from alzgan.callbacks.record import RunRecord
from alzgan.errors import UserError
from alzgan.files import write_json
from alzgan.runs.checkpoints import load_checkpoint
from alzgan.runs.config import compose_config
from alzgan.runs.provenance import provenance

BATCHES = (128, 512)
EPOCH = 6400
NO_BAR = "++callbacks.progress.bar=false"
STEPS = "trainer.max_steps=23"  # a penalty that is due at every 4th is replayed, too
RECIPES = {
    "dcgan": (),
    "every seam": (
        "model=r1r2",
        "loss=relativistic",
        "augment=ada",
        "penalty=[r1,r2,lecam]",
        "model.generator_optimizer.lr={_target_: alzgan.schedules.Cosine, start: 2e-4, end: 5e-5}",
        "model.penalties.r1.weight={_target_: alzgan.schedules.Cosine, start: 2, end: 0.2}",
    ),
    "conditional": (
        "model=cdcgan",
        "loss=hinge",
        "model.discriminator.normalization=spectral",
        "average=ema",
    ),
    "residual": ("model=residual",),  # a double backward through 3 x 3 convolutions
}
VARIANTS = {  # of trainer=fast, one option turned the other way
    "without_graph": "callbacks.acceleration.cuda_graph=false",
    "in_float32": "trainer.precision=32-true",
    "not_deterministic": "trainer.deterministic=false",
}
TARGETS = {  # row of the table: the loop, what it is compared with, the least ratio of images/s
    "over the textbook loop": ("fast", "textbook", 10),
    "over the textbook loop on resident data": ("fast", "textbook_resident", 3),
    "over the bare CUDA-graph loop": ("fast", "bare_fast", 1 / 1.15),
}
TINY = (
    "data.image_size=32",
    "model.generator.width=8",
    "model.discriminator.width=8",
    "trainer.accelerator=cpu",
)


def main() -> None:
    """Measure and print; write `gpu.json`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", help="folder of slices")
    parser.add_argument("--run-dir", type=Path, default=Path("outputs/gpu"))
    parser.add_argument("--rehearse", action="store_true", help="tiny, on the CPU")
    arguments = parser.parse_args()
    if not (torch.cuda.is_available() or arguments.rehearse):
        sys.exit("alzgan: there is no CUDA device here: run this on a machine that has one")
    if not Path(arguments.root).is_dir():
        sys.exit(f"alzgan: there is no folder {arguments.root}: give the folder of slices")
    if arguments.run_dir.is_dir() and any(arguments.run_dir.iterdir()):
        # Its runs would be continued.
        sys.exit(f"alzgan: {arguments.run_dir} is not empty: choose another --run-dir")
    if arguments.rehearse:
        print("a rehearsal, tiny and on the CPU: that it ends is all it shows; some 2 minutes", flush=True)
    root, run_dir = f"data.root='{Path(arguments.root).absolute()}'", arguments.run_dir.absolute()
    overrides = ["data=mri", root, *(TINY if arguments.rehearse else ())]
    times = ["rounds=2", "seconds=0.05"] if arguments.rehearse else ["rounds=5", "seconds=1"]
    batches = (8,) if arguments.rehearse else BATCHES
    run_dir.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {
        **provenance(),
        "exactness": exactness(run_dir, [*overrides, f"data.batch_size={batches[0]}"]),
    }
    print("\n".join(f"{what}: {found}" for what, found in results["exactness"].items()), flush=True)
    for batch in batches:
        write_json(run_dir / "gpu.json", results)  # what is measured is kept, whatever comes
        folder, own = run_dir / str(batch), [*overrides, f"data.batch_size={batch}"]
        folder.mkdir(exist_ok=True)
        bench = Bench(compose_config("benchmark", [*times, *own]), own, folder)
        results[f"batch {batch}"] = at_batch(bench)
        if batch == batches[0]:  # once, since compiling takes a minute
            results["compiled"] = compiled(bench)
    write_json(run_dir / "gpu.json", results)
    results["verbs"] = verbs(run_dir / "verbs", own, 256 if arguments.rehearse else 2000)
    print("\n".join(f"{what}: {found}" for what, found in results["verbs"].items()), flush=True)
    write_json(run_dir / "gpu.json", results)
    print(f"written to {run_dir / 'gpu.json'}")


def at_batch(bench: Bench) -> dict[str, Any]:
    """All figures at one batch size."""
    variants = {name: (loops.trainer, ("trainer=fast", option)) for name, option in VARIANTS.items()}
    found = bench.contest({**LOOPS, "textbook_resident": (textbook_resident, ()), **variants})
    print("\n".join([f"batch {bench.settings.data.batch_size}:", *lines(found)]))
    rows = targets(found)
    print("\n".join(f"  {row}: {value:.3g}" for row, value in rows.items()))
    stages = apart(stage_times, bench.training("stages", NO_BAR))
    between = apart(times_between_steps, bench.training("between", NO_BAR, "trainer=fast"))
    print(json.dumps({"stages": stages, "between": between}, indent=2), flush=True)
    return {"loops": found, "targets": rows, "stages": stages, "between": between}


def compiled(bench: Bench) -> dict[str, Any]:
    """What torch.compile makes of trainer=fast, beside it; apart, since not every machine has a compiler."""
    compiled = loops.trainer, ("trainer=fast", "callbacks.acceleration.compile=true")
    try:
        found = bench.contest({"fast": LOOPS["fast"], "compiled": compiled})
    except RuntimeError as error:
        found = {"failed": str(error)}
        print(f"torch.compile: {error}", flush=True)
    else:
        print("\n".join(lines(found)), flush=True)
    return found


def textbook_resident(pace: Pace, training: DictConfig) -> None:
    """The textbook loop without files, on one batch of noise that lies on the device."""
    data = training.data
    shape = data.batch_size, data.channels, data.image_size, data.image_size
    noise = torch.rand(shape, device=loops.device_of(training)) * 2 - 1
    loops.textbook(pace, training, itertools.repeat(noise))


def targets(found: dict[str, Any]) -> dict[str, float]:
    """The rows of the table: ratios with what is asked for, and the time of an epoch."""
    rows: dict[str, float] = {}
    for row, (loop, reference, least) in TARGETS.items():
        against = ratios(found[loop]["rounds"], found[reference]["rounds"])
        rows[f"{row} (at least {least:.2f})"] = against["ratio"]
    return {**rows, f"seconds an epoch of {EPOCH} (at most 0.15)": EPOCH / found["fast"]["images_per_second"]}


def exactness(folder: Path, overrides: list[str]) -> dict[str, int]:
    """How many values of the last checkpoint differ between runs that should end alike; 0 is the aim."""
    found = {}
    for recipe, options in RECIPES.items():
        fast = [*overrides, "trainer=fast", "data.fractions=[1,0,0]", "callbacks.quality=null", *options]
        plans = {
            "the same again": [],
            "stopped in the warm-up": [2],
            "stopped while replaying": [19],
            "without a graph": [],
        }
        runs = {}
        for name, stops in {"whole": [], **plans}.items():
            run_dir = folder / f"{recipe} {name}".replace(" ", "_")
            graph = [VARIANTS["without_graph"]] if name == "without a graph" else []
            for stop in (*stops, None):
                apart(train_apart, run_dir, [*fast, STEPS, *graph], stop)
            runs[name] = load_checkpoint(run_dir / "checkpoints" / "last.ckpt")
        found |= {f"{recipe}, {name}": len(differing(runs["whole"], runs[name])) for name in plans}
    return found


def verbs(folder: Path, overrides: list[str], count: int) -> dict[str, float]:
    """Whether samples are those of a CPU, and how long the verbs take with so many of them.

    Args:
        folder: of a run that is trained here, and of what the verbs write.
        overrides: of the run.
        count: of images.
    """
    run = folder / "run"
    half = "data.fractions=[0.5,0.25,0.25]"  # enough people are held out of a small folder, too
    apart(train_apart, run, [*overrides, STEPS, half, "callbacks.quality=null"], None)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    here, on_cpu = (alzgan.load(run, device=each).sample(64).cpu().int() for each in (device, "cpu"))
    found = {"generate, grey levels from a CPU's (at most 1)": (here - on_cpu).abs().max().item()}
    commands = {
        "generate": [f"n={count}", f"out={folder / 'set'}"],
        "evaluate": [f"n={count}", "features=[random-conv,pixels]", f"run_dir={folder / 'evaluation'}"],
    }
    for verb, options in commands.items():
        start = time.perf_counter()
        command = [sys.executable, "-m", f"alzgan.{verb}", f"ckpt_path={run}", *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        found[f"{verb}, seconds for {count} images"] = round(time.perf_counter() - start, 1)
    return found


def train_apart(run_dir: Path, overrides: list[str], stop: int | None) -> None:
    """One session of a run, in a new process, stopped by a signal in that step.

    An end at another `trainer.max_steps` would be another run, where a schedule follows its fraction.
    """

    def on_train_batch_end(record: RunRecord, trainer: Trainer, *arguments: Any) -> None:
        if trainer.global_step == stop:
            signal.raise_signal(signal.SIGTERM)

    RunRecord.on_train_batch_end = on_train_batch_end
    with contextlib.suppress(SystemExit) if stop else contextlib.nullcontext():
        train(run_dir, overrides)
    assert loads(run_dir / "checkpoints" / "last.ckpt")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"alzgan: {error}")
