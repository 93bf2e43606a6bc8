"""The stage reading: a page on which people tell synthetic images from real ones, and its verdict."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from alzgan.device.streams import stream
from alzgan.errors import UserError
from alzgan.evaluation.answers import Answers
from alzgan.evaluation.candidates import Judged
from alzgan.evaluation.reference import Images, who_of
from alzgan.evaluation.verdicts import Verdict, verdict
from alzgan.files import digest_of, replacing, write_table
from alzgan.metrics.reading import APART, CANNOT, ONE, OPEN, THREE, case_count, judged
from alzgan.metrics.record import Question
from alzgan.report.reading import reading_page
from alzgan.text import counted, printable

PAGE, KEY = "reading.html", "reading_key.csv"
READING = Question(name="reading", asks="Can readers tell them from real ones?")
CONTROL = Question(name="reading control", asks="Control: can readers tell real images from other real ones?")
FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # beginnings of cells that a spreadsheet would run


class Shown(NamedTuple):
    """Images for a study, in the order in which they were drawn.

    Attributes:
        pixels: uint8 (N, C, H, W).
        cases: the person in each image (N,), or the image itself if people are unknown or it is a sample.
        sources: the file of each image (N,), or the number of the sample.
    """

    pixels: Tensor
    cases: np.ndarray
    sources: np.ndarray


@dataclass(frozen=True)
class Study:
    """What the page shows, and the key to it. An item is one image, or three of which one is synthetic.

    Attributes:
        mode: "one" or "three".
        control: whether images of other held-out people are in the place of synthetic ones.
        shown: all images.
        order: the images of each item (items, 1 or 3).
        synthetic: whether they are synthetic, or in the place of synthetic ones (items, 1 or 3).
        page: the id of the page.
    """

    mode: str
    control: bool
    shown: Shown
    order: np.ndarray
    synthetic: np.ndarray
    page: str

    def __len__(self) -> int:
        return len(self.order)

    @property
    def truth(self) -> np.ndarray:
        """The right answer to each item (items,), see `alzgan.metrics.reading.judged`."""
        return self.synthetic.argmax(1) + 1 if self.mode == THREE else self.synthetic[:, 0].astype(int)

    @property
    def cases(self) -> np.ndarray:
        """The case that each item belongs to (items,), or both of its real images do (items, 2)."""
        if self.mode == THREE:
            return self.shown.cases[self.order[~self.synthetic]].reshape(len(self), 2)
        return self.shown.cases[self.order[:, 0]]

    def table(self, answers: Sequence[Answers]) -> np.ndarray:
        """The answer of each reader to each item (readers, items), nan for none.

        Raises:
            UserError: answers are of another page, of an unknown item, or too few.
        """
        table = np.full((len(answers), len(self)), np.nan)
        kinds = self.truth if self.mode == ONE else np.zeros(len(self), int)
        for own, each in zip(table, answers, strict=True):
            place = f"answers={printable(each.path)}"
            if each.page != self.page:
                raise UserError(
                    f"{place} is of page {printable(each.page)}, not of {self.page}: give the ckpt_path or "
                    "samples, held_out, n, seed and reading.* with which its page was made"
                )
            if wrong := [item for item in each.answers if not 1 <= item <= len(self)]:
                raise UserError(f"{place}: the page has no item {wrong[0]}")
            own[np.array(list(each.answers)) - 1] = list(each.answers.values())
            answered = ~np.isnan(own)
            if min(case_count(self.cases[answered & (kinds == kind)]) for kind in set(kinds.tolist())) < 2:
                raise UserError(
                    f"{place} has {len(each.answers)} of {len(self)} answers, too few: let the reader go on"
                )
        return table

    def check(self, folder: Path) -> None:
        """Raise a UserError if the folder has the page of another study: its readers may not be done."""
        page = folder / PAGE
        if page.is_file() and self.page.encode() not in page.read_bytes():
            raise UserError(
                f"{printable(page)} is of another study, and its key would be lost: choose another run_dir, "
                "or delete the page"
            )

    def write(self, folder: Path) -> None:
        """Write the page and its key; an OSError if the folder cannot be written."""
        pixels = self.shown.pixels[torch.from_numpy(self.order)].numpy()
        with replacing(folder / PAGE) as part:
            part.write_text(reading_page(self.page, self.mode, pixels), encoding="utf-8")
        words = "real", "control" if self.control else "synthetic"
        rows = [
            (
                self.page,
                item + 1,
                place + 1,
                words[int(self.synthetic[item, place])],
                inert(str(self.shown.cases[row])),
                inert(str(self.shown.sources[row])),
            )
            for (item, place), row in np.ndenumerate(self.order)
        ]
        write_table(folder / KEY, ("page", "item", "place", "truth", "case", "source"), rows)


def inert(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.startswith(FORMULAS) else cell


def study_of(of: Judged, settings: DictConfig, seed: int) -> Study:
    """Draw the images of a study. Each person is shown as few times as possible.

    Args:
        of: the samples, and the images of held-out people.
        settings: the group `reading` of `conf/evaluate.yaml`.
        seed: the seed of the draw.

    Raises:
        UserError: there are too few samples, images or people.
    """
    candidate, data, reference = of
    noise, n, three = stream(seed, "evaluate/reading"), settings.n, settings.mode == THREE
    real, made, what = reference.held_out, candidate.images, "samples"
    if settings.control:
        first = np.isin(who_of(real), noise.permutation(np.unique(who_of(real)))[::2])
        real, made = real.of(np.flatnonzero(first)), real.of(np.flatnonzero(~first))
        what = "images of other held-out people"
    count = 2 * n if three else n // 2
    others, sides = n if three else n - count, []
    for images, needed, words in ((real, count, "images of held-out people"), (made, others, what)):
        if len(images) < needed:
            raise UserError(f"reading.n={n} needs {needed} {words}, there are {len(images)}: lower it")
        sides.append(drawn(images, needed, noise))
    pixels, cases, sources = zip(*sides, strict=True)
    shown = Shown(torch.cat(pixels), np.concatenate(cases), np.concatenate(sources))
    order = np.arange(n)[:, None]
    if three:
        pairs = np.arange(count).reshape(n, 2)
        if (shown.cases[pairs[:, 0]] == shown.cases[pairs[:, 1]]).any():
            raise UserError(f"reading.n={n}: two real images of a triple would be of one person: lower it")
        order = np.hstack([pairs, count + order])
    order = noise.permuted(noise.permutation(order), axis=1)
    origin = [candidate.info.get(name) for name in ("sha256", "fingerprint", "weights")]
    facts = settings.mode, settings.control, origin, data.fingerprint, order.tolist(), shown.sources.tolist()
    return Study(
        settings.mode, settings.control, shown, order, order >= count, f"p{digest_of(repr(facts))[:15]}"
    )  # a spreadsheet keeps it as it is


def drawn(images: Images, count: int, noise: np.random.Generator) -> Shown:
    """`count` random images: one of each person, in a random order of people, before a second one of any."""
    who = np.unique(who_of(images), return_inverse=True)[1]
    rows = noise.permutation(len(images))
    rows = rows[np.argsort(who[rows], kind="stable")]
    sizes = np.bincount(who)
    turn = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # of a person's images
    place = noise.permutation(len(sizes))
    rows = rows[np.lexsort((place[who[rows]], turn))][:count]
    own = images.of(rows)
    sources = np.array(own.files or [f"sample {row}" for row in rows])
    return Shown(own.pixels, sources if own.people is None else own.people, sources)


def summary(study: Study, answers: Sequence[Answers], margin: float) -> dict[str, Any]:
    """The stage's entry in `evaluation.json`; "found" is that of `alzgan.metrics.reading.judged`, or None."""
    found = None
    if answers:
        found = judged(study.table(answers), study.truth, study.cases, study.mode, margin)
        for each, own in zip(answers, found["readers"], strict=True):
            own |= {"name": each.reader, "answered": len(each.answers), "seconds": median(each.seconds)}
    real = study.shown.cases[study.order[~study.synthetic]]
    return {
        "page": study.page,
        "mode": study.mode,
        "control": study.control,
        "items": len(study),
        "real": {"images": len(real), "people": len(set(real.tolist()))},
        "found": found,
    }


