"""One evaluation: stages over candidates, and where the outcome is written."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch.utils.tensorboard import SummaryWriter

import alzgan
from alzgan.device.overhead import tune_process
from alzgan.errors import SettingError, UserError, at_least, one_of, seed_of_streams
from alzgan.evaluation import verdicts
from alzgan.evaluation.copying import cached_nearest, copying
from alzgan.evaluation.fidelity import HELD_OUT, Sets, curves, fidelity, sets_of
from alzgan.evaluation.inputs import Judged, judged
from alzgan.evaluation.numbers import Number
from alzgan.evaluation.pictures import grids, measured, pairs
from alzgan.evaluation.reference import NEEDED_PEOPLE
from alzgan.evaluation.shape import anatomy
from alzgan.evaluation.spaces import Space, chosen_spaces
from alzgan.evaluation.usefulness import usefulness
from alzgan.files import cache_folder, write_json
from alzgan.report.page import write_report
from alzgan.report.pictures import Picture
from alzgan.runs.provenance import provenance
from alzgan.text import printable

STAGES = ("fidelity", "copies", "anatomy", "utility")


@dataclass
class Outcome:
    """What is known of one candidate so far; see `conf/evaluate.yaml` for the stages."""

    index: int
    judged: Judged
    verdicts: list[dict[str, str]] = field(default_factory=list)
    numbers: list[Number] = field(default_factory=list)
    curves: list[dict[str, Any]] = field(default_factory=list)
    summaries: dict[str, Any] = field(default_factory=dict)
    pictures: list[Picture] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Measure how long a stage takes."""
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - start, 1)

    def plain(self) -> dict[str, Any]:
        """As JSON takes it."""
        candidate = self.judged.candidate
        return {
            "name": candidate.name,
            "kind": candidate.kind,
            **candidate.info,
            "n": len(candidate.images),
            "notes": [*candidate.notes, *verdicts.notes_on_classes(self.numbers)],
            "verdicts": self.verdicts,
            "numbers": [number.plain() for number in self.numbers],
            "curves": self.curves,
            **{stage: self.summaries.get(stage) for stage in STAGES[1:]},
            "seconds": self.seconds,
        }


