"""From settings to what is compared: each checkpoint with the data that it was trained on, or folders."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from alzgan.data.datamodule import MRIDataModule
from alzgan.errors import UserError
from alzgan.evaluation.candidates import Candidate, check_folder, from_checkpoint, from_folder
from alzgan.evaluation.reference import Reference, reference_of
from alzgan.runs.build import build
from alzgan.runs.checkpoints import load_checkpoint
from alzgan.runs.config import check_missing, checkpoint_file
from alzgan.runs.load import TrainedGenerator, load
from alzgan.runs.resume import Previous
from alzgan.runs.session import keep_older_split
from alzgan.text import printable


class Judged(NamedTuple):
    """What is judged, and by which real images."""

    candidate: Candidate
    data: MRIDataModule
    reference: Reference


def judged(settings: DictConfig, overrides: Sequence[str], device: torch.device) -> Iterator[Judged]:
    """All that the settings name, one after the other; nothing long is begun before all is known to be there.

    Raises:
        UserError: something is missing, or does not fit.
    """
    paths = listed(settings.ckpt_path)
    folders = [Path(path).expanduser() for path in listed(settings.samples)]
    if bool(paths) == bool(folders):
        raise UserError("give ckpt_path=RUN, or samples=FOLDER with data.root=DIR, the real images")
    if folders:
        check_missing(settings)
        data = build("data", settings.data)
        for folder in folders:
            check_folder(folder, data.preprocessing.image_size)
        reference = real_images(data, settings.held_out)
        for folder in folders:
            yield Judged(from_folder(folder, data), data, reference)
        return
    # Each file is looked into before the first is judged.
    names = [name for path in paths for name in runs_in(path)]
    runs = [(name, *data_of_run(checkpoint_file(name), settings, overrides)) for name in names]
    known: tuple[object, MRIDataModule, Reference] | None = None
    for name, previous, node in runs:
        generator = load(previous.path, settings.weights, device, allow=settings.allow)
        # Runs of one folder may have splits of their own.
        key = OmegaConf.to_yaml(node), previous.provenance["data"].get("fingerprint")
        if known is None or known[0] != key:  # one at a time is kept
            data = build("data", node)
            known = key, data, reference_of_run(previous, data, settings.held_out)
        _, data, reference = known
        yield Judged(candidate_of(name, generator, settings, data, reference), data, reference)


def candidate_of(
    name: str,
    generator: TrainedGenerator,
    settings: DictConfig,
    data: MRIDataModule,
    reference: Reference,
) -> Candidate:
    """A run's samples, with a note where they cannot have the classes as often as real people do."""
    shares = np.bincount(reference.held_out.labelled().labels, minlength=len(data.classes))
    if not shares.any():
        shares = data.class_shares()
    made = from_checkpoint(name, generator, settings.n, shares, settings.seed, data.slices_as_channels)
    if data.sampling != "as_is" and not generator.classes:
        made.notes.append(
            f"it was trained with data.sampling={data.sampling} and knows no classes: it cannot have the "
            "classes as often as real people do"
        )
    return made


def listed(value: object) -> list[str]:
    """One path or several."""
    if value is None:
        return []
    return [str(each) for each in (value if OmegaConf.is_list(value) else [value])]


def runs_in(path: str) -> list[str]:
    """The runs of a sweep's folder; else the path itself."""
    folder = Path(path).expanduser()
    jobs = sorted(
        (job for job in folder.glob("job_*") if (job / "checkpoints").is_dir()),
        key=lambda job: int(job.name.rpartition("_")[2]) if job.name.rpartition("_")[2].isdigit() else 0,
    )
    return [str(job) for job in jobs] or [path]


def data_of_run(path: Path, settings: DictConfig, overrides: Sequence[str]) -> tuple[Previous, DictConfig]:
    """A run, and the data settings that it was trained with, changed by the command line where it may."""
    checkpoint = load_checkpoint(path)
    if not isinstance(checkpoint["alzgan"]["provenance"].get("data"), dict):
        raise UserError(
            f"{printable(path)} does not say by what data it was trained: give samples=FOLDER instead"
        )
    data = [override for override in overrides if override.lstrip("+~").startswith("data.")]
    # Its record is enough: of a sweep's runs not all weights are kept.
    previous = Previous(path, {"alzgan": checkpoint["alzgan"]})
    return previous, previous.data_settings(settings, data)


def real_images(data: MRIDataModule, held_out: str) -> Reference:
    """All images of the data; UserError where they are gone."""
    try:
        data.setup()
    except UserError as error:
        raise UserError(f"{error}. Without the real images nothing is measured") from None
    return reference_of(data, held_out)


def reference_of_run(previous: Previous, data: MRIDataModule, held_out: str = "both") -> Reference:
    """The real images of a run, in its own split; see `reference_of`.

    Raises:
        UserError: they are gone, or others.
    """
    path = printable(previous.path)
    keep_older_split(previous, data, previous.path.parent.parent)
    try:
        data.setup()
    except UserError as error:
        raise UserError(
            f"{error}. {path} was trained on these images; without them its samples can be drawn "
            "(alzgan.load) but not compared: give data.root=DIR where they are now"
        ) from None
    if previous.provenance["data"].get("fingerprint") != data.fingerprint:
        raise UserError(
            f"the training images in {printable(data.root)} are not those that {path} was trained on: give "
            "data.root=DIR with those, or samples=FOLDER of images drawn from it"
        )
    return reference_of(data, held_out)
