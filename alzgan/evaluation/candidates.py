"""What is evaluated: a checkpoint's samples, or a folder of images from whatever generator."""

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from alzgan.data.datamodule import MRIDataModule
from alzgan.device.streams import stream
from alzgan.errors import UserError
from alzgan.evaluation.fidelity import INDEPENDENT, PEOPLE, UNKNOWN
from alzgan.evaluation.reference import Images, middle
from alzgan.images.arrays import decode
from alzgan.images.decoding import in_threads
from alzgan.images.folder import FLAT, ImageFile, scan
from alzgan.people.splits import apportion
from alzgan.people.subjects import by_table_or_names
from alzgan.runs.load import TrainedGenerator
from alzgan.text import counted, printable

CHUNK = 256  # images between two moves of the bar


@dataclass(frozen=True)
class Candidate:
    """Samples, and where they come from.

    Attributes:
        name: path as the user gave it.
        kind: "checkpoint" or "folder".
        images: the samples; labels are indices of the data's classes.
        info: what `evaluation.json` says of it.
        more: gives so many samples, with labels as often as given shares (K,) say; None where there are no
            labels.
        notes: lines for the reader.
    """

    name: str
    kind: str
    images: Images
    info: dict[str, Any]
    more: Callable[[int, np.ndarray], Images] | None
    notes: list[str] = field(default_factory=list)

    @property
    def form(self) -> str:
        """One of `alzgan.evaluation.fidelity.FORMS`: a generator's latents are independent."""
        if self.images.people is not None:
            return PEOPLE
        return INDEPENDENT if self.kind == "checkpoint" else UNKNOWN


def from_checkpoint(
    name: str,
    generator: TrainedGenerator,
    count: int,
    shares: np.ndarray,
    seed: int,
    neighbours: bool,
) -> Candidate:
    """`count` samples of a trained generator, with classes in the given shares (K,) if it is conditional.

    If the channels are `neighbours`, that is neighbouring slices, the middle one is judged.
    """

    def draw(number: int, shares: np.ndarray) -> Images:
        if not generator.classes:
            return Images(seen(pixels_of(generator, number, None, seed)))
        labels = np.repeat(np.arange(len(shares)), apportion(number, shares.tolist()))
        labels = stream(seed, "evaluate/labels").permutation(labels)
        return Images(seen(pixels_of(generator, number, labels, seed)), labels)

    seen = middle if neighbours else torch.Tensor.contiguous
    info = {
        **{key: generator.info[key] for key in ("sha256", "step", "weights")},
        "seed": seed,
        "trained_by": {
            key: generator.info.get(key)
            for key in (
                "alzgan",
                "git",
                "device",
                "precision",
                "overrides",
                "started_from",
                "trained_features",
            )
        },
    }
    notes = [] if generator.classes else ["the generator is unconditional: its samples have no classes"]
    return Candidate(
        name, "checkpoint", draw(count, shares), info, draw if generator.classes else None, notes
    )


def pixels_of(generator: TrainedGenerator, count: int, labels: np.ndarray | None, seed: int) -> torch.Tensor:
    """So many images of a generator, with a bar."""
    found = []
    with tqdm(total=count, desc="samples", unit=" images", leave=False) as bar:
        for first in range(0, count, CHUNK):
            number = min(CHUNK, count - first)
            chosen = None if labels is None else labels[first : first + number].tolist()
            found.append(generator.sample(number, chosen, seed, first))
            bar.update(number)
    return torch.cat(found).contiguous()


