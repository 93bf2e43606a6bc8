"""Look into a folder before training on it: ``python -m alzgan.prepare data.root=DIR``."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from alzgan.errors import SettingError, UserError
from alzgan.files import write_json, write_table
from alzgan.images.folder import survey
from alzgan.people.cohort import Cohort
from alzgan.people.splits import write_split
from alzgan.people.subjects import Subjects
from alzgan.runs import cli
from alzgan.runs.config import check_missing
from alzgan.runs.signatures import check_arguments
from alzgan.sources.audit import Audit, audit, contact_sheet, lines
from alzgan.sources.volumes import SUFFIXES, write_slices
from alzgan.text import printable


def prepare(settings: DictConfig) -> None:
    """Report what `conf/prepare.yaml` points at; where it is volumes, make an image folder of them first."""
    check_missing(settings)
    check_arguments("data", settings.data, Cohort, "data")
    check_arguments("volumes", settings.volumes, write_slices, "volumes")
    hydra = HydraConfig.get()
    run_dir, cohort = Path(hydra.runtime.output_dir), cohort_of(settings)
    root = cohort.folder
    extra: dict[str, Any] = {}
    if holds_volumes(root):
        root, extra["skipped_volumes"] = slice_volumes(settings, root, run_dir)
        cohort = replace(cohort, root=root)
    found = audit(cohort)
    report = {"root": str(root), **extra, **found.report}
    try:
        write(found, report, root, run_dir)
    except OSError as error:
        raise UserError(f"cannot write to run_dir={run_dir}: {error.strerror}; choose another") from None
    print("\n".join([*lines(report), *next_steps(found, root, run_dir, hydra.overrides.task)]))


def cohort_of(settings: DictConfig) -> Cohort:
    """The folder as the settings read it.

    Raises:
        UserError: a value is out of its range.
    """
    try:
        return Cohort(**OmegaConf.to_container(settings.data))
    except SettingError as error:
        raise UserError(f"data.{error}") from None


def holds_volumes(root: Path) -> bool:
    """Whether the folder is one of NIfTI volumes.

    Raises:
        UserError: it has both volumes and images, so nobody knows which are meant.
    """
    listing = survey(root)
    volumes = [path for path in listing.others if path.lower().endswith(SUFFIXES)]
    if volumes and listing.images:
        raise UserError(
            f"{printable(root)} has both images ({printable(listing.images[0].path)}) and volumes "
            f"({printable(volumes[0])}): move one kind to a folder of its own"
        )
    return bool(volumes)


def slice_volumes(settings: DictConfig, root: Path, run_dir: Path) -> tuple[Path, list[tuple[str, str]]]:
    """Write the slices of the volumes; returns their folder and the volumes left out, with the reason."""
    images = Path(settings.images).expanduser() if settings.images else run_dir / "images"
    choice = settings.volumes
    skipped = write_slices(
        root,
        images,
        plane=choice.plane,
        between=tuple(choice.between),
        central=choice.central,
        bad_files=settings.data.bad_files,
    )
    return images, [(printable(path), reason) for path, reason in skipped]


def write(found: Audit, report: dict[str, Any], root: Path, run_dir: Path) -> None:
    """Write the report, the manifest, the contact sheet and, if there are any, the list of bad files."""
    unknown = [None] * len(found.files)
    subjects = found.subjects or Subjects("none", unknown, unknown, unknown)
    write_json(run_dir / "report.json", report)
    write_split(
        run_dir / "manifest.csv", found.files, subjects, found.split.parts if found.split else unknown
    )
    contact_sheet(root, found.files, run_dir / "contact_sheet.png")
    if skipped := [*report.get("skipped_volumes", []), *report["unreadable"]]:
        write_table(run_dir / "skipped.csv", ["file", "reason"], skipped)


def next_steps(found: Audit, root: Path, run_dir: Path, overrides: list[str]) -> list[str]:
    """Where everything is, and what can be done with it."""
    written = [path.name for path in sorted(run_dir.iterdir()) if path.is_file()]
    steps = [f"written to {run_dir}: {', '.join(written)}"]
    if found.subjects is None:
        steps.append(
            f"to say who is who, fill in the column subject of {run_dir / 'manifest.csv'} and give "
            "data.subjects=csv:FILE"
        )
    if found.report["verdict"].startswith("ready"):
        kept = [text for text in overrides if text.startswith("data.") and not text.startswith("data.root=")]
        command = ["python", "-m", "alzgan.train", "data=mri", f"data.root={root}", *kept]
        steps.append(f"train on it: {shlex.join(command)}")
    return steps


if __name__ == "__main__":
    cli.run(prepare, "prepare")
