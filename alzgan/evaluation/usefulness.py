"""Do the samples help a classifier for unseen people; the answer is kept in the cache."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from alzgan.errors import UserError
from alzgan.evaluation.candidates import Candidate
from alzgan.evaluation.reference import Reference
from alzgan.files import cache_path, cached
from alzgan.metrics.arms import RATIOS, Labelled, judged_classes, known
from alzgan.metrics.downstream import utility
from alzgan.text import printable

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
        kept = judged_classes(
            known(Labelled(held_out.pixels, held_out.labels, held_out.people)), reference.classes
        )
    except UserError as error:
        return str(error)
    sides = {"training images": reference.train}
    if candidate.kind == "folder":  # a generator has more of each class
        sides["samples"] = candidate.images
    for name, images in sides.items():
        if lacking := sorted(set(kept.tolist()).difference(images.labels.tolist())):
            return f"of class {printable(reference.classes[lacking[0]])} there are no {name}"
    return None


def usefulness(
    candidate: Candidate, reference: Reference, cache: Path, seed: int, device: torch.device
) -> dict[str, Any]:
    """See `alzgan.metrics.downstream.utility`; the samples' classes are as frequent as those trained on."""
    train, held_out = reference.train.labelled(), reference.held_out.labelled()
    shares = np.bincount(train.labels, minlength=len(reference.classes))
    made = candidate.more(round(max(RATIOS.values()) * len(train)), shares)
    sets = [Labelled(images.pixels, images.labels, images.people) for images in (train, made, held_out)]
    people = [str(each.people.tolist()) for each in (sets[0], sets[2]) if each.people is not None]
    labels = [str(each.labels.tolist()) for each in sets]
    key = *(each.images for each in sets), *labels, *people, str(seed)
    return cached(
        cache_path(cache, "utility.json", VERSION, *key),
        lambda: utility(*sets, reference.classes, seed=seed, device=device),
        dict,
    )
