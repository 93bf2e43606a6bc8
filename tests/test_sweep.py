import csv
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SMALL, alzgan
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from alzgan.errors import UserError
from alzgan.runs.sweep import SweepTable, check_own, objective_of, outliving_failures

SWEEP = ("seed=1,2", "model.generator_optimizer.lr=1e-4,2e-4", "trainer.max_steps=2")


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
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
    lines = result.stdout[result.stdout.index("job ") :].splitlines()
    varied = ["seed", "model.generator_optimizer.lr"]  # not trainer.max_steps, which is the same for all
    assert lines[0].split() == list(rows[0]) == ["job", "objective", "metric", *varied]
    for line, row in zip(lines[1:5], rows, strict=True):
        assert line.split()[:2] == [row["job"], f"{float(row['objective']):.6g}"]
    started_again_runs_what_is_missing(slices, tmp_path, rows)


def started_again_runs_what_is_missing(slices: Path, run_dir: Path, rows: list[dict[str, str]]) -> None:
    last = {job: run_dir / f"job_{job}/checkpoints/last.ckpt" for job in range(4)}
    before = {job: path.stat().st_mtime_ns for job, path in last.items()}
    shutil.rmtree(run_dir / "job_1")
    (run_dir / "job_7").mkdir()  # of whoever
    # The flag may stand behind overrides, too.
    result = alzgan("data=mri", f"data.root={slices}", "-m", f"run_dir={run_dir}", *SMALL, *SWEEP)
    assert result.returncode == 0, result.stderr
    assert {job for job, path in last.items() if path.stat().st_mtime_ns != before[job]} == {1}
    assert rows_of(run_dir) == rows
    result = alzgan("-m", "data=mri", f"data.root={slices}", f"run_dir={run_dir}", *SMALL, "seed=8,9")
    assert result.returncode == 1
    assert "job_0 is a job of another sweep (data=mri" in result.stderr
    assert rows_of(run_dir) == rows


@pytest.mark.slow
def test_a_sweep_of_what_optuna_proposes_tells_of_the_jobs_that_ran(slices: Path, tmp_path: Path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="pip install -e '.[optuna]'")
    space = (
        "model.generator_optimizer.lr=interval(1e-5,1e-3)",
        "seed=range(1,3)",
        "data.fit=choice(crop,nope)",
    )
    where = ("data=mri", f"data.root={slices}", f"run_dir={tmp_path}", "trainer.max_steps=1")
    sweep = ("-m", "hydra/sweeper=optuna", *where, *SMALL, *space)
    result = alzgan(*sweep, "hydra.sweeper.n_trials=4")
    assert result.returncode == 1, result.stderr
    rows = rows_of(tmp_path)
    assert {row["job"] for row in rows} == {f"job_{job}" for job in range(4)}
    assert len({row["model.generator_optimizer.lr"] for row in rows}) == 4
    assert all(1e-5 <= float(row["model.generator_optimizer.lr"]) <= 1e-3 for row in rows)
    assert {row["seed"] for row in rows} <= {"1", "2", "3"}
    failed = [row["job"] for row in rows if row["data.fit"] == "nope"]
    assert 0 < len(failed) < 4
    assert [row["objective"] for row in rows[-len(failed) :]] == ["failed"] * len(failed)
    told = f"alzgan: {len(failed)} of 4 jobs failed: {', '.join(failed)}"
    assert result.stderr.splitlines()[-1] == told
    best = OmegaConf.load(tmp_path / "optimization_results.yaml")
    assert best.best_value == min(float(row["objective"]) for row in rows[: -len(failed)])
    started_again_it_proposes_the_same_and_more(sweep, tmp_path, rows)


def started_again_it_proposes_the_same_and_more(
    sweep: tuple[str, ...], run_dir: Path, rows: list[dict[str, str]]
) -> None:
    trained = {path: path.stat().st_mtime_ns for path in run_dir.glob("job_*/checkpoints/last.ckpt")}
    alzgan(*sweep, "hydra.sweeper.n_trials=5")
    again = rows_of(run_dir)
    assert [row for row in again if row["job"] != "job_4"] == rows
    assert len(again) == 5
    assert {path: path.stat().st_mtime_ns for path in trained} == trained
    result = alzgan(*sweep, "model.latent_dim=9")
    assert result.returncode == 1
    assert "job_0 is a job of another sweep" in result.stderr
    assert rows_of(run_dir) == again


