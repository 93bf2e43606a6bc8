"""All images of a folder decoded once into one uint8 array file, memory-mapped ever after.

Two files in the cache folder: `FINGERPRINT.npy`, named by the contents of the images and the preprocessing,
and a JSON record a (root, preprocessing), which says what was read. A start trusts the record where each
file's size and times are unchanged, so it reads no image; it trusts the array where its digest holds.
Arrays of the past stay until someone deletes them, which is safe at any time.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import sys
import uuid
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from tqdm import tqdm

from alzgan.data.folder import ImageFile, printable, scan
from alzgan.data.images import BadImage, decode_image, quiet, read_bytes, resize
from alzgan.runtime.errors import UserError

VERSION = 1  # of the decoding: raise it when the same file would give other pixels
BLOCK = 2**20
MAX_BLOCKS = 256  # of the array are checked at every start: 0.3 s


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


@dataclass(frozen=True)
class _Preprocessing:
    image_size: int
    channels: int
    fit: str

    def __post_init__(self):
        if not isinstance(self.image_size, int) or self.image_size < 1:
            raise UserError(f"data.image_size={self.image_size}: give a number of pixels from 1 on")
        if self.channels not in (1, 3):
            raise UserError(f"data.channels={self.channels}: give 1 (grey) or 3 (rgb)")
        if self.fit not in ("crop", "pad"):
            raise UserError(f"data.fit={self.fit}: give crop or pad")

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.image_size, self.image_size, self.channels)

    def __str__(self) -> str:
        return f"version {VERSION}, {self.image_size} x {self.image_size} x {self.channels}, {self.fit}"


def decode(
    root: Path | str,
    *,
    image_size: int = 64,
    channels: int = 3,
    fit: str = "crop",
    bad_files: str = "error",
    cache_dir: Path | str | None = None,
    progress: bool = True,
) -> Decoded:
    """Decode every image under `root`, or map the array of an earlier run that saw the same files.

    Safe to call from several processes at once: one decodes, the others wait and map its array.

    Args:
        root: folder with one subfolder a class (`alzgan.data.folder.scan`).
        image_size: side of the square images in pixels.
        channels: 1 (grey) or 3 (rgb).
        fit: "crop" or "pad" (`alzgan.data.images.resize`).
        bad_files: "error" raises if any file cannot be read, "skip" lists it in `Decoded.skipped`.
        cache_dir: where the arrays are kept; None is $ALZGAN_CACHE, else alzgan in the user's cache folder.
        progress: show a progress bar on stderr while decoding.

    Raises:
        UserError: a wrong setting, a root that cannot be read, bad files (the line names the first and
            counts them), no readable file at all, or a cache that cannot be written.
    """
    if bad_files not in ("error", "skip"):
        raise UserError(f"data.bad_files={bad_files}: give error or skip")
    preprocessing = _Preprocessing(image_size, channels, fit)
    files = scan(root)
    record = _Record(Path(root), files, preprocessing, cache_folder(cache_dir))
    decoded = record.load() or _decode_under_lock(record, progress)
    if decoded.skipped and bad_files == "error":
        raise UserError(_bad_files_line(decoded.skipped, len(files)))
    return decoded


def cache_folder(cache_dir: Path | str | None = None) -> Path:
    """The folder asked for, else $ALZGAN_CACHE, else $XDG_CACHE_HOME/alzgan, else ~/.cache/alzgan."""
    chosen = cache_dir or os.environ.get("ALZGAN_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "alzgan"


def unwritable_cache(cache: Path, error: OSError) -> str:
    """The line for a cache that cannot be written; it names the file that stands where a folder should."""
    files = [path for path in (cache, *cache.parents) if path.exists() and not path.is_dir()]
    reason = f"{printable(files[0])} is a file, no folder" if files else error.strerror or error
    return (
        f"cannot write the cache {printable(cache)}: {reason}; "
        "set data.cache_dir or ALZGAN_CACHE to a folder that can be written and has room"
    )


def stamp(root: Path | str, files: Iterable[ImageFile]) -> str:
    """Digest of the files' names, sizes and times: another one wherever a file may have changed.

    No file is opened. The time of change tells a file swapped under its old size and date, too.
    """
    return _digest(_status(Path(root), file) for file in files).hexdigest()


class _Record:
    """What the cache knows of one root under one preprocessing."""

    def __init__(self, root: Path, files: list[ImageFile], preprocessing: _Preprocessing, cache: Path):
        self.root, self.files, self.preprocessing, self.cache = root, files, preprocessing, cache
        self.name = _digest([os.fsencode(root.resolve()), str(preprocessing).encode()]).hexdigest()
        # Taken before the contents are read: what changes from here on is seen at the next start.
        self.stamp = stamp(root, files)
        self.path = cache / f"{self.name}.json"

    def load(self) -> Decoded | None:
        """The decoded images if they still stand for these files and the array is whole, else None."""
        try:
            stored = json.loads(self.path.read_bytes())
            array = self.cache / f"{stored['fingerprint']}.npy"
            if stored["stamp"] != self.stamp or stored["digest"] != _file_digest(array):
                return None
            skipped = [(path, reason) for path, reason in stored["skipped"]]
            return None if self._any_readable(skipped) else self._map(array, skipped, stored["fingerprint"])
        except (OSError, ValueError, KeyError, TypeError):  # missing, or not what `save` wrote
            return None

    def save(self, fingerprint: str, skipped: list[tuple[str, str]]) -> Decoded:
        """Vouch for the array of this fingerprint, which must be in place."""
        array = self.cache / f"{fingerprint}.npy"
        stored = {
            "fingerprint": fingerprint,
            "digest": _file_digest(array),
            "skipped": skipped,
            "stamp": self.stamp,
        }
        with self.part() as part:
            part.write(json.dumps(stored).encode())
            _publish(part, self.path)
        return self._map(array, skipped, fingerprint)

    @contextlib.contextmanager
    def part(self) -> Iterator[BinaryIO]:
        """A new file in the cache that vanishes unless it is published."""
        path = self.cache / f"{self.name}.{uuid.uuid4().hex}.part"
        try:
            with path.open("xb") as part:
                yield part
        finally:
            path.unlink(missing_ok=True)

    def remove_stale_parts(self) -> None:
        """Remove what killed runs left behind; only for the holder of the lock."""
        for part in self.cache.glob(f"{self.name}.*.part"):
            part.unlink(missing_ok=True)

    def _any_readable(self, skipped: list[tuple[str, str]]) -> bool:
        """A file that could not be read may be back without a change of its own: a network folder."""
        with quiet():
            return any(
                not isinstance(_read(self.root / path, self.preprocessing), BadImage) for path, _ in skipped
            )

    def _map(self, array: Path, skipped: list[tuple[str, str]], fingerprint: str) -> Decoded:
        bad = {path for path, _ in skipped}
        files = [file for file in self.files if file.path not in bad]
        images = np.load(array, mmap_mode="r", allow_pickle=False)
        if images.shape != (len(files), *self.preprocessing.shape) or images.dtype != np.uint8:
            raise ValueError(f"{array} holds {images.dtype} {images.shape}")
        return Decoded(images, files, skipped, fingerprint)


def _decode_under_lock(record: _Record, progress: bool) -> Decoded:
    """Decode under a lock, so that runs started together do the work once."""
    try:
        record.cache.mkdir(parents=True, exist_ok=True)
        with (record.cache / f"{record.name}.lock").open("ab") as lock:
            if _locked(lock, progress):
                record.remove_stale_parts()
            return record.load() or _decode_all(record, progress)
    except OSError as error:
        raise UserError(unwritable_cache(record.cache, error)) from None


def _locked(lock: BinaryIO, progress: bool) -> bool:
    """Wait for the lock, which the system drops when its holder dies; False where there are no locks."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if progress:
            print("alzgan: waiting for another run that decodes the same images", file=sys.stderr)
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError:  # some network file systems: each run decodes for itself, the last rename wins
        return False
    return True