def on_reading(summary: dict[str, Any]) -> Verdict:
    """The verdict: good if readers cannot tell synthetic images from real ones, bad if they can."""
    question, found = CONTROL if summary["control"] else READING, summary["found"]
    if found is None:
        text = (
            f"Nobody has answered yet: give {PAGE} to readers, but neither {KEY} nor this report; then "
            "repeat the command with answers=[A.csv,B.csv]"
        )
        return verdict(question, OPEN, text)
    answer = {APART: "bad", CANNOT: "good", OPEN: OPEN}[found["answer"]]
    return verdict(question, answer, f"{sentence(found)}. {told_of(summary)}{advice(summary)}")


def sentence(found: dict[str, Any]) -> str:
    """What was found, in words."""
    margin = f"{found['margin']:g}"
    text = {
        APART: "Readers tell them apart",
        CANNOT: f"Readers cannot tell them apart: accuracy is within {margin} of guessing",
        OPEN: f"Readers may be guessing, or be more than {margin} better or worse",
    }
    reasons = {
        "each": f" (each of these {len(found['readers'])}; this says little of other readers)",
        "exchanged": ", but take each for the other, perhaps with mixed-up keys",
        "one-sided": ": the answers are too one-sided to show what they see",
        "ranked": ": accuracy is within the margin, but by their confidence they tell them apart (AUC)",
    }
    return text[found["answer"]] + reasons.get(found["why"], "")