def test_an_interval_needs_another_sweeper(error_line: Callable, tmp_path: Path):
    line = error_line("-m", f"run_dir={tmp_path}", "model.generator_optimizer.lr=interval(1e-5,1e-3)")
    assert line.endswith("; an interval needs hydra/sweeper=optuna")


def sweep_config(folder: Path, *overrides: str, **sweeper: object) -> DictConfig:
    sweeper = {"_target_": "any.BasicSweeper", "params": None} | sweeper
    hydra = {"sweep": {"dir": str(folder)}, "sweeper": sweeper, "overrides": {"task": list(overrides)}}
    return OmegaConf.create({"hydra": hydra})


@pytest.mark.parametrize(("given", "seed"), [(None, 0), (3, 3)])
def test_a_sampler_has_a_seed_that_proposes_the_same_again(given: int | None, seed: int, tmp_path: Path):
    config = sweep_config(tmp_path, _target_="optuna", sampler={"seed": given})
    OmegaConf.set_readonly(config.hydra, True)
    SweepTable().on_multirun_start(config)
    assert config.hydra.sweeper.sampler.seed == seed


def test_a_job_leaves_the_folder_of_another_sweep_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    in_a_job(tmp_path / "job_0", monkeypatch)
    (tmp_path / "job_0/run.json").write_text(json.dumps({"overrides": ["seed=4"]}))
    with pytest.raises(UserError, match=r"job_0 is a job of another sweep \(seed=4\)"):
        outliving_failures(lambda settings: 2.5)(OmegaConf.create())
    assert [path.name for path in (tmp_path / "job_0").iterdir()] == ["run.json"]


@pytest.mark.parametrize("recorded", [["fit=pad", "seed=3"], ["seed=2", "seed=3", "fit=pad"]])
def test_of_two_values_of_one_setting_the_last_makes_the_job(tmp_path: Path, recorded: list[str]):
    (tmp_path / "run.json").write_text(json.dumps({"overrides": recorded}))
    check_own(tmp_path, ["seed=2", "fit=pad", "seed=3"])
    with pytest.raises(UserError, match="another sweep"):
        check_own(tmp_path, ["seed=3", "fit=pad", "seed=2"])


@pytest.mark.long
@pytest.mark.parametrize("launcher", ["joblib", "ray"])
def test_a_launcher_runs_the_jobs_side_by_side(launcher: str, slices: Path, tmp_path: Path):
    pytest.importorskip(f"hydra_plugins.hydra_{launcher}_launcher", reason=f"pip install -e '.[{launcher}]'")
    root, run_dir = f"data.root={slices}", f"run_dir={tmp_path}"
    result = alzgan("-m", f"launcher={launcher}", "data=mri", root, run_dir, *SMALL, *SWEEP, fresh=True)
    assert result.returncode == 0, result.stderr
    assert len(rows_of(tmp_path)) == 4


SIDE_BY_SIDE = [pytest.param(name, marks=pytest.mark.long) for name in ("joblib", "ray")]


@pytest.mark.parametrize("launcher", ["basic", *SIDE_BY_SIDE])
def test_a_failing_job_does_not_end_the_sweep(launcher: str, slices: Path, tmp_path: Path):
    if launcher != "basic":
        pytest.importorskip(
            f"hydra_plugins.hydra_{launcher}_launcher", reason=f"pip install -e '.[{launcher}]'"
        )
    where = (f"data.root={slices}", f"run_dir={tmp_path}", f"hydra/launcher={launcher}")
    sweep = ("trainer.max_steps=1", "data.channels=1,2,3")
    result = alzgan("-m", "data=mri", *where, *SMALL, *sweep, fresh=launcher != "basic")
    assert result.returncode == 1, result.stderr
    told = [line for line in result.stderr.splitlines() if line.startswith("alzgan: ")]
    assert told[-1] == "alzgan: 1 of 3 jobs failed: job_1"
    if launcher != "ray":  # which may end before it has shown all that its processes said
        assert len(told) == 2, result.stderr
        assert told[0].startswith("alzgan: job_1 (data=mri")
        assert " data.channels=2 " in told[0].partition("): ")[0]
        assert "): data.channels=2 must be 1 (grey) or 3 (RGB)" in told[0]
    failure = json.loads((tmp_path / "job_1/failed.json").read_text())
    assert failure["reason"].startswith("data.channels=2 must be 1 (grey) or 3 (RGB)")
    assert "Traceback" not in result.stderr
    rows = rows_of(tmp_path)
    assert {(row["job"], row["data.channels"]) for row in rows} == {
        (f"job_{n}", str(n + 1)) for n in range(3)
    }
    assert [row["job"] for row in rows][2] == "job_1"
    assert rows[2]["objective"] == "failed"
    assert max(float(row["objective"]) for row in rows[:2]) < math.inf


