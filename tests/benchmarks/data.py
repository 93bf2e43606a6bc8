"""Time and peak memory of the first and the second start on an image folder, each in a process of its own.

    python tests/benchmarks/data.py FOLDER [IMAGE_SIZE]

The first start decodes every image into an empty cache; the second finds the array there. Both times include
the scan of the folder, not Python's imports. What the system's page cache holds of the folder is not dropped.
"""

import resource
import sys
import tempfile
import time
from multiprocessing import get_context

from alzgan.images.arrays import Preprocessing, decode


def main() -> None:
    """Print one line a start."""
    root, size = sys.argv[1], int((*sys.argv[2:], "64")[0])
    with tempfile.TemporaryDirectory() as cache:
        for name in ("cold", "warm"):
            process = get_context("spawn").Process(target=measure, args=(name, root, size, cache))
            process.start()
            process.join()


def measure(name: str, root: str, size: int, cache: str) -> None:
    """Decode once and print what it took."""
    before = peak_mebibytes()
    start = time.perf_counter()
    images = decode(root, None, Preprocessing(size), cache_dir=cache).images
    seconds = time.perf_counter() - start
    after = peak_mebibytes()
    print(
        f"{name}: {seconds:.2f} s, {len(images) / seconds:.0f} images/s, peak memory {after:.0f} MiB "
        f"({after - before:.0f} MiB above the imports), array {images.nbytes / 2**20:.0f} MiB"
    )


def peak_mebibytes() -> float:
    """The most memory this process ever had; the system counts it in KiB, on macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    main()
