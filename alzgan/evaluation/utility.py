"""The stage utility: whether samples help a classifier for unseen people."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from alzgan.errors import UserError
from alzgan.evaluation.candidates import Candidate
from alzgan.evaluation.reference import Images, Reference
from alzgan.evaluation.verdicts import Verdict, verdict
from alzgan.files import cache_path, cached
from alzgan.metrics.arms import HALF, RATIOS, SHUFFLED, Labelled, judged_sets
from alzgan.metrics.record import Question
from alzgan.metrics.utility_study import utility

UTILITY = Question(name="utility", asks="Do they help?")
VERSION = 3  # of the cached results; raise it when the same images give other numbers


def missing(candidate: Candidate, reference: Reference) -> str | None:
    """Why the stage cannot be run, in words; None if it can."""
    if candidate.more is None:
        return (
            "a classifier learns nothing from samples without classes; train model=cdcgan, or give "
            "samples=FOLDER with class folders"
        )
    # A generator makes samples of every class that it was trained on.
    samples = candidate.images if candidate.kind == "folder" else reference.train
    try:
        judged_sets(
            labelled(reference.train), labelled(samples), labelled(reference.held_out), reference.classes
        )
    except UserError as error:
        return str(error).removeprefix("utility: ")
    return None


def labelled(images: Images) -> Labelled:
    """The images of known class."""
    known = images.labelled()
    return Labelled(known.pixels, known.labels, known.people)


def cached_utility(
    candidate: Candidate, reference: Reference, cache: Path, seed: int, device: torch.device
) -> dict[str, Any]:
    """The study of `alzgan.metrics.utility_study` on a candidate's samples. The cache keeps the result.

    The classes are as frequent in the samples as in the training images.
    """
    assert candidate.more is not None, "`missing` reports it"
    shares = reference.train.of_classes(len(reference.classes))
    made = candidate.more(round(max(RATIOS.values()) * shares.sum()), shares)
    real, synthetic, unseen = sides = [labelled(each) for each in (reference.train, made, reference.held_out)]
    people = [str(np.asarray(each.people).tolist()) for each in (real, unseen) if each.people is not None]
    labels = [str(np.asarray(each.labels).tolist()) for each in sides if each.labels is not None]
    pixels = [each.images.numpy() for each in sides]
    return cached(
        cache_path(cache, "utility.json", VERSION, *pixels, *labels, *people, str(seed)),
        lambda: utility(real, synthetic, unseen, reference.classes, seed=seed, device=device),
        dict,
    )


def on_utility(found: dict[str, Any]) -> Verdict:
    """The verdict: good if all mixtures of real and synthetic images help, bad if all hurt."""
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
        f"Added to real images: {', '.join(answers)}; the best, {best['name']}, changes the probability "
        f"of the right class by {told['mean']:+.3f} ({told['low']:+.3f} to {told['high']:+.3f}); "
        f"{found['people']} people and {found['seeds']} trainings could have shown a change of "
        f"{found['detectable']:.2g}; leaving out half of the real people changes it by {other_people:+.3f}"
    )
    return verdict(UTILITY, agreed or "cannot tell", text)
