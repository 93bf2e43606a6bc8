"""Runs an evaluation: judges the candidates one after the other and writes the results."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch.utils.tensorboard import SummaryWriter

import alzgan
from alzgan.device.overhead import tune_process
from alzgan.errors import UserError
from alzgan.evaluation.candidates import Judged, judged, runs_to_judge
from alzgan.evaluation.methods import methods
from alzgan.evaluation.numbers import CHANCE
from alzgan.evaluation.paired import compared
from alzgan.evaluation.reference import ENOUGH_PEOPLE, Reference
from alzgan.evaluation.request import request_of
from alzgan.evaluation.seeds import over_seeds
from alzgan.evaluation.spaces import Space, at_hand, chosen_spaces
from alzgan.evaluation.stages import STAGES, Context, Outcome, assess, compares
from alzgan.files import write_json
from alzgan.metrics.record import HELD_OUT
from alzgan.report.page import write_report
from alzgan.runs.config import as_mapping
from alzgan.runs.provenance import provenance
from alzgan.text import counted, printable


def evaluate(settings: DictConfig, overrides: Sequence[str], run_dir: Path) -> dict[str, Any]:
    """Evaluate all candidates; write `evaluation.json`, the pages and TensorBoard's events.

    Args:
        settings: a composed `conf/evaluate.yaml`.
        overrides: the user's changes to it.
        run_dir: folder of the results.

    Returns:
        The content of `evaluation.json`.

    Raises:
        UserError: a setting is wrong, a file is missing, or there are too few people or images.
    """
    request = request_of(settings, overrides, tuple(STAGES))
    tune_process()
    runs = runs_to_judge(request)
    if "reading" in request.stages and len(runs or request.folders) > 1:
        raise UserError("metrics=[reading] shows the samples of one generator: give one run or folder")
    trained = set[str]().union(*(run.trained_features for run in runs))
    context = Context(
        request.metrics,
        chosen_spaces(request.features or at_hand(trained), request.cache, request.device)
        if compares(request.stages)
        else [],
        settings.preset,
        settings.seed,
        request.cache,
        request.device,
        settings.reading,
        run_dir,
        request.answers,
    )
    outcomes: list[Outcome] = []
    for each in judged(request, runs):
        candidate = each.candidate
        print(f"{printable(candidate.name)}: {len(candidate.images):,} samples", flush=True)
        outcomes.append(assess(len(outcomes), each, request.stages, context))
        # Written after each candidate, so that a later failure loses nothing.
        found = record(outcomes, settings, context.spaces, run_dir)
        write(found, outcomes, run_dir)
    return found


def record(
    outcomes: Sequence[Outcome], settings: DictConfig, judged_in: Sequence[Space], run_dir: Path
) -> dict[str, Any]:
    """The content of `evaluation.json`."""
    made, candidates = provenance(), [outcome.plain() for outcome in outcomes]
    shown = [str(name) for name in settings if name not in ("data", "run_dir")]
    # Resolved once more, run_dir would be another folder.
    chosen = as_mapping(OmegaConf.masked_copy(settings, shown))
    metrics = list(dict.fromkeys(number.metric for outcome in outcomes for number in outcome.numbers))
    pairs = compared([outcome.contributions for outcome in outcomes], settings.seed)
    forms = {outcome.compared.form for outcome in outcomes if outcome.compared}
    return {
        "alzgan": alzgan.__version__,
        "command": made["command"],
        # A checkpoint can name other data than the settings do: "data" below has the real ones.
        "settings": {**chosen, "run_dir": str(run_dir)},
        "seed": settings.seed,
        "provenance": made,
        "data": data_record(outcomes[0].judged) | {"judges": judges(outcomes[0].judged.reference, settings)},
        "same_data": len({outcome.judged.data.fingerprint for outcome in outcomes}) == 1,
        "spaces": [
            {
                "name": space.name,
                "extractor": space.extractor,
                "features": space.extractors[0].num_features,
                "method": space.extractors[0].method,
            }
            for space in judged_in
        ],
        "metrics": {metric.name: metric.plain() for metric in metrics},
        "one_in": round(1 / CHANCE),
        "methods": methods(metrics, forms, bool(pairs), any(outcome.study for outcome in outcomes)),
        "candidates": candidates,
        "over_seeds": over_seeds(candidates),
        "pairs": pairs,
    }


def data_record(judged: Judged) -> dict[str, Any]:
    """The entry in `evaluation.json` on the real images."""
    _, data, reference = judged
    sides = {"train": reference.train, "held_out": reference.held_out}
    said = data.describe()
    return {
        "people_known": said["subject_rule"] != "none",
        **{key: said[key] for key in ("root", "fingerprint", "subject_rule", "classes", "notes")},
        "image_size": data.preprocessing.image_size,
        "channels": data.channels,
        **{side: {"images": len(images), "people": images.person_count()} for side, images in sides.items()},
    }


def judges(reference: Reference, settings: DictConfig) -> str:
    """A sentence on the held-out people: from which parts, and why not from test alone."""
    who = (
        f"{counted(reference.held_out.person_count(), 'person', 'people')} of {' and '.join(reference.parts)}"
    )
    if len(reference.parts) == 1:
        return f"{who}, who have no part in the choice of runs"
    why = f"test alone has fewer than {ENOUGH_PEOPLE}" if settings.held_out == "auto" else "held_out=both"
    return f"{who} ({why}); the choice of the run may depend on validation people"


def write(found: dict[str, Any], outcomes: Sequence[Outcome], run_dir: Path) -> None:
    """Write the results on all candidates so far.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        write_json(run_dir / "evaluation.json", found)
        write_report(run_dir / "report.html", found, [each for one in outcomes for each in one.pictures])
        if study := outcomes[-1].study:
            study.write(run_dir)
        log_to_tensorboard(outcomes[-1], run_dir)
    except OSError as error:
        raise UserError(
            f"cannot write to run_dir={printable(run_dir)}: {error.strerror}; choose another"
        ) from None


def log_to_tensorboard(outcome: Outcome, run_dir: Path) -> None:
    """Log pictures and the numbers of all classes, with those of unseen people, at the checkpoint's step."""
    step = outcome.judged.candidate.info.get("step") or 0
    with SummaryWriter(str(run_dir / f"candidate_{outcome.index}")) as writer:
        for number in outcome.numbers:
            if number.label is None and number.against == HELD_OUT:
                space = f"{number.space}_trained" if number.trained else number.space
                tag = f"{number.metric.stage}/{number.metric.name}/{space}"
                writer.add_scalar(tag, number.value, step)
                writer.add_scalar(f"{tag}/unseen_people", number.unseen.mean, step)
        for picture in outcome.pictures:
            writer.add_image(f"pictures/{picture.kind}", picture.image, step, dataformats="HWC")
