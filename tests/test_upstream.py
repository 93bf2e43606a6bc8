"""What alzgan uses of other libraries that they do not promise to keep is still there."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.plugins.environments import LightningEnvironment, SLURMEnvironment
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from torch.optim import SGD

import alzgan
from alzgan.upstream import lightning, torchmetrics


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


def test_private_names_stand_in_these_files_alone():
    package = Path(alzgan.__file__).parent
    foreign = re.compile(
        r"(trainer|strategy|optimizer|environment|plugin|launcher)\w*\._[a-z]|\bimport _|from torch_fidelity"
    )
    for path in package.rglob("*.py"):
        if path.parent.name != "upstream":
            found = foreign.search(path.read_text())
            assert not found, f"{path}: {found and found[0]}"
    assert lightning.__doc__.endswith("checked with 2.6.")