def _decode_all(record: _Record, progress: bool) -> Decoded:
    """Write the pixels as they come, so memory does not grow with the folder."""
    skipped, identity = [], _digest([str(record.preprocessing).encode()])
    with record.part() as part, quiet():
        _write_header(part, (len(record.files), *record.preprocessing.shape))
        for file, result in tqdm(
            _read_in_parallel(record), "decoding", len(record.files), unit=" images", disable=not progress
        ):
            if isinstance(result, BadImage):
                skipped.append((file.path, result.reason))
                continue
            part.write(result.pixels)
            identity.update(_digest([os.fsencode(file.path), result.digest]).digest())
        if len(skipped) == len(record.files):
            raise UserError(_bad_files_line(skipped, len(record.files)))
        _write_header(part, (len(record.files) - len(skipped), *record.preprocessing.shape))
        fingerprint = identity.hexdigest()
        _publish(part, record.cache / f"{fingerprint}.npy")
    return record.save(fingerprint, skipped)


@dataclass(frozen=True)
class _Read:
    """One file: digest of its content, and its pixels, (size, size, channels), as bytes."""

    digest: bytes
    pixels: bytes


def _read(path: Path, preprocessing: _Preprocessing) -> _Read | BadImage:
    try:
        content = read_bytes(path)
        image = decode_image(content, path)
    except BadImage as error:
        return error
    size, channels = preprocessing.image_size, preprocessing.channels
    pixels = resize(image, size, channels, preprocessing.fit)
    return _Read(_digest([content]).digest(), pixels.tobytes())


def _read_in_parallel(record: _Record) -> Iterator[tuple[ImageFile, _Read | BadImage]]:
    """Read all files in threads, in order, a few ahead of what was taken.

    Threads, because Pillow decodes and resizes without the interpreter's lock, and processes would run a
    user's script a second time where it has no ``if __name__ == "__main__"``.
    """
    workers = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        ahead = deque()
        for file in record.files:
            ahead.append((file, pool.submit(_read, record.root / file.path, record.preprocessing)))
            if len(ahead) > 8 * workers:
                file, future = ahead.popleft()
                yield file, future.result()
        for file, future in ahead:
            yield file, future.result()


def _write_header(part: BinaryIO, shape: tuple[int, ...]) -> None:
    """Write the .npy header; numpy pads it, so that another number of images takes the same room."""
    part.seek(0)
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(part, header)


def _publish(part: BinaryIO, target: Path) -> None:
    """Give a finished file its name: whole or not at all, even if the machine stops here."""
    part.flush()
    os.fsync(part.fileno())
    os.replace(part.name, target)


def _status(root: Path, file: ImageFile) -> bytes:
    try:
        status = os.stat(root / file.path)
    except OSError as error:  # a dangling link: it will be a bad image
        return os.fsencode(f"{file.path}\0{error.errno}")
    return os.fsencode(f"{file.path}\0{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}")


def _file_digest(path: Path) -> str:
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


def _digest(parts: Iterable[bytes]) -> hashlib.blake2b:
    """Digest a sequence; lengths are digested too, so that no two sequences run together."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest


def _bad_files_line(skipped: list[tuple[str, str]], total: int) -> str:
    path, reason = skipped[0]
    return (
        f"{len(skipped)} of {total} images cannot be read, the first is {printable(path)} ({reason}): "
        "mend or remove them, or set data.bad_files=skip"
    )
