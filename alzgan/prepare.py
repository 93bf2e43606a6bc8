"""Check a folder before training on it: ``python -m alzgan.prepare data.root=DIR``."""

from dataclasses import fields, replace
from pathlib import Path, PurePosixPath
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from alzgan.errors import SettingError, UserError
from alzgan.files import write_json, write_table
from alzgan.people.cohort import Cohort
from alzgan.people.splits import write_split
from alzgan.people.subjects import Subjects
from alzgan.runs import cli
from alzgan.runs.config import as_mapping, check_missing, compose_config
from alzgan.runs.signatures import check_arguments, check_types
from alzgan.sources.audit import Audit, audit, contact_sheet, lines
from alzgan.sources.volumes import Choice, Sliced, volume_paths, write_slices
from alzgan.text import printable, shell_override, shell_word

NOT_READY = 2  # exit code if the folder is not ready to train; 1 is an error


def prepare(settings: DictConfig) -> None:
    """Report on the folder of `conf/prepare.yaml`; if it holds volumes, cut them into slices first."""
    check_missing(settings)
    data = as_mapping(settings.data)
    of_cohort: dict[str, Any] = {
        field.name: data[field.name] for field in fields(Cohort) if field.name in data
    }
    check_arguments("data", of_cohort, Cohort, "data")
    check_types(settings, {"data.batch_size": int})
    check_arguments("volumes", settings.volumes, Choice, "volumes")
    hydra = HydraConfig.get()
    run_dir = Path(hydra.runtime.output_dir)
    try:
        cohort = Cohort(**of_cohort)
    except SettingError as error:
        raise UserError(f"data.{error}") from None
    root = cohort.folder
    extra: dict[str, Any] = {}
    notes: list[str] = []
    overrides = hydra.overrides.task
    if holds_volumes(cohort):
        root, sliced = slice_volumes(settings, cohort, run_dir)
        by_content = cohort.subjects == "content"
        # These concern the volumes, not their slices: the slices have a manifest, which "auto" reads.
        of_volumes = ["data.exclude=", *([] if by_content else ["data.subjects="])]
        overrides = [text for text in overrides if not text.startswith(tuple(of_volumes))]
        subjects = "content" if by_content else "auto"
        cohort, notes = replace(cohort, root=root, exclude=None, subjects=subjects), sliced.notes
        extra["skipped_volumes"] = [(printable(path), reason) for path, reason in sliced.skipped]
    else:
        unused = [text for text in overrides if text.startswith(("images=", "volumes."))]
        notes = [f"{printable(text)} has no effect: the folder has no volumes" for text in unused]
    found = audit(cohort)
    report = {"root": str(root), **extra, **found.report, "notes": [*notes, *found.report["notes"]]}
    try:
        write(found, report, root, run_dir)
    except OSError as error:
        raise UserError(f"cannot write to run_dir={run_dir}: {error.strerror}; choose another") from None
    steps = next_steps(found, root, run_dir, overrides)
    print("\n".join([*lines(report), *steps]))
    if not found.is_ready:
        raise SystemExit(NOT_READY)


def holds_volumes(cohort: Cohort) -> bool:
    """Whether the folder holds volumes.

    Raises:
        UserError: it holds both volumes and images.
    """
    images, volumes = cohort.listing.images, volume_paths(cohort.folder, cohort.excluded)
    if volumes and images:
        suffixes = {PurePosixPath(path).suffix for path in (images[0].path, volumes[0])}
        advice = " or ".join(f"data.exclude='*{suffix}'" for suffix in sorted(suffixes))
        raise UserError(
            f"{printable(cohort.folder)} has both images ({printable(images[0].path)}) and volumes "
            f"({printable(volumes[0])}): leave one kind out with {advice}"
        )
    return bool(volumes)


def slice_volumes(settings: DictConfig, cohort: Cohort, run_dir: Path) -> tuple[Path, Sliced]:
    """Write the slices of the volumes; returns their folder and a report."""
    images = Path(settings.images).expanduser() if settings.images else run_dir / "images"
    return images, write_slices(
        cohort.folder,
        images,
        **as_mapping(settings.volumes),
        exclude=cohort.excluded,
        classes=cohort.classes,
        subjects=cohort.subjects,
        bad_files=cohort.bad_files,
    )


def write(found: Audit, report: dict[str, Any], root: Path, run_dir: Path) -> None:
    """Write the report, the manifest, the contact sheet, and tables of copies and skipped files if any."""
    files, people = found.files, found.people
    unknown: list[None] = [None] * len(files)
    subjects = people.subjects if people else Subjects("none", [""] * len(files), unknown, unknown)
    write_json(run_dir / "report.json", report)
    write_split(run_dir / "manifest.csv", files, subjects, people.without_copies() if people else unknown)
    contact_sheet(root, files, run_dir / "contact_sheet.png")
    if found.copies:
        pairs = ((files[pair.first].path, files[pair.second].path, pair.how, pair.r) for pair in found.copies)
        write_table(run_dir / "pairs.csv", ["file", "copy", "how", "r"], pairs)
    if skipped := [*report.get("skipped_volumes", []), *report["unreadable"]]:
        write_table(run_dir / "skipped.csv", ["file", "reason"], skipped)


def next_steps(found: Audit, root: Path, run_dir: Path, overrides: list[str]) -> list[str]:
    """Lines on what was written and what to do next."""
    written = [path.name for path in sorted(run_dir.iterdir()) if path.is_file()]
    steps = [f"written to {printable(run_dir)}: {', '.join(written)}"]
    manifest = shell_override("data.subjects", f"csv:{run_dir / 'manifest.csv'}")
    if found.people is None:
        steps.append(f"to say who is who, fill in its column subject and give {manifest}")
    if found.is_ready:
        told = [text for text in overrides if text.startswith(("data.", "seed="))]
        told = [text for text in told if not text.startswith("data.root=")]
        recipe = ["model=small", "data=mri"]
        command = ["python -m alzgan.train", *recipe, shell_override("data.root", root)]
        grey = found.report["grey"] == found.report["images"]
        if grey and not any(text.startswith(("data.channels=", "data.slices_as_channels=")) for text in told):
            command.append("data.channels=1")
        command.append("trainer=fast")
        batch = compose_config("train", [*recipe, *told]).data.batch_size
        if found.people is not None and (count := found.people.split.parts.count("train")) < batch:
            told = [text for text in told if not text.startswith("data.batch_size=")]
            command.append(f"data.batch_size={count}")
        steps.append(f"train on it: {' '.join([*command, *map(shell_word, told)])}")
        if found.copies:
            kept = [shell_word(text) for text in told if not text.startswith("data.subjects=")]
            steps.append(f"or without the copies: {' '.join([*command, *kept, manifest])}")
    return steps


if __name__ == "__main__":
    cli.run(prepare, "prepare")
