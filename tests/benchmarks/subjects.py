"""Time and peak memory of recovering people from images, and what three ways to split leak.

python tests/benchmarks/subjects.py FOLDER     the images of a folder; the leaks where names say who is who
python tests/benchmarks/subjects.py 100000     as many made-up thumbnails, 32 slices a person
"""

import resource
import sys
import time
from collections.abc import Sequence

import numpy as np

from alzgan.data.folder import ImageFile, scan
from alzgan.data.similarity import THUMBNAIL, leak_count, recover, thumbnails
from alzgan.data.splits import split_by_subject
from alzgan.data.subjects import kaggle4
from alzgan.runtime.errors import UserError
from alzgan.runtime.streams import stream

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


def print_leaks(files: Sequence[ImageFile], thumbs: np.ndarray) -> None:
    labels = [file.label for file in files]
    drawn = stream(0, "benchmark").permutation(len(files)) < 0.2 * len(files)
    splits = {
        "Kaggle's own": ["train" if "Dem" in file.path.rpartition("/")[2] else "test" for file in files],
        "random by image": np.where(drawn, "test", "train").tolist(),
        "by person": split_by_subject(labels, kaggle4(files).subject, (0.8, 0.0, 0.2)).parts,
    }
    for name, parts in splits.items():
        test = parts.count("test")
        leaks = leak_count(thumbs, parts)
        print(f"{name}: {leaks} of {test} test images ({leaks / test:.1%}) have a train neighbour above 0.98")


def main(what: str) -> None:
    """Measure a folder, or as many made-up images as the number says."""
    if what.isdecimal():
        thumbs = made_up(int(what))
        return timed_recovery(thumbs, ["class"] * len(thumbs))
    files = scan(what)
    start = time.perf_counter()
    thumbs = thumbnails(what, files)
    print(f"{len(files)} thumbnails {time.perf_counter() - start:.1f} s")
    timed_recovery(thumbs, [file.label for file in files])
    print_leaks(files, thumbs)


if __name__ == "__main__":
    main(sys.argv[1])
