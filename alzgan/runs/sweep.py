"""Sweeps of runs: a failed run does not end the others, and a table lists all runs, the best one first."""

import contextlib
import functools
import logging
import math
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, read_write

from alzgan.errors import UserError, user_error
from alzgan.files import read_json, reporting_disk_errors, write_json, write_table
from alzgan.runs.config import effective
from alzgan.runs.resume import Previous
from alzgan.text import aligned

JOB = "job.json"  # in the folders of the jobs that the latest start of the sweep has run
FAILURE = "failed.json"

log = logging.getLogger(__name__)


def outliving_failures(task: Callable[[DictConfig], float]) -> Callable[[DictConfig], float]:
    """Wrap a task so that a sweep continues after a failed job, which is recorded in the job's folder.

    The objective of a failed job is inf, and `SweepTable` ends the sweep with exit code 1. An interrupt and
    other exceptions outside `Exception` still end the sweep. Without a sweep, the task is not changed.
    """

    @functools.wraps(task)
    def guarded(settings: DictConfig) -> float:
        hydra = HydraConfig.get()
        if hydra.mode != RunMode.MULTIRUN:
            return task(settings)
        folder, overrides = Path(hydra.runtime.output_dir), list(hydra.overrides.task)
        check_own(folder, overrides)
        with reporting_disk_errors(folder, "start the sweep again"):
            write_json(folder / JOB, {"overrides": overrides})
        (folder / FAILURE).unlink(missing_ok=True)  # of an earlier start
        try:
            return task(settings)
        except Exception as error:
            record_failure(error, folder, overrides)
            return math.inf

    return guarded


def check_job(config: DictConfig) -> None:
    """Raise UserError for settings that a job of a sweep may not have."""
    if config.ckpt_path is not None:
        raise UserError("ckpt_path continues one run: leave out -m (--multirun)")
    if str(config.trainer.devices) != "1" or config.trainer.get("num_nodes", 1) > 1:
        # Each rank would start a sweep of its own.
        raise UserError(
            f"trainer.devices={config.trainer.devices}: the jobs of a sweep have one device each; set it to 1"
        )


def finished_job(folder: Path) -> float | None:
    """The objective of a job that an earlier start of the sweep has finished; None if there is none."""
    metrics = read_json(folder / "metrics.json")
    return None if metrics is None else objective_of(metrics)


def finish_job(folder: Path, previous: Previous, line: str) -> float:
    """Log the line and return the objective of a finished run.

    If the run was killed after its last checkpoint, which has the outcome, `metrics.json` is still written.
    """
    from alzgan.upstream.lightning import quiet  # loads Lightning

    with quiet():
        log.info(line)
    outcome = previous.checkpoint["alzgan"].get("outcome", {})  # old checkpoints have none
    if outcome and not (folder / "metrics.json").is_file():
        write_json(folder / "metrics.json", outcome)
    return objective_of(outcome)


def objective_of(metrics: Mapping[str, Any]) -> float:
    """A run's best value, or its last if no checkpoint has the best; inf if there is no number."""
    value = float(metrics.get("best", metrics.get("final", math.inf)))
    return math.inf if math.isnan(value) else value  # NaN cannot be sorted, and ends Optuna's study


def check_own(folder: Path, overrides: Sequence[str]) -> None:
    """Raise UserError if a job's folder belongs to another sweep."""
    before = (read_json(folder / "run.json") or {}).get("overrides")
    if before is not None and sorted(effective(before)) != sorted(effective(overrides)):
        raise UserError(f"{folder} is a job of another sweep ({' '.join(before)}): choose another run_dir")


def record_failure(error: Exception, folder: Path, overrides: Sequence[str]) -> None:
    """Print the reason, after the traceback of a bug, and write it to the job's folder."""
    told = user_error(error)
    if told is None:
        traceback.print_exception(error)
    reason = str(told) if told is not None else f"{type(error).__name__}: {error}"
    print(f"alzgan: {folder.name} ({' '.join(overrides)}): {reason}", file=sys.stderr)
    details = "" if told is not None else "".join(traceback.format_exception(error))
    with contextlib.suppress(OSError):  # on a full disk; without metrics.json the job counts as failed anyway
        write_json(folder / FAILURE, {"overrides": overrides, "reason": reason, "traceback": details})


class SweepTable(Callback):
    """After a multirun, print its jobs in the order of their objectives and write them to `sweep.csv`.

    Failed jobs come last. It reads the folders of the jobs, so it works with every launcher and sweeper.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Remove the job records of earlier starts."""
        for record in Path(config.hydra.sweep.dir).glob(f"job_*/{JOB}"):
            record.unlink()
        # Seed Optuna, so that a sweep that is started again proposes the same jobs.
        sampler = OmegaConf.select(config, "hydra.sweeper.sampler")
        if sampler is not None and sampler.get("seed", 0) is None:
            with read_write(config.hydra):
                sampler.seed = 0

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print and write the table; exit with code 1 if a job failed."""
        folder = Path(config.hydra.sweep.dir)
        jobs = [record.parent for record in folder.glob(f"job_*/{JOB}")]
        jobs.sort(key=lambda job: int(job.name.removeprefix("job_")))
        rows = [job_row(job) for job in jobs]
        rows.sort(key=lambda row: (row["objective"] is None, row["objective"] or 0.0))  # failed ones last
        columns = ["job", "objective", "metric", *varied(rows)]
        write_table(folder / "sweep.csv", columns, table(rows, columns, ""))
        shown = aligned([columns, *table(rows, columns, ".6g")])
        print("\n".join(["", *shown, f"Also in {folder / 'sweep.csv'}"]), flush=True)
        if failed := [row["job"] for row in rows if row["objective"] is None]:
            sys.exit(f"alzgan: {len(failed)} of {len(rows)} jobs failed: {', '.join(failed)}")


def job_row(folder: Path) -> dict[str, Any]:
    """One job: its folder's name, objective (None if it failed), metric and overrides."""
    failed, metrics = (folder / FAILURE).is_file(), read_json(folder / "metrics.json")
    overrides = (override.partition("=") for override in read_json(folder / JOB)["overrides"])
    return {
        **{name: value for name, _, value in overrides},
        "job": folder.name,
        "objective": None if failed or not metrics else objective_of(metrics),
        "metric": "" if failed or not metrics else str(metrics.get("objective", "")),
    }


def varied(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The overrides in which jobs differ, in the order of the command line."""
    overrides = [
        {name: value for name, value in row.items() if name not in ("job", "objective", "metric")}
        for row in rows
    ]
    every = dict.fromkeys(name for names in overrides for name in names)
    return [name for name in every if len({names.get(name) for names in overrides}) > 1]


def table(rows: Sequence[dict[str, Any]], columns: Sequence[str], form: str) -> list[list[str]]:
    """The cells of each row, with objectives in this format."""
    lines = []
    for row in rows:
        objective = "failed" if row["objective"] is None else format(row["objective"], form)
        cells = {**row, "objective": objective}
        lines.append([cells.get(column, "") for column in columns])
    return lines
