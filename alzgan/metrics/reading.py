"""How well readers tell synthetic images from real ones.

Accuracy is the mean of sensitivity, the share of synthetic images called synthetic, and specificity, the
share of real images called real. AUC is the chance that a synthetic image got the higher answer than a real
one, where equal answers count half. Guessing gives 0.5 in each. Where one of three images is to be named,
accuracy is the share of right answers, and guessing gives 1/3. Images without an answer are left out.

A case is a person with all of their real images, or one synthetic image. Triples that show the same person
are not independent either (Aronow, Samii and Assenova 2015, "Cluster-robust variance estimation for dyadic
data"). Intervals are for other readers and other cases. The variance is that of Obuchowski and Rockette
(1995), with the degrees of freedom of Hillis (2007, "A comparison of denominator degrees of freedom methods
for multiple observer ROC analysis"). Covariances are those of DeLong et al. (1988) and, for several images of
a person, of Obuchowski (1997). An interval is at least as wide as for these readers alone. That of a single
reader is over cases alone. A right and a wrong case are added to each kind, or two of each where one of three
is to be named. So intervals have a width even if all answers are right (Agresti and Caffo 2000).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t

from alzgan.metrics.significance import LEVEL

ONE, THREE = MODES = "one", "three"
CHANCE = {ONE: 1 / 2, THREE: 1 / 3}
SCALE = {ONE: 6, THREE: 3}  # the highest answer: 1 is surely real, 6 surely synthetic; or which of three
APART, CANNOT, OPEN = "readers tell them apart", "readers cannot", "cannot tell"
ADDED = {ONE: 2, THREE: 4}  # cases of each kind
MOST_CASES, MOST_READERS = 20_000, 30  # a study that needs more is not proposed


class Estimate(NamedTuple):
    """A number of each reader.

    Attributes:
        value: the number of each reader (R,).
        covariance: of these numbers, over cases (R, R).
        cases: the number of independent cases, of the kind that has fewer.
    """

    value: np.ndarray
    covariance: np.ndarray
    cases: int


class Variances(NamedTuple):
    """What makes the mean of several readers uncertain; arrays are of several studies.

    Attributes:
        readers: the variance of the readers' numbers.
        own: the variance over cases that a reader shares with no other one.
        shared: the covariance over cases of two readers, at least 0.
    """

    readers: float | np.ndarray
    own: float | np.ndarray
    shared: float | np.ndarray


def share(values: np.ndarray, units: np.ndarray, weights: np.ndarray) -> Estimate:
    """The mean of values (R, N) of each reader; nan is no answer.

    Args:
        values: of each reader and image.
        units: the case that each image belongs to (N,), or both of a triple's (N, 2).
        weights: of the images (N,).
    """
    weights = np.where(np.isnan(values), 0, weights)
    values = np.nan_to_num(values)
    total = weights.sum(1, keepdims=True)
    mean = (weights * values).sum(1, keepdims=True) / total
    influence, cases = weights * (values - mean) / total, case_count(units)
    covariance = influence @ have_a_case_in_common(units) @ influence.T
    if units.ndim > 1:  # with overlapping cases the estimate can be too small, even negative
        covariance = np.maximum(covariance, influence @ influence.T)
    return Estimate(mean[:, 0], covariance * cases / (cases - 1), cases)


def case_count(units: np.ndarray) -> int:
    """The number of independent cases: of people, but at most that of images or triples."""
    return min(len(units), len(np.unique(units)))


def have_a_case_in_common(units: np.ndarray) -> np.ndarray:
    """Whether each two images or triples (N, N) have a case in common."""
    member = np.zeros((len(units), len(np.unique(units))))
    inverse = np.unique(units, return_inverse=True)[1]
    np.put_along_axis(member, inverse.reshape(len(units), -1), 1, 1)
    return (member @ member.T > 0).astype(float)


def estimates(
    answers: np.ndarray, truth: np.ndarray, units: np.ndarray, weights: np.ndarray, mode: str
) -> dict[str, Estimate]:
    """The numbers of each reader by their names; for the arguments see `judged`."""
    unknown = np.isnan(answers)
    if mode == THREE:
        return {"accuracy": share(np.where(unknown, np.nan, answers == truth), units, weights)}
    real, synthetic = np.flatnonzero(truth == 0), np.flatnonzero(truth == 1)

    def of(rows: np.ndarray, values: np.ndarray) -> Estimate:
        return share(values, units[rows], weights[rows])

    called = np.where(unknown, np.nan, answers > SCALE[ONE] / 2)
    sensitivity, specificity = of(synthetic, called[:, synthetic]), of(real, 1 - called[:, real])
    cases = min(sensitivity.cases, specificity.cases)
    difference = answers[:, None, synthetic] - answers[:, real, None]  # (R, real, synthetic)
    higher = np.where(np.isnan(difference), np.nan, (np.sign(difference) + 1) / 2)
    beside_synthetic = of(real, weighted_mean(higher, weights[synthetic]))
    beside_real = of(synthetic, weighted_mean(higher.swapaxes(1, 2), weights[real]))
    return {
        "accuracy": Estimate(
            (sensitivity.value + specificity.value) / 2,
            (sensitivity.covariance + specificity.covariance) / 4,
            cases,
        ),
        "sensitivity": sensitivity,
        "specificity": specificity,
        "auc": Estimate(beside_real.value, beside_real.covariance + beside_synthetic.covariance, cases),
    }


def weighted_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean over the last axis without nan; nan if there is nothing else."""
    weights = ~np.isnan(values) * weights
    with np.errstate(invalid="ignore"):
        return (weights * np.nan_to_num(values)).sum(-1) / weights.sum(-1)


