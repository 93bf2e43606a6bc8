import hashlib
import pickle
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY, SMALL, small_settings

from alzgan import load
from alzgan.errors import UserError
from alzgan.runs import session
from alzgan.runs.build import build_model
from alzgan.runs.checkpoints import (
    AtomicCheckpointIO,
    check_optimizers,
    check_state,
    check_weights,
    load_checkpoint,
)
from alzgan.upstream.lightning import set_progress

RECORD = {"config": {}, "provenance": {"alzgan": "0.0.0"}}


class Intruder:
    """A pickle of it creates a file when it is loaded carelessly."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def saved(checkpoint: object, path: Path) -> Path:
    torch.save(checkpoint, path)
    return path


@pytest.fixture(scope="module")
def run_dir(slices: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("run")
    session.run(small_settings(slices, run_dir, "trainer.max_steps=2"))
    return run_dir


@pytest.mark.parametrize("form", ["pickle", "archive", "legacy"])
def test_a_pickle_that_would_run_code_is_refused(form: str, tmp_path: Path):
    trace, path = tmp_path / "trace", tmp_path / "evil.ckpt"
    evil = {"state_dict": {}, "alzgan": RECORD, "more": Intruder(trace)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(evil))
    else:
        torch.save(evil, path, _use_new_zipfile_serialization=form == "archive")
    with pytest.raises(UserError, match=r"could run code|damaged or not a checkpoint") as error:
        load_checkpoint(path)
    assert "\n" not in str(error.value)
    assert not trace.exists()
    # The file is dangerous indeed: this is what must not happen.
    torch.load(path, weights_only=False) if form != "pickle" else pickle.loads(path.read_bytes())
    assert trace.exists()


def test_a_file_of_any_length_gets_one_line_unless_it_is_whole(run_dir: Path, tmp_path: Path):
    content = (run_dir / "checkpoints/last.ckpt").read_bytes()
    path = tmp_path / "cut.ckpt"
    for length in (0, 1, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(UserError, match="damaged or not a checkpoint"):
            load_checkpoint(path)
    path.write_bytes(content)
    assert load_checkpoint(path)["global_step"] == 2


def test_a_checkpoint_of_other_software_is_told_apart(tmp_path: Path):
    for number, content in enumerate(
        ([1], {"state_dict": {}}, {"alzgan": RECORD}, {"alzgan": RECORD, "state_dict": {"a": 1}})
    ):
        with pytest.raises(UserError, match="is not a checkpoint of alzgan"):
            load_checkpoint(saved(content, tmp_path / f"{number}.ckpt"))


def test_names_and_shapes_must_be_the_models():
    model, path = torch.nn.Linear(2, 3), Path("x.ckpt")
    good = {"state_dict": model.state_dict(), "alzgan": RECORD}
    check_weights(model, good, path)
    other = {**good, "state_dict": torch.nn.Linear(2, 4).state_dict()}
    with pytest.raises(
        UserError, match=r"weight is \(4, 2\) in the file and \(3, 2\) in the model \(written"
    ):
        check_weights(model, other, path)
    with pytest.raises(UserError, match="bias is none in the file"):
        check_weights(model, {**good, "state_dict": {"weight": model.weight}}, path)
    with pytest.raises(UserError, match=r"more is .* in the file and none in the model"):
        check_weights(model, {**good, "state_dict": {**model.state_dict(), "more": model.bias}}, path)


def test_the_optimizers_state_must_be_the_models(run_dir: Path, slices: Path):
    path = run_dir / "checkpoints/last.ckpt"
    checkpoint = load_checkpoint(path)
    optimizers = build_model(small_settings(slices, run_dir)).configure_optimizers()
    check_state(checkpoint, path)
    check_optimizers(optimizers, checkpoint, path)
    with pytest.raises(UserError, match="has no loops: it can make samples, but not be continued"):
        check_state({k: v for k, v in checkpoint.items() if k != "loops"}, path)
    checkpoint["optimizer_states"][1]["state"][0]["exp_avg"] = torch.zeros(3)
    with pytest.raises(UserError, match="optimizers' state does not fit"):
        check_optimizers(optimizers, checkpoint, path)


def test_a_checkpoint_says_where_the_run_stands_in_whatever_hook_it_is_written(run_dir: Path):
    checkpoint = load_checkpoint(run_dir / "checkpoints/last.ckpt")
    checkpoint["global_step"] = 11
    set_progress(checkpoint, batches=4)
    loop = checkpoint["loops"]["fit_loop"]
    counts = {"ready": 3, "started": 3, "processed": 2, "completed": 2}
    assert loop["epoch_progress"] == {"total": counts, "current": counts}
    batches = loop["epoch_loop.batch_progress"]
    assert set(batches["total"].values()) == {11}
    assert set(batches["current"].values()) == {3}
    assert checkpoint["epoch"] == 2


def test_a_file_size_limit_leaves_the_previous_checkpoint(tmp_path: Path):
    path = tmp_path / "last.ckpt"
    old = {"state_dict": {"a": torch.zeros(10)}, "alzgan": RECORD}
    AtomicCheckpointIO().save_checkpoint(old, path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(UserError, match=r"cannot save .*: File too large; .* previous file is kept"):
            AtomicCheckpointIO().save_checkpoint({"state_dict": {"a": torch.zeros(10**6)}}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert torch.equal(load_checkpoint(path)["state_dict"]["a"], torch.zeros(10))
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_vanished_folder_is_not_made_anew(tmp_path: Path):
    with pytest.raises(UserError, match=r"cannot save .*: No such file or directory"):
        AtomicCheckpointIO().save_checkpoint({}, tmp_path / "gone" / "checkpoints" / "last.ckpt")
    assert not (tmp_path / "gone").exists()


@pytest.mark.slow
def test_a_run_whose_disk_is_full_ends_with_one_line(slices: Path, tmp_path: Path):
    # A limit of 300 kB a file, which the events reach after some steps; checkpoints of 0.9 MB do at once.
    arguments = ["data=mri", f"data.root={slices}", f"run_dir={tmp_path}", *SMALL]
    arguments += ["callbacks.samples.every_n_train_steps=1", "trainer.max_steps=2000"]
    command = [
        "bash",
        "-c",
        'ulimit -f 300; exec "$@"',
        "-",
        sys.executable,
        "-m",
        "alzgan.train",
        *arguments,
    ]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("alzgan: ")]
    assert len(lines) == 1
    assert "File too large" in lines[0]


def test_an_epoch_that_was_cut_is_none_to_be_kept(slices: Path, tmp_path: Path):
    options = ("trainer.max_steps=6", "callbacks.quality=null", "callbacks.checkpoint.keep_every_n_epochs=2")
    session.run(small_settings(slices, tmp_path, *options))
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"last.ckpt"}


def test_the_digest_is_of_the_bytes_that_were_read(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path, read = tmp_path / "a.ckpt", torch.load
    content = (run_dir / "checkpoints/last.ckpt").read_bytes()
    path.write_bytes(content)

    def meanwhile(*arguments: object, **options: object) -> object:
        path.write_bytes(b"of a later step")
        return read(*arguments, **options)

    monkeypatch.setattr(torch, "load", meanwhile)
    assert load(path).info["sha256"] == hashlib.sha256(content).hexdigest()


def test_checkpoints_are_kept_to_be_judged_later(slices: Path, tmp_path: Path):
    options = ("trainer.max_epochs=3", "callbacks.quality=null", "callbacks.checkpoint.keep_every_n_epochs=2")
    session.run(small_settings(slices, tmp_path, *options))
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"last.ckpt", "epoch_2.ckpt"}
    kept, last = (load_checkpoint(tmp_path / "checkpoints" / name) for name in ("epoch_2.ckpt", "last.ckpt"))
    assert (kept["global_step"], last["global_step"]) == (8, 12)
    session.run(small_settings(slices, tmp_path / "two", "trainer.max_epochs=2", *options[1:]))
    two = load_checkpoint(tmp_path / "two/checkpoints/last.ckpt")
    assert kept["state_dict"].keys() == two["state_dict"].keys()
    assert all(value.equal(two["state_dict"][name]) for name, value in kept["state_dict"].items())
