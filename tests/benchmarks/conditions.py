"""Whether a conditional generator does what it is asked for: classes, places of slices, stacks of one person.

    python tests/benchmarks/conditions.py RUN

On the data that the run was trained on, with its people and its split. What judges has learned from the
people in train; unseen people's real slices are judged beside the samples:

- class: the share of images whose class a small classifier recognises;
- ventricles: their mean share of the brain in each class;
- slice: the correlation of the place asked for with the place that a ridge regression on pixels measures;
- neighbours: the correlation of neighbouring slices of one stack, of one latent or of one person, the median.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import alzgan
from alzgan.data.datamodule import MRIDataModule
from alzgan.data.stacks import stacks_of_people
from alzgan.metrics.anatomy import measures
from alzgan.metrics.classifier import predicted, trained
from alzgan.metrics.features import PixelFeatures
from alzgan.runs.config import checkpoint_file, compose_config
from alzgan.runs.data import data_of_run, run_and_data
from alzgan.runs.load import TrainedGenerator

SAMPLES = 2000
STACKS = 20
UPDATES, BATCH = 600, 64
RIDGE = 10.0  # on features that are standardized


def main(run: Path) -> None:
    """Print what was found, as JSON."""
    data = data_of(run)
    generator, report = alzgan.load(run), {}
    if generator.classes:
        report["class"] = recognised(generator, data)
        report["ventricles"] = ventricles(generator, data)
    if "slice" in generator.conditions:
        report["slice"] = placed(generator, data)
        report["neighbours"] = neighbours(generator, data)
    print(json.dumps(report, indent=2))


def data_of(run: Path) -> MRIDataModule:
    """The data of a run."""
    return data_of_run(*run_and_data(checkpoint_file(str(run)), compose_config("evaluate", []), []))


def part(data: MRIDataModule, held_out: bool) -> tuple[Tensor, Tensor]:
    """Images (N, C, H, W) and labels of the people trained on, or of all others."""
    names = ("validation", "test") if held_out else ("train",)
    images, labels = zip(*(each[np.arange(len(each))] for each in map(data.part, names)), strict=True)
    return torch.cat(images), torch.cat(labels)


def class_of(labels: Tensor) -> np.ndarray:
    """Class indices (N,) of labels with or without numbers."""
    return (labels[:, 0] if labels.dim() == 2 else labels).long().numpy()


def recognised(generator: TrainedGenerator, data: MRIDataModule) -> dict[str, float]:
    """The share of samples, and of unseen people's slices, whose class is recognised, mean over classes."""
    (images, labels), (unseen, theirs) = part(data, False), part(data, True)
    kinds = class_of(labels)
    judge = trained(images, [np.flatnonzero(kinds == k) for k in range(len(data.classes))], UPDATES, BATCH)
    asked = np.arange(SAMPLES) % len(generator.classes)
    samples = generator.sample(SAMPLES, asked.tolist())
    found = {
        "samples": balanced(predicted(judge, samples), asked),
        "unseen people": balanced(predicted(judge, unseen), class_of(theirs)),
    }
    return found | {"chance": 1 / len(data.classes)}


def ventricles(generator: TrainedGenerator, data: MRIDataModule) -> dict[str, dict[str, float]]:
    """The mean ventricle ratio of each class."""
    unseen, theirs = part(data, True)
    kinds, count = class_of(theirs), SAMPLES // len(generator.classes)
    return {
        name: {
            "samples": measures(generator.sample(count, [index] * count))["ventricle_ratio"].mean().item(),
            "unseen people": measures(unseen[np.flatnonzero(kinds == index)])["ventricle_ratio"]
            .mean()
            .item(),
        }
        for index, name in enumerate(generator.classes)
    }


def balanced(probabilities: Tensor, labels: np.ndarray) -> float:
    """The mean over classes of the share that is recognised."""
    right = probabilities.argmax(1).numpy() == labels
    return float(np.mean([right[labels == label].mean() for label in np.unique(labels)]))


def placed(generator: TrainedGenerator, data: MRIDataModule) -> dict[str, float]:
    """The correlation of asked and measured places."""
    column = 1 + data.numbers.index("slice")
    images, labels = part(data, False)
    features = PixelFeatures()(images)
    mean, deviation = features.mean(0), features.std(0) + 1e-6
    known, places = ((features - mean) / deviation).double(), labels[:, column].double()
    gram = known.T @ known + RIDGE * torch.eye(known.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(gram, known.T @ (places - places.mean()))

    def correlation(pixels: Tensor, asked: Tensor) -> float:
        measured = ((PixelFeatures()(pixels) - mean) / deviation).double() @ weights
        return torch.corrcoef(torch.stack([measured, asked.double()]))[0, 1].item()

    asked = generator.labels(SAMPLES)
    unseen, theirs = part(data, True)
    return {
        "samples": correlation(generator.sample(SAMPLES), asked[:, column]),
        "unseen people": correlation(unseen, theirs[:, column]),
    }


def neighbours(generator: TrainedGenerator, data: MRIDataModule) -> dict[str, float]:
    """How alike neighbouring slices of one stack are, and slices of two people at one place."""
    low, high = generator.conditions["slice"][0], generator.conditions["slice"][-1]
    places = np.arange(low, high + 1)
    latents = generator.latents(STACKS)
    made = []
    for latent in latents:
        labels = generator.labels(len(places), conditions={"slice": places})
        labels = labels[:1].where(torch.arange(labels.shape[1]) != 1 + data.numbers.index("slice"), labels)
        made.append(generator.generate(latent.expand(len(places), -1), labels))
    pixels = torch.from_numpy(np.asarray(data.images)).permute(0, 3, 1, 2)[data.people.rows]
    held_out = np.array(data.split.parts) != "train"
    real = [pixels[rows] for rows in stacks_of_people(data.files, data.subjects) if held_out[rows].all()]
    return {
        "samples": float(np.median([alike(stack[1:], stack[:-1]) for stack in made])),
        "unseen people": float(np.median([alike(stack[1:], stack[:-1]) for stack in real])),
        "other latents": float(np.median([alike(*pair) for pair in zip(made[1:], made[:-1], strict=True)])),
        "other people": float(
            np.median([alike(a, b) for a, b in zip(real[1:], real[:-1], strict=True) if len(a) == len(b)])
        ),
    }


def alike(one: Tensor, two: Tensor) -> float:
    """The mean correlation of pairs of images (N, C, H, W)."""
    flat = [images.flatten(1).double() for images in (one, two)]
    first, second = (images - images.mean(1, keepdim=True) for images in flat)
    return F.cosine_similarity(first, second).mean().item()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
