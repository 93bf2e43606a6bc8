"""What the numbers say, in words first."""

from collections.abc import Sequence
from typing import Any

from alzgan.evaluation.copying import Copying
from alzgan.evaluation.fidelity import HELD_OUT
from alzgan.evaluation.numbers import Number
from alzgan.metrics.arms import SHUFFLED
from alzgan.report.plots import words

# What decides; all other numbers are told. More of them would find a fault in every innocent set.
DECIDES = {"fidelity": ("kernel_distance", "precision"), "diversity": ("recall", "coverage")}

VAGUE = 0.1  # the share too near above which its limit tells nothing
Verdict = dict[str, str]


def verdict(question: str, good: bool, text: str) -> Verdict:
    """A verdict as JSON takes it."""
    return {"question": question, "answer": "good" if good else "bad", "text": text}


def on_fidelity(numbers: Sequence[Number]) -> Verdict:
    """Whether the samples are as close to unseen people as other real people are, in every space."""
    found = deciding(numbers, "fidelity")
    outside = [number for number in found if not number.within]
    told = told_of(worst_of(outside or found))
    if not outside:
        text = f"As close to unseen people as other real people are; farthest {told}"
        return unless_vague(found, verdict("fidelity", True, text))
    text = f"Not as close to unseen people as other real people are: {told}{flattery(found)}"
    return verdict("fidelity", False, text)


def on_diversity(numbers: Sequence[Number]) -> Verdict:
    """Whether the samples are as varied as unseen people, in every space."""
    found = deciding(numbers, "diversity")
    outside = [number for number in found if not number.within]
    told = told_of(worst_of(outside or found))
    if not outside:
        text = f"As varied as unseen people: yes, {told}"
        return unless_vague(found, verdict("diversity", True, text))
    return verdict("diversity", False, f"As varied as unseen people: no, {told}{flattery(found)}")


def unless_vague(numbers: Sequence[Number], good: Verdict) -> Verdict:
    """The good verdict, unless one of its shares would have passed whatever its value."""
    vague = [number for number in numbers if number.better == "higher" and number.limit <= 0]
    if not vague:
        return good
    text = (
        f"Too few draws or people: even a {words(vague[0].metric)} of 0 in {words(vague[0].space)} "
        f"would pass; it is {vague[0].value:.2f}, theirs {vague[0].unseen.mean:.2f}"
    )
    return {**good, "answer": "cannot tell", "text": text}


def on_copies(found: Copying) -> Verdict:
    """Whether any sample is a copy, or more of them are near a training image than of unseen people."""
    copies, share = found.copies, found.numbers[0]
    total, count = share.n, copies.certain_count
    near = (
        f"{copies.above:,} of {total:,} are nearer to a training image than 99 of 100 images of unseen "
        f"people ({round(share.unseen.mean * total):,} of them would be)"
    )
    if count:
        text = (
            f"{count:,} of {total:,} samples {'is a copy' if count == 1 else 'are copies'} of training images"
        )
        return verdict("copies", False, f"{text}; {near}")
    if not share.within:
        return verdict("copies", False, f"Too near to training images: {near}")
    none = f"No copies ({100 * copies.upper:.2g} % at most, with 95 % confidence)"
    if share.limit > VAGUE:
        text = f"{none}; of so few unseen people up to {100 * min(1, share.limit):.2g} % would be too near"
        return {"question": "copies", "answer": "cannot tell", "text": f"{text}; {near}"}
    return verdict("copies", True, f"{none}; {near}")


def on_anatomy(numbers: Sequence[Number]) -> Verdict:
    """Whether each measure is distributed as among real people."""
    outside = [number for number in numbers if not number.within]
    told = told_of(worst_of(outside or numbers))
    if not outside:
        text = f"All {len(numbers)} measures are distributed as among unseen people; farthest {told}"
        return verdict("anatomy", True, text)
    text = f"{len(outside)} of {len(numbers)} measures are not distributed as among unseen people, {told}"
    return verdict("anatomy", False, text)


def on_utility(found: dict[str, Any]) -> Verdict:
    """Whether synthetic images helped a classifier for unseen people."""
    arms = [arm for arm in found["arms"] if arm["name"].startswith("real + synthetic")]
    answers = sorted({arm["verdict"] for arm in arms})
    agreed = {"helps": "good", "hurts": "bad"}.get(answers[0]) if len(answers) == 1 else None
    control = next(arm for arm in found["arms"] if arm["name"] == SHUFFLED)["balanced_accuracy"]
    if not control["low"] <= found["chance"] <= control["high"]:
        text = (
            f"The control fails: shuffled labels give {control['mean']:.2f}, chance is {found['chance']:.2f}"
        )
        return {"question": "utility", "answer": "cannot tell", "text": text}
    best = max(arms, key=lambda arm: arm["difference"]["mean"])
    told = best["difference"]
    text = (
        f"Beside real images: {', '.join(answers)}; the best, {best['name']}, changes the probability "
        f"of the right class by {told['mean']:+.3f} ({told['low']:+.3f} to {told['high']:+.3f}); "
        f"{found['people']} people could have shown {found['detectable']:.2g}"
    )
    return {"question": "utility", "answer": agreed or "cannot tell", "text": text}


def deciding(numbers: Sequence[Number], question: str) -> list[Number]:
    """The numbers of all samples that decide a question."""
    return [
        number
        for number in numbers
        if number.metric in DECIDES[question] and number.against == HELD_OUT and number.label is None
    ]


def worst_of(numbers: Sequence[Number]) -> Number:
    """The one that is most deviations from what unseen people get."""

    def badness(number: Number) -> float:
        sign = 1 if number.better == "lower" else -1
        return sign * (number.value - number.unseen.mean) / (number.unseen.deviation or 1e-12)

    return max(numbers, key=badness)


def flattery(numbers: Sequence[Number]) -> str:
    """Which spaces alone would have said yes."""
    outside = {number.space for number in numbers if not number.within}
    fooled = sorted({number.space for number in numbers} - outside)
    return f"; {' and '.join(fooled)} alone would have said yes" if fooled else ""


def told_of(number: Number) -> str:
    """A number beside what unseen people get, with its place."""
    name, space = words(number.metric), words(number.space)
    if number.better == "higher":
        return f"{name} {number.value:.2f} of {number.unseen.mean:.2f} in {space}"
    if number.ratio is not None:
        return f"{name} {number.ratio:.1f} times theirs in {space}"
    return f"{name} {number.value:.2g} in {space}, where theirs is below {number.limit:.2g}"


def notes_on_classes(numbers: Sequence[Number]) -> list[str]:
    """A line for each class of which a deciding number is out of its limit."""
    decisive = {metric for metrics in DECIDES.values() for metric in metrics} | {"wasserstein"}
    outside = [
        n for n in numbers if n.label and not n.within and n.metric in decisive and n.against == HELD_OUT
    ]
    notes = []
    for label in dict.fromkeys(number.label for number in outside):
        worst = worst_of([number for number in outside if number.label == label])
        notes.append(f"class {label}: {told_of(worst)}")
    return notes
