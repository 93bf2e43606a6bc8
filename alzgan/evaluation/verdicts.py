"""What the numbers say, in words first."""

from collections.abc import Sequence
from typing import Any

from alzgan.evaluation.copying import Copying
from alzgan.evaluation.fidelity import HELD_OUT
from alzgan.evaluation.numbers import Number

# What decides; all other numbers are told. More of them would find a fault in every innocent set.
DECIDES = {"fidelity": ("kernel_distance", "precision"), "diversity": ("recall", "coverage")}

Verdict = dict[str, str]


def verdict(question: str, good: bool, text: str) -> Verdict:
    """A verdict as JSON takes it."""
    return {"question": question, "answer": "good" if good else "bad", "text": text}


def on_fidelity(numbers: Sequence[Number]) -> Verdict:
    """Whether the samples are as close to unseen people as other real people are, in every space."""
    found = deciding(numbers, "fidelity")
    worst = worst_of([number for number in found if number.metric == "kernel_distance"])
    times = f"kernel distance {in_floors(worst)}"
    precision = next(n for n in found if n.metric == "precision" and n.space == worst.space)
    text = f"{times}, precision {of_unseen(precision)}, in {worst.space}"
    outside = [number.space for number in found if not number.within]
    if not outside:
        return verdict("fidelity", True, f"As close to unseen people as other real people are: {text}")
    return verdict(
        "fidelity", False, f"Not as close to unseen people as other real people are: {text}{flattery(found)}"
    )


def on_diversity(numbers: Sequence[Number]) -> Verdict:
    """Whether the samples are as varied as unseen people, in every space."""
    found = deciding(numbers, "diversity")
    worst = worst_of(found)
    told = f"{worst.metric} {of_unseen(worst)} in {worst.space}"
    good = all(number.within for number in found)
    answer = "yes" if good else "no"
    return verdict(
        "diversity", good, f"As varied as unseen people: {answer}, {told}{'' if good else flattery(found)}"
    )


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
    return verdict(
        "copies", True, f"No copies: {near}, {100 * copies.upper:.2g} % at most with 95 % confidence"
    )


def on_anatomy(numbers: Sequence[Number]) -> Verdict:
    """Whether each measure is distributed as among real people."""
    outside = [number for number in numbers if not number.within]
    if not outside:
        worst = worst_of(numbers)
        return verdict(
            "anatomy",
            True,
            f"All {len(numbers)} measures are distributed as among unseen people; the farthest is "
            f"{words(worst.space)}, {in_floors(worst)}",
        )
    worst = worst_of(outside)
    return verdict(
        "anatomy",
        False,
        f"{len(outside)} of {len(numbers)} measures are not distributed as among unseen people, the farthest "
        f"is {words(worst.space)}, {in_floors(worst)}",
    )


def on_utility(found: dict[str, Any]) -> Verdict:
    """Whether synthetic images helped a classifier for unseen people."""
    arms = [arm for arm in found["arms"] if arm["name"].startswith("real + synthetic")]
    answers = sorted({arm["verdict"] for arm in arms})
    agreed = {"helps": "good", "hurts": "bad"}.get(answers[0]) if len(answers) == 1 else None
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


def in_floors(number: Number) -> str:
    """A distance in multiples of what unseen people get."""
    if number.ratio is not None:
        return f"{number.ratio:.1f} times theirs"
    return f"{number.value:.2g} where theirs is {number.unseen.mean:.2g}"


def of_unseen(number: Number) -> str:
    """A share beside what unseen people get."""
    return f"{number.value:.2f} of {number.unseen.mean:.2f}"


def words(name: str) -> str:
    """A measure's name as one reads it."""
    return name.replace("_", " ")


def notes_on_classes(numbers: Sequence[Number]) -> list[str]:
    """A line for each class of which a deciding number is out of its limit."""
    decisive = {metric for metrics in DECIDES.values() for metric in metrics} | {"wasserstein"}
    outside = [
        n for n in numbers if n.label and not n.within and n.metric in decisive and n.against == HELD_OUT
    ]
    notes = []
    for label in dict.fromkeys(number.label for number in outside):
        worst = worst_of([number for number in outside if number.label == label])
        told = in_floors(worst) if worst.better == "lower" else of_unseen(worst)
        notes.append(f"class {label}: {words(worst.metric)} {told} in {words(worst.space)}")
    return notes