def test_a_job_that_was_killed_after_its_last_checkpoint_is_finished_by_it(slices: Path, tmp_path: Path):
    sweep = ("-m", "data=mri", f"data.root={slices}", f"run_dir={tmp_path}", *SMALL, "trainer.max_steps=2")
    assert alzgan(*sweep, "seed=1").returncode == 0
    outcome = (tmp_path / "job_0/metrics.json").read_text()
    (tmp_path / "job_0/metrics.json").unlink()
    before = (tmp_path / "job_0/checkpoints/last.ckpt").stat().st_mtime_ns
    result = alzgan(*sweep, "seed=1")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "job_0/metrics.json").read_text() == outcome
    assert (tmp_path / "job_0/checkpoints/last.ckpt").stat().st_mtime_ns == before


def test_a_job_without_a_checkpoint_callback_has_its_last_value():
    assert objective_of({"steps": 3, "final": 2.5}) == 2.5
    assert objective_of({"steps": 3, "final": 2.5, "best": 2.0}) == 2.0
    assert objective_of({"steps": 3}) == math.inf
    assert objective_of({"steps": 3, "best": math.nan}) == math.inf


def in_a_job(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(exist_ok=True)
    hydra = {
        "mode": RunMode.MULTIRUN,
        "runtime": {"output_dir": str(folder)},
        "overrides": {"task": ["seed=3"]},
    }
    monkeypatch.setattr(HydraConfig, "get", lambda: OmegaConf.create(hydra))


def test_a_bug_in_a_job_is_shown_with_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    in_a_job(tmp_path / "job_0", monkeypatch)

    def broken(settings: object) -> float:
        raise ZeroDivisionError("of a bug")

    assert outliving_failures(broken)(OmegaConf.create()) == math.inf
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "alzgan: job_0 (seed=3): ZeroDivisionError: of a bug"
    # The next sweep in the same folder forgets it.
    assert outliving_failures(lambda settings: 2.5)(OmegaConf.create()) == 2.5
    assert [path.name for path in (tmp_path / "job_0").iterdir()] == ["job.json"]


def test_a_signal_ends_the_whole_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    in_a_job(tmp_path / "job_0", monkeypatch)
    for stop in (SystemExit(143), KeyboardInterrupt()):

        def stopped(settings: object, stop: BaseException = stop) -> float:
            raise stop

        with pytest.raises(type(stop)):
            outliving_failures(stopped)(OmegaConf.create())


def test_the_table_has_what_failed_last_and_all_digits_in_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def fail(settings: object) -> float:
        raise UserError("no")

    in_a_job(tmp_path / "job_0", monkeypatch)
    outliving_failures(fail)(OmegaConf.create())
    for number, best in ((1, None), (2, 12.3456789), (10, 1.25), (4, 0.5)):
        job = tmp_path / f"job_{number}"
        job.mkdir()
        if number != 4:  # which another sweep has run
            overrides = [f"seed={number}", "data=mri", "~callbacks.samples"]
            (job / "job.json").write_text(json.dumps({"overrides": overrides}))
        if number != 1:  # which was killed before it left anything
            (job / "metrics.json").write_text(json.dumps({"objective": "fid", "best": best}))
    with pytest.raises(SystemExit, match="alzgan: 2 of 4 jobs failed: job_0, job_1"):
        SweepTable().on_multirun_end(sweep_config(tmp_path))
    rows = rows_of(tmp_path)
    assert [row["job"] for row in rows] == ["job_10", "job_2", "job_0", "job_1"]
    assert [row["objective"] for row in rows] == ["1.25", "12.3456789", "failed", "failed"]
    assert [row["seed"] for row in rows] == ["10", "2", "3", "1"]
    SweepTable().on_multirun_start(sweep_config(tmp_path, _target_="optuna"))
    SweepTable().on_multirun_end(sweep_config(tmp_path))
    assert rows_of(tmp_path) == []  # of a start that has run no job
    assert "  12.3457  " in capsys.readouterr().out
