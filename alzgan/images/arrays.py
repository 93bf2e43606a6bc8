"""All images of a folder decoded once into one uint8 array file, memory-mapped ever after.

Two files in the cache folder: `FINGERPRINT.npy`, named by the contents of the images and the preprocessing,
and a JSON record a (root, preprocessing), which says what was read. A start trusts the record where each
file's size and times are unchanged, so it reads no image; it trusts the array where its digest holds.
Arrays of the past stay until someone deletes them, which is safe at any time.
"""

import hashlib
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from tqdm import tqdm

from alzgan.errors import UserError, at_least, one_of
from alzgan.files import cache_folder, locked, publish, read_json, scratch, unwritable_cache, write_json
from alzgan.images.decoding import FITS, BadImage, decode_image, in_threads, quiet, read_bytes, resize
from alzgan.images.folder import ImageFile, scan
from alzgan.text import printable

VERSION = 1  # of the decoding: raise it when the same file would give other pixels
BLOCK = 2**20
MAX_BLOCKS = 256  # of the array are checked at every start: 0.3 s


@dataclass(frozen=True)
class Preprocessing:
    """What becomes of each image.

    Attributes:
        image_size: side of the square images in pixels.
        channels: 1 (grey) or 3 (RGB).
        fit: "crop" or "pad", see `alzgan.images.decoding.resize`.

    Raises:
        SettingError: a value is out of its range.
    """

    image_size: int = 64
    channels: int = 3
    fit: str = "crop"

    def __post_init__(self):
        at_least(1, image_size=self.image_size)
        one_of((1, 3), channels=self.channels)
        one_of(FITS, fit=self.fit)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image in the array."""
        return (self.image_size, self.image_size, self.channels)

    def __str__(self) -> str:
        return f"version {VERSION}, {self.image_size} x {self.image_size} x {self.channels}, {self.fit}"


@dataclass(frozen=True)
class Decoded:
    """The images of a folder, ready to be indexed.

    Attributes:
        images: uint8, (N, size, size, channels), memory-mapped, read-only.
        files: the N files, in the order of `images`.
        skipped: (path, reason) of each file that could not be read.
        fingerprint: hex digest of the names and contents of `files` and of the preprocessing; the same
            wherever the folder lies.
    """

    images: np.ndarray
    files: list[ImageFile]
    skipped: list[tuple[str, str]]
    fingerprint: str


def decode(
    root: Path | str,
    files: Sequence[ImageFile] | None = None,
    preprocessing: Preprocessing | None = None,
    *,
    bad_files: str = "error",
    cache_dir: Path | str | None = None,
    progress: bool = True,
) -> Decoded:
    """Decode images under `root`, or map the array of an earlier run that saw the same files.

    Safe to call from several processes at once: one decodes, the others wait and map its array.

    Args:
        root: the folder.
        files: of it; None: all that `alzgan.images.folder.scan` finds.
        preprocessing: see there; None: its defaults.
        bad_files: "error" raises if any file cannot be read, "skip" lists it in `Decoded.skipped`.
        cache_dir: where the arrays are kept, see `alzgan.files.cache_folder`.
        progress: show a progress bar on stderr while decoding.

    Raises:
        UserError: a root that cannot be read, bad files (the line names the first and counts them), no
            readable file at all, or a cache that cannot be written.
    """
    files = scan(root) if files is None else list(files)
    record = Record(Path(root), files, preprocessing or Preprocessing(), cache_folder(cache_dir))
    decoded = record.load() or decode_under_lock(record, progress)
    if decoded.skipped and bad_files == "error":
        raise UserError(bad_files_line(decoded.skipped, len(files)))
    return decoded


def stamp(root: Path | str, files: Iterable[ImageFile]) -> str:
    """Digest of the files' names, sizes and times: another one wherever a file may have changed.

    No file is opened. The time of change tells a file swapped under its old size and date, too.
    """
    return digest_of(status_of(Path(root), file) for file in files).hexdigest()


class Record:
    """What the cache knows of one root under one preprocessing."""

    def __init__(self, root: Path, files: list[ImageFile], preprocessing: Preprocessing, cache: Path):
        self.root, self.files, self.preprocessing, self.cache = root, files, preprocessing, cache
        self.name = digest_of([os.fsencode(root.resolve()), str(preprocessing).encode()]).hexdigest()
        # Taken before the contents are read: what changes from here on is seen at the next start.
        self.stamp = stamp(root, files)
        self.path = cache / f"{self.name}.json"

    def load(self) -> Decoded | None:
        """The decoded images if they still stand for these files and the array is whole, else None."""
        try:
            stored = read_json(self.path)
            array = self.array(stored["fingerprint"])
            if stored["stamp"] != self.stamp or stored["digest"] != file_digest(array):
                return None
            skipped = [(path, reason) for path, reason in stored["skipped"]]
            return None if self.any_readable(skipped) else self.map(skipped, stored["fingerprint"])
        except (OSError, ValueError, KeyError, TypeError):  # missing, or not what `save` wrote
            return None

    def save(self, fingerprint: str, skipped: list[tuple[str, str]]) -> Decoded:
        """Vouch for the array of this fingerprint, which must be in place."""
        digest = file_digest(self.array(fingerprint))
        stored = {"fingerprint": fingerprint, "digest": digest, "skipped": skipped, "stamp": self.stamp}
        write_json(self.path, stored)
        return self.map(skipped, fingerprint)

    def array(self, fingerprint: str) -> Path:
        """The file of the pixels."""
        return self.cache / f"{fingerprint}.npy"

    def any_readable(self, skipped: list[tuple[str, str]]) -> bool:
        """A file that could not be read may be back without a change of its own: a network folder."""
        with quiet():
            return any(not isinstance(self.read(path), BadImage) for path, _ in skipped)

    def read(self, path: str) -> tuple[bytes, bytes] | BadImage:
        """Digest of a file's content, and its pixels as bytes."""
        try:
            content = read_bytes(self.root / path)
            image = decode_image(content, self.root / path)
        except BadImage as error:
            return error
        _, size, channels = self.preprocessing.shape
        return digest_of([content]).digest(), resize(image, size, channels, self.preprocessing.fit).tobytes()

    def map(self, skipped: list[tuple[str, str]], fingerprint: str) -> Decoded:
        """Map the array of this fingerprint."""
        bad = {path for path, _ in skipped}
        files = [file for file in self.files if file.path not in bad]
        array = self.array(fingerprint)
        images = np.load(array, mmap_mode="r", allow_pickle=False)
        if images.shape != (len(files), *self.preprocessing.shape) or images.dtype != np.uint8:
            raise ValueError(f"{array} holds {images.dtype} {images.shape}")
        return Decoded(images, files, skipped, fingerprint)


