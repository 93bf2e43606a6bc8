"""What a set of synthetic images costs: the generator alone, the whole verb, and its peak memory.

    python tests/benchmarks/generate.py RUN [COUNT] [check]

In turns, each in a process of its own: `alzgan.load(RUN).sample`, block by block and nothing else, and
`alzgan.generate`, which writes the images, the table and the card. Leave the machine alone meanwhile.
"""

import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import alzgan
from alzgan.generation.run import Making, ordered, trained
from alzgan.runs.config import checkpoint_file, compose_config

ROUNDS = 3
CHUNK = 256  # images at a time


def alone(run: str, count: int) -> dict[str, float]:
    """Seconds of the generator by itself."""
    generator = alzgan.load(run)
    generator.sample(CHUNK)
    start = time.perf_counter()
    for first in range(0, count, CHUNK):
        generator.sample(min(CHUNK, count - first), first=first)
    return {"seconds": time.perf_counter() - start, "peak_mib": peak()}


def whole(run: str, count: int, check: bool) -> dict[str, float]:
    """Seconds of the verb, from where its generator is loaded."""
    with tempfile.TemporaryDirectory() as folder:
        options = [f"ckpt_path={run}", f"n={count}", f"out={folder}/set", "rare_classes=allow"]
        settings = compose_config("generate", [*options, f"check={check}"])
        path = checkpoint_file(run)
        generator = trained(settings, path)
        generator.sample(CHUNK)
        start = time.perf_counter()
        making = Making(settings, [], path, ordered(settings, generator))
        ready = time.perf_counter()
        making.run()
        return {"seconds": time.perf_counter() - ready, "start": ready - start, "peak_mib": peak()}


def peak() -> float:
    """The most memory that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def apart(task: Callable[..., dict[str, float]], *arguments: object) -> dict[str, float]:
    """Run a task in a new process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(task, *arguments).result()


def main() -> None:
    """Print both, and how much of the generator's speed the verb keeps."""
    run, count = sys.argv[1], int((sys.argv[2:] or ["5000"])[0])
    check = "check" in sys.argv[3:]
    rounds = [(apart(alone, run, count), apart(whole, run, count, check)) for _ in range(ROUNDS)]
    shares = sorted(one["seconds"] / two["seconds"] for one, two in rounds)
    report = {
        "run": Path(run).name,
        "images": count,
        "alone": rounds[-1][0],
        "whole": rounds[-1][1],
        "images_per_second": count / statistics.median(two["seconds"] for _, two in rounds),
        "share_of_the_generators_speed": [round(share, 3) for share in shares],
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main()
