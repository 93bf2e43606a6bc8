"""The stages of an evaluation. Each adds numbers, pictures and verdicts to a candidate's outcome."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from alzgan.errors import UserError
from alzgan.evaluation.anatomy import Measured, anatomy
from alzgan.evaluation.answers import Answers
from alzgan.evaluation.candidates import Judged
from alzgan.evaluation.copies import cached_nearest, copies, on_copies
from alzgan.evaluation.fidelity import Sets, curves, fidelity, sets_of
from alzgan.evaluation.numbers import Number
from alzgan.evaluation.paired import NO_CONTRIBUTIONS, Contributions, contributions
from alzgan.evaluation.pictures import grids, measured, pairs
from alzgan.evaluation.power import noticed
from alzgan.evaluation.reading import Study, on_reading, study_of, summary
from alzgan.evaluation.reference import Images, Reference
from alzgan.evaluation.spaces import Space
from alzgan.evaluation.utility import cached_utility, missing, on_utility
from alzgan.evaluation.verdicts import answered, notes_on_classes, questions_of
from alzgan.metrics.features import PixelFeatures, RandomConvFeatures
from alzgan.metrics.neighbours import K, expected_coverage
from alzgan.metrics.record import FeatureMetric
from alzgan.metrics.trained import is_trained
from alzgan.people.splits import NEEDED_PEOPLE
from alzgan.report.pictures import Picture
from alzgan.text import counted, printable


@dataclass(frozen=True)
class Context:
    """The settings and tools that all stages share.

    Attributes:
        metrics: the metrics of the stage fidelity.
        spaces: the feature spaces.
        preset: the numbers of images and of draws, see `conf/preset`.
        seed: the seed of all draws.
        cache: the folder of the cache.
        device: the device of all networks.
        reading: the settings of the stage reading.
        run_dir: the folder of the results.
        answers: of the readers of its page.
        measured: the measures of the brain.
    """

    metrics: Sequence[FeatureMetric]
    spaces: list[Space]
    preset: DictConfig
    seed: int
    cache: Path
    device: torch.device
    reading: DictConfig
    run_dir: Path
    answers: Sequence[Answers] = ()
    measured: Measured = field(default_factory=Measured)

    def sets_of(self, samples: Images, reference: Reference, form: str) -> Sets | None:
        """The sets to compare at the preset's sizes, see `alzgan.evaluation.fidelity.sets_of`."""
        preset = self.preset
        return sets_of(samples, reference, preset.size, preset.pool, preset.draws, self.seed, form)


@dataclass
class Outcome:
    """The results on one candidate, to which each stage adds its own.

    Attributes:
        compared: the sets to compare; None if no stage compares.
        trained: the spaces that the discriminator was trained on.
        study: the study of the stage reading.
    """

    index: int
    judged: Judged
    compared: Sets | None
    classes: dict[str, Sets]
    trained: Set[str]
    verdicts: list[dict[str, str]] = field(default_factory=list)
    numbers: list[Number] = field(default_factory=list)
    contributions: Contributions = NO_CONTRIBUTIONS
    curves: list[dict[str, Any]] = field(default_factory=list)
    summaries: dict[str, Any] = field(default_factory=dict)
    pictures: list[Picture] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    study: Study | None = None

    @property
    def sets(self) -> Sets:
        """The sets to compare, for a stage that does."""
        assert self.compared is not None, "`compares` says which stages do"
        return self.compared

    def marked(self, numbers: Iterable[Number]) -> list[Number]:
        """The numbers, each with whether its space is one of `trained`."""
        return [replace(number, trained=number.space in self.trained) for number in numbers]

    def plain(self) -> dict[str, Any]:
        """The candidate's entry in `evaluation.json`."""
        candidate, data, _ = self.judged
        n = len(self.compared.samples) if self.compared else 0
        return {
            "name": candidate.name,
            "kind": candidate.kind,
            **candidate.info,
            "data": data.fingerprint,
            "n": len(candidate.images),
            "expected_coverage": expected_coverage(n, n, K) if n else None,
            "notes": [*candidate.notes, *notes_on_classes(self.numbers)],
            "verdicts": self.verdicts,
            "numbers": [number.plain() for number in self.numbers],
            "curves": self.curves,
            **{name: self.summaries.get(name) for name in ("power", *STAGES)},
            "seconds": self.seconds,
        }


