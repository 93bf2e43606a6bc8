"""What a sweep found: its jobs in a table, best first."""

import csv
import json
import math
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from alzgan.runtime.files import replacing


class SweepTable(Callback):
    """After a multirun, print its jobs sorted by their objective and write them to `sweep.csv`.

    It reads the jobs' folders, so it works with every launcher; jobs that measured nothing come last.
    """

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Collect, sort, show and write."""
        folder = Path(config.hydra.sweep.dir)
        rows = sorted((job_row(job) for job in folder.glob("job_*")), key=lambda row: float(row["objective"]))
        table = [list(rows[0]), *([row.get(column, "") for column in rows[0]] for row in rows)]
        print("\n".join(["", *aligned(table), f"Also in {folder / 'sweep.csv'}"]))
        with replacing(folder / "sweep.csv") as part, part.open("w", newline="") as file:
            csv.writer(file).writerows(table)


def job_row(folder: Path) -> dict[str, str]:
    """One job: its folder's name, its objective, what it measured by, and its overrides."""
    overrides = read_json(folder / "run.json").get("overrides", [])
    metrics = read_json(folder / "metrics.json")
    return {
        "job": folder.name,
        "objective": str(metrics.get("best", math.inf)),
        "metric": str(metrics.get("objective", "")),
        **dict(override.split("=", 1) for override in overrides),
    }


def read_json(path: Path) -> dict[str, Any]:
    """The file's content; nothing where a job did not get so far."""
    return json.loads(path.read_text()) if path.is_file() else {}


def aligned(table: list[list[str]]) -> list[str]:
    """The rows as lines with columns of equal width."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table]
