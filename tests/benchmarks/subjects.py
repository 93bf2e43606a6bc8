"""Time and peak memory of recovering people from images.

python tests/benchmarks/subjects.py FOLDER     the images of a folder
python tests/benchmarks/subjects.py 100000     as many made-up thumbnails, 32 slices a person
"""

import resource
import sys
import time
from collections.abc import Sequence

import numpy as np

from alzgan.device.streams import stream
from alzgan.errors import UserError
from alzgan.images.folder import scan
from alzgan.images.thumbnails import THUMBNAIL, thumbnails
from alzgan.people.similarity import recover

SLICES = 32


def made_up(count: int) -> np.ndarray:
    """Thumbnails that share 85 % of their pixels with the next one of their person, over one outline."""
    rng, shape = stream(0, "benchmark"), THUMBNAIL[::-1]
    outline = np.hypot(*np.meshgrid(np.linspace(-1, 1, shape[1]), np.linspace(-1, 1, shape[0]))) < 0.9
    thumbs = np.empty((count, *shape), np.uint8)
    for i in range(count):
        fresh = rng.integers(0, 256, shape, dtype=np.uint8) * outline
        thumbs[i] = fresh if i % SLICES == 0 else np.where(rng.random(shape) < 0.85, thumbs[i - 1], fresh)
    return thumbs


def timed_recovery(thumbs: np.ndarray, labels: Sequence[str]) -> None:
    start = time.perf_counter()
    try:
        answer = recover(thumbs, labels).note
    except UserError as error:
        answer = str(error)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"recovery {time.perf_counter() - start:.1f} s, peak memory {peak:.2f} GiB\n{answer}")


def main(what: str) -> None:
    """Measure a folder, or as many made-up images as the number says."""
    if what.isdecimal():
        thumbs = made_up(int(what))
        return timed_recovery(thumbs, ["class"] * len(thumbs))
    files = scan(what)
    start = time.perf_counter()
    thumbs = thumbnails(what, files).upright
    print(f"{len(files)} thumbnails {time.perf_counter() - start:.1f} s")
    timed_recovery(thumbs, [file.label for file in files])


if __name__ == "__main__":
    main(sys.argv[1])
