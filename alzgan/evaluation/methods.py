"""The report's page of methods, from the docstrings of the functions that were used."""

from collections.abc import Collection, Sequence

from alzgan.evaluation import copies, fidelity, numbers, paired, power
from alzgan.metrics import reading
from alzgan.metrics.distances import at_infinity
from alzgan.metrics.record import FeatureMetric, Metric, told


def methods(
    metrics: Sequence[Metric], forms: Collection[str], pairs: bool, readers: bool = False
) -> dict[str, str]:
    """The texts of the page by their headings.

    Args:
        metrics: the metrics that were computed.
        forms: the forms of the candidates' samples, see `alzgan.evaluation.fidelity.FORMS`; none if
            nothing was compared.
        pairs: whether candidates were compared with each other.
        readers: whether there is a reading study.
    """
    of_features = [metric for metric in metrics if isinstance(metric, FeatureMetric)]
    stages = {metric.stage for metric in metrics}
    found = {}
    if forms:
        found = {"unseen people": fidelity.methods(of_features, forms), "limits": numbers.methods(metrics)}
    if any(metric.decides for metric in of_features):
        found["power"] = power.METHOD
    words: dict[str, list[str]] = {}
    for metric in metrics:
        words.setdefault(metric.method, []).append(metric.words)
    found |= {", ".join(names): text for text, names in words.items()}
    if any(metric.by_n for metric in of_features):
        found["at infinite N"] = told(at_infinity)
    if "copies" in stages:
        found["copies"] = copies.METHOD
    if readers:
        found["reading study"] = told(reading)
    if pairs:
        found["two candidates"] = paired.METHOD
    return {name: text.rstrip(".") for name, text in found.items()}
