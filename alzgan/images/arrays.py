"""Decode all images of a folder once into one uint8 array file; later starts memory-map it.

The cache holds two files: `FINGERPRINT.npy`, named by the contents of the images and the preprocessing, and
for each (root, preprocessing) a JSON record of what was read. A start reads no image if every file's size and
times are unchanged and the array's digest is right. Old arrays stay; deleting them is safe at any time.
"""

import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from tqdm import tqdm

from alzgan.errors import SettingError, UserError, at_least, one_of
from alzgan.files import (
    cache_folder,
    cache_path,
    digest_of,
    hash_of,
    locked,
    publish,
    read_json,
    scratch,
    unwritable_cache,
    write_json,
)
from alzgan.images.decoding import (
    DEEP,
    FITS,
    SCALED,
    BadImage,
    decode_image,
    few_values,
    in_threads,
    quiet,
    read_bytes,
    resize,
)
from alzgan.images.folder import ImageFile, scan
from alzgan.images.thumbnails import Thumbnails, shrunk
from alzgan.text import counted, printable

DECODING = 1  # version; raise it when the same file would give other pixels
DEEP_DECODING = 2  # version for grey with more than 8 bits; other arrays do not depend on it
RECORD = 3  # version of the record of an array
CHECKED_BYTES = 2**20
MOST_CHECKS = 256  # parts of that size to check at every start: 0.3 s


