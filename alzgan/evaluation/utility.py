"""Do the samples help a classifier for unseen people; the answer is kept in the cache."""

from pathlib import Path
from typing import Any

import torch

from alzgan.errors import UserError
from alzgan.evaluation.candidates import Candidate
from alzgan.evaluation.reference import Reference
from alzgan.evaluation.verdicts import Verdict, verdict
from alzgan.files import cache_path, cached
from alzgan.metrics.arms import HALF, RATIOS, SHUFFLED, Labelled, judged_classes, known
from alzgan.metrics.record import Question
from alzgan.metrics.utility_study import utility
from alzgan.text import printable

UTILITY = Question(name="utility", asks="Do they help?")
VERSION = 2  # raise it when the same images would give other numbers


def missing(candidate: Candidate, reference: Reference) -> str | None:
    """What a judgement would need and is not there, in words."""
    if candidate.more is None:
        return (
            "its samples have no classes, without which they teach a classifier nothing; train model=cdcgan, "
            "or give samples=FOLDER with class folders"
        )
    held_out = reference.held_out.labelled()
    try:
        labelled = Labelled(held_out.pixels, held_out.labels, held_out.people)
        kept = judged_classes(known(labelled, "held-out"), reference.classes)
    except UserError as error:
        return str(error)
    sides = {"training images": reference.train}
    if candidate.kind == "folder":  # a generator has more of each class
        sides["samples"] = candidate.images
    for name, images in sides.items():
        lacking = kept[images.of_classes(len(reference.classes))[kept] == 0]
        if len(lacking):
            return f"of class {printable(reference.classes[lacking[0]])} there are no {name}"
    return None


def cached_utility(
    candidate: Candidate, reference: Reference, cache: Path, seed: int, device: torch.device
) -> dict[str, Any]:
    """See `alzgan.metrics.utility_study`; the samples' classes are as frequent as in the training images."""
    assert candidate.more is not None, "`missing` says so"
    train, held_out = reference.train.labelled(), reference.held_out.labelled()
    shares = train.of_classes(len(reference.classes))
    made = candidate.more(round(max(RATIOS.values()) * len(train)), shares)
    sides = train, made, held_out
    real, synthetic, unseen = (Labelled(each.pixels, each.labels, each.people) for each in sides)
    people = [str(each.people.tolist()) for each in (train, held_out) if each.people is not None]
    labels = [str(each.labels.tolist()) for each in sides if each.labels is not None]
    pixels = [each.pixels.numpy() for each in sides]
    return cached(
        cache_path(cache, "utility.json", VERSION, *pixels, *labels, *people, str(seed)),
        lambda: utility(real, synthetic, unseen, reference.classes, seed=seed, device=device),
        dict,
    )


def on_utility(found: dict[str, Any]) -> Verdict:
    """Whether synthetic images helped a classifier for unseen people."""
    arms = [arm for arm in found["arms"] if arm["name"] in RATIOS]
    answers = sorted({arm["verdict"] for arm in arms})
    agreed = {"helps": "good", "hurts": "bad"}.get(answers[0]) if len(answers) == 1 else None
    control = next(arm for arm in found["arms"] if arm["name"] == SHUFFLED)["balanced_accuracy"]
    if not control["low"] <= found["chance"] <= control["high"]:
        text = (
            f"The control fails: shuffled labels give {control['mean']:.2f}, chance is {found['chance']:.2f}"
        )
        return verdict(UTILITY, "cannot tell", text)
    best = max(arms, key=lambda arm: arm["difference"]["mean"])
    told = best["difference"]
    other_people = next(arm for arm in found["arms"] if arm["name"] == HALF)["difference"]["mean"]
    text = (
        f"Beside real images: {', '.join(answers)}; the best, {best['name']}, changes the probability "
        f"of the right class by {told['mean']:+.3f} ({told['low']:+.3f} to {told['high']:+.3f}); "
        f"{found['people']} people and {found['seeds']} trainings could have shown "
        f"{found['detectable']:.2g}; half of the real people less change it by {other_people:+.3f}"
    )
    return verdict(UTILITY, agreed or "cannot tell", text)
