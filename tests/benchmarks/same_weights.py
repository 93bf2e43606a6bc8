"""Does this checkout train the DCGAN to the very weights that another one does, from the same seed?

    git worktree add ELSEWHERE COMMIT
    python tests/benchmarks/same_weights.py ELSEWHERE [option=value ...]

Both train the default DCGAN for 20 steps on all images of the phantom, in float32 on the CPU, in processes of
their own; every tensor of both players' states is compared bit for bit.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parents[2]
SETTINGS = (
    "model=dcgan",
    "data.fractions=[1,0,0]",  # who is held out may have changed
    "trainer.max_steps=20",
    "trainer.accelerator=cpu",
    "callbacks.quality=null",
    "callbacks.samples=null",
)


def weights(checkout: Path, run_dir: Path, options: list[str]) -> dict[str, torch.Tensor]:
    """The state of both players after a training by the code of a checkout."""
    command = [sys.executable, "-m", "alzgan.train", *SETTINGS, *options, f"run_dir={run_dir}"]
    subprocess.run(command, cwd=checkout, env={**os.environ, "PYTHONPATH": str(checkout)}, check=True)
    return torch.load(run_dir / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


def main() -> None:
    """Train twice and say which tensors differ."""
    with tempfile.TemporaryDirectory() as scratch:
        trees = {"here": HERE, "there": Path(sys.argv[1]).resolve()}
        ours, theirs = (weights(tree, Path(scratch) / name, sys.argv[2:]) for name, tree in trees.items())
    differing = [name for name in ours.keys() & theirs.keys() if not torch.equal(ours[name], theirs[name])]
    only = sorted(ours.keys() ^ theirs.keys())
    print(f"{len(ours)} tensors here, {len(theirs)} there; differing: {differing}; on one side only: {only}")
    sys.exit(bool(differing or only))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main()
