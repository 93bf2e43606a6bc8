import csv
import json
from pathlib import Path

import pytest
from conftest import SMALL, alzgan

SWEEP = ("seed=1,2", "model.generator_optimizer.lr=1e-4,2e-4", "trainer.max_steps=2")


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_sweep_runs_every_job_and_ends_with_a_table_best_first(slices: Path, tmp_path: Path):
    result = alzgan("-m", "data=mri", f"data.root={slices}", f"run_dir={tmp_path}", *SMALL, *SWEEP)
    assert result.returncode == 0, result.stderr
    rows = rows_of(tmp_path)
    objectives = [float(row["objective"]) for row in rows]
    assert objectives == sorted(objectives)
    jobs = {(row["seed"], row["model.generator_optimizer.lr"]) for row in rows}
    assert jobs == {(seed, lr) for seed in ("1", "2") for lr in ("0.0001", "0.0002")}
    for row in rows:
        metrics = json.loads((tmp_path / row["job"] / "metrics.json").read_text())
        assert float(row["objective"]) == metrics["best"]
        assert (tmp_path / row["job"] / "checkpoints/last.ckpt").is_file()
        assert row["metric"] == "quality/frechet_random_conv"
    table = result.stdout[result.stdout.index("job ") :]
    assert [line.split()[0] for line in table.splitlines()[:5]] == ["job", *(row["job"] for row in rows)]


@pytest.mark.slow
def test_joblib_runs_the_jobs_side_by_side(slices: Path, tmp_path: Path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="pip install 'alzgan[joblib]'")
    root, run_dir = f"data.root={slices}", f"run_dir={tmp_path}"
    result = alzgan("-m", "launcher=joblib", "data=mri", root, run_dir, *SMALL, *SWEEP)
    assert result.returncode == 0, result.stderr
    assert len(rows_of(tmp_path)) == 4
