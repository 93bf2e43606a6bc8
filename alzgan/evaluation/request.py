"""What an evaluation is asked for: its settings, checked and read in one place."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from alzgan.errors import UserError, at_least, one_of, seed_of_streams
from alzgan.evaluation import copies
from alzgan.evaluation.answers import Answers, read_answers
from alzgan.evaluation.fidelity import METRICS
from alzgan.evaluation.own import is_own, own_metric
from alzgan.evaluation.reference import JUDGES
from alzgan.files import cache_folder
from alzgan.metrics.anatomy import WASSERSTEIN
from alzgan.metrics.reading import MODES, SCALE
from alzgan.metrics.record import FeatureMetric
from alzgan.runs.load import chosen_device
from alzgan.runs.signatures import check_types

LEAST = {"n": 2, "preset.size": 2, "preset.pool": 4, "preset.unseen": 2, "preset.draws": 2, "reading.n": 4}


@dataclass(frozen=True)
class Request:
    """A checked `conf/evaluate.yaml`.

    Attributes:
        runs: paths of runs, sweeps and checkpoints; empty if `folders` is not.
        folders: paths of folders of samples.
        stages: the stages to run.
        metrics: the metrics of the stage fidelity.
        features: the names of feature spaces; empty: all at hand.
        answers: of the readers of the page of the stage reading.
        cache: the folder of the cache.
        device: the device of all networks.
        settings: all settings.
        overrides: the user's changes to them.
    """

    runs: list[str]
    folders: list[str]
    stages: list[str]
    metrics: list[FeatureMetric]
    features: list[str]
    answers: list[Answers]
    cache: Path
    device: torch.device
    settings: DictConfig
    overrides: Sequence[str]


def request_of(settings: DictConfig, overrides: Sequence[str], stages: Sequence[str]) -> Request:
    """The request that a composed `conf/evaluate.yaml` describes, where there are these stages.

    Raises:
        UserError: a setting has the wrong type, is out of its range, or contradicts another one.
    """
    check_types(settings, dict.fromkeys(("seed", *LEAST), int))
    check_types(settings, {"reading.margin": float, "reading.control": bool})
    names, runs, folders, features, answers = (
        listed(settings[name]) for name in ("metrics", "ckpt_path", "samples", "features", "answers")
    )
    one_of(("average", "raw"), weights=settings.weights)
    one_of(JUDGES, held_out=settings.held_out)
    one_of(MODES, **{"reading.mode": settings.reading.mode})
    if not 0 < settings.reading.margin < 0.5:
        raise UserError(f"reading.margin={settings.reading.margin} must be above 0 and below 0.5")
    for name in names:
        if not is_own(name):
            one_of(tuple(stages), metrics=name)
    for name, least in LEAST.items():
        at_least(least, **{name: OmegaConf.select(settings, name)})
    seed_of_streams(seed=settings.seed)
    if bool(runs) == bool(folders):
        raise UserError("give ckpt_path=RUN, or samples=FOLDER with data.root=DIR, the real images")
    chosen, metrics = chosen_metrics(names)
    if answers and "reading" not in chosen:
        raise UserError("answers are judged by the stage reading: give metrics=[reading]")
    return Request(
        runs,
        folders,
        chosen,
        metrics,
        features,
        read_answers(answers, SCALE[settings.reading.mode]),
        cache_folder(settings.data.cache_dir),
        chosen_device(settings.device),
        settings,
        overrides,
    )


def listed(value: Any) -> list[str]:
    """A setting's value as a list; a single value becomes a list of one, None an empty one."""
    if value is None:
        return []
    return [str(each) for each in (value if OmegaConf.is_list(value) else [value])]


def chosen_metrics(names: Sequence[str]) -> tuple[list[str], list[FeatureMetric]]:
    """The stages to run and the metrics of the stage fidelity.

    Args:
        names: stages, and dotted names of the user's metrics, each of which belongs to a stage.

    Raises:
        UserError: a dotted name is not that of a metric, or two metrics have the same name.
    """
    own = {name: own_metric(name) for name in names if is_own(name)}
    stages = list(dict.fromkeys(own[name].stage if name in own else name for name in names))
    counts = Counter(metric.name for metric in (*METRICS, *copies.METRICS, WASSERSTEIN, *own.values()))
    if twice := [name for name, count in counts.items() if count > 1]:
        raise UserError(f"metrics: {twice[0]} is the name of two metrics: rename yours")
    return stages, [*(metric for metric in METRICS if metric.stage in names), *own.values()]