def with_added(
    answers: np.ndarray, truth: np.ndarray, units: np.ndarray, mode: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Answers, truths, cases and weights with the added cases, each of as many images as a case has."""
    if mode == THREE:
        added, truths = [1, 1, 1, 1], [1, 1, 2, 2]
    else:
        added, truths = [1, SCALE[ONE]] * 2, [0, 0, 1, 1]
    sizes = {kind: kind_size(truth, units, kind, mode) for kind in set(truths)}
    others = -1 - np.arange(4 * units[0].size).reshape(4, *units.shape[1:])
    return (
        np.hstack([answers, np.tile(np.array(added, float), (len(answers), 1))]),
        np.concatenate([truth, truths]),
        np.concatenate([np.unique(units, return_inverse=True)[1].reshape(units.shape), others]),
        np.concatenate([np.ones(len(truth)), [sizes[kind] for kind in truths]]),
    )


def kind_size(truth: np.ndarray, units: np.ndarray, kind: int, mode: str) -> float:
    """The mean number of images of a case of this kind."""
    own = units if mode == THREE else units[truth == kind]
    return len(own) / case_count(own)


def variances(found: Estimate) -> Variances:
    """The variances of the mean of at least two readers."""
    readers = len(found.value)
    own = float(np.trace(found.covariance)) / readers
    shared = max((float(found.covariance.sum()) - own * readers) / (readers * (readers - 1)), 0.0)
    return Variances(float(found.value.var(ddof=1)), max(own - shared, 0.0), shared)


def half_width(found: Variances, readers: ArrayLike, cases: ArrayLike) -> np.ndarray:
    """Half of the 95 % interval of the mean of several readers, for other readers and cases."""
    by_readers, own, shared = found
    readers, most = np.asarray(readers), np.asarray(cases) - 1
    total = by_readers + readers * shared
    degrees = (readers - 1) * (1 + readers * shared / np.maximum(by_readers, 1e-12)) ** 2
    of_others = t.ppf(1 - LEVEL / 2, np.minimum(degrees, most)) * np.sqrt(total / readers)
    return np.maximum(of_others, t.ppf(1 - LEVEL / 2, most) * np.sqrt(own / readers + shared))


def interval(value: float, centre: float, half: float) -> dict[str, float]:
    """A number with its interval, which is within 0 and 1 and contains it."""
    low, high = min(centre - half, value), max(centre + half, value)
    return {"value": value, "low": max(low, 0.0), "high": min(high, 1.0)}


def fleiss_kappa(called: ArrayLike) -> float | None:
    """The agreement of readers beyond chance, at most 1; 0 is chance.

    Fleiss 1971, "Measuring nominal scale agreement among many raters".

    Args:
        called: the category (R, N) that each reader gave each image; nan is no answer, and the images that
            lack one are left out.

    Returns:
        None for fewer than two readers, without an image that all have answered, or if all answers are equal.
    """
    called = np.asarray(called, float)
    called = called[:, ~np.isnan(called).any(0)]
    readers, images = called.shape
    if readers < 2 or not images:
        return None
    counts = np.stack([(called == category).sum(0) for category in np.unique(called)])
    agreed = ((counts**2).sum(0) - readers).mean() / (readers * (readers - 1))
    by_chance = np.square(counts.mean(1) / readers).sum()
    return None if by_chance == 1 else float((agreed - by_chance) / (1 - by_chance))


def attainable(answers: np.ndarray, truth: np.ndarray, mode: str) -> np.ndarray:
    """The accuracy (R,) that each reader would have if the same answers stood at the best images.

    Who calls everything real cannot be better than by chance, whatever there is to see.
    """
    found = []
    for own in answers:
        there, said = truth[~np.isnan(own)], own[~np.isnan(own)]
        if mode == THREE:
            found.append(sum(min((said == k).sum(), (there == k).sum()) for k in (1, 2, 3)) / len(there))
        else:
            called, synthetic = (said > SCALE[ONE] / 2).sum(), (there == 1).sum()
            hits = min(called, synthetic)
            found.append((1 + hits / synthetic - (called - hits) / (len(there) - synthetic)) / 2)
    return np.array(found, float)


def judged(
    answers: ArrayLike, truth: ArrayLike, units: Sequence[Any] | np.ndarray, mode: str, margin: float
) -> dict[str, Any]:
    """The numbers of each reader and of all, and what they say.

    "readers tell them apart" if the interval of the accuracy of all readers, or that of every single reader,
    excludes chance; "readers cannot" if it is within the margin of chance; else "cannot tell". It is
    "cannot tell", too, if the readers' answers are so one-sided that their accuracy could not have left the
    margin, or if the interval of the AUC excludes 0.5: their confidence tells the images apart.

    Args:
        answers: of each reader to each image or triple (R, N), nan for none. Mode "one": 1 (surely real) to 6
            (surely synthetic). Mode "three": the place of the synthetic image, 1 to 3.
        truth: mode "one": 1 for a synthetic image, 0 for a real one (N,); mode "three": its place.
        units: the case that each belongs to (N,): the person, or the synthetic image itself; mode "three":
            both people whose images are in it (N, 2). Each reader must have answered images of each kind, and
            of each there must be two cases.
        mode: "one" or "three".
        margin: the distance from chance within which accuracy counts as chance.

    Returns:
        Plain containers. "answer" is one of the three above. "why" is "all", "each", "exchanged",
        "one-sided", "ranked" or "". "chance" and "margin" are numbers, "kappa" that of Fleiss or None. "all"
        and each of "readers" have "accuracy" and, in mode "one", "sensitivity", "specificity" and "auc", each
        with "value", "low" and "high". "needed" has the numbers of cases and of readers that would give an
        answer if nothing else changed, or None.
    """
    answers, truth, units = np.asarray(answers, float), np.asarray(truth), np.asarray(units)
    readers = len(answers)
    plain = estimates(answers, truth, units, np.ones(len(truth)), mode)
    wide = estimates(*with_added(answers, truth, units, mode), mode)
    own: list[dict[str, Any]] = [{"attainable": each} for each in attainable(answers, truth, mode).tolist()]
    overall = {}
    for name, found in plain.items():
        centre, cases = wide[name].value, found.cases
        alone = t.ppf(1 - LEVEL / 2, cases - 1) * np.sqrt(np.diag(wide[name].covariance))
        for each, *told in zip(own, found.value.tolist(), centre.tolist(), alone.tolist(), strict=True):
            each[name] = interval(*told)
        half = float(half_width(variances(wide[name]), readers, cases)) if readers > 1 else float(alone[0])
        overall[name] = interval(float(found.value.mean()), float(centre.mean()), half)
    answer, why = concluded(overall, own, CHANCE[mode], margin)
    return {
        "answer": answer,
        "why": why,
        "chance": CHANCE[mode],
        "margin": margin,
        "all": overall,
        "readers": own,
        "kappa": fleiss_kappa(
            answers if mode == THREE else np.where(np.isnan(answers), np.nan, answers > SCALE[ONE] / 2)
        ),
        "needed": needed(plain["accuracy"], wide["accuracy"], len(truth), mode, margin)
        if answer == OPEN and not why
        else None,
    }


def concluded(
    overall: dict[str, Any], own: Sequence[dict[str, Any]], chance: float, margin: float
) -> tuple[str, str]:
    """The answer and why, see `judged`."""
    one_sided = np.mean([each["attainable"] for each in own]) <= chance + margin
    for why, found in (("all", [overall]), ("each", own)):
        lows, highs = ([each["accuracy"][end] for each in found] for end in ("low", "high"))
        if min(lows) > chance:
            return APART, why
        if max(highs) < chance:
            return APART, "exchanged"
        if min(lows) >= chance - margin and max(highs) <= chance + margin and not one_sided:
            # Accuracy knows one cut of a reader's scale alone; by their confidence they may tell them apart.
            areas = [each["auc"] for each in found if "auc" in each]  # chance is 1/2 for them, too
            ranked = any(not each["low"] <= chance <= each["high"] for each in areas)
            return (OPEN, "ranked") if ranked else (CANNOT, why)
    return OPEN, "one-sided" if one_sided else ""


def needed(plain: Estimate, wide: Estimate, count: int, mode: str, margin: float) -> dict[str, int | None]:
    """The numbers of images for these readers, and of readers for these images, that would give an answer.

    With more images come as many more people. More readers than one are not proposed to a single one, since
    nothing is known of their differences.
    """
    readers, value, chance = len(plain.value), float(plain.value.mean()), CHANCE[mode]
    shift = float(wide.value.mean()) - value  # by the added cases, which weigh less among more

    def tells(half: np.ndarray, cases: ArrayLike) -> np.ndarray:
        centre = value + shift * (plain.cases + ADDED[mode]) / (np.asarray(cases) + ADDED[mode])
        low, high = np.minimum(centre - half, value), np.maximum(centre + half, value)
        return (low > chance) | (high < chance) | ((low >= chance - margin) & (high <= chance + margin))

    counts = np.arange(count + 1, MOST_CASES + 1)
    times, cases = count / counts, plain.cases * counts / count
    if readers == 1:
        half = t.ppf(1 - LEVEL / 2, cases - 1) * np.sqrt(wide.covariance[0, 0] * times)
        return {"cases": first(counts, tells(half, cases)), "readers": None}
    now = variances(wide)
    between = max(now.readers - now.own, 0.0)
    larger = Variances(between + now.own * times, now.own * times, now.shared * times)
    several = np.arange(readers + 1, MOST_READERS + 1)
    more = Variances(between + now.own, now.own, now.shared)
    return {
        "cases": first(counts, tells(half_width(larger, readers, cases), cases)),
        "readers": first(several, tells(half_width(more, several, plain.cases), plain.cases)),
    }


def first(numbers: np.ndarray, fits: np.ndarray) -> int | None:
    """The first number that fits; None if none does."""
    return int(numbers[np.argmax(fits)]) if fits.any() else None
