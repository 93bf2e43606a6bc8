"""Look into a folder before training on it: ``python -m alzgan.prepare data.root=DIR``."""

import shlex
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from alzgan.data.audit import Audit, audit, contact_sheet, lines
from alzgan.data.folder import printable, survey
from alzgan.data.splits import write_split
from alzgan.data.subjects import Subjects
from alzgan.data.volumes import SUFFIXES, write_slices
from alzgan.runtime import cli, config
from alzgan.runtime.checks import check_missing, check_source
from alzgan.runtime.errors import UserError
from alzgan.runtime.files import write_json, write_table


def prepare(settings: DictConfig) -> None:
    """Report what `conf/prepare.yaml` points at; where it is volumes, make an image folder of them first."""
    check_missing(settings)
    if settings.data.root is None:
        raise UserError("data.root is not set; add data.root=... to the command line")
    check_source(settings)
    hydra = HydraConfig.get()
    run_dir, root = Path(hydra.runtime.output_dir), Path(settings.data.root).expanduser()
    extra: dict[str, Any] = {}
    if holds_volumes(root):
        root, extra["skipped_volumes"] = slice_volumes(settings, root, run_dir)
    data = settings.data
    found = audit(root, data.subjects, tuple(data.fractions), data.split_seed, data.bad_files, data.cache_dir)
    report = {"root": str(root), **extra, **found.report}
    try:
        write(found, report, root, run_dir)
    except OSError as error:
        raise UserError(f"cannot write to run_dir={run_dir}: {error.strerror}; choose another") from None
    print("\n".join([*lines(report), *next_steps(found, root, run_dir, hydra.overrides.task)]))


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
    config.register()
    cli.run(prepare, "prepare")
