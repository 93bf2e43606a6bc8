"""Nothing that a checkpoint names is run: crafted files, through every way that a checkpoint comes in."""

import contextlib
import copy
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import small_settings

import alzgan
from alzgan.errors import UserError
from alzgan.runs import session
from alzgan.runs.build import build_model
from alzgan.runs.checkpoints import load_checkpoint
from alzgan.runs.start import start_from


@pytest.fixture(scope="module")
def good(slices: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    run_dir = tmp_path_factory.mktemp("good")
    session.run(small_settings(slices, run_dir, "trainer.max_steps=2", "average=ema"))
    return load_checkpoint(run_dir / "checkpoints/last.ckpt")


def put(place: str, value: Any) -> Callable[[dict], None]:
    """A change to a stored config."""

    def change(checkpoint: dict) -> None:
        node = checkpoint["alzgan"]["config"]
        *folders, key = place.split(".")
        for folder in folders:
            node = node.setdefault(folder, {})
        node[key] = value

    return change


def put_beside(place: str, value: Any) -> Callable[[dict], None]:
    """A change to a checkpoint beside its config."""

    def change(checkpoint: dict) -> None:
        node = checkpoint
        *folders, key = place.split(".")
        for folder in folders:
            node = node[folder]
        node[key] = value

    return change


TRACE = "TRACE"  # a path that running the file would create
CALL = f"__import__('pathlib').Path('{TRACE}').touch()"
RUNS_CODE = {
    "sympy's eval": put("callbacks.x", {"_target_": "sympy.sympify", "a": CALL}),
    "numpy's exec": put("callbacks.x", {"_target_": "numpy.testing.runstring", "astr": CALL, "dict": {}}),
    "torch.hub": put("callbacks.x", {"_target_": "torch.hub.load", "repo_or_dir": "x", "model": "y"}),
    "an unsafe load": put("callbacks.x", {"_target_": "torch.load", "f": TRACE, "weights_only": False}),
    "open": put("callbacks.x", {"_target_": "builtins.open", "file": TRACE, "mode": "w"}),
    "eval": put("callbacks.x", {"_target_": "builtins.eval", "_args_": [CALL]}),
    "os.system": put("callbacks.x", {"_target_": "os.system", "command": f"touch {TRACE}"}),
    "subprocess": put("callbacks.x", {"_target_": "subprocess.run", "args": ["touch", TRACE]}),
    "pathlib": put("callbacks.x", {"_target_": "pathlib.Path.touch", "self": TRACE}),
    "shutil": put("callbacks.x", {"_target_": "shutil.rmtree", "path": TRACE}),
    "a bare module": put("callbacks.x", {"_target_": "traced"}),
    "a module of the folder": put("callbacks.x", {"_target_": "traced.Callback"}),
    "in the model": put("model._target_", "traced.GAN"),
    "in the generator": put("model.generator._target_", "traced.Generator"),
    "in the conditioning": put("conditioning.strength", {"_target_": "traced.Linear"}),
    "in the loss": put("model.loss", {"_target_": "traced.Loss"}),
    "in a penalty": put("model.penalties", {"r1": {"_target_": "traced.R1"}}),
    "in the optimizer": put("model.generator_optimizer._target_", "traced.Adam"),
    "in the data": put("data._target_", "traced.Data"),
    "in the trainer": put("trainer._target_", "traced.Trainer"),
    "in a logger": put("logger", {"x": {"_target_": "traced.Logger"}}),
    "in a list": put("trainer.plugins", [{"_target_": "traced.Plugin"}]),
    "in a list of lists": put("model.generator.layers", [[{"_target_": "traced.Layer"}]]),
    "deep within": put("callbacks.samples.more", {"a": {"b": {"c": {"_target_": "traced.X"}}}}),
    "at the top": put("more", {"_target_": "traced.X"}),
    "what ours has imported": put("callbacks.x", {"_target_": "alzgan.callbacks.samples.Image"}),
    "what a class of ours holds": put("callbacks.x", {"_target_": "alzgan.callbacks.samples.Image.open"}),
    "a function of ours": put("callbacks.x", {"_target_": "alzgan.files.remove_parts", "folder": "."}),
    "another class of Lightning": put("trainer._target_", "lightning.LightningModule"),
    "ours at another's place": put("data._target_", "alzgan.gan.GAN"),
    "a module of torch.optim": put("model.generator_optimizer._target_", "torch.optim.lr_scheduler.LambdaLR"),
    "a name with a line break": put("callbacks.x", {"_target_": "alzgan.callbacks.samples.A\nB"}),
    "a number for a name": put("callbacks.x", {"_target_": 7}),
    "arguments by position": put("model.generator._args_", [CALL]),
    "another of Hydra's keys": put("callbacks.samples._recursive_", True),
    "an environment variable": put("seed", "${oc.env:SECRET}"),
    "an environment variable in a list": put("data.fractions", ["${oc.env:SECRET}", 0, 0]),
    "a resolver": put("callbacks.samples.count", "${oc.decode:${oc.env:SECRET}}"),
    "a dictionary that is a tensor": put("data.more", torch.zeros(1)),
}
IS_NOT_WHOLE = {
    "weights alone": lambda checkpoint: checkpoint.pop("alzgan"),
    "an empty config": put_beside("alzgan.config", {}),
    "an empty provenance": put_beside("alzgan.provenance", {}),
    "empty loops": put_beside("loops", {}),
    "loops of another kind": put_beside("loops", {"fit_loop": {"epoch_progress": 3}}),
    "no step": lambda checkpoint: checkpoint.pop("global_step"),
    "a step that is a word": put_beside("global_step", "five"),
    "optimizer states of another kind": put_beside("optimizer_states", {"a": 1}),
    "no callbacks": put_beside("callbacks", None),
    "packages of another kind": put_beside("alzgan.provenance.packages", []),
    "data of another kind": put_beside("alzgan.provenance.data", None),
    "no model": lambda checkpoint: checkpoint["alzgan"]["config"].pop("model"),
    "no trainer": lambda checkpoint: checkpoint["alzgan"]["config"].pop("trainer"),
    "no data": put("data", None),
    "a model that is a word": put("model", "dcgan"),
    "a width that is a word": put("model.generator.width", "wide"),
    "a batch that is a list": put("data.batch_size", [8]),
    "a setting that is unknown": put("data.slicing", 3),
    "a setting that is missing": lambda checkpoint: checkpoint["alzgan"]["config"]["data"].pop("root"),
    "steps that are a word": put("trainer.log_every_n_steps", "many"),
    "epochs that are a word": put("trainer.max_epochs", "many"),
}


@pytest.fixture
def crafted(good: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes a crafted run; the current folder has a module that leaves a trace when it is imported."""
    here = tmp_path / "here"
    here.mkdir()
    trace = tmp_path / "trace"
    (here / "traced.py").write_text(f"import pathlib; pathlib.Path({str(trace)!r}).touch()\n")
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(here)
    monkeypatch.setenv("SECRET", "hunter2")

    def crafted(change: Callable[[dict], Any]) -> Path:
        checkpoint = copy.deepcopy(good)
        change(checkpoint)
        text = str(trace)
        replace_in(checkpoint.get("alzgan", {}), TRACE, text)
        path = tmp_path / "run/checkpoints/last.ckpt"
        path.parent.mkdir(parents=True)
        torch.save(checkpoint, path)
        return path

    return crafted


def replace_in(node: Any, old: str, new: str) -> None:
    """Replace a text in all strings of nested containers."""
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        if isinstance(value, str):
            node[key] = value.replace(old, new)
        elif isinstance(value, dict | list):
            replace_in(value, old, new)


def everything_below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if "__pycache__" not in path.parts}


def untouched(tmp_path: Path, before: set[Path], modules: set[str]) -> None:
    assert not (tmp_path / "trace").exists()
    assert "traced" not in sys.modules
    assert "sympy.parsing" not in set(sys.modules) - modules
    # Hydra opens the run's log before anything is read.
    assert everything_below(tmp_path) - before <= {tmp_path / "run/train.log"}


@pytest.mark.parametrize("change", RUNS_CODE.values(), ids=RUNS_CODE.keys())
def test_nothing_of_a_crafted_file_runs_when_it_is_continued(
    change: Callable, crafted: Callable, error_line: Callable, tmp_path: Path
):
    path = crafted(change)
    before, modules = everything_below(tmp_path), set(sys.modules)
    line = error_line(f"ckpt_path={path}", "trainer.max_steps=4")
    assert str(path) in line
    assert "hunter2" not in line
    untouched(tmp_path, before, modules)


@pytest.mark.parametrize("change", RUNS_CODE.values(), ids=RUNS_CODE.keys())
def test_nothing_of_a_crafted_file_runs_when_it_is_loaded(
    change: Callable, crafted: Callable, tmp_path: Path
):
    path = crafted(change)
    before, modules = everything_below(tmp_path), set(sys.modules)
    with pytest.raises(UserError) as error:
        alzgan.load(path.parent.parent)
    assert "\n" not in str(error.value)
    assert "hunter2" not in str(error.value)
    untouched(tmp_path, before, modules)


READERS = {"evaluate": ["features=[random-conv,pixels]"], "generate": ["check=true", "rare_classes=allow"]}
SOME = list(RUNS_CODE.items())[::8]  # all ways go through the same check, which `load` is tested by in full


@pytest.mark.parametrize("verb", READERS)
@pytest.mark.parametrize("change", dict(SOME).values(), ids=dict(SOME).keys())
def test_nothing_of_a_crafted_file_runs_when_another_verb_reads_it(
    change: Callable, verb: str, crafted: Callable, error_line: Callable, tmp_path: Path
):
    path = crafted(change)
    before, modules = everything_below(tmp_path), set(sys.modules)
    line = error_line(f"ckpt_path={path}", *READERS[verb], f"run_dir={tmp_path / 'run'}", verb=verb)
    assert str(path) in line
    assert "hunter2" not in line
    untouched(tmp_path, before, modules)


@pytest.mark.parametrize("change", dict(SOME).values(), ids=dict(SOME).keys())
def test_nothing_of_a_crafted_file_runs_where_a_run_starts_from_it(
    change: Callable, crafted: Callable, tmp_path: Path
):
    path = crafted(change)
    before, modules = everything_below(tmp_path), set(sys.modules)
    gan = build_model(small_settings(tmp_path, tmp_path))
    with contextlib.suppress(UserError):
        start_from(gan, str(path))
    untouched(tmp_path, before, modules)


@pytest.mark.parametrize("change", IS_NOT_WHOLE.values(), ids=IS_NOT_WHOLE.keys())
def test_what_is_no_attack_gets_one_line_too(
    change: Callable, crafted: Callable, error_line: Callable, tmp_path: Path
):
    path = crafted(change)
    line = error_line(f"ckpt_path={path}", "trainer.max_steps=4")
    assert str(path) in line
    known = ("start a new run", "not be continued", "as in", "not a checkpoint")
    assert any(text in line for text in known)


def test_a_stored_place_does_not_choose_where_files_appear(
    good: dict[str, Any], slices: Path, tmp_path: Path, own_cache: Path
):
    """A continued run writes to its folder and this machine's cache, whatever the file says."""
    run_dir, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    session.run(small_settings(slices, run_dir, "trainer.max_steps=2"))
    path = run_dir / "checkpoints/last.ckpt"
    checkpoint = load_checkpoint(path)
    config = checkpoint["alzgan"]["config"]
    config["data"]["cache_dir"] = config["callbacks"]["quality"]["cache_dir"] = str(elsewhere / "cache")
    config["run_dir"] = str(elsewhere / "run")
    torch.save(checkpoint, path)
    from test_resume import go_on

    go_on(run_dir, "trainer.max_steps=4", "trainer.accelerator=cpu")
    assert load_checkpoint(path)["global_step"] == 4
    assert not elsewhere.exists()


@pytest.mark.long
def test_a_stored_root_of_a_phantom_is_not_where_it_is_written(tmp_path: Path, own_cache: Path):
    from conftest import SMALL, settings
    from test_resume import go_on

    run_dir, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    options = [*SMALL, f"run_dir={run_dir}", "trainer.max_steps=1", "callbacks.quality=null"]
    session.run(settings(*options))
    path = run_dir / "checkpoints/last.ckpt"
    checkpoint = load_checkpoint(path)
    checkpoint["alzgan"]["config"]["data"]["root"] = str(elsewhere)
    torch.save(checkpoint, path)
    go_on(run_dir, "trainer.max_steps=2")
    assert load_checkpoint(path)["global_step"] == 2
    assert not elsewhere.exists()


def test_a_class_of_ones_own_is_loaded_where_it_is_named_again(crafted: Callable, tmp_path: Path):
    path = crafted(put("model.loss", {"_target_": "traced.Loss"}))
    (Path(os.getcwd()) / "traced.py").write_text("from alzgan.losses import HingeLoss as Loss\n")
    with pytest.raises(UserError, match=r"names traced\.Loss, .*again: 'allow=\[\"traced\.Loss\"\]'$"):
        alzgan.load(path)
    assert alzgan.load(path, allow=["traced.Loss"]).sample(2).shape == (2, 1, 32, 32)
    sys.modules.pop("traced")
