import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from benchmarks.kills import digests
from conftest import REPOSITORY, SMALL, alzgan, settings, small_settings
from omegaconf import DictConfig, OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from alzgan.errors import UserError
from alzgan.files import remove_parts, written_by_one_process
from alzgan.runs import session
from alzgan.runs.checkpoints import load_checkpoint
from alzgan.runs.config import checkpoint_file
from alzgan.runs.loggers import TensorBoardLog
from alzgan.runs.provenance import provenance
from alzgan.runs.resume import Previous, refuse, run_folder, run_to_continue

# 4 steps an epoch, so that saves fall on the middle and on the end of epochs.
SAVES = ("callbacks.checkpoint.every_n_train_steps=3", "callbacks.quality.every_n_epochs=1")


def go_on(path: Path, *overrides: str) -> None:
    """Continue as `python -m alzgan.train ckpt_path=PATH ...` does."""
    overrides = (f"ckpt_path='{path}'", *overrides)
    composed = settings(*overrides)
    previous = run_to_continue(composed, path, overrides)
    resumed = previous.to_train()
    resumed.run_dir = run_folder(str(path), "")
    session.run(resumed, overrides, previous)


@pytest.fixture(scope="module")
def undisturbed(slices: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("undisturbed")
    session.run(small_settings(slices, run_dir, *SAVES, "trainer.max_epochs=4"))
    return run_dir


def same_end(one: Path, two: Path) -> bool:
    return digests(load_checkpoint(one / "checkpoints/last.ckpt")) == digests(
        load_checkpoint(two / "checkpoints/last.ckpt")
    )


def no_step_is_shown_twice(run_dir: Path) -> bool:
    """In TensorBoard, of any scalar."""
    events = EventAccumulator(str(run_dir), {"scalars": 0}).Reload()
    steps = {tag: [event.step for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert len(steps["loss/generator"]) == 8
    return all(len(found) == len(set(found)) for found in steps.values())


def test_a_session_in_the_same_second_hides_what_the_last_one_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    time.sleep(1 - time.time() % 1)  # a second begins
    for pid, purge_step, steps in ((9999, None, range(1, 9)), (10000, 5, range(5, 9))):
        monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
        logger = TensorBoardLog(tmp_path, purge_step)
        for step in steps:
            logger.log_metrics({"loss/generator": float(pid)}, step=step)
        logger.experiment.close()
    events = EventAccumulator(str(tmp_path), {"scalars": 0}).Reload().Scalars("loss/generator")
    assert [(event.step, event.value) for event in events] == [
        *((step, 9999.0) for step in range(1, 5)),
        *((step, 10000.0) for step in range(5, 9)),
    ]


@pytest.mark.slow
def test_kills_leave_no_trace(tmp_path: Path):
    """Real processes, SIGKILL at random moments; see tests/benchmarks/kills.py for the long form."""
    command = [sys.executable, "tests/benchmarks/kills.py", "--short", str(tmp_path / "kills.json")]
    ended = subprocess.run(command, cwd=REPOSITORY, timeout=120, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    results = json.loads((tmp_path / "kills.json").read_text())
    (run,) = results["runs"]
    assert 1 <= run["kills"] <= 3  # the last ones may find the run at its end
    assert run["tensors"] > 50
    assert (run["unloadable"], run["differences"], run["doubled_steps"]) == (0, 0, 0), run
    assert results["control_differences"] > 50  # the check can fail


@pytest.mark.parametrize("first", ["trainer.max_epochs=2", "trainer.max_steps=6", "trainer.max_steps=8"])
def test_a_finished_run_goes_on_as_if_it_had_not_ended(
    first: str, slices: Path, undisturbed: Path, tmp_path: Path
):
    # An end is measured; here every epoch is, so the best stays the same but for an end in mid-epoch.
    session.run(small_settings(slices, tmp_path, *SAVES, first))
    go_on(tmp_path, "trainer.max_steps=-1", "trainer.max_epochs=4")
    ours, theirs = (load_checkpoint(folder / "checkpoints/last.ckpt") for folder in (tmp_path, undisturbed))
    if first == "trainer.max_steps=6":
        ours.pop("callbacks"), theirs.pop("callbacks")
    assert no_step_is_shown_twice(tmp_path)
    assert digests(ours) == digests(theirs)


def test_the_best_checkpoint_can_be_continued_too(
    slices: Path, undisturbed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    session.run(small_settings(slices, tmp_path, *SAVES, "trainer.max_epochs=3"))
    best = load_checkpoint(tmp_path / "checkpoints/best.ckpt")["global_step"]
    assert best % 4 == 0
    with caplog.at_level("INFO"):
        go_on(tmp_path / "checkpoints/best.ckpt", "trainer.max_epochs=4")
    assert caplog.text.count(f"Steps {best + 1} to 12 are repeated") == (best < 12)
    assert same_end(tmp_path, undisturbed)
    assert no_step_is_shown_twice(tmp_path)


def test_steps_that_are_taken_again_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    record = {"alzgan": {"config": {}, "provenance": {}}, "state_dict": {"weight": torch.zeros(1)}}
    torch.save({**record, "global_step": 12}, folder / "last.ckpt")
    with caplog.at_level("INFO"):
        for step, name in ((8, "best.ckpt"), (12, "best.ckpt"), (12, "last.ckpt")):
            session.log_repeated_steps(Previous(folder / name, {"global_step": step}))
    assert [record.getMessage() for record in caplog.records] == [
        f"Steps 9 to 12 are repeated; {folder / 'last.ckpt'} has reached step 12"
    ]


def test_two_processes_do_not_write_one_run(slices: Path, tmp_path: Path):
    """Neither two new runs, nor two sessions of one."""
    run_dir = tmp_path / "run"
    first = small_settings(slices, run_dir, "trainer.max_steps=1")
    refusal = f"{run_dir} is being written by another process; choose another run_dir"
    with written_by_one_process(run_dir):
        with pytest.raises(UserError) as refused:
            session.run(first)
        assert str(refused.value) == refusal
        assert list(run_dir.iterdir()) == []
    session.run(first)
    with written_by_one_process(run_dir), pytest.raises(UserError, match="written by another process"):
        go_on(run_dir, "trainer.max_steps=2")
    go_on(run_dir, "trainer.max_steps=2")  # the lock ends with the run
    assert load_checkpoint(run_dir / "checkpoints/last.ckpt")["global_step"] == 2


def test_a_loaders_worker_does_not_keep_a_killed_runs_lock(tmp_path: Path):
    program = (
        "import os, pathlib, signal, sys, time\n"
        "from alzgan.files import written_by_one_process\n"
        "started, start = os.pipe()\n"
        "with written_by_one_process(pathlib.Path(sys.argv[1])):\n"
        "    if (worker := os.fork()) == 0:\n"
        "        os.write(start, b'.'); os.close(1); time.sleep(60); os._exit(0)\n"
        "    os.read(started, 1); print(worker, flush=True); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    killed = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    try:
        assert killed.returncode == -signal.SIGKILL
        with written_by_one_process(tmp_path):
            pass
    finally:
        os.kill(int(killed.stdout), signal.SIGKILL)


def test_a_file_system_without_locks_is_used_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def unsupported(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with written_by_one_process(tmp_path):
        pass


def test_a_run_keeps_the_command_lines_of_its_sessions(slices: Path, tmp_path: Path):
    session.run(small_settings(slices, tmp_path, "trainer.max_steps=2"), ["seed=0"])
    go_on(tmp_path, "trainer.max_steps=3")
    record = json.loads((tmp_path / "run.json").read_text())
    assert [session["from_step"] for session in record["sessions"]] == [0, 2]
    assert record["overrides"] == ["seed=0", "trainer.max_steps=3"]
    assert record["world_size"] == 1
    config = OmegaConf.load(tmp_path / "config.yaml")
    assert (config.trainer.max_steps, config.ckpt_path) == (3, None)


def previous_run(**changed: object) -> Previous:
    # A run_dir, because resolving the default one would make a folder.
    composed = settings("data.image_size=32", "seed=7", "trainer.max_steps=9", "run_dir=run")
    config = OmegaConf.to_container(composed, resolve=True)
    provenance = {"overrides": ["data.image_size=32", "seed=7"]}
    checkpoint = {"global_step": 5, "epoch": 1, "alzgan": {"config": config, "provenance": provenance}}
    return Previous(Path("run/checkpoints/last.ckpt"), {**checkpoint, **changed})


def resumed(*overrides: str) -> DictConfig:
    return previous_run().given(settings(*overrides), overrides).to_train()


def test_a_resumed_run_has_its_own_settings_and_takes_those_that_keep_its_meaning():
    assert resumed().data.seed == 7
    config = resumed("trainer.max_steps=20", "data.num_workers=2", "callbacks.samples.every_n_epochs=1")
    assert (config.trainer.max_steps, config.data.num_workers) == (20, 2)
    assert config.callbacks.samples.every_n_epochs == 1
    assert (config.seed, config.data.image_size) == (7, 32)
    assert resumed("seed=7", "data.image_size=32").seed == 7  # what it was started with is no change
    assert previous_run().given(settings("+loggers=2"), ["+loggers=2"]).departures  # it is not logger


def test_the_features_of_any_part_may_move():
    stored, typed = (settings("part=heads", "run_dir=run") for _ in range(2))
    for composed, features in ((stored, "imagenet-lite0"), (typed, "vgg16:FILE")):
        parts = OmegaConf.to_container(composed.model.parts, resolve=True)
        parts["mine"] = parts.pop("heads")
        parts["mine"]["network"]["view"]["features"] = features
        OmegaConf.update(composed, "model.parts", parts, merge=False)
    record = {"config": OmegaConf.to_container(stored, resolve=True), "provenance": {}}
    previous = Previous(Path("run/checkpoints/last.ckpt"), {"alzgan": record})
    previous = previous.given(typed, ["model.parts.mine.network.view.features=vgg16:FILE"])
    assert not previous.departures
    assert previous.settings.model.parts.mine.network.view.features == "vgg16:FILE"


@pytest.mark.parametrize(
    ("override", "has"),
    [
        ("seed=1", "seed=7"),
        ("data.batch_size=16", "data.batch_size=32"),
        ("model.generator.width=8", "model.generator.width=64"),
        ("model.generator_optimizer.lr=0.1", "model.generator_optimizer.lr=0.0002"),
        ("callbacks.quality.n_samples=8", "callbacks.quality.n_samples=2048"),
    ],
)
def test_what_would_make_it_another_run_is_told_apart_with_its_own_value(override: str, has: str):
    departures = previous_run().given(settings(override), [override]).departures
    assert departures == {override: has}
    with pytest.raises(UserError, match=f"{override} would make it another run: it has {has};"):
        refuse(departures)


def test_a_new_run_follows_a_setting_wherever_it_is_used():
    overrides = ("seed=3", "loss=hinge")
    composed = settings(*overrides)
    config = previous_run(state_dict={}).given(composed, overrides).to_train()
    assert (config.seed, config.model.seed, config.data.seed, config.data.split_seed) == (3, 3, 3, 0)
    assert config.model.loss._target_ == "alzgan.losses.HingeLoss"
    assert config.data.image_size == 32  # the rest is the old run's


def test_a_run_that_has_ended_says_what_to_raise():
    by_steps = "run/checkpoints/last.ckpt is finished at step 9; to go on, give a larger trainer.max_steps="
    assert previous_run(global_step=9).given(settings(), ()).finished() == by_steps
    by_epochs = previous_run(epoch=100).given(settings(), ()).finished()
    assert by_epochs.endswith("is finished after 100 epochs; to go on, give a larger trainer.max_epochs=")
    assert previous_run().given(settings(), ()).finished() is None
    asked = ("trainer.max_epochs=50",)  # which no step would fulfil
    previous = previous_run(epoch=100).given(settings(*asked), asked)
    assert previous.finished() is None
    with pytest.raises(UserError, match=r"is finished after 100 epochs; to go on"):
        previous.to_train()


def test_a_finished_run_that_is_started_again_ends_with_code_0_and_a_line(slices: Path, tmp_path: Path):
    command = ("data=mri", f"data.root={slices}", *SMALL, f"run_dir={tmp_path}", "trainer.max_steps=1")
    assert alzgan(*command).returncode == 0
    last = tmp_path / "checkpoints/last.ckpt"
    before = last.read_bytes()
    metrics = (tmp_path / "metrics.json").read_bytes()
    (tmp_path / "metrics.json").unlink()  # as a kill would leave it
    again = alzgan(f"ckpt_path={tmp_path}", *command[2:])
    assert (again.returncode, again.stderr) == (0, "")
    (line,) = again.stdout.splitlines()
    assert line.endswith(f"{last} is finished at step 1; to go on, give a larger trainer.max_steps=")
    assert (last.read_bytes(), (tmp_path / "metrics.json").read_bytes()) == (before, metrics)
    asked = alzgan(f"ckpt_path={tmp_path}", "data.num_workers=1")
    assert (asked.returncode, asked.stderr) == (1, f"alzgan: {line.partition(' ')[2]}\n")


def test_another_precision_is_told(slices: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    session.run(small_settings(slices, tmp_path, "trainer.max_steps=2"))
    with caplog.at_level("INFO", logger="alzgan.runs.session"):
        go_on(tmp_path, "trainer.max_steps=4", "trainer.precision=bf16-mixed")
    assert "the last bits will differ, as it was trained with trainer.precision=32-true" in caplog.text


def test_another_machine_is_told():
    now = provenance()
    assert session.differences(now, now) == []
    other = {"device": "Other", "threads": 99, "instructions": "NEON"}
    told = ["torch 2.0", "device Other", "threads 99", "instructions NEON"]
    assert session.differences({**now, **other, "packages": now["packages"] | {"torch": "2.0"}}, now) == told
    assert session.differences({name: now[name] for name in now if name != "instructions"}, now) == []


def test_what_another_program_is_writing_stays(tmp_path: Path):
    ours, theirs = tmp_path / f"last.ckpt.{'0a' * 6}.part", tmp_path / "downloads" / "scans.zip.part"
    theirs.parent.mkdir()
    for path in (ours, theirs):
        path.touch()
    remove_parts(tmp_path)
    assert (ours.exists(), theirs.exists()) == (False, True)


def test_a_config_of_another_version_says_what_is_unknown(slices: Path, undisturbed: Path):
    path = undisturbed / "checkpoints/last.ckpt"
    previous = Previous(path, load_checkpoint(path))
    previous.checkpoint["alzgan"]["config"]["data"]["slicing"] = 1
    previous.checkpoint["alzgan"]["provenance"]["alzgan"] = "0.0.1"
    resumed = previous.given(settings("trainer.max_epochs=9"), ("trainer.max_epochs=9",)).to_train()
    with pytest.raises(
        UserError, match=r"data.slicing: .* no such option.*as in .*, written by alzgan 0.0.1"
    ):
        session.run(resumed, (), previous)


def test_other_images_and_another_number_of_processes_are_refused(slices: Path, tmp_path: Path):
    session.run(small_settings(slices, tmp_path, "trainer.max_steps=2"))
    path = tmp_path / "checkpoints/last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    provenance = checkpoint["alzgan"]["provenance"]
    for place, line in ((provenance, "trained by 2 processes"), (provenance["data"], "are not those that")):
        kept = dict(place)
        place.update({"world_size": 2} if place is provenance else {"fingerprint": "other"})
        torch.save(checkpoint, path)
        with pytest.raises(UserError, match=line):
            go_on(tmp_path, "trainer.max_steps=4")
        place.update(kept)


def test_a_run_whose_people_an_older_version_drew_is_refused(undisturbed: Path, tmp_path: Path):
    checkpoint = torch.load(undisturbed / "checkpoints/last.ckpt", weights_only=True)
    checkpoint["alzgan"]["provenance"]["data"]["draw"] = 1
    checkpoint["alzgan"]["provenance"]["alzgan"] = "0.1.9"
    (tmp_path / "checkpoints").mkdir()
    torch.save(checkpoint, tmp_path / "checkpoints/last.ckpt")
    with pytest.raises(UserError, match=r"last.ckpt: alzgan 0.1.9 drew its held-out people in another way"):
        go_on(tmp_path, "trainer.max_epochs=5")


def test_there_must_be_something_to_continue(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(UserError, match="there is no such run or file"):
        checkpoint_file(str(tmp_path / "nothing"))
    with pytest.raises(UserError, match=r"it has no checkpoints/last.ckpt; start the run again"):
        checkpoint_file(str(tmp_path))
    for job in ("job_0", "job_1"):
        (tmp_path / "sweep" / job / "checkpoints").mkdir(parents=True)
    with pytest.raises(UserError, match=r"is a sweep: name a job, as in ckpt_path=.*/sweep/job_0$"):
        checkpoint_file(str(tmp_path / "sweep"))
    (tmp_path / "sweep/sweep.csv").write_text("job,objective\njob_1,2.5\njob_0,3\n")
    with pytest.raises(UserError, match=r"is a sweep: name a job, the best is ckpt_path=.*/sweep/job_1$"):
        checkpoint_file(str(tmp_path / "sweep"))
    last = tmp_path / "checkpoints/last.ckpt"
    last.parent.mkdir()
    torch.save(load_checkpoint(undisturbed / "checkpoints/last.ckpt"), last)
    assert checkpoint_file(str(tmp_path)) == checkpoint_file(str(last)) == last
    assert run_folder(str(last), "new") == run_folder(str(tmp_path), "new") == str(tmp_path)
    assert run_folder(None, str(tmp_path / "new")) == str(tmp_path / "new")
    with pytest.raises(UserError, match="holds a run already; continue it with ckpt_path="):
        run_to_continue(settings(), tmp_path, ())
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")  # the same command again, from the queue
    assert run_to_continue(settings(), tmp_path, ()).path == last


def test_a_wrong_ckpt_path_makes_no_folder_and_gets_one_line(tmp_path: Path):
    result = alzgan(f"ckpt_path={tmp_path / 'nothing'}")
    assert result.returncode == 1
    assert result.stderr == f"alzgan: ckpt_path={tmp_path / 'nothing'}: there is no such run or file\n"
    assert os.listdir(tmp_path) == []
