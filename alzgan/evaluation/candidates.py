"""The candidates of an evaluation: samples of checkpoints or images of folders, with the real images."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from tqdm import tqdm

from alzgan.data.datamodule import MRIDataModule
from alzgan.device.streams import stream
from alzgan.errors import UserError
from alzgan.evaluation.fidelity import INDEPENDENT, PEOPLE, UNKNOWN
from alzgan.evaluation.reference import Images, Reference, reference_of
from alzgan.evaluation.request import Request
from alzgan.images.arrays import decode
from alzgan.images.decoding import in_threads
from alzgan.images.folder import FLAT, ImageFile, scan
from alzgan.people.splits import apportion
from alzgan.people.subjects import by_table_or_names
from alzgan.runs.build import build
from alzgan.runs.config import check_missing, checkpoint_file
from alzgan.runs.data import data_of_run, run_and_data
from alzgan.runs.load import TrainedGenerator, load
from alzgan.runs.resume import Previous
from alzgan.runs.start import features_behind
from alzgan.text import counted, printable

CHUNK = 256  # images between two updates of the progress bar


@dataclass(frozen=True)
class Candidate:
    """Samples and their origin.

    Attributes:
        name: the path as the user gave it.
        kind: "checkpoint" or "folder".
        images: the samples; labels are indices of the data's classes.
        info: the candidate's own entries in `evaluation.json`.
        more: a function that returns a given number of samples with classes in given shares (K,); None if
            the samples have no classes.
        notes: remarks for the reader of the report.
        independent: whether each image was drawn by itself, as a generator's samples are.
    """

    name: str
    kind: str
    images: Images
    info: dict[str, Any]
    more: Callable[[int, np.ndarray], Images] | None
    notes: list[str] = field(default_factory=list)
    independent: bool = False

    @property
    def form(self) -> str:
        """One of `alzgan.evaluation.fidelity.FORMS`."""
        if self.independent:
            return INDEPENDENT
        return UNKNOWN if self.images.people is None else PEOPLE

    @property
    def trained_features(self) -> set[str]:
        """The spaces of the frozen features that the discriminator was trained on, as far as is known.

        Those of a run that it started from count too.
        """
        return set(features_behind(self.info.get("trained_by") or {}))


class Judged(NamedTuple):
    """A candidate and the real images that it is compared with."""

    candidate: Candidate
    data: MRIDataModule
    reference: Reference


class Run(NamedTuple):
    """A run to judge: the name that the user gave, its record, and the settings of its data."""

    name: str
    record: Previous
    data: DictConfig

    @property
    def trained_features(self) -> set[str]:
        """The spaces of the frozen features that the discriminator was trained on, as far as is known."""
        return set(features_behind(self.record.provenance))


def runs_to_judge(request: Request) -> list[Run]:
    """The runs that are asked for, those of sweeps one by one; none if folders are.

    Raises:
        UserError: a run is missing, or an override would change its data.
    """
    names = [name for path in request.runs for name in runs_in(path)]
    return [
        Run(name, *run_and_data(checkpoint_file(name), request.settings, request.overrides)) for name in names
    ]


def judged(request: Request, runs: Sequence[Run]) -> Iterator[Judged]:
    """Yield every candidate that is asked for. All paths are checked before the first one is read.

    Raises:
        UserError: a folder or the real images are missing, or do not fit each other.
    """
    yield from of_runs(request, runs) if runs else of_folders(request)


def of_folders(request: Request) -> Iterator[Judged]:
    """The images of folders."""
    settings = request.settings
    check_missing(settings)
    data: MRIDataModule = build("data", settings.data)
    folders = [Path(path).expanduser() for path in request.folders]
    for folder in folders:
        check_folder(folder, data.preprocessing.image_size)
    try:
        data.read()
    except UserError as error:
        raise UserError(f"{error}. An evaluation needs the real images") from None
    reference = reference_of(data, settings.held_out)
    for folder in folders:
        yield Judged(from_folder(folder, data), data, reference)


def of_runs(request: Request, runs: Sequence[Run]) -> Iterator[Judged]:
    """Samples of checkpoints."""
    settings = request.settings
    known: tuple[object, MRIDataModule, Reference] | None = None
    for name, previous, node in runs:
        generator = load(previous.path, settings.weights, request.device, allow=settings.allow)
        # Two runs on one folder can have different splits.
        key = OmegaConf.to_yaml(node), previous.provenance["data"].get("fingerprint")
        if known is None or known[0] != key:  # memory holds the data of one run at a time
            data = data_of_run(previous, node)
            known = key, data, reference_of(data, settings.held_out)
        _, data, reference = known
        yield Judged(from_checkpoint(name, generator, settings, data, reference), data, reference)


def runs_in(path: str) -> list[str]:
    """The runs in a sweep's folder; any other path itself."""
    folder = Path(path).expanduser()
    jobs = sorted(
        (job for job in folder.glob("job_*") if (job / "checkpoints").is_dir()),
        key=lambda job: int(job.name.rpartition("_")[2]) if job.name.rpartition("_")[2].isdigit() else 0,
    )
    return [str(job) for job in jobs] or [path]


