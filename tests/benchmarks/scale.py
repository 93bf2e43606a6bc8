"""How time and memory grow with the number of people: prepare, the start of training, and evaluate.

    python tests/benchmarks/scale.py FOLDER 1000 10000 ...

Makes, for each number, a folder of so many images of 32 slices a person below FOLDER (32 x 32 pixels, 4 kB
each on the disk), and runs on it, each in a process of its own: `prepare` with the people named in a table;
`prepare` with `data.subjects=content`; the first 2 steps of a training, which decodes, and of another, which
need not; and `evaluate`, twice. Prints a line each, and appends it to FOLDER/scale.jsonl.
"""

import csv
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from alzgan.device.streams import stream

SLICES, SIDE = 32, 32
SMALL = ["data.channels=1", "data.image_size=32", "model.generator.width=8", "model.discriminator.width=8"]
RUN = [*SMALL, "trainer.max_steps=2", "callbacks.quality=null", "callbacks.progress.bar=false"]


def main(folder: Path, counts: list[int]) -> None:
    """Make and measure."""
    for count in counts:
        root, cache = folder / str(count), folder / f"cache_{count}"
        make(root, count)
        people = [f"data.root={root}", f"data.subjects=csv:{root / 'people.csv'}"]
        run = folder / f"first_training_{count}"
        judge = ["evaluate", f"ckpt_path={run}", "features=[pixels,random-conv]"]
        plans = {
            "prepare": ["prepare", *people],
            "prepare by content": ["prepare", f"data.root={root}", "data.subjects=content"],
            "first training": ["train", "data=mri", *people, *RUN],
            "second training": ["train", "data=mri", *people, *RUN],
            "first evaluation": judge,
            "second evaluation": judge,
        }
        for name, (verb, *arguments) in plans.items():
            place = folder / f"{name.replace(' ', '_')}_{count}"
            found = measured(verb, [*arguments, f"run_dir={place}"], cache)
            line = json.dumps({"images": count, "what": name, **found})
            print(line, flush=True)
            with open(folder / "scale.jsonl", "a") as handle:
                handle.write(line + "\n")


def make(root: Path, count: int) -> None:
    """Images of people who differ by a smooth pattern of their own, in a table; nothing if they are there."""
    if (root / "people.csv").is_file():
        return
    rng = stream(0, "scale")
    rows = []
    for person in range(count // SLICES):
        place = root / ("A" if person % 2 else "B") / f"{person // 1000:03d}"
        place.mkdir(parents=True, exist_ok=True)
        own = np.kron(rng.normal(0, 25, (8, 8)), np.ones((4, 4)))
        for number in range(SLICES):
            pixels = 110 + own + 3 * number + rng.normal(0, 6, (SIDE, SIDE))
            path = place / f"{person}_{number}.png"
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, compress_level=1)
            rows.append((path.relative_to(root).as_posix(), f"p{person}", number))
    with open(root / "people.csv", "w", newline="") as handle:
        csv.writer(handle).writerows([("file", "subject", "slice"), *rows])


def measured(verb: str, arguments: list[str], cache: Path) -> dict[str, object]:
    """Seconds, peak memory and how a verb has ended; the time has the imports in it."""
    command = [sys.executable, "-m", f"alzgan.{verb}", *arguments]
    start = time.perf_counter()
    done = subprocess.run(
        ["/usr/bin/time", "-f", "peak %M", *command],
        env={**os.environ, "ALZGAN_CACHE": str(cache)},
        capture_output=True,
        text=True,
    )
    peak = re.search(r"peak (\d+)", done.stderr)
    lines = [line for line in done.stderr.splitlines() if line.startswith("alzgan: ")]
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "mebibytes": int(peak[1]) // 1024 if peak else None,
        "code": done.returncode,
        "line": lines[-1] if lines else None,
    }


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), [int(word) for word in sys.argv[2:]])