def from_folder(folder: Path, data: MRIDataModule) -> Candidate:
    """The images of a folder that `check_folder` takes; with classes where its folders are the data's."""
    files = scan(folder)
    decoded = decode(folder, files, data.preprocessing, cache_dir=data.cohort.cache_dir)
    pixels = torch.from_numpy(np.array(decoded.images)).permute(0, 3, 1, 2).contiguous()
    found = {file.label for file in files}
    named = found <= set(data.classes)
    notes = [
        "whom its generator was trained on is not known: who was held out here is unseen only if its own "
        "split is given, by data.subjects=csv:FILE"
    ]
    if not named and found != {FLAT}:
        missing = sorted(found - set(data.classes))[0]
        notes.append(f"its classes are not used: {missing} is none of the data's")
    # In random order: what looks at the first ones only must see all classes.
    order = stream(0, "evaluate/folder").permutation(len(files))
    labels = np.array([data.classes.index(file.label) for file in files]) if named else None
    people = people_in(folder, files)
    if people is not None:
        notes.append(
            f"who is in each of its images is known: {counted(len(set(people)), 'person', 'people')}"
        )
    else:
        notes.append(
            "who is in its images is not known: they count as stacks of slices; a manifest.csv with the "
            "columns file and subject makes recall and the kernel distance sharper"
        )
    images = Images(pixels, labels, people, [file.path for file in files]).of(order)
    if named:
        counts = images.of_classes(len(data.classes))
        notes += odd_shares(counts, data.images_of_classes(), data.classes)

    def more(number: int, shares: np.ndarray) -> Images:
        noise = stream(0, "evaluate/more")
        groups = [np.flatnonzero(images.labels == label) for label in range(len(shares))]
        known = [share * (len(group) > 0) for share, group in zip(shares, groups, strict=True)]
        chosen = [
            noise.choice(group, count, replace=count > len(group))
            for group, count in zip(groups, apportion(number, known), strict=True)
            if count
        ]
        return images.of(noise.permutation(np.concatenate(chosen)))

    return Candidate(
        str(folder),
        "folder",
        images,
        {"fingerprint": decoded.fingerprint, "classes": dict(Counter(file.label for file in files))},
        more if named else None,
        notes,
    )


def odd_shares(samples: np.ndarray, real: np.ndarray, classes: Sequence[str]) -> list[str]:
    """A line for each class that is absent from the samples, or half or twice as frequent as in the data."""
    lines = []
    for name, ours, theirs in zip(classes, samples / samples.sum(), real / real.sum(), strict=True):
        if theirs and not ours:
            lines.append(f"class {printable(name)} is absent: it has {theirs:.1%} of the training images")
        elif not theirs / 2 <= ours <= 2 * theirs:
            lines.append(
                f"class {printable(name)} has {ours:.1%} of the samples, {theirs:.1%} of the training images"
            )
    return lines


def people_in(folder: Path, files: Sequence[ImageFile]) -> np.ndarray | None:
    """Who is in the images (N,), where a table or the names say it, and somebody is in several."""
    with contextlib.suppress(UserError):
        subjects = by_table_or_names(folder, files)
        if subjects is not None and len(set(subjects.subject)) < len(files):
            return np.array(subjects.subject)
    return None


def check_folder(folder: Path, side: int) -> None:
    """Check that there are images, squares of the wanted size: resizing would judge the resizing.

    Raises:
        UserError: there are none, or others.
    """
    if not folder.is_dir() or not any(folder.iterdir()):
        raise UserError(f"samples={printable(folder)}: there is no such folder, or nothing is in it")
    paths = [file.path for file in scan(folder)]

    def size_of(path: str) -> tuple[int, int] | None:
        try:
            with Image.open(folder / path) as image:
                return image.size
        except OSError:
            return None  # decoding says what is wrong with it

    sizes = Counter(size for size in in_threads(size_of, paths) if size)
    others = Counter({size: count for size, count in sizes.items() if size != (side, side)})
    if others:
        ((width, height), _), *_ = others.most_common(1)
        advice = (
            f"set data.image_size={width}" if len(sizes) == 1 and width == height else "resize them first"
        )
        raise UserError(
            f"samples={printable(folder)}: {counted(others[width, height], 'image')} of {len(paths)} are "
            f"{width} x {height}, the real ones are evaluated at {side} x {side}: {advice}"
        )
