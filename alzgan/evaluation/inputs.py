"""From settings to what is compared: each checkpoint with the data that it was trained on, or folders."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf

from alzgan.data.datamodule import MRIDataModule
from alzgan.errors import UserError
from alzgan.evaluation.candidates import Candidate, check_folder, from_checkpoint, from_folder
from alzgan.evaluation.reference import Reference, reference_of
from alzgan.runs.build import build
from alzgan.runs.config import check_missing, checkpoint_file
from alzgan.runs.data import data_of_run, run_and_data
from alzgan.runs.load import TrainedGenerator, load


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
    runs = [(name, *run_and_data(checkpoint_file(name), settings, overrides)) for name in names]
    known: tuple[object, MRIDataModule, Reference] | None = None
    for name, previous, node in runs:
        generator = load(previous.path, settings.weights, device, allow=settings.allow)
        # Runs of one folder may have splits of their own.
        key = OmegaConf.to_yaml(node), previous.provenance["data"].get("fingerprint")
        if known is None or known[0] != key:  # one at a time is kept
            data = data_of_run(previous, node)
            known = key, data, reference_of(data, settings.held_out)
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
    shares = reference.held_out.of_classes(len(data.classes))
    if not shares.any():
        shares = data.class_shares()
    made = from_checkpoint(name, generator, settings.n, shares, settings.seed, data.slices_as_channels)
    if data.sampling != "as_is" and not generator.classes:
        made.notes.append(
            f"it was trained with data.sampling={data.sampling} and knows no classes: it cannot have the "
            "classes as often as real people do"
        )
    return made


def listed(value: Any) -> list[str]:
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


def real_images(data: MRIDataModule, held_out: str) -> Reference:
    """All images of the data; UserError where they are gone."""
    try:
        data.read()
    except UserError as error:
        raise UserError(f"{error}. Without the real images nothing is measured") from None
    return reference_of(data, held_out)
