"""Verdicts: the answers of numbers to questions, in words."""

from collections.abc import Sequence
from typing import Any

from alzgan.evaluation.numbers import Number
from alzgan.metrics.record import HELD_OUT, Question

Verdict = dict[str, str]
Power = dict[str, Any]  # see `alzgan.evaluation.power.noticed`


def verdict(question: Question, answer: str, text: str) -> Verdict:
    """A verdict in plain containers; the answer is "good", "bad" or "cannot tell"."""
    return {"question": question.name, "asks": question.asks, "answer": answer, "text": text}


def answered(question: Question, numbers: Sequence[Number], faults: Sequence[Power] = ()) -> Verdict:
    """The verdict on a question, from the numbers that decide it in all spaces.

    Args:
        question: the question.
        numbers: all numbers of a stage.
        faults: the results of `alzgan.evaluation.power.noticed`.
    """
    found = deciding(numbers, question)
    if not found:
        return verdict(question, "cannot tell", "The discriminator was trained on all feature spaces")
    outside = [number for number in found if not number.within]
    words = {
        "told": told_of(worst_of(outside or found)),
        "outside": len(outside),
        "all": len(found),
        "flattery": flattery(found),
    }
    if outside:
        return verdict(question, "bad", question.bad.format(**words))
    needed = [number for number in judging(numbers) if number.metric in question.needs]
    if lacking := [number for number in needed if not number.within]:
        return verdict(question, "cannot tell", question.lacking.format(told=told_of(worst_of(lacking))))
    return as_far_as_seen(verdict(question, "good", question.good.format(**words)), question, faults)


def questions_of(numbers: Sequence[Number]) -> list[Question]:
    """The questions that these numbers decide."""
    return list(dict.fromkeys(number.metric.decides for number in of_all(numbers) if number.metric.decides))


def as_far_as_seen(good: Verdict, question: Question, faults: Sequence[Power]) -> Verdict:
    """Add the planted faults that would have been noticed to a good verdict.

    It becomes "cannot tell" if the gravest fault would have been noticed in fewer than half of the sets.
    """
    own = [fault for fault in faults if fault["question"] == question.name]
    if not own:
        return good
    told = ", ".join(f"{fault['words']} in {fault['noticed']} of {fault['draws']}" for fault in own)
    text = f"{good['text']}. Of sets with a planted fault it would have noticed {told}"
    if 2 * own[-1]["noticed"] < own[-1]["draws"]:
        return verdict(question, "cannot tell", f"Too few people or images to tell. {text}")
    return good | {"text": text}


def of_all(numbers: Sequence[Number]) -> list[Number]:
    """The numbers of all classes that compare with held-out people."""
    return [number for number in numbers if number.against == HELD_OUT and number.label is None]


def judging(numbers: Sequence[Number]) -> list[Number]:
    """Those of `of_all` in spaces that the discriminator was not trained on."""
    return [number for number in of_all(numbers) if not number.trained]


def deciding(numbers: Sequence[Number], question: Question) -> list[Number]:
    """The numbers of all classes that decide a question."""
    return [number for number in judging(numbers) if number.metric.decides == question]


def worst_of(numbers: Sequence[Number]) -> Number:
    """The number that is worse than that of unseen people by the most deviations."""
    return max(numbers, key=Number.badness)


def flattery(numbers: Sequence[Number]) -> str:
    """The spaces in which no number is beyond its limit, for the end of a bad verdict."""
    outside = {number.space for number in numbers if not number.within}
    fooled = sorted({number.space for number in numbers} - outside)
    return f"; {' and '.join(fooled)} alone would have said yes" if fooled else ""


def told_of(number: Number) -> str:
    """A number beside that of unseen people, in words, with its feature space."""
    name, space = number.metric.words, number.space.replace("_", " ")
    if number.metric.better == "higher":
        return f"{name} {number.value:.2f} (theirs {number.unseen.mean:.2f}) in {space}"
    if number.ratio is not None:
        return f"{name} {number.ratio:.1f} times theirs in {space}"
    return f"{name} {number.value:.2g} in {space}, where theirs is below {number.limit:.2g}"


def notes_on_classes(numbers: Sequence[Number]) -> list[str]:
    """A note on each class with a deciding number beyond its limit."""
    outside: dict[str, list[Number]] = {}
    for number in numbers:
        decides = number.metric.decides and number.against == HELD_OUT and not number.trained
        if number.label and decides and not number.within:
            outside.setdefault(number.label, []).append(number)
    return [f"class {label}: {told_of(worst_of(found))}" for label, found in outside.items()]