def from_checkpoint(
    name: str, generator: TrainedGenerator, settings: DictConfig, data: MRIDataModule, reference: Reference
) -> Candidate:
    """`settings.n` samples of a trained generator.

    The classes of a conditional generator's samples are as frequent as those of the held-out images. If the
    generator's channels are neighbouring slices, only the middle one is kept.
    """
    seed = settings.seed
    shares = reference.held_out.of_classes(len(data.classes))
    if not shares.any():
        shares = data.class_shares()

    def draw(number: int, shares: np.ndarray) -> Images:
        labels = None
        if generator.classes:
            labels = np.repeat(np.arange(len(shares)), apportion(number, shares.tolist()))
            labels = stream(seed, "evaluate/labels").permutation(labels)
        pixels = pixels_of(generator, number, labels, seed)
        return Images(data.shown(pixels).contiguous(), labels)

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
    notes = []
    if not generator.classes:
        notes.append("the generator is unconditional: its samples have no classes")
        if data.sampling != "as_is":
            notes.append(
                f"the generator was trained with data.sampling={data.sampling}: its samples cannot show the "
                "classes in the proportions of real images"
            )
    more = draw if generator.classes else None
    return Candidate(name, "checkpoint", draw(settings.n, shares), info, more, notes, independent=True)


def pixels_of(generator: TrainedGenerator, count: int, labels: np.ndarray | None, seed: int) -> torch.Tensor:
    """Samples of a generator, uint8 (count, C, H, W), drawn under a progress bar."""
    found = []
    with tqdm(total=count, desc="samples", unit=" images", leave=False) as bar:
        for first in range(0, count, CHUNK):
            number = min(CHUNK, count - first)
            chosen = None if labels is None else labels[first : first + number].tolist()
            found.append(generator.sample(number, chosen, seed, first))
            bar.update(number)
    return torch.cat(found)


def from_folder(folder: Path, data: MRIDataModule) -> Candidate:
    """The images of a folder that has passed `check_folder`.

    They get classes if all class folders in it are classes of the data.
    """
    files = scan(folder)
    decoded = decode(folder, files, data.preprocessing, cache_dir=data.cohort.cache_dir)
    pixels = torch.from_numpy(np.array(decoded.images)).permute(0, 3, 1, 2).contiguous()
    found = {file.label for file in files}
    named = found <= set(data.classes)
    notes = [
        "the training people of its generator are unknown: people who are held out here are unseen only if "
        "data.subjects=csv:FILE gives the generator's own split"
    ]
    if not named and found != {FLAT}:
        missing = sorted(found - set(data.classes))[0]
        notes.append(f"its classes are not used: the data has no class {missing}")
    # A part of the images from the front must contain all classes.
    order = stream(0, "evaluate/folder").permutation(len(files))
    labels = np.array([data.classes.index(file.label) for file in files]) if named else None
    people = people_in(folder, files)
    if independent := people is not None and len(set(people)) == len(files):
        notes.append("each image is of a person of its own, by its table")
        people = None
    elif people is not None:
        notes.append(f"the people in its images are known: {counted(len(set(people)), 'person', 'people')}")
    else:
        notes.append(
            "the people in its images are unknown, so the images count as stacks of slices; a manifest.csv "
            "with the columns file and subject makes recall and the kernel distance more precise"
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

    info = {"fingerprint": decoded.fingerprint, "classes": dict(Counter(file.label for file in files))}
    return Candidate(str(folder), "folder", images, info, more if named else None, notes, independent)


def odd_shares(samples: np.ndarray, real: np.ndarray, classes: Sequence[str]) -> list[str]:
    """A note on each class whose share of the samples is below half or above twice its share of the data."""
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
    """The person in each image (N,); None if they are unknown: names that all differ may count images."""
    with contextlib.suppress(UserError):
        subjects = by_table_or_names(folder, files)
        if subjects is not None and (
            subjects.rule.startswith("csv:") or len(set(subjects.subject)) < len(files)
        ):
            return np.array(subjects.subject)
    return None


def check_folder(folder: Path, side: int) -> None:
    """Check that a folder has images, all of `side` x `side` pixels; resizing would change every number.

    Raises:
        UserError: the folder is missing or empty, or has an image of another size.
    """
    if not folder.is_dir() or not any(folder.iterdir()):
        raise UserError(f"samples={printable(folder)}: there is no such folder, or it is empty")
    paths = [file.path for file in scan(folder)]

    def size_of(path: str) -> tuple[int, int] | None:
        try:
            with Image.open(folder / path) as image:
                return image.size
        except OSError:
            return None  # decoding reports it

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
