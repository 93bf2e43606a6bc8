"""Scores of a classifier over people: the images of a person together cast one vote."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import rankdata
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score

from alzgan.device.streams import stream
from alzgan.metrics.sets import People

VOTE_DRAWS = 2000  # draws of people for an interval
INTERVAL = (0.025, 0.975)


def vote(probabilities: Tensor, people: People) -> Tensor:
    """The mean class probabilities (P, K) of each person's images, in the order of the people's names.

    Args:
        probabilities: class probabilities of images (N, K).
        people: the person in each image (N,).
    """
    names, who = np.unique(np.asarray(people), return_inverse=True)
    rows = torch.from_numpy(who)
    sums = torch.zeros(len(names), probabilities.shape[1], dtype=torch.double)
    return sums.index_add_(0, rows, probabilities.double()) / torch.bincount(rows)[:, None]


def person_labels(labels: np.ndarray, people: People, classes: int) -> np.ndarray:
    """The most frequent class (P,) of each person's images, in the order of the people's names."""
    return vote(F.one_hot(torch.as_tensor(labels), classes), people).argmax(1).numpy()


def scores(votes: Tensor, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Balanced accuracy, macro-averaged F1 and AUC of B votes on the same people, each (B,), from 0 to 1.

    Args:
        votes: class probabilities (B, P, K), float64.
        labels: the class of each person (P,); every class occurs.
    """
    guesses = votes.argmax(2)
    truth = torch.from_numpy(labels).expand_as(guesses)
    how: dict[str, Any] = {
        "num_classes": votes.shape[2],
        "average": "macro",
        "multidim_average": "samplewise",
    }
    return {
        "balanced_accuracy": multiclass_accuracy(guesses, truth, **how).numpy(),
        "macro_f1": multiclass_f1_score(guesses, truth, **how).numpy(),
        "auc": auc(votes.numpy(), labels),
    }


def auc(votes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The area under the ROC curve of each class against the others: the mean (B,) over the classes.

    Votes are (B, P, K). A tie of two people counts 1/2.
    """
    areas = []
    for label in range(votes.shape[2]):
        own = labels == label
        n, m = own.sum(), (~own).sum()
        ranks = rankdata(votes[..., label], axis=1)[:, own].sum(1)
        areas.append((ranks - n * (n + 1) / 2) / (n * m))
    return np.mean(areas, axis=0)


def redrawn(labels: np.ndarray, seed: int) -> np.ndarray:
    """Rows (VOTE_DRAWS, P) of people drawn with replacement, each replacing a person of the same class."""
    noise = stream(seed, "votes/people")
    rows = np.empty((VOTE_DRAWS, len(labels)), int)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        rows[:, own] = noise.choice(own, (VOTE_DRAWS, len(own)))
    return rows


def mean_scores(
    votes: Tensor, labels: np.ndarray, rows: np.ndarray, seed: int
) -> dict[str, dict[str, float]]:
    """The "mean" of each score over S trainings, with the limits "low" and "high" of its 95 % interval.

    The interval has the quantiles of the means for trainings and people drawn with replacement.

    Args:
        votes: class probabilities (S, P, K), float64.
        labels: the class of each person (P,); every class occurs.
        rows: the draws of people from `redrawn`.
        seed: the seed of the draws of trainings.
    """
    # A redrawn person has the class of the one that it replaces, so the labels stay the same.
    again = [scores(each[torch.from_numpy(rows)], labels) for each in votes]
    drawn = stream(seed, "votes/trainings").integers(len(votes), size=(len(rows), len(votes)))
    found = {}
    for name, values in scores(votes, labels).items():
        means = np.take_along_axis(np.stack([each[name] for each in again], 1), drawn, 1).mean(1)
        low, high = np.quantile(means, INTERVAL).tolist()
        found[name] = {"mean": float(values.mean()), "low": low, "high": high}
    return found
