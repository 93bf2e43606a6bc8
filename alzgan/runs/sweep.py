"""A sweep of runs: one that fails does not end the others, and all are in a table, best first."""

import contextlib
import functools
import itertools
import logging
import math
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, read_write

from alzgan.errors import UserError, user_error
from alzgan.files import read_json, reporting_disk_errors, write_json, write_table
from alzgan.runs.config import effective
from alzgan.runs.resume import Previous
from alzgan.text import aligned

JOB = "job.json"  # of each job that the latest start of a sweep has run
FAILURE = "failed.json"

log = logging.getLogger(__name__)


def outliving_failures(task: Callable[[DictConfig], float]) -> Callable[[DictConfig], float]:
    """Let the failure of a sweep's job be told and recorded in its folder, and the sweep go on.

    Its objective is then inf, and `SweepTable` ends the sweep with exit code 1. What is no `Exception`, a
    signal say, still ends the sweep, and outside of a sweep nothing changes.
    """

    @functools.wraps(task)
    def guarded(settings: DictConfig) -> float:
        if HydraConfig.get().mode != RunMode.MULTIRUN:
            return task(settings)
        begin_job(job_folder(), list(HydraConfig.get().overrides.task))
        try:
            return task(settings)
        except Exception as error:
            record_failure(error)
            return math.inf

    return guarded


def begin_job(folder: Path, overrides: Sequence[str]) -> None:
    """Record the job for the table, and forget that an earlier start of it failed.

    Raises:
        UserError: the folder is another sweep's.
    """
    check_own(folder, overrides)
    with reporting_disk_errors(folder, "start the sweep again"):
        write_json(folder / JOB, {"overrides": overrides})
    (folder / FAILURE).unlink(missing_ok=True)


def check_job(config: DictConfig) -> None:
    """Check what a sweep's job may not have."""
    if config.ckpt_path is not None:
        raise UserError("ckpt_path continues one run: leave out -m (--multirun)")
    if str(config.trainer.devices) != "1" or config.trainer.get("num_nodes", 1) > 1:
        # Each rank would start a sweep of its own.
        raise UserError(
            f"trainer.devices={config.trainer.devices}: the jobs of a sweep have one device each; set it to 1"
        )


def finished_job(folder: Path) -> float | None:
    """The objective of a job that an earlier start of the same sweep has finished; None if it has not."""
    metrics = read_json(folder / "metrics.json")
    return None if metrics is None else objective_of(metrics)


def finish_job(folder: Path, previous: Previous, line: str) -> float:
    """Log the line, and return the objective of a finished run.

    A kill may have come between the last checkpoint, which has the outcome, and `metrics.json`.
    """
    from alzgan.upstream.lightning import quiet  # loads Lightning

    with quiet():
        log.info(line)
    outcome = previous.checkpoint["alzgan"].get("outcome", {})  # which old checkpoints lack
    if outcome and not (folder / "metrics.json").is_file():
        write_json(folder / "metrics.json", outcome)
    return objective_of(outcome)


def objective_of(metrics: Mapping[str, Any]) -> float:
    """A run's best value, or its last where no checkpoint remembers the best; inf if none is a number."""
    value = float(metrics.get("best", metrics.get("final", math.inf)))
    return math.inf if math.isnan(value) else value  # which cannot be sorted, and ends Optuna's study


def check_own(folder: Path, overrides: Sequence[str]) -> None:
    """Check that a job's folder is not another sweep's."""
    before = (read_json(folder / "run.json") or {}).get("overrides")
    if before is not None and sorted(effective(before)) != sorted(effective(overrides)):
        raise UserError(f"{folder} is a job of another sweep ({' '.join(before)}): choose another run_dir")


def grid_of(overrides: Sequence[str]) -> list[list[str]]:
    """The overrides of each job of a grid; none where one is an interval, which has no grid."""
    loader = GlobalHydra.instance().config_loader()  # which knows what `model=glob(*)` stands for
    parsed, choices = OverridesParser.create(loader).parse_overrides(list(overrides)), {}
    if any(each.is_interval_sweep() for each in parsed):
        return []
    for each in parsed:
        swept = each.is_sweep_override()
        values = each.sweep_string_iterator() if swept else [each.get_value_element_as_str()]
        key = each.get_key_element()
        choices[key] = [f"{key}={value}" for value in values]  # of two of the same the last counts
    return [list(job) for job in itertools.product(*choices.values())]


def job_folder() -> Path:
    """Where the present job writes."""
    return Path(HydraConfig.get().runtime.output_dir)


