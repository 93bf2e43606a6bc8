"""Every GPU figure that the project is held to, in one run of under 10 minutes.

    python tests/benchmarks/gpu.py FOLDER_OF_SLICES [--run-dir DIR]
    python tests/benchmarks/gpu.py FOLDER_OF_SLICES --rehearse    tiny, on the CPU: does this script run?

First whether a graph trains the weights that its steps would, and whether a fast run that was stopped ends
as the one that was not. Then, for batches of 128 and 512, the textbook loop from the files and on resident
data, the bare CUDA-graph loop, alzgan's Trainer with trainer=default and trainer=fast, and the latter with
each of its options turned the other way; the time of an epoch of 6,400 images; the stages of a step, and the
share of what is between steps. What is measured is written after each part.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from kills import differing, loads, train  # beside this file

from alzgan.benchmarks import costs, report, trainer
from alzgan.benchmarks.contest import ratios
from alzgan.benchmarks.loops import BareGame, LoopSettings, resident_noise
from alzgan.benchmarks.measure import Bench, compose_settings
from alzgan.runtime import config
from alzgan.runtime.checkpoints import load_checkpoint
from alzgan.runtime.errors import UserError
from alzgan.runtime.files import write_json
from alzgan.runtime.graphs import WARM_UP_STEPS
from alzgan.runtime.provenance import provenance

BATCHES = (128, 512)
EPOCH = 6400
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
    config.register()
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
        bench = Bench(compose_settings("benchmark", [*times, *own]), own, folder)
        results[f"batch {batch}"] = at_batch(bench)
        if batch == batches[0]:  # once, since compiling takes a minute
            results["compiled"] = compiled(bench)
    write_json(run_dir / "gpu.json", results)
    print(f"written to {run_dir / 'gpu.json'}")


def at_batch(bench: Bench) -> dict[str, Any]:
    """All figures at one batch size."""
    variants = {
        name: (trainer.paced, bench.training(name, "trainer=fast", option))
        for name, option in VARIANTS.items()
    }
    found = bench.contest({**bench.available_loops(), **variants})
    print("\n".join([f"batch {bench.settings.data.batch_size}:", *report.loop_lines(found)]))
    rows = targets(found)
    print("\n".join(f"  {row}: {value:.3g}" for row, value in rows.items()))
    stages, between = bench.stages(), bench.between("trainer=fast")
    print("\n".join([*report.stage_lines(stages), *report.between_lines(between)]), flush=True)
    return {"loops": found, "targets": rows, "stages": stages, "between": between}


def compiled(bench: Bench) -> dict[str, Any]:
    """What torch.compile makes of trainer=fast, beside it; apart, since not every machine has a compiler."""
    fast, option = bench.available_loops()["fast"], "callbacks.acceleration.compile=true"
    loops = {"fast": fast, "compiled": (trainer.paced, bench.training("compiled", "trainer=fast", option))}
    try:
        found = bench.contest(loops)
    except RuntimeError as error:
        found = {"failed": str(error)}
        print(f"torch.compile: {error}", flush=True)
    else:
        print("\n".join(report.loop_lines(found)), flush=True)
    return found


def targets(found: dict[str, Any]) -> dict[str, float]:
    """The rows of the table: ratios with what is asked for, and the time of an epoch."""
    rows: dict[str, float] = {}
    for row, (loop, reference, least) in TARGETS.items():
        against = ratios(found[loop]["rounds"], found[reference]["rounds"])
        rows[f"{row} (at least {least:.2f})"] = against["ratio"]
    return {**rows, f"seconds an epoch of {EPOCH} (at most 0.15)": EPOCH / found["fast"]["images_per_second"]}


def exactness(folder: Path, overrides: list[str], steps: int = WARM_UP_STEPS + 9) -> dict[str, Any]:
    """How many values of the last checkpoint differ between runs that should end alike; 0 is the aim."""
    fast = [*overrides, "trainer=fast", "data.fractions=[1,0,0]", "callbacks.quality=null"]
    plans = {
        "whole": [[f"trainer.max_steps={steps}"]],
        "the same again": [[f"trainer.max_steps={steps}"]],
        "stopped in the warm-up": [["trainer.max_steps=2"], [f"trainer.max_steps={steps}"]],
        "stopped while replaying": [[f"trainer.max_steps={steps - 3}"], [f"trainer.max_steps={steps}"]],
        "without a graph": [[f"trainer.max_steps={steps}", VARIANTS["without_graph"]]],
    }
    last = {name: folder / name.replace(" ", "_") / "checkpoints" / "last.ckpt" for name in plans}
    for name, sessions in plans.items():
        for session in sessions:
            costs.apart(train_apart, last[name].parent.parent, [*fast, *session])
    whole = load_checkpoint(last["whole"])
    settings = LoopSettings(compose_settings("train", fast), precision="bf16-mixed")
    return {
        **{
            name: len(differing(whole, load_checkpoint(path)))
            for name, path in last.items()
            if name != "whole"
        },
        "largest difference of a weight in the bare loop, with and without a graph": graph_difference(
            settings
        ),
    }


def train_apart(run_dir: Path, overrides: list[str]) -> None:
    """One session of a run, in a new process."""
    config.register()
    train(run_dir, overrides)
    assert loads(run_dir / "checkpoints" / "last.ckpt")


def graph_difference(settings: LoopSettings, steps: int = WARM_UP_STEPS + 5) -> float:
    """Largest difference between the weights of the same steps as they are and as a graph; 0 is the aim."""
    torch.use_deterministic_algorithms(True)
    weights = []
    for captured in (False, settings.device.type == "cuda"):
        torch.manual_seed(0)
        game = BareGame(settings)
        images = resident_noise(settings)
        step = game.captured() if captured else game.alternation
        for _ in range(steps):
            step(*game.inputs(images))
        weights.append(torch.cat([p.detach().flatten() for p in game.generator.parameters()]))
    torch.use_deterministic_algorithms(False)
    return (weights[0] - weights[1]).abs().max().item()


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"alzgan: {error}")
