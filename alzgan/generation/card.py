"""The data card of a set: its content, its origin, and what was and what was not measured."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alzgan.files import read_json
from alzgan.images.likeness import LOOKED_FOR
from alzgan.metrics.memorisation import MOST
from alzgan.runs.load import TrainedGenerator
from alzgan.text import counted, printable

USE = """## Responsible use

A generator drew these images; none is a scan. Use them for research. Do not use them for diagnosis, or
instead of real images in a test set. They can show features of the people that the generator was trained on,
or even repeat one of these people, and they inherit the bias of how those people were chosen. Keep this page
with the images, and always call them synthetic."""


def card(
    generator: TrainedGenerator,
    identity: Mapping[str, Any],
    rows: Sequence[Mapping[str, str]],
    evaluation: Path,
    notes: Sequence[str],
) -> str:
    """The text of `README.md`.

    Args:
        generator: made the images.
        identity: of the set.
        rows: of its manifest.
        evaluation: path of an `evaluation.json`, which may not exist.
        notes: further lines.
    """
    classes = Counter(row["class"] for row in rows)
    in_classes = ", ".join(f"{count} {printable(name)}" for name, count in classes.items())
    info = generator.info
    data = info.get("data") or {}
    people = generator.people_in_train
    trained = f"{data.get('split', {}).get('train', 'unknown')} images"
    if people:
        trained += f" of {counted(people, 'person', 'people')}"
    shared = "\n".join(
        f"- {name}: {value}"
        for name, value in identity.items()
        if name not in ("checkpoint", "version") and value not in (None, {})
    )
    judged = judged_as(evaluation, identity["checkpoint"], identity["weights"])
    results = "\n".join(measured(rows, judged, asked_otherwise(identity), identity.get("slices") is not None))
    further = "".join(f"- {note}\n" for note in notes)
    return f"""# Synthetic images, made by alzgan

{counted(len(rows), "image")} of {generator.image_size} x {generator.image_size} pixels: {in_classes}.
A generator drew them; none is a scan.

## How they were made

- Checkpoint: SHA-256 `{identity["checkpoint"]}`, step {info.get("step")}, {info.get("weights")} weights,
  written by alzgan {printable(str(info.get("alzgan")))}
- Trained on {trained}
{shared}
- `manifest.csv` gives the class, seed, number and hash of the latent vector of each file. The same call of
  `alzgan.generate` on the same checkpoint makes the same images again.
{further}
## What was measured

{results}

{USE}
"""


def judged_as(evaluation: Path, checkpoint: str, weights: str) -> Mapping[str, Any] | None:
    """The results for a checkpoint, by its SHA-256, in an `evaluation.json`; None if it has none."""
    found = read_json(evaluation)
    candidates = found.get("candidates", []) if isinstance(found, dict) else []
    return next(
        (each for each in candidates if (each.get("sha256"), each.get("weights")) == (checkpoint, weights)),
        None,
    )


def asked_otherwise(identity: Mapping[str, Any]) -> bool:
    """Whether this set was drawn in another way than the samples of an evaluation."""
    usual = {"truncation": 1, "labels": "as_trained", "conditions": None, "copies": "keep"}
    return any(identity.get(name, value) not in (value, {}) for name, value in usual.items())


def measured(
    rows: Sequence[Mapping[str, str]] | None,
    judged: Mapping[str, Any] | None,
    otherwise: bool = False,
    stacks: bool = False,
) -> list[str]:
    """Lines on what was measured, and on what was not.

    Args:
        rows: of a manifest; None if there is no set of images.
        judged: the generator's results in an evaluation.
        otherwise: whether the set was drawn in another way than the evaluation's samples.
        stacks: whether the images are stacks of people, which are flagged as a whole.
    """
    lines = []
    if rows is not None:
        looked = [row["copy"] for row in rows if row.get("copy")]
        lines.append(
            f"- Copies: {len(looked)} of {len(rows)} images were compared with every training image, also "
            f"{LOOKED_FOR}. {looked.count('yes')} of them are "
            + (
                f"in stacks that are nearer to a training image than the stacks of {MOST} unseen people"
                if stacks
                else f"nearer to a training image than {MOST} images of unseen people"
            )
            + "; `manifest.csv` flags them."
            if looked
            else "- Copies: **not looked for**. `check=true` compares each image with every training image."
        )
    if judged is None:
        what = "Quality, diversity and copies" if rows is None else "Quality and diversity"
        lines.append(
            f"- {what}: **not measured**. `python -m alzgan.evaluate ckpt_path=RUN "
            "run_dir=RUN` measures them and writes the results to the run's folder, from which this page "
            "takes them."
        )
        return lines
    if otherwise:
        lines.append(
            "- The results below are for other samples of this generator, with truncation 1 and the class "
            "frequencies of the training data. **These images were not measured.**"
        )
    for each in judged.get("verdicts", []):
        question, answer = printable(str(each.get("question"))), printable(str(each.get("answer")))
        lines.append(f"- {question}: {answer}. {printable(str(each.get('text')))}")
    return lines