def evaluate(settings: DictConfig, overrides: Sequence[str], run_dir: Path) -> dict[str, Any]:
    """Evaluate what the settings name; writes `evaluation.json`, `report.html` and TensorBoard's events.

    Args:
        settings: a composed `conf/evaluate.yaml`.
        overrides: what the user changed of it.
        run_dir: where the outcome is written.

    Raises:
        UserError: something is missing, or does not fit.
    """
    check(settings)
    tune_process()
    device = torch.device(settings.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    cache = cache_folder(settings.data.cache_dir)
    spaces = chosen_spaces(settings.features, cache, device)
    outcomes = []
    for index, each in enumerate(judged(settings, overrides, device)):
        outcome = Outcome(index, each)
        assess(outcome, settings, spaces, cache, device)
        outcomes.append(outcome)
        # After each: what is done is not lost where a later one fails.
        write(outcomes, settings, spaces, run_dir)
    return record(outcomes, settings, spaces)


def check(settings: DictConfig) -> None:
    """Check the settings that no constructor sees.

    Raises:
        UserError: one is out of its range.
    """
    try:
        for stage in settings.metrics:
            one_of(STAGES, metrics=stage)
        one_of(("average", "raw"), weights=settings.weights)
        at_least(2, n=settings.n)
        for name, least in {"size": 2, "pool": 4, "draws": 2}.items():
            at_least(least, **{name: settings.preset[name]})
        seed_of_streams(seed=settings.seed)
    except SettingError as error:
        raise UserError(str(error)) from None


def assess(
    outcome: Outcome, settings: DictConfig, spaces: list[Space], cache: Path, device: torch.device
) -> None:
    """Run the stages that are asked for, in their order."""
    candidate, data, reference = outcome.judged
    samples, seed, preset = candidate.images, settings.seed, settings.preset
    print(f"{printable(candidate.name)}: {len(samples):,} samples", flush=True)
    sets = sets_of(samples, reference, preset.size, preset.pool, preset.draws, seed)
    if sets is None:
        people = [images.person_count() for images in (reference.train, reference.held_out)]
        raise UserError(
            f"{printable(data.root)}: {people[0]} people in train and {people[1]} held out, with "
            f"{len(samples)} samples, are too few for an interval: {NEEDED_PEOPLE} held out are needed, and "
            f"{NEEDED_PEOPLE} more to train on than are held out"
        )
    classes = list(class_sets(outcome, preset, seed))
    outcome.pictures += grids(outcome.index, samples, reference, seed)
    if "fidelity" in settings.metrics:
        with outcome.timed("fidelity"):
            outcome.numbers += fidelity(sets, spaces, seed)
            for label, each in classes:
                outcome.numbers += fidelity(each, spaces, seed, label, whole=False)
            outcome.curves += curves(sets, spaces)
        outcome.verdicts += [verdicts.on_fidelity(outcome.numbers), verdicts.on_diversity(outcome.numbers)]
    if "copies" in settings.metrics:
        with outcome.timed("copies"):
            ours, theirs = (
                cached_nearest(images.pixels, reference.train.pixels, cache)
                for images in (samples, reference.held_out)
            )
            found = copying(ours, theirs, reference, sets, spaces, seed)
        outcome.numbers += found.numbers
        outcome.summaries["copies"] = found.plain
        outcome.pictures.append(pairs(outcome.index, samples, reference, found))
        outcome.verdicts.append(verdicts.on_copies(found))
    if "anatomy" in settings.metrics:
        with outcome.timed("anatomy"):
            shape = anatomy(sets, seed)
            outcome.numbers += shape.numbers
            for label, each in classes:
                outcome.numbers += anatomy(each, seed, label).numbers
        outcome.summaries["anatomy"] = shape.plain
        outcome.pictures.append(measured(outcome.index, samples, reference))
        outcome.verdicts.append(verdicts.on_anatomy(shape.numbers))
    if "utility" in settings.metrics:
        with outcome.timed("utility"):
            helped = usefulness(candidate, reference, cache, seed, device)
        outcome.summaries["utility"] = helped
        outcome.verdicts.append(verdicts.on_utility(helped))


def class_sets(outcome: Outcome, preset: DictConfig, seed: int) -> Iterator[tuple[str, Sets]]:
    """What is compared within each class, where the samples have classes and enough people are held out."""
    candidate, _, reference = outcome.judged
    samples = candidate.images
    for label, name in enumerate(reference.classes if samples.labels is not None else []):
        real = reference.of_class(label)
        sets = sets_of(samples.of_class(label), real, preset.size, preset.pool, preset.draws, seed)
        if sets is not None:
            yield name, sets
        else:
            people = real.held_out.person_count()
            candidate.notes.append(f"class {name} has no numbers of its own: {people} people held out")


def record(outcomes: Sequence[Outcome], settings: DictConfig, spaces: Sequence[Space]) -> dict[str, Any]:
    """The content of `evaluation.json`."""
    made = provenance()
    return {
        "alzgan": alzgan.__version__,
        "command": made["command"],
        "settings": OmegaConf.to_container(settings, resolve=False, throw_on_missing=False),
        "preset": dict(settings.preset),
        "seed": settings.seed,
        "provenance": made,
        "data": data_record(outcomes[0].judged),
        "spaces": [
            {
                "name": space.name,
                "extractor": space.extractor,
                "features": space.extractors[0].num_features,
                "method": space.extractors[0].method,
            }
            for space in spaces
        ],
        "candidates": [outcome.plain() for outcome in outcomes],
    }


def data_record(judged: Judged) -> dict[str, Any]:
    """The real images, as JSON takes it."""
    _, data, reference = judged
    sides = {"train": reference.train, "held_out": reference.held_out}
    said = data.describe()
    return {
        **{key: said[key] for key in ("root", "fingerprint", "subject_rule", "classes", "notes")},
        "image_size": data.preprocessing.image_size,
        "channels": data.channels,
        **{side: {"images": len(images), "people": images.person_count()} for side, images in sides.items()},
    }


def write(outcomes: Sequence[Outcome], settings: DictConfig, spaces: Sequence[Space], run_dir: Path) -> None:
    """Write all that is known."""
    found = record(outcomes, settings, spaces)
    try:
        write_json(run_dir / "evaluation.json", found)
        write_report(run_dir / "report.html", found, [each for one in outcomes for each in one.pictures])
        log_to_tensorboard(outcomes[-1], run_dir, several=len(outcomes) > 1)
    except OSError as error:
        raise UserError(f"cannot write to run_dir={run_dir}: {error.strerror}; choose another") from None


def log_to_tensorboard(outcome: Outcome, run_dir: Path, several: bool) -> None:
    """Numbers of all samples, with unseen people's beside them, and pictures; at the checkpoint's step."""
    candidate = outcome.judged.candidate
    step = candidate.info.get("step") or 0
    folder = run_dir / Path(candidate.name).name if several else run_dir
    with SummaryWriter(str(folder)) as writer:
        for number in outcome.numbers:
            if number.label is None and number.against == HELD_OUT:
                tag = f"{number.stage}/{number.metric}/{number.space}"
                writer.add_scalar(tag, number.value, step)
                writer.add_scalar(f"{tag}/unseen people", number.unseen.mean, step)
        for picture in outcome.pictures:
            writer.add_image(f"{picture.kind}", picture.image, step, dataformats="HWC")
