"""The data card of a set: what it is, how it was made, what was measured of it, and what was not."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alzgan.files import read_json
from alzgan.images.likeness import LOOKED_FOR
from alzgan.runs.load import TrainedGenerator
from alzgan.text import counted, printable

USE = """## Responsible use

These images were drawn by a generator; none is a scan of anyone. They are for research: not for diagnosis,
and not in place of real images in a test set. They can carry features of the people that the generator
learned from, or repeat one of them, and the biases of how those were chosen. Keep the word synthetic with
them, and this page."""


def card(
    generator: TrainedGenerator,
    identity: Mapping[str, Any],
    rows: Sequence[Mapping[str, str]],
    evaluation: Path,
    notes: Sequence[str],
) -> str:
    """The text of `README.md`.

    Args:
        generator: that made the images.
        identity: of the set.
        rows: of its manifest.
        evaluation: where an `evaluation.json` of the same checkpoint may be.
        notes: what else is to be said.
    """
    classes = Counter(row["class"] for row in rows)
    info = generator.info
    data = info.get("data") or {}
    people = generator.people_in_train
    trained = f"{data.get('split', {}).get('train', 'unknown')} images"
    if people:
        trained += f" of {counted(people, 'person', 'people')}"
    lines = [
        "# Synthetic images, made by alzgan",
        "",
        f"{counted(len(rows), 'image')} of {generator.image_size} x {generator.image_size} pixels: "
        + ", ".join(f"{count} {printable(name)}" for name, count in classes.items())
        + ". Each was drawn by a generator; none is a scan.",
        "",
        "## How they were made",
        "",
        f"- Checkpoint: SHA-256 `{identity['checkpoint']}`, step {info.get('step')}, "
        f"{info.get('weights')} weights, written by alzgan {printable(str(info.get('alzgan')))}",
        f"- Trained on {trained}",
        *(
            f"- {name}: {value}"
            for name, value in identity.items()
            if name not in ("checkpoint", "version") and value not in (None, {})
        ),
        "- `manifest.csv` has for each file its class, seed, number and the hash of its latent vector: the "
        "same call of `alzgan.generate` on the same checkpoint gives it again.",
        *(f"- {note}" for note in notes),
        "",
        "## What was measured",
        "",
        *measured(
            rows,
            judged_as(evaluation, identity["checkpoint"], identity["weights"]),
            asked_otherwise(identity),
            identity.get("slices") is not None,
        ),
        "",
        USE,
        "",
    ]
    return "\n".join(lines)


def judged_as(evaluation: Path, checkpoint: str, weights: str) -> Mapping[str, Any] | None:
    """What an `evaluation.json` says of a checkpoint, by its SHA-256; None where it says nothing."""
    found = read_json(evaluation)
    candidates = found.get("candidates", []) if isinstance(found, dict) else []
    return next(
        (each for each in candidates if (each.get("sha256"), each.get("weights")) == (checkpoint, weights)),
        None,
    )


def asked_otherwise(identity: Mapping[str, Any]) -> bool:
    """Whether a set is of other images than an evaluation draws of its generator."""
    usual = {"truncation": 1, "labels": "as_trained", "conditions": None, "copies": "keep"}
    return any(identity.get(name, value) not in (value, {}) for name, value in usual.items())


def measured(
    rows: Sequence[Mapping[str, str]] | None,
    judged: Mapping[str, Any] | None,
    otherwise: bool = False,
    stacks: bool = False,
) -> list[str]:
    """What is known, in lines; what was not measured is said, too.

    Args:
        rows: of a manifest; None where it is about no set of images.
        judged: what an evaluation says of the generator.
        otherwise: whether the set is of other images than the evaluation's.
        stacks: whether its images are of people's stacks, which are copies whole.
    """
    lines = []
    if rows is not None:
        looked = [row["copy"] for row in rows if row.get("copy")]
        lines.append(
            f"- Copies: {len(looked)} of {len(rows)} images were compared with every training image, also "
            f"{LOOKED_FOR}. {looked.count('yes')} of them are "
            + (
                "of stacks that come nearer to one than those of 99 of 100 unseen people do"
                if stacks
                else "nearer to one than 99 of 100 images of unseen people are"
            )
            + "; `manifest.csv` says which."
            if looked
            else "- Copies: **not looked for**. `check=true` compares each image with every training image."
        )
    if judged is None:
        lines.append(
            "- Quality and diversity: **not measured here**. `python -m alzgan.evaluate ckpt_path=RUN "
            "run_dir=RUN` measures them, beside unseen real people, and leaves what it finds where this page "
            "looks for it: in the run's folder."
        )
        return lines
    if otherwise:
        lines.append(
            "- What follows was measured of other samples of this generator, with truncation 1 and classes "
            "as often as real people have them. **Of these images it was not measured.**"
        )
    for each in judged.get("verdicts", []):
        question, answer = printable(str(each.get("question"))), printable(str(each.get("answer")))
        lines.append(f"- {question}: {answer}. {printable(str(each.get('text')))}")
    return lines
