"""Every GPU figure that the project is held to, in one run of under 10 minutes.

    python tests/benchmarks/gpu.py FOLDER_OF_SLICES [RUN_DIR]

For batches of 128 and 512: the textbook loop from the files and on resident data, the bare CUDA-graph loop,
and alzgan's Trainer with trainer=default, trainer=fast and trainer=fast with torch.compile; then the time of
an epoch of 6,400 images, the stages of a step, and whether a graph trains the weights that its steps would.
"""

import sys
from pathlib import Path
from typing import Any

import torch

from alzgan.benchmarks import report, trainer
from alzgan.benchmarks.loops import BareGame, LoopSettings, resident_noise
from alzgan.benchmarks.measure import Bench, compose_settings
from alzgan.runtime import config
from alzgan.runtime.files import write_json
from alzgan.runtime.graphs import WARM_UP_STEPS
from alzgan.runtime.provenance import provenance

BATCHES = (128, 512)
COMPILED = ("trainer=fast", "callbacks.acceleration.compile=true")
EPOCH = 6400
TARGETS = {  # row of the table: the loop, what it is compared with, the least ratio of images/s
    "over the textbook loop": ("fast", "textbook", 10),
    "over the textbook loop on resident data": ("fast", "textbook_resident", 3),
    "over the bare CUDA-graph loop": ("fast", "bare_fast", 1 / 1.15),
}


def main() -> None:
    """Measure and print; write `gpu.json`."""
    if not torch.cuda.is_available():
        sys.exit("alzgan: there is no CUDA device here: run this on a machine that has one")
    if len(sys.argv) < 2:
        sys.exit("alzgan: give the folder of slices: python tests/benchmarks/gpu.py FOLDER")
    root, run_dir = sys.argv[1], Path((*sys.argv[2:], "outputs/gpu")[0]).absolute()
    config.register()
    results = {**provenance(), **{f"batch {batch}": at_batch(root, run_dir, batch) for batch in BATCHES}}
    write_json(run_dir / "gpu.json", results)
    print(f"written to {run_dir / 'gpu.json'}")


def at_batch(root: str, run_dir: Path, batch: int) -> dict[str, Any]:
    """All figures at one batch size."""
    overrides = ["data=mri", f"data.root='{root}'", f"data.batch_size={batch}"]
    folder = run_dir / str(batch)
    folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(compose_settings("benchmark", ["rounds=5", "seconds=2", *overrides]), overrides, folder)
    found = bench.contest(
        {
            **bench.available_loops(),
            "compiled_fast": (trainer.paced, bench.training("compiled", *COMPILED)),
        }
    )
    print("\n".join([f"batch {batch}:", *report.loop_lines(found)]))
    rows = targets(found)
    print("\n".join(f"  {row}: {value:.3g}" for row, value in rows.items()))
    stages = bench.stages()
    print("\n".join(report.stage_lines(stages)))
    difference = graph_difference(LoopSettings(bench.training("equality"), precision="bf16-mixed"))
    print(f"largest difference of a weight, with and without a graph: {difference:.3g}")
    return {"loops": found, "targets": rows, "stages": stages, "graph_difference": difference}


def targets(found: dict[str, Any]) -> dict[str, float]:
    """The rows of the table: ratios with what is asked for, and the time of an epoch."""
    speed = {name: loop.get("images_per_second", 0.0) for name, loop in found.items()}
    rows: dict[str, float] = {}
    for row, (loop, reference, least) in TARGETS.items():
        rows[f"{row} (at least {least:.2f})"] = speed[loop] / speed[reference]
    return {**rows, f"seconds an epoch of {EPOCH} (at most 0.15)": EPOCH / speed["fast"]}


def graph_difference(settings: LoopSettings, steps: int = WARM_UP_STEPS + 5) -> float:
    """Largest difference between the weights of the same steps as they are and as a graph; 0 is the aim."""
    torch.use_deterministic_algorithms(True)
    weights = []
    for captured in (False, True):
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
    main()
