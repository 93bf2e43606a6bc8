"""What alzgan uses of other libraries that they do not promise to keep is still there."""

import inspect
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra import initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.utils import instantiate
from lightning import Trainer
from lightning.fabric.utilities.distributed import _all_gather_ddp_if_available
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.plugins.environments import LightningEnvironment, SLURMEnvironment
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from omegaconf import OmegaConf
from torch import distributed
from torch.optim import SGD

import alzgan
from alzgan.runs.config import CONF, compose_config
from alzgan.upstream import hydra, lightning, torchmetrics


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: LightningOptimizer(SGD([torch.zeros(1)])), ("_on_before_step", "_on_after_step")),
        (SLURMEnvironment, ("auto_requeue", "requeue_signal")),
        (lambda: _SubprocessScriptLauncher(LightningEnvironment(), 2, 1), ("kill", "procs")),
        (lambda: Trainer(accelerator="cpu", logger=False), ("received_sigterm",)),
        (lambda: MixedPrecision("16-mixed", "cpu"), ("scaler",)),
    ],
)
def test_a_private_name_of_lightning_is_there(make: Callable[[], object], names: tuple[str, ...]):
    owner = make()
    assert [name for name in names if not hasattr(owner, name)] == []


def test_the_loops_of_a_checkpoint_have_the_places_that_are_set():
    fit = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False).fit_loop
    state = {f"epoch_loop.{name}": value for name, value in fit.epoch_loop.state_dict().items()}
    assert set(state["epoch_loop.state_dict"]) == {"_batches_that_stepped"}
    counts = {"ready", "started", "processed", "completed"}
    progress = fit.epoch_progress.state_dict()
    assert set(progress) == {"total", "current"}
    assert set(progress["total"]) == counts
    assert set(state["epoch_loop.batch_progress"]) == {"total", "current", "is_last_batch"}


def test_the_inception_network_is_where_it_is_taken_from():
    assert re.fullmatch(
        r"https://.*/weights-inception-2015-12-05-[0-9a-f]{8}\.pth", torchmetrics.INCEPTION_URL
    )
    assert list(inspect.signature(torchmetrics.NoTrainInceptionV3).parameters)[:3] == [
        "name",
        "features_list",
        "feature_extractor_weights_path",
    ]


def test_hydra_reads_what_is_quoted_and_knows_what_is_a_name():
    read = hydra.OverridesParser.create().parse_override
    for text in ("it's", 'a "b"', "a\\\\'b\\\\", "[1, {x}]"):
        assert [read(f"x={hydra.quoted(text, sign)}").value() for sign in "\"'"] == [text, text]
    assert hydra.can_be_set("data.root")
    assert not hydra.can_be_set("a b")


def test_hydra_says_whether_it_has_started_and_what_it_knows():
    assert not hydra.is_started()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        assert hydra.is_started()
        assert hydra.group_options("average") == ["ema", "none"]
        assert hydra.group_options("seed") == []


def test_a_call_of_lightning_that_torch_deprecates_is_not_told():
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with lightning.quiet():
                assert _all_gather_ddp_if_available(torch.ones(2)).tolist() == [[1, 1]]
    finally:
        distributed.destroy_process_group()


def said(task: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as error:  # noqa: PT011
        task()
    return error.value


def test_what_hydra_and_omegaconf_say_is_understood():
    unknown = said(lambda: compose_config("train", ["model.more.x=0.1"]))
    assert hydra.unknown_setting(unknown) == "model.more.x=0.1"
    missing = said(lambda: compose_config("train", ["model=nothing"]))
    assert hydra.unknown_setting(missing) is None
    assert hydra.message(missing).startswith("In 'recipe': Could not find 'model/nothing'; Available options")
    assert "Config search path" in str(missing)
    in_a_list = said(lambda: compose_config("train", ["penalty=[r1,r3]"]))
    assert hydra.group_of_unknown_choice(in_a_list) == "penalty"
    assert hydra.group_of_unknown_choice(missing) is None
    assert "provider" not in hydra.message(missing)
    wrong = said(lambda: OmegaConf.create({"a": {"b": "${c}"}}).a.b)
    assert hydra.message(wrong) == "Interpolation key 'c' not found"
    assert "full_key" in str(wrong)
    optimizer = {"_target_": "torch.optim.SGD", "params": None}
    assert hydra.full_key(said(lambda: instantiate({"a": {"b": optimizer}}))) == "a.b"
    plugin = said(lambda: compose_config("train", ["hydra/launcher=optuna_of_nobody"]))
    assert hydra.missing_plugin(plugin) == "optuna"
    interval = hydra.OverridesParser.create().parse_overrides(["seed=interval(1,2)"])
    assert hydra.needs_another_sweeper(said(lambda: BasicSweeper.split_arguments(interval, None)))


def test_private_names_stand_in_these_files_alone():
    package = Path(alzgan.__file__).parent
    foreign = re.compile(
        r"(trainer|strategy|optimizer|environment|plugin|launcher)\w*\._[a-z]|\bimport _|from torch_fidelity"
        r"|(from|import) hydra\.(core\.(?!hydra_config\b)|_internal|plugins|grammar)"
        r"|(from|import) omegaconf\.(?!errors)"
    )
    for path in package.rglob("*.py"):
        if path.parent.name != "upstream":
            found = foreign.search(path.read_text())
            assert not found, f"{path}: {found and found[0]}"
    assert lightning.__doc__.endswith("checked with 2.6.")
    assert hydra.__doc__.endswith("checked with 1.3 and 2.3.")