def decode_under_lock(record: Record, progress: bool) -> Decoded:
    """Decode under a lock, so that runs started together do the work once."""

    def wait() -> None:
        if progress:
            print("alzgan: waiting for another run that decodes the same images", file=sys.stderr)

    try:
        record.cache.mkdir(parents=True, exist_ok=True)
        lock = record.cache / f"{record.name}.lock"
        lock.touch()
        with locked(lock, wait) as alone:  # else each run decodes for itself, the last rename wins
            if alone:
                for part in record.cache.glob(f"{record.name}.*.part"):  # of killed runs
                    part.unlink(missing_ok=True)
            return record.load() or decode_all(record, progress)
    except OSError as error:
        raise unwritable_cache(record.cache, error) from None


def decode_all(record: Record, progress: bool) -> Decoded:
    """Write the pixels as they come, so memory does not grow with the folder."""
    skipped, identity = [], digest_of([str(record.preprocessing).encode()])
    paths = [file.path for file in record.files]
    shape = record.preprocessing.shape
    with scratch(record.path) as part, quiet():
        with part.open("xb") as array:
            write_header(array, (len(paths), *shape))
            results = in_threads(record.read, paths)
            bar = tqdm(results, "decoding", len(paths), unit=" images", disable=not progress)
            for path, result in zip(paths, bar, strict=True):
                if isinstance(result, BadImage):
                    skipped.append((path, result.reason))
                    continue
                digest, pixels = result
                array.write(pixels)
                identity.update(digest_of([os.fsencode(path), digest]).digest())
            if len(skipped) == len(paths):
                raise UserError(bad_files_line(skipped, len(paths)))
            write_header(array, (len(paths) - len(skipped), *shape))
        fingerprint = identity.hexdigest()
        publish(part, record.array(fingerprint))
    return record.save(fingerprint, skipped)


def write_header(part: BinaryIO, shape: tuple[int, ...]) -> None:
    """Write the .npy header; numpy pads it, so that another number of images takes the same room."""
    part.seek(0)
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(part, header)


def status_of(root: Path, file: ImageFile) -> bytes:
    """What the system says of a file's state."""
    try:
        status = os.stat(root / file.path)
    except OSError as error:  # a dangling link: it will be a bad image
        return os.fsencode(f"{file.path}\0{error.errno}")
    return os.fsencode(f"{file.path}\0{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}")


def file_digest(path: Path) -> str:
    """Digest of a file's size and content, of the whole up to 256 MiB.

    A larger file is sampled at `MAX_BLOCKS` blocks spread evenly from the first to the last, so that a
    start never waits: the rename already keeps out half-written arrays, this finds a damaged disk or hand.
    """
    size = path.stat().st_size
    count = min(MAX_BLOCKS, -(-size // BLOCK))
    digest = hashlib.blake2b(size.to_bytes(8), digest_size=16)
    with path.open("rb") as file:
        for start in np.linspace(0, max(0, size - BLOCK), count, dtype=np.int64):
            file.seek(start)
            digest.update(file.read(BLOCK))
    return digest.hexdigest()


def digest_of(parts: Iterable[bytes]) -> hashlib.blake2b:
    """Digest a sequence; lengths are digested too, so that no two sequences run together."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest


def bad_files_line(skipped: list[tuple[str, str]], total: int) -> str:
    """How many files cannot be read, the first, and what to do."""
    path, reason = skipped[0]
    return (
        f"{len(skipped)} of {total} images cannot be read, the first is {printable(path)} ({reason}): "
        "mend or remove them, or set data.bad_files=skip"
    )
