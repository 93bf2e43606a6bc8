import csv
import sys
from pathlib import Path

import pytest
import torch
from conftest import settings, small_settings
from lightning.pytorch.loggers import WandbLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from alzgan.runs import session
from alzgan.runs.checkpoints import load_checkpoint
from alzgan.runs.loggers import CsvLog, TensorBoardLog, WandbLog
from alzgan.runs.resume import Previous


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_loggers_combine_and_say_the_same(slices: Path, tmp_path: Path):
    session.run(small_settings(slices, tmp_path, "logger=[tensorboard,csv]", "trainer.max_steps=4"))
    table = {(row["name"], int(row["step"])): float(row["value"]) for row in rows(tmp_path / "metrics.csv")}
    events = EventAccumulator(str(tmp_path), {"scalars": 0}).Reload()
    for tag in (
        "loss/generator",
        "probability/D(x)",
        "quality/frechet_random_conv",
    ):
        for event in events.Scalars(tag):
            assert table[tag, event.step] == pytest.approx(event.value, rel=1e-6)
    assert {step for name, step in table if name == "loss/generator"} == {2, 4}


@pytest.mark.parametrize("choice", ["csv", "[]"])
def test_without_tensorboard_there_are_no_events(choice: str, slices: Path, tmp_path: Path):
    session.run(small_settings(slices, tmp_path, f"logger={choice}", "trainer.max_steps=2"))
    assert not list(tmp_path.glob("events.*"))
    assert (tmp_path / "metrics.csv").is_file() == (choice == "csv")
    assert (tmp_path / "samples/step_0000002.png").is_file()


def test_a_resumed_run_logs_each_step_once(slices: Path, tmp_path: Path):
    options = ("logger=csv", "trainer.log_every_n_steps=1", "callbacks.checkpoint.every_n_train_steps=2")
    session.run(small_settings(slices, tmp_path / "whole", *options, "trainer.max_steps=4"))
    part = tmp_path / "part"
    session.run(small_settings(slices, part, *options, "trainer.max_steps=2"))
    killed = CsvLog(part)
    killed.log_metrics({"loss/generator": 1.0}, step=3)  # in step 4
    killed.finalize("failed")
    path = part / "checkpoints/last.ckpt"
    previous = Previous(path, load_checkpoint(path))
    session.run(small_settings(slices, part, *options, "trainer.max_steps=4"), (), previous)
    losses = [
        [
            (row["step"], row["value"])
            for row in rows(folder / "metrics.csv")
            if row["name"].startswith("loss/")
        ]
        for folder in (tmp_path / "whole", part)
    ]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 8


def test_tensorboard_shows_bytes_that_are_no_utf8_as_escapes(tmp_path: Path):
    log = TensorBoardLog(tmp_path)
    log.show_text("config", "a\udcff", 1)
    log.show_settings(["loss"], {"data": {"root": "b\udcff"}}, 1)
    log.save()
    events = b"".join(path.read_bytes() for path in tmp_path.glob("events.*"))
    assert rb"a\udcff" in events
    assert rb"b\udcff" in events


def test_a_half_written_row_is_left_out(tmp_path: Path):
    (tmp_path / "metrics.csv").write_text("step,name,value\n1,a,2.0\n2,a")
    log = CsvLog(tmp_path, purge_step=5)
    log.log_metrics({"a": 3.0}, step=2)
    log.finalize("success")
    assert [tuple(row.values()) for row in rows(tmp_path / "metrics.csv")] == [
        ("1", "a", "2.0"),
        ("2", "a", "3.0"),
    ]


def test_wandb_that_is_not_installed_says_how_to_install_it(
    error_line, slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr("lightning.pytorch.loggers.wandb._WANDB_AVAILABLE", False)
    line = error_line(
        "logger=wandb", f"run_dir={tmp_path}", "data=mri", f"data.root={slices}", "data.batch_size=8"
    )
    assert line == "alzgan: logger=wandb needs wandb: pip install -e '.[wandb]'"


def test_wandb_knows_a_run_by_its_folder_whatever_that_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    told: list[dict] = []
    monkeypatch.setattr(WandbLogger, "__init__", lambda self, **options: told.append(options))
    for sweep in ("one", "two"):
        (tmp_path / sweep / "job_0").mkdir(parents=True)
    (tmp_path / "two/multirun.yaml").touch()
    for folder in ("one/job_0", "two/job_0", "one/job_0"):
        WandbLog(tmp_path / folder)
    first, other, again = (each["id"] for each in told)
    assert first == again != other
    assert [each["group"] for each in told] == [None, "two", None]


@pytest.mark.parametrize(("precision", "average"), [("64-true", "ema"), ("bf16-true", "none")])
def test_whole_runs_in_other_precisions(precision: str, average: str, slices: Path, tmp_path: Path):
    options = (
        f"trainer.precision={precision}",
        "model=cdcgan",
        "penalty=r1",
        "augment=translate_flip",
        f"average={average}",
    )
    session.run(small_settings(slices, tmp_path, *options, "trainer.max_steps=2"))
    kind = {"64-true": torch.float64, "bf16-true": torch.bfloat16}[precision]
    state = load_checkpoint(tmp_path / "checkpoints/last.ckpt")["state_dict"]
    assert {value.dtype for value in state.values() if value.is_floating_point()} == {kind}


def test_where_no_terminal_shows_a_bar_there_are_lines(slices: Path, tmp_path: Path, caplog):
    with caplog.at_level("INFO"):
        session.run(small_settings(slices, tmp_path, "trainer.max_steps=40"))
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("Step ")]
    assert 10 <= len(lines) <= 20
    assert lines[0].startswith("Step 2 of 40: ")
    assert lines[-1].startswith("Step 40 of 40: ")
    assert " images/s, D " in lines[0]
    assert settings("callbacks.progress.bar=false").callbacks.progress.bar is False