def record_failure(error: Exception) -> None:
    """Print the reason, a bug's traceback first, and leave it in the job's folder."""
    told, folder, overrides = user_error(error), job_folder(), list(HydraConfig.get().overrides.task)
    if told is None:
        traceback.print_exception(error)
    reason = str(told) if told is not None else f"{type(error).__name__}: {error}"
    print(f"alzgan: {folder.name} ({' '.join(overrides)}): {reason}", file=sys.stderr)
    details = "" if told is not None else "".join(traceback.format_exception(error))
    with contextlib.suppress(OSError):  # a full disk, say: without metrics.json the job has failed anyway
        write_json(folder / FAILURE, {"overrides": overrides, "reason": reason, "traceback": details})


class SweepTable(Callback):
    """After a multirun, print its jobs sorted by their objective and write them to `sweep.csv`.

    It reads the folders of the jobs that ran, so it works with every launcher and sweeper; jobs that failed
    come last.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse another sweep's folder; forget which jobs an earlier start of this sweep has run."""
        folder = Path(config.hydra.sweep.dir)
        try:
            for number, overrides in enumerate(known_jobs(config)):
                check_own(folder / f"job_{number}", overrides)
        except UserError as error:  # Hydra makes a warning of it
            sys.exit(f"alzgan: {error}")
        for record in folder.glob(f"job_*/{JOB}"):
            record.unlink()
        seed_sampler(config)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Collect, sort, show and write."""
        folder = Path(config.hydra.sweep.dir)
        jobs = sorted((record.parent for record in folder.glob(f"job_*/{JOB}")), key=job_number)
        rows = sorted(map(job_row, jobs), key=by_objective)
        columns = ["job", "objective", "metric", *varied(rows)]
        write_table(folder / "sweep.csv", columns, table(rows, columns)[1:])
        shown = table([row | {"objective": short(row["objective"])} for row in rows], columns)
        print("\n".join(["", *aligned(shown), f"Also in {folder / 'sweep.csv'}"]), flush=True)
        if failed := [row["job"] for row in rows if row["objective"] == "failed"]:
            sys.exit(f"alzgan: {len(failed)} of {len(rows)} jobs failed: {', '.join(failed)}")


def known_jobs(config: DictConfig) -> list[list[str]]:
    """The overrides of the jobs of a grid, which are known before they run; nothing for another sweeper."""
    sweeper = config.hydra.sweeper
    if not sweeper._target_.endswith(".BasicSweeper"):
        return []
    of_the_config = [f"{name}={value}" for name, value in (sweeper.params or {}).items()]
    return grid_of([*of_the_config, *config.hydra.overrides.task])


def seed_sampler(config: DictConfig) -> None:
    """Let Optuna propose the same jobs again when the sweep is started again."""
    sampler = OmegaConf.select(config, "hydra.sweeper.sampler")
    if sampler is not None and sampler.get("seed", 0) is None:
        with read_write(config.hydra):
            sampler.seed = 0


def job_number(folder: Path) -> int:
    """Of a job's folder."""
    return int(folder.name.removeprefix("job_"))


def job_row(folder: Path) -> dict[str, str]:
    """One job: its folder's name, its objective, what it measured by, and its overrides."""
    failure, metrics = read_json(folder / FAILURE) or {}, read_json(folder / "metrics.json") or {}
    failed = bool(failure) or not metrics
    overrides = (override.partition("=") for override in read_json(folder / JOB)["overrides"])
    return {
        **{name: value for name, _, value in overrides},
        "job": folder.name,
        "objective": "failed" if failed else str(objective_of(metrics)),
        "metric": "" if failed else str(metrics.get("objective", "")),
    }


def by_objective(row: dict[str, str]) -> tuple[bool, float]:
    """The lower, the better; what failed comes after what measured nothing."""
    failed = row["objective"] == "failed"
    return failed, math.inf if failed else float(row["objective"])


def varied(rows: Sequence[dict[str, str]]) -> list[str]:
    """The overrides that jobs differ in, in the order of the command line."""
    overrides = [
        {name: value for name, value in row.items() if name not in ("job", "objective", "metric")}
        for row in rows
    ]
    every = dict.fromkeys(name for names in overrides for name in names)
    return [name for name in every if len({names.get(name) for names in overrides}) > 1]


def short(objective: str) -> str:
    """An objective for the eye; the CSV has all its digits."""
    return objective if objective == "failed" else f"{float(objective):.6g}"


def table(rows: Sequence[dict[str, str]], columns: Sequence[str]) -> list[list[str]]:
    """The header and the rows."""
    return [list(columns), *([row.get(column, "") for column in columns] for row in rows)]