def assess(index: int, judged: Judged, stages: list[str], context: Context) -> Outcome:
    """Run the chosen stages on a candidate, in the order of `STAGES`.

    Raises:
        UserError: a comparison has too few people or images.
    """
    candidate, data, reference = judged
    if "copies" in stages and (people := looked_at(reference, context).person_count()) < NEEDED_PEOPLE:
        raise UserError(
            f"preset.unseen={context.preset.unseen}: images of {counted(people, 'person', 'people')} of "
            f"{printable(data.root)} are too few to set the threshold of copies: give as many images as "
            f"{NEEDED_PEOPLE} people have"
        )
    if "utility" in stages and (lacking := missing(candidate, reference)):
        if stages == ["utility"]:
            raise UserError(f"metrics=[utility]: {printable(candidate.name)}: {lacking}")
        candidate.notes.append(f"utility was not judged: {lacking}")
        stages = [name for name in stages if name != "utility"]
    study = study_of(judged, context.reading, context.seed) if "reading" in stages else None
    if study:
        # Before long work.
        study.table(context.answers)
        study.check(context.run_dir)
    trained = {space.name for space in context.spaces if is_trained(space.name, candidate.trained_features)}
    outcome = Outcome(
        index,
        judged,
        compared_sets(judged, context) if compares(stages) else None,
        dict(class_sets(judged, context)) if compares(stages) else {},
        trained,
        study=study,
    )
    outcome.pictures += grids(index, candidate.images, reference, context.seed)
    for name, stage in STAGES.items():
        if name in stages:
            start = time.perf_counter()
            stage(outcome, context)
            outcome.seconds[name] = round(time.perf_counter() - start, 1)
    if any(number.trained for number in outcome.numbers):
        candidate.notes.append(on_trained(trained, context.spaces, candidate.trained_features))
    return outcome


def compares(stages: Collection[str]) -> bool:
    """Whether one of these stages compares sets of images; the page of a reading study does without."""
    return set(stages) != {"reading"}


def compared_sets(judged: Judged, context: Context) -> Sets:
    """The sets to compare; a UserError if there are too few people."""
    candidate, data, reference = judged
    size = context.preset.size
    found = context.sets_of(candidate.images, reference, candidate.form)
    if found is None:
        train, held_out = (images.person_count() for images in (reference.train, reference.held_out))
        if reference.held_out.people is not None:
            most = sorted(Counter(reference.held_out.people.tolist()).values())[-NEEDED_PEOPLE:]
            if min(len(candidate.images), size) < sum(most):
                few = [f"{len(candidate.images)} samples"] if len(candidate.images) < sum(most) else []
                few += [f"preset.size={size}"] if size < sum(most) else []
                raise UserError(
                    f"{printable(candidate.name)}: {' and '.join(few)} too few for an interval: give "
                    f"{sum(most)}, as many images as {NEEDED_PEOPLE} held-out people have"
                )
        raise UserError(
            f"{printable(data.root)}: {len(candidate.images)} samples, {train} people in train and "
            f"{held_out} held out are too few for an interval: give as many samples as {NEEDED_PEOPLE} "
            f"held-out people have images, and {NEEDED_PEOPLE} more people in train than held out"
        )
    return found


def class_sets(judged: Judged, context: Context) -> Iterator[tuple[str, Sets]]:
    """The sets of each class that has enough held-out people; none if the samples have no classes."""
    candidate, _, reference = judged
    for label, name in enumerate(reference.classes if candidate.images.labels is not None else []):
        real, samples = reference.of_class(label), candidate.images.of_class(label)
        found = context.sets_of(samples, real, candidate.form)
        if found is not None:
            yield name, found
        else:
            people = counted(real.held_out.person_count(), "person", "people")
            candidate.notes.append(
                f"class {name} is too small for numbers of its own: {people} held out, {len(samples)} samples"
            )


