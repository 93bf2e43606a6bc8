"""The data card of a set: what it is, how it was made, what was measured of it, and what was not."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alzgan.files import read_json
from alzgan.runs.load import TrainedGenerator
from alzgan.text import counted, printable

USE = """## Responsible use

These images show nobody. They are for research: not for diagnosis, and not in place of real images in a
test set. They can carry features of the people that the generator learned from, and the biases of how those
were chosen. Keep the word synthetic with them, and this page."""


def card(
    generator: TrainedGenerator,
    identity: Mapping[str, Any],
    rows: Sequence[Mapping[str, str]],
    checked: Mapping[str, Any] | None,
    evaluation: Path | None,
    notes: Sequence[str],
) -> str:
    """The text of `README.md`.

    Args:
        generator: that made the images.
        identity: of the set.
        rows: of its manifest.
        checked: what the comparison with the training images gave; None: there was none.
        evaluation: an `evaluation.json` of the same checkpoint, if there is one.
        notes: what else is to be said.
    """
    classes = Counter(row["class"] for row in rows)
    info = generator.info
    data = info.get("data") or {}
    people = sum(generator.people.values())
    trained = f"{data.get('split', {}).get('train', 'unknown')} images"
    if people:
        trained += f" of {counted(people, 'person', 'people')}"
    lines = [
        "# Synthetic images, made by alzgan",
        "",
        f"{counted(len(rows), 'image')} of {generator.image_size} x {generator.image_size} pixels: "
        + ", ".join(f"{count} {printable(name)}" for name, count in classes.items())
        + ". None of them is an image of a person.",
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
        "- `manifest.csv` has for each file its class, seed, number and the hash of its latent vector: "
        "`alzgan.load(CHECKPOINT).sample(1, label=CLASS, seed=SEED, first=NUMBER)` gives it again.",
        *(f"- {note}" for note in notes),
        "",
        "## What was measured",
        "",
        *measured(checked, evaluation),
        "",
        USE,
        "",
    ]
    return "\n".join(lines)


def measured(checked: Mapping[str, Any] | None, evaluation: Path | None) -> list[str]:
    """What is known of the images, in lines; what was not measured is said, too."""
    lines = []
    if checked is None:
        lines.append(
            "- Copies: **not looked for**. `check=true` compares each image with every training image."
        )
    else:
        lines.append(
            f"- Copies: {checked['flagged']} of {checked['images']} images are more alike to a training "
            f"image (above a correlation of {checked['threshold']:.4f}, shifted and mirrored as fits best) "
            f"than 99 of 100 images of unseen people are; they are {checked['dealt']}."
        )
    found = read_json(evaluation) if evaluation else None
    candidates = found.get("candidates", []) if isinstance(found, dict) else []
    if not candidates:
        lines.append(
            "- Quality and diversity: **not measured here**. `python -m alzgan.evaluate samples=THIS_FOLDER "
            "data.root=REAL_IMAGES` does, beside unseen real people."
        )
    for candidate in candidates[:1]:
        for each in candidate.get("verdicts", []):
            question, answer = printable(str(each.get("question"))), printable(str(each.get("answer")))
            lines.append(f"- {question}: {answer}. {printable(str(each.get('text')))}")
    return lines