@dataclass(frozen=True)
class Preprocessing:
    """How an image is decoded.

    Args:
        image_size: height and width of the images, in pixels.
        channels: 1 (grey) or 3 (RGB); with `slices_as_channels` an odd number from 3 on.
        fit: how to make an image square, "crop" or "pad".
        slices_as_channels: the channels of an image are a grey slice and its neighbours of the same person
            ("2.5-D"); at the ends of a stack the last slice is repeated.

    Raises:
        SettingError: a value is out of its range.
    """

    image_size: int = 64
    channels: int = 3
    fit: str = "crop"
    slices_as_channels: bool = False

    def __post_init__(self):
        at_least(1, image_size=self.image_size)
        one_of(FITS, fit=self.fit)
        if self.slices_as_channels and (self.channels < 3 or self.channels % 2 == 0):
            raise SettingError(
                f"channels={self.channels} must be an odd number from 3 on with data.slices_as_channels=true:"
                " a slice and as many neighbours on each side"
            )
        if not self.slices_as_channels and self.channels not in (1, 3):
            raise SettingError(
                f"channels={self.channels} must be 1 (grey) or 3 (RGB); neighbouring slices as channels need "
                "data.slices_as_channels=true"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of one slice."""
        return self.image_size, self.image_size, 1 if self.slices_as_channels else self.channels

    def __str__(self) -> str:
        return f"version {DECODING}, {' x '.join(map(str, self.shape))}, {self.fit}"


@dataclass(frozen=True)
class Decoded:
    """The images of a folder, ready to be indexed."""

    images: np.ndarray  # uint8 (N, size, size, channels), memory-mapped, read-only
    files: list[ImageFile]  # the N files, in the order of `images`
    skipped: list[tuple[str, str]]  # (path, reason) of each unreadable file
    constant: list[str]  # paths of the files of one value
    two_valued: list[str]  # of two
    fingerprint: str  # digest of preprocessing, names and contents; the folder's path does not matter
    thumbnails: Thumbnails | None = None  # of the N files, if they were decoded just now


def decode(
    root: Path | str,
    files: Sequence[ImageFile] | None = None,
    preprocessing: Preprocessing | None = None,
    *,
    bad_files: str = "error",
    cache_dir: Path | str | None = None,
) -> Decoded:
    """Decode the files under `root`, or map the array of an earlier run.

    Several processes may call it at once: one decodes, the others wait and map its array.

    Args:
        root: the folder.
        files: its files; None: all that `scan` finds.
        preprocessing: how an image is decoded.
        bad_files: "error", or "skip" to list unreadable files in `Decoded.skipped`.
        cache_dir: see `alzgan.files.cache_folder`.

    Raises:
        UserError: the root or a file cannot be read (the line names the first file and counts them), no file
            is readable, or the cache cannot be written.
    """
    files = scan(root) if files is None else list(files)
    record = Record(Path(root), files, preprocessing or Preprocessing(), cache_folder(cache_dir))
    decoded = record.load() or decode_under_lock(record)
    if decoded.skipped and bad_files == "error":
        raise UserError(unreadable(decoded.skipped, len(files)))
    return decoded


def stamp(root: Path | str, files: Iterable[ImageFile]) -> str:
    """Digest of the files' names, sizes and times; it changes if a file may have changed.

    No file is opened. The time of change reveals a file replaced under its old size and date.
    """
    states = []
    for file in files:
        try:
            status = os.stat(Path(root) / file.path)
            state = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
        except OSError as error:  # a dangling link: it will be a bad image
            state = str(error.errno)
        states.append(f"{file.path}\0{state}")
    return digest_of(*states)


class Record:
    """The cache's record of one root under one preprocessing."""

    def __init__(self, root: Path, files: list[ImageFile], preprocessing: Preprocessing, cache: Path):
        self.root, self.files, self.preprocessing, self.cache = root, files, preprocessing, cache
        self.path = cache_path(cache, "decoded.json", RECORD, str(root.resolve()), str(preprocessing))
        # Taken before the contents are read, so that the next start sees changes made meanwhile.
        self.stamp = stamp(root, files)

    def load(self) -> Decoded | None:
        """The decoded images if no file has changed and the array is whole, else None."""
        try:
            stored = read_json(self.path)
            array = self.array(stored["fingerprint"])
            if (stored["stamp"], stored["digest"]) != (self.stamp, file_digest(array)):
                return None
            # On a network folder an unreadable file may become readable without a change of its own.
            with quiet():
                if not all(isinstance(self.read(path), BadImage) for path, _ in stored["skipped"]):
                    return None
            return self.map(stored)
        except (OSError, ValueError, KeyError, TypeError):  # missing, or not what `decode_all` wrote
            return None

    def map(self, stored: dict[str, Any]) -> Decoded:
        skipped, fingerprint = [(path, reason) for path, reason in stored["skipped"]], stored["fingerprint"]
        bad = {path for path, _ in skipped}
        files = [file for file in self.files if file.path not in bad]
        images = np.load(self.array(fingerprint), mmap_mode="r", allow_pickle=False)
        if images.shape != (len(files), *self.preprocessing.shape) or images.dtype != np.uint8:
            raise ValueError(f"the array of {fingerprint} holds {images.dtype} {images.shape}")
        return Decoded(images, files, skipped, stored["constant"], stored["two_valued"], fingerprint)

    def array(self, fingerprint: str) -> Path:
        return self.cache / f"{fingerprint}.npy"

    def read(self, path: str) -> "Read | BadImage":
        """Read one file at the size that is wanted."""
        try:
            content = read_bytes(self.root / path)
            image = decode_image(content, self.root / path)
        except BadImage as error:
            return error
        wanted = self.preprocessing
        pixels = resize(image.pixels, wanted.image_size, wanted.shape[2], wanted.fit)
        version = [f"deep {DEEP_DECODING}"] if image.mode.startswith(DEEP) else []
        version += [SCALED] if image.mode == SCALED else []
        digest, small = hash_of(*version, content).digest(), shrunk(image.pixels)
        return Read(digest, pixels.tobytes(), few_values(image.pixels), small)


class Read(NamedTuple):
    """One file: its content's digest, its pixels, their number of values, its thumbnails."""

    digest: bytes
    pixels: bytes
    values: int | None  # 1 or 2; None: more
    small: tuple[np.ndarray, np.ndarray]


def decode_under_lock(record: Record) -> Decoded:
    """Decode under a lock, so that runs started together do the work once."""

    def wait() -> None:
        print("alzgan: waiting for another run that decodes the same images", file=sys.stderr)

    lock = record.path.with_suffix(".lock")
    try:
        record.cache.mkdir(parents=True, exist_ok=True)
        lock.touch()
        with locked(lock, wait) as alone:  # without locks each run decodes, and the last rename wins
            if alone:
                for part in record.cache.glob(f"{record.path.stem}.*.part"):  # of killed runs
                    part.unlink(missing_ok=True)
            return record.load() or decode_all(record)
    except OSError as error:
        raise unwritable_cache(record.cache, error) from None


def decode_all(record: Record) -> Decoded:
    """Write the pixels as they come; only the thumbnails stay in memory."""
    skipped: list[tuple[str, str]] = []
    identity = hash_of(str(record.preprocessing))
    paths_of: dict[int | None, list[str]] = defaultdict(list)  # by the number of values; None: many
    paths = [file.path for file in record.files]
    small = Thumbnails.room_for(len(paths))
    with scratch(record.path) as part, quiet():
        with part.open("xb") as array:
            write_header(array, len(paths), record.preprocessing)
            results = in_threads(record.read, paths)
            bar = tqdm(results, "decoding", len(paths), unit=" images")
            for index, (path, result) in enumerate(zip(paths, bar, strict=True)):
                if isinstance(result, BadImage):
                    skipped.append((path, result.reason))
                    continue
                small.put(index - len(skipped), result.small)
                array.write(result.pixels)
                paths_of[result.values].append(path)
                identity.update(hash_of(path, result.digest).digest())
            if len(skipped) == len(paths):
                raise UserError(unreadable(skipped, len(paths)))
            write_header(array, len(paths) - len(skipped), record.preprocessing)
        fingerprint = identity.hexdigest()
        publish(part, record.array(fingerprint))
    stored = {
        "fingerprint": fingerprint,
        "digest": file_digest(record.array(fingerprint)),
        "skipped": skipped,
        "constant": paths_of[1],
        "two_valued": paths_of[2],
        "stamp": record.stamp,
    }
    write_json(record.path, stored)
    return replace(record.map(stored), thumbnails=small.of(slice(len(paths) - len(skipped))))


def write_header(array: BinaryIO, count: int, preprocessing: Preprocessing) -> None:
    """Write the .npy header; numpy pads it, so its size does not depend on the number of images."""
    array.seek(0)
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, *preprocessing.shape)}
    np.lib.format.write_array_header_1_0(array, header)


def file_digest(path: Path) -> str:
    """Digest of a file's size and content; above 256 MiB, of `MOST_CHECKS` parts spread evenly over it.

    The rename already excludes half-written arrays. This finds damage by a disk or a person, in a short time.
    """
    size = path.stat().st_size
    count = min(MOST_CHECKS, -(-size // CHECKED_BYTES))
    digest = hash_of(size.to_bytes(8))
    with path.open("rb") as file:
        for start in np.linspace(0, max(0, size - CHECKED_BYTES), count, dtype=np.int64):
            file.seek(start)
            digest.update(file.read(CHECKED_BYTES))
    return digest.hexdigest()


def unreadable(skipped: Sequence[tuple[str, str]], total: int) -> str:
    """The error line for files, each with the reason, that cannot be read."""
    path, reason = skipped[0]
    return (
        f"{len(skipped)} of {counted(total, 'image')} cannot be read, the first is {printable(path)} "
        f"({reason}): mend or remove them, or set data.bad_files=skip"
    )
