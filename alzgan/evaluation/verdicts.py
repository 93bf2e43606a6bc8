"""What the numbers say, in words first."""

from collections.abc import Sequence
from typing import Any

from alzgan.evaluation.numbers import Number
from alzgan.metrics.record import HELD_OUT, Question

Verdict = dict[str, str]
Power = dict[str, Any]  # see `alzgan.evaluation.power.noticed`


def verdict(question: Question, answer: str, text: str) -> Verdict:
    """A verdict as JSON takes it; the answer is "good", "bad" or "cannot tell"."""
    return {"question": question.name, "asks": question.asks, "answer": answer, "text": text}


def answered(question: Question, numbers: Sequence[Number], faults: Sequence[Power] = ()) -> Verdict:
    """The answer of the numbers that decide a question, in every space."""
    found = deciding(numbers, question)
    outside = [number for number in found if not number.within]
    words = {
        "told": told_of(worst_of(outside or found)),
        "outside": len(outside),
        "all": len(found),
        "flattery": flattery(found),
    }
    if outside:
        return verdict(question, "bad", question.bad.format(**words))
    needed = [number for number in of_all(numbers) if number.metric in question.needs]
    if lacking := [number for number in needed if not number.within]:
        return verdict(question, "cannot tell", question.lacking.format(told=told_of(worst_of(lacking))))
    return as_far_as_seen(verdict(question, "good", question.good.format(**words)), question, faults)


def questions_of(numbers: Sequence[Number]) -> list[Question]:
    """The questions that numbers decide, each once."""
    return list(dict.fromkeys(number.metric.decides for number in of_all(numbers) if number.metric.decides))


def as_far_as_seen(good: Verdict, question: Question, faults: Sequence[Power]) -> Verdict:
    """A good verdict with what it could have seen; it cannot tell where it would miss the gravest fault."""
    own = [fault for fault in faults if fault["question"] == question.name]
    if not own:
        return good
    told = ", ".join(f"{fault['words']} in {fault['noticed']} of {fault['draws']}" for fault in own)
    text = f"{good['text']}. Of sets with a planted fault it would have noticed {told}"
    if 2 * own[-1]["noticed"] < own[-1]["draws"]:
        return verdict(question, "cannot tell", f"Too few people or images to tell. {text}")
    return good | {"text": text}


def of_all(numbers: Sequence[Number]) -> list[Number]:
    """The numbers of all samples beside held-out people."""
    return [number for number in numbers if number.against == HELD_OUT and number.label is None]


def deciding(numbers: Sequence[Number], question: Question) -> list[Number]:
    """The numbers of all samples that decide a question."""
    return [number for number in of_all(numbers) if number.metric.decides == question]


def worst_of(numbers: Sequence[Number]) -> Number:
    """The one that is most deviations from what unseen people get."""
    return max(numbers, key=Number.badness)


def flattery(numbers: Sequence[Number]) -> str:
    """Which spaces alone would have said yes."""
    outside = {number.space for number in numbers if not number.within}
    fooled = sorted({number.space for number in numbers} - outside)
    return f"; {' and '.join(fooled)} alone would have said yes" if fooled else ""


def told_of(number: Number) -> str:
    """A number beside what unseen people get, with its place."""
    name, space = number.metric.words, number.space.replace("_", " ")
    if number.metric.better == "higher":
        return f"{name} {number.value:.2f} of {number.unseen.mean:.2f} in {space}"
    if number.ratio is not None:
        return f"{name} {number.ratio:.1f} times theirs in {space}"
    return f"{name} {number.value:.2g} in {space}, where theirs is below {number.limit:.2g}"


def notes_on_classes(numbers: Sequence[Number]) -> list[str]:
    """A line for each class of which a deciding number is beyond its limit."""
    outside: dict[str, list[Number]] = {}
    for number in numbers:
        if number.label and number.metric.decides and not number.within and number.against == HELD_OUT:
            outside.setdefault(number.label, []).append(number)
    return [f"class {label}: {told_of(worst_of(found))}" for label, found in outside.items()]
