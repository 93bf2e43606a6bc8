"""One call of `alzgan.generate`: write images with their table, data card and grid."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torchvision.utils import make_grid
from tqdm import tqdm

from alzgan.device.overhead import tune_process
from alzgan.device.pixels import to_uint8
from alzgan.errors import UserError, at_least, one_of
from alzgan.files import cache_folder, read_table, replacing, reporting_disk_errors, scratch
from alzgan.generation.card import card
from alzgan.generation.check import CopyCheck, Judgement
from alzgan.generation.export import check_export, export
from alzgan.generation.folder import MANIFEST, SetFolder, person_name
from alzgan.generation.formats import check_format, writer
from alzgan.generation.order import (
    UNCONDITIONAL,
    Batch,
    Item,
    Order,
    parsed_seeds,
    refuse_portraits,
)
from alzgan.images.decoding import MADE_BY, SYNTHETIC
from alzgan.metrics.memorisation import MOST
from alzgan.runs.config import as_mapping, checkpoint_file
from alzgan.runs.load import SAMPLES_AT_ONCE, TrainedGenerator, load
from alzgan.runs.signatures import check_types, fits
from alzgan.text import numbers_by_name

THREADS = 2  # that write
GRID = 64  # images
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
TYPES = {
    **dict.fromkeys(("n", "first", "seed", "slices", "batch_size"), int),
    **dict.fromkeys(("people", "interpolate"), int | None),
    **dict.fromkeys(("check", "log", "overwrite"), bool),
    "truncation": float,
    "license": str | None,
}
HEADER = ("file", "class", "subject", "slice", "seed", "number", "latent", "checkpoint")


def generate(settings: DictConfig, overrides: Sequence[str]) -> list[str]:
    """Generate what a composed `conf/generate.yaml` asks for; returns lines on the result.

    Raises:
        UserError: something is missing, does not fit, or cannot be written.
    """
    check_types(settings, TYPES)
    one_of(DTYPES, dtype=settings.dtype)
    one_of(("keep", "drop"), copies=settings.copies)
    one_of(("refuse", "allow"), rare_classes=settings.rare_classes)
    at_least(1, batch_size=settings.batch_size)
    path = checkpoint_file(settings.ckpt_path)
    if settings.export is not None:
        check_export(settings.license)
        if settings.dtype != "float32":
            raise UserError(f"dtype={settings.dtype}: a generator is exported in float32")
    generator, portraits = trained(settings, path), settings.rare_classes == "allow"
    if settings.export is not None:
        notes = refuse_portraits(generator, generator.classes or [UNCONDITIONAL], portraits)
        return export(generator, path, Path(str(settings.export)).expanduser(), settings.license, notes)
    order = ordered(settings, generator)
    total, n_given = sum(order.counts.values()), any(text.lstrip("+").startswith("n=") for text in overrides)
    if total and n_given and total != order.n:
        raise UserError(f"n={order.n}, but the counts in labels add up to {total}: leave n out")
    if settings.copies == "drop" and not settings.check:
        raise UserError("copies=drop needs check=true, which finds them")
    if settings.interpolate is not None:
        from alzgan.generation.interpolation import interpolate

        notes = refuse_portraits(generator, order.classes(), portraits)
        lines = interpolate(order, settings.interpolate, Path(str(settings.out)).expanduser())
        return [*lines, *(f"note: {note}" for note in notes)]
    return Making(settings, overrides, path, order).run()


def trained(settings: DictConfig, path: Path) -> TrainedGenerator:
    """Load the generator."""
    tune_process()
    return load(path, settings.weights, settings.device, DTYPES[settings.dtype], settings.allow)


def ordered(settings: DictConfig, generator: TrainedGenerator) -> Order:
    """The images to generate."""
    labels, conditions = by_name(settings.labels), by_name(settings.conditions)
    if isinstance(labels, dict) and not all(fits(count, int) for count in labels.values()):
        raise UserError("labels: give whole numbers of images, such as {AD: 300, CN: 300}")
    given = {} if conditions is None else conditions
    if not isinstance(given, dict) or not all(fits(number, float) for number in given.values()):
        raise UserError("conditions: give numbers by name, such as {slice: 12}")
    return Order(
        generator,
        seeds=parsed_seeds(list(settings.seeds) if OmegaConf.is_list(settings.seeds) else settings.seeds),
        labels=labels if isinstance(labels, dict) else str(labels),
        conditions=given,
        **{name: settings[name] for name in ("n", "first", "seed", "truncation", "people", "slices")},
    )


def by_name(value: Any) -> Any:
    """Numbers by name, from Hydra's dictionary or a text, as a dictionary; another value unchanged."""
    if isinstance(value, str):
        return numbers_by_name(value) or value
    return as_mapping(value) if OmegaConf.is_dict(value) else value


