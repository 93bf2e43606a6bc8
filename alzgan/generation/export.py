"""Export a generator for use without alzgan: weights, programs, a card and a script."""

import json
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from alzgan.errors import UserError
from alzgan.files import new_folder
from alzgan.generation.card import USE, judged_as, measured
from alzgan.runs.load import SAMPLES_AT_ONCE, TrainedGenerator
from alzgan.text import counted, printable, shell_word

PACKAGES = {"safetensors": "generator.safetensors", "onnx": "generator.onnx", "onnxscript": "generator.onnx"}
TEMPLATE = Path(__file__).with_name("sample.py.txt")


def check_export(license_name: str | None) -> None:
    """Raise UserError if the licence or a package is missing, before the generator is loaded."""
    if not (license_name or "").strip():
        raise UserError(
            "license is not set: give a licence that the licence of the training data allows, for example "
            "license=cc-by-4.0"
        )
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise UserError(f"export needs {', '.join(missing)}: pip install -e '.[export]'")


def export(
    generator: TrainedGenerator,
    path: Path,
    out: Path,
    license_name: str,
    notes: Sequence[str] = (),
) -> list[str]:
    """Write the generator to a new folder; returns lines on its content.

    The folder contains the weights (`generator.safetensors`) and settings (`config.json`) of the network, the
    network as a program of torch.export (`generator.pt2`) and for other runtimes (`generator.onnx`), a script
    that makes images with torch, numpy and pillow alone (`sample.py`), and a model card (`README.md`).

    Args:
        generator: is exported on the CPU in float32.
        path: of its checkpoint.
        out: a new folder.
        license_name: of the generator; it depends on the licence of its training data.
        notes: further lines on its limits, for the card.

    Raises:
        UserError: the folder exists, or cannot be written.
    """
    network = generator.network.to("cpu", torch.float32)
    from safetensors.torch import save

    weights = {name: value.detach().clone().contiguous() for name, value in network.state_dict().items()}
    latents, labels = generator.latents(SAMPLES_AT_ONCE), generator.labels(SAMPLES_AT_ONCE)
    with new_folder(out) as part:
        # Not safetensors' own save_file, whose files nobody else may read.
        (part / "generator.safetensors").write_bytes(save(weights, metadata={"format": "pt"}))
        config = config_of(generator)
        (part / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        save_programs(network, (latents,) if labels is None else (latents, labels), part)
        (part / "sample.py").write_text(TEMPLATE.read_text(encoding="utf-8"), encoding="utf-8")
        found = path.parent.parent / "evaluation.json"
        text = model_card(generator, config, license_name, found, notes)
        (part / "README.md").write_text(text, encoding="utf-8", errors="backslashreplace")
    names = ", ".join(sorted(file.name for file in out.iterdir()))
    program = shell_word(str(out / "sample.py"))
    return [f"{out}: {names}", f"to make images without alzgan: python {program} 16"]


def save_programs(network: nn.Module, inputs: tuple[Tensor, ...], folder: Path) -> None:
    """Write the network as a program of torch.export and as ONNX, for any number of images."""
    batch = torch.export.Dim("batch", min=1)
    shapes = [{0: batch} for _ in inputs]
    names = ["latents", "labels"][: len(inputs)]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # they concern the exporters' internals
        program = torch.export.export(network, inputs, dynamic_shapes=dict(zip(names, shapes, strict=True)))
        torch.export.save(program, folder / "generator.pt2")
        torch.onnx.export(
            program, (), folder / "generator.onnx", dynamo=True, external_data=False, verbose=False
        )


def config_of(generator: TrainedGenerator) -> dict[str, Any]:
    """What `sample.py` needs, the settings of the network, and the origin of the weights."""
    same = ("latent_dim", "image_size", "channels", "slices_as_channels")
    of_labels = ("classes", "class_shares", "conditions", "conditions_of_classes")
    return {
        "network": generator.settings,
        **{name: getattr(generator, name) for name in (*same, *of_labels)},
        "block": SAMPLES_AT_ONCE,
        "weights": generator.info["weights"],
        "step": generator.info["step"],
        "checkpoint": generator.info["sha256"],
        "alzgan": generator.info.get("alzgan"),
    }


def model_card(
    generator: TrainedGenerator,
    config: dict[str, Any],
    license_name: str,
    evaluation: Path,
    notes: Sequence[str],
) -> str:
    """The text of `README.md`, with Hugging Face's header."""
    people = generator.people_in_train
    classes = ", ".join(map(printable, generator.classes)) or "none: it is unconditional"
    trained = counted(people, "person", "people") if people else "an unknown number of people"
    size = f"{generator.image_size} x {generator.image_size} pixels, {counted(generator.channels, 'channel')}"
    limits = "\n".join(f"- {printable(note)}" for note in notes)
    results = "\n".join(measured(None, judged_as(evaluation, config["checkpoint"], config["weights"])))
    return f"""---
license: {json.dumps(license_name)}
library_name: pytorch
pipeline_tag: unconditional-image-generation
tags: [gan, mri, brain, medical-imaging, synthetic-data, alzgan]
---

# A generator of brain MRI slices

{size}; classes: {classes}. Trained with alzgan {config["alzgan"]} for {config["step"]} steps on slices of
{trained}. Checkpoint: SHA-256 `{config["checkpoint"]}`.

## Intended use

Research on synthetic images: augmentation, teaching, tests of software. `python sample.py 16` writes samples,
and needs torch, numpy and pillow alone.

## Limits

Its samples resemble its training data: the same resolution, scanners and kinds of people. They have no size
in millimetres and no diagnosis. They may repeat people of the training data; the next section says whether
this was measured.

{limits}

## What was measured

{results}

{USE}
"""