def judge_fidelity(outcome: Outcome, context: Context) -> None:
    """Compare samples with real images in feature spaces: fidelity and diversity."""
    sets, spaces, seed, metrics = outcome.sets, context.spaces, context.seed, context.metrics
    whole = outcome.marked(fidelity(sets, spaces, seed, metrics=metrics))
    outcome.numbers += whole
    for label, own in outcome.classes.items():
        outcome.numbers += outcome.marked(fidelity(own, spaces, seed, label, whole=False, metrics=metrics))
    outcome.contributions = contributions(sets, spaces, metrics)._replace(trained=outcome.trained)
    outcome.curves += [
        {**curve, "trained": curve["space"] in outcome.trained} for curve in curves(sets, spaces, metrics)
    ]
    power = outcome.summaries["power"] = noticed(sets, spaces, whole, seed)
    outcome.verdicts += [answered(question, whole, power) for question in questions_of(whole)]


def on_trained(trained: Set[str], spaces: Sequence[Space], features: Set[str]) -> str:
    """A note on the spaces that the discriminator was trained on; says what to add if no network is left."""
    note = (
        f"numbers in {' and '.join(sorted(trained))} decide nothing: the discriminator was trained on "
        "features of the same network, so they flatter"
    )
    if {space.name for space in spaces} - trained - {RandomConvFeatures.space, PixelFeatures.space}:
        return note
    others = "imagenet-lite2", "imagenet-lite0", "NETWORK:FILE"
    other = next(name for name in others if not is_trained(name, features))
    return f"{note}; add a network that it has not seen: features=[...,{other}]"


def looked_at(reference: Reference, context: Context) -> Images:
    """The images of unseen people that set the threshold of copies."""
    return reference.held_out.at_most(context.preset.unseen, context.seed, "threshold")


def judge_copies(outcome: Outcome, context: Context) -> None:
    """Search the training images for the originals of copies."""
    candidate, _, reference = outcome.judged
    reference = replace(reference, held_out=looked_at(reference, context))
    nearest, theirs = (
        cached_nearest(images.pixels, reference.train.pixels, context.cache)
        for images in (candidate.images, reference.held_out)
    )
    people = candidate.images.people
    found = copies(nearest, theirs, people, reference, outcome.sets, context.spaces, context.seed)
    found = found._replace(numbers=outcome.marked(found.numbers))
    outcome.numbers += found.numbers
    outcome.summaries["copies"] = found.summary
    outcome.pictures.append(pairs(outcome.index, candidate.images, reference, found))
    outcome.verdicts.append(on_copies(found))


def judge_anatomy(outcome: Outcome, context: Context) -> None:
    """Compare measures of the brain."""
    candidate, _, reference = outcome.judged
    found = anatomy(outcome.sets, context.seed, context.measured)
    outcome.numbers += found.numbers
    for label, sets in outcome.classes.items():
        outcome.numbers += anatomy(sets, context.seed, context.measured, label).numbers
    outcome.summaries["anatomy"] = found.summary
    outcome.pictures.append(measured(outcome.index, candidate.images, reference))
    outcome.verdicts += [answered(question, found.numbers) for question in questions_of(found.numbers)]


def judge_utility(outcome: Outcome, context: Context) -> None:
    """Train classifiers with and without the samples."""
    candidate, _, reference = outcome.judged
    found = cached_utility(candidate, reference, context.cache, context.seed, context.device)
    outcome.summaries["utility"] = found
    outcome.verdicts.append(on_utility(found))


def judge_reading(outcome: Outcome, context: Context) -> None:
    """Judge the answers of readers of the study's page, if there are any yet."""
    assert outcome.study is not None, "`assess` draws it"
    found = outcome.summaries["reading"] = summary(outcome.study, context.answers, context.reading.margin)
    outcome.verdicts.append(on_reading(found))


STAGES: dict[str, Callable[[Outcome, Context], None]] = {
    "fidelity": judge_fidelity,
    "copies": judge_copies,
    "anatomy": judge_anatomy,
    "utility": judge_utility,
    "reading": judge_reading,
}