def told_of(summary: dict[str, Any]) -> str:
    """The numbers of all readers, in words."""
    found = summary["found"]
    names = {"accuracy": "Accuracy", "auc": "AUC"}
    numbers = ", ".join(
        f"{names.get(name, name)} {each['value']:.2f} ({each['low']:.2f} to {each['high']:.2f})"
        for name, each in found["all"].items()
    )
    kappa = "" if found["kappa"] is None else f", Fleiss' kappa {found['kappa']:.2f}"
    who = counted(len(found["readers"]), "reader")
    over = "people and images" if len(found["readers"]) == 1 else "people, images and readers"
    return (
        f"{numbers}{kappa}; {who}, {summary['items']} {plural(summary)}; guessing has accuracy "
        f"{found['chance']:.2f}; intervals over {over}"
    )


def plural(summary: dict[str, Any]) -> str:
    """What the items of the study are."""
    return "triples" if summary["mode"] == THREE else "images"


def advice(summary: dict[str, Any]) -> str:
    """What a study that cannot tell would need, and remarks on single readers."""
    found, text = summary["found"], ""
    if found["needed"] is not None:
        cases, readers = found["needed"]["cases"], found["needed"]["readers"]
        same = "this reader" if len(found["readers"]) == 1 else f"these {len(found['readers'])} readers"
        people = ceil(summary["real"]["people"] * (cases or 0) / summary["items"])
        ways = (
            [f"{cases:,} {plural(summary)} (the real ones of {people:,} people) for {same}"] if cases else []
        )
        ways += [f"{readers} readers of {summary['items']} {plural(summary)}"] if readers else []
        enough = " or ".join(ways) or f"more {plural(summary)} alone"
        text = f". If the same accuracy came out again, {enough} would "
        text += "tell" if ways else "not tell"
    for reader in found["readers"]:
        if reader["accuracy"]["high"] < found["chance"] and found["why"] != "exchanged":
            value = reader["accuracy"]["value"]
            text += f". {reader['name']} is worse than guessing ({value:.2f}), perhaps with mixed-up keys"
        if reader["attainable"] <= found["chance"] + found["margin"]:
            most = f"accuracy could not exceed {reader['attainable']:.2f}"
            text += f". The answers of {reader['name']} are one-sided: {most}"
        if reader["answered"] < summary["items"]:
            text += f". {reader['name']} left out {summary['items'] - reader['answered']}"
    return text