class Making:
    """Makes a set of images.

    Args:
        settings: of the verb.
        overrides: of the command line.
        path: of the checkpoint.
        order: the images to generate.

    Raises:
        UserError: a setting does not fit. Nothing has been written by then.
    """

    def __init__(self, settings: DictConfig, overrides: Sequence[str], path: Path, order: Order):
        self.settings, self.order, self.generator = settings, order, order.generator
        self.groups = order.groups()
        channels = 1 if self.generator.slices_as_channels else self.generator.channels
        check_format(settings.format, channels)
        self.notes = refuse_portraits(self.generator, order.classes(), settings.rare_classes == "allow")
        if not self.generator.classes:
            self.notes.append("the generator is unconditional: all images are in one class folder")
        identity = {
            "checkpoint": self.generator.info["sha256"],
            "weights": self.generator.info["weights"],
            **order.identity(),
            "format": settings.format,
            "dtype": settings.dtype,
            "copies": settings.copies,
        }
        self.out = Path(str(settings.out)).expanduser()
        self.folder = SetFolder(self.out, identity, order.names, settings.format, settings.overwrite)
        cache = cache_folder(settings.data.cache_dir)
        self.check = CopyCheck(path, settings, overrides, cache) if settings.check else None
        self.run_folder = path.parent.parent
        self.volumes = settings.format == "nifti" and order.people is not None
        self.write = writer(settings.format)
        self.rows: dict[str, dict[str, object]] = {}
        self.shown: list[Tensor] = []  # images of the grid
        self.flagged = self.written = 0

    def run(self) -> list[str]:
        """Make the images that are missing, then write table, card and grid; returns lines on the result."""
        with reporting_disk_errors(self.out, "give the same call again"):
            self.folder.begin()
            self.make()
            total = self.folder.add_rows(HEADER, list(self.rows.values()))
            self.write_about()
        there = len(self.rows) - self.written
        more = [f"{there:,} existed already"] if there else []
        more += [f"{total:,} in all"] if total > len(self.rows) else []
        lines = [f"{len(self.rows):,} files in {self.out}" + (f" ({', '.join(more)})" if more else "")]
        if self.check is not None:
            dealt = ": left out" if self.settings.copies == "drop" else ": flagged in manifest.csv"
            whose = "images" if self.order.people is None else "stacks"
            lines.append(
                f"{self.flagged:,} {whose} are nearer to a training image than {MOST} {whose} of unseen "
                f"people{dealt if self.flagged else ''}"
            )
        return [*lines, *(f"note: {note}" for note in self.notes)]

    def make(self) -> None:
        """Generate group by group, while threads write."""
        most = 2 * THREADS + self.settings.batch_size // SAMPLES_AT_ONCE
        waiting: list[Future] = []
        count = sum(map(len, self.groups))
        with (
            ThreadPoolExecutor(THREADS) as pool,
            tqdm(total=count, desc="images", unit=" images", leave=False) as bar,
        ):
            for group in self.groups:
                waiting.append(pool.submit(self.write_files, *self.deal(group)))
                while len(waiting) > most:  # or memory would grow
                    self.written += waiting.pop(0).result()
                bar.update(len(group))
            self.written += sum(future.result() for future in waiting)

    def deal(self, group: list[Item]) -> tuple[list[Item], Tensor]:
        """Generate a group if it is needed, check it for copies, and enter it in the table.

        Returns:
            The items to write, and their pixels.
        """
        batch = self.order.batch(group)
        new = [item for item in group if not self.folder.has(item)]
        shows = sum(map(len, self.shown)) < GRID
        if not new and not shows and self.check is None:
            self.enter(batch, [None] * len(group))
            return [], torch.empty(0)
        pixels = self.generator.shown(self.order.images(batch))
        judged: Sequence[Judgement | None] = [None] * len(group)
        if self.check is not None:
            judge = self.check.judge if self.order.people is None else self.check.judge_stack
            judged = judge(to_uint8(pixels))
        flagged = sum(judgement is not None and judgement.copy for judgement in judged)
        self.flagged += flagged if self.order.people is None else min(1, flagged)
        kept = self.enter(batch, judged)
        if shows:
            shown = [index for index, item in enumerate(group) if item in kept]
            self.shown.append(to_uint8(pixels[shown][: GRID - sum(map(len, self.shown))]))
        rows = [index for index, item in enumerate(group) if item in kept and item in new]
        return [group[index] for index in rows], pixels[rows]

    def enter(self, batch: Batch, judged: Sequence[Judgement | None]) -> list[Item]:
        """Enter a group in the table, without dropped copies; returns the items entered."""
        drop = self.settings.copies == "drop"
        kept = []
        for index, (item, judgement) in enumerate(zip(batch.items, judged, strict=True)):
            if not (drop and judgement is not None and judgement.copy):
                self.rows.setdefault(self.folder.name_of(item), self.row(batch, index, judgement))
                kept.append(item)
        return kept

    def write_files(self, items: list[Item], pixels: Tensor) -> int:
        """Write images, each whole or not at all; returns the number of files."""
        if self.volumes and items:
            items, pixels = items[:1], pixels[None, :, 0]
        for item, image in zip(items, pixels, strict=True):
            path = self.out / self.folder.name_of(item)
            path.parent.mkdir(parents=True, exist_ok=True)
            with scratch(path) as part:
                self.write(part, image, self.about(item))
                os.replace(part, path)
        return len(items)

    def about(self, item: Item) -> dict[str, str]:
        """The metadata of a file."""
        return {
            SYNTHETIC: MADE_BY,
            "Seed": str(item.seed),
            "Number": str(item.number),
            "Checkpoint": self.folder.identity["checkpoint"],
        }

    def row(self, batch: Batch, index: int, judged: Judgement | None) -> dict[str, object]:
        """An image's row of the table."""
        item = batch.items[index]
        row: dict[str, object] = {
            "file": self.folder.name_of(item),
            "class": self.folder.classes[item.class_index or 0],
            "subject": person_name(item),
            "slice": item.place or "",
            "seed": item.seed,
            "number": item.number,
            "latent": hashlib.blake2b(batch.latents[index].numpy().tobytes(), digest_size=8).hexdigest(),
            "checkpoint": self.folder.identity["checkpoint"],
        }
        if batch.labels is not None and batch.labels.dim() == 2:
            numbers = self.generator.in_units(batch.labels[index, 1:])
            # A condition may have the name of another column.
            row |= {(f"condition {name}" if name in HEADER else name): v for name, v in numbers.items()}
        if judged is not None:
            row |= {
                "nearest_file": judged.file,
                "nearest_person": judged.person,
                "similarity": f"{judged.similarity:.4f}",
                "copy": "yes" if judged.copy else "no",
            }
        return row

    def write_about(self) -> None:
        """Write the card and the grid, and with `log` show the grid in the run's TensorBoard."""
        rows = read_table(self.out / MANIFEST)
        found = self.run_folder / "evaluation.json"
        text = card(self.generator, self.folder.identity, rows, found, self.notes)
        with replacing(self.out / "README.md") as part:
            part.write_text(text, encoding="utf-8", errors="backslashreplace")
        if not any(map(len, self.shown)):
            return  # all images were left out
        shown = torch.cat(self.shown)
        columns = self.order.slices if self.order.people is not None else round(len(shown) ** 0.5)
        grid = make_grid(shown, nrow=columns, padding=2)
        with replacing(self.out / "grid.png") as part:
            Image.fromarray(grid.permute(1, 2, 0).numpy()).save(part, format="PNG")
        if self.settings.log:
            with SummaryWriter(str(self.run_folder)) as log:
                log.add_image("generated/grid", grid, self.generator.info["step"])
