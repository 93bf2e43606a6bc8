"""What a step asks of a GPU, seen on a device that has no values: whoever reads one there gets an error."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import small_settings
from lightning import Callback, Trainer
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies import SingleDeviceStrategy
from recorder import patch_graphs
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from alzgan.callbacks.divergence import DivergenceGuard
from alzgan.callbacks.health import TrainingHealth
from alzgan.callbacks.progress import TrainingProgress
from alzgan.data.datamodule import MRIDataModule
from alzgan.data.loader import ResidentSlices
from alzgan.device.graphs import WARM_UP_STEPS, CapturedStep
from alzgan.runs.build import build, game_settings

META = torch.device("meta")
STEPS = WARM_UP_STEPS + 4
FALLING = "{_target_: alzgan.schedules.Cosine, start: 1e-3, end: 1e-4}"


def without_values(body):
    """A stand-in for a CUDA graph where there are no values to compare: nothing runs at the capture."""
    outputs: dict[str, Tensor] = {}

    def replay() -> None:
        for name, value in body().items():
            outputs.setdefault(name, torch.empty_like(value)).copy_(value)

    return replay, outputs


class AnyDevice(CPUAccelerator):
    def setup_device(self, device: torch.device) -> None:
        pass


class WithoutValues(SingleDeviceStrategy):
    def __init__(self):
        super().__init__(META, accelerator=AnyDevice())

    def reduce(self, *args, **kwargs) -> int:  # Lightning asks at the start how many batches there are
        return STEPS

    def teardown(self) -> None:
        pass


class Copies(TorchDispatchMode):
    """Counts the copies to the device, and whether they are waited for."""

    def __init__(self):
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
        if {tensor.device.type for tensor in tensors} == {"cpu", "meta"}:
            awaited = not (kwargs or {}).get("non_blocking")
            self.seen[f"{func.overloadpacket} of {tensors[0].dtype}{' awaited' if awaited else ''}"] += 1
        return result


class Watch(Callback):
    """Looks at each step from its batch on; behind all other callbacks."""

    def __init__(self):
        self.copies = Copies()
        self.steps: list[dict[str, int]] = []

    def on_train_start(self, trainer: Trainer, pl_module) -> None:
        pl_module.captured = CapturedStep(pl_module.play, trainer.optimizers)
        self.copies.__enter__()

    def on_train_batch_end(self, *args) -> None:
        self.steps.append(dict(self.copies.seen))
        self.copies.seen.clear()

    def on_train_end(self, *args) -> None:
        self.copies.__exit__(None, None, None)

    def on_exception(self, *args) -> None:
        self.copies.__exit__(None, None, None)


@pytest.fixture
def watched(slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn) -> Callable:
    """Trains on the device without values, logging every n steps; returns the copies of each step."""
    patch_graphs(monkeypatch, without_values)
    monkeypatch.setattr(MRIDataModule, "served_from", lambda self, _: ResidentSlices(self.dataset, META))
    # Its look at the real images is a read, before the first step.
    monkeypatch.setattr(TrainingHealth, "on_train_start", lambda *args: None)
    monkeypatch.setattr(TrainingHealth, "won_loss", 0.05, raising=False)

    def watched(log_every_n_steps: int, *overrides: str) -> list[dict[str, int]]:
        # Adam knows no fused step there.
        unfused = [f"model.{player}_optimizer.fused=false" for player in ("generator", "discriminator")]
        settings = small_settings(slices, tmp_path, *unfused, *overrides)
        data = build("data", settings.data)
        if settings.model.classes is None:
            settings.model.classes, settings.model.numbers = len(data.classes), 0
        with META:
            gan = build("model", game_settings(settings))
        watch = Watch()
        trainer = Trainer(
            strategy=WithoutValues(),
            precision="bf16-mixed",
            max_steps=STEPS,
            log_every_n_steps=log_every_n_steps,
            callbacks=[TrainingProgress(bar=False), TrainingHealth(), DivergenceGuard(), watch],
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
        )
        trainer.fit(gan, datamodule=data)
        return watch.steps

    return watched


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("model=cdcgan", "loss=hinge", "model.discriminator.normalization=spectral", "average=ema"),
        (
            "model=r1r2",
            "loss=relativistic",
            "augment=translate_flip",
            "model.turns=2",
            "model.gradient_clip=1",
        ),
        ("model=residual", "penalty=[r1,lecam,gradient]", "augment=ada"),
        ("model=sngan", "loss=least_squares", "augment=mri"),
        ("model=wgan_gp", "data.batch_size=5"),
        ("model=csmall",),
        ("model=r3gan", "model.generator.group=8", "model.discriminator.group=8"),
        ("model=r1r2", f"model.generator_optimizer.lr={FALLING}", f"model.penalties.r1.weight={FALLING}"),
    ],
)
def test_a_step_reads_nothing_of_the_device_and_waits_for_no_copy(watched, overrides: tuple[str, ...]):
    # Of all that a step needs only these travel: which images, the latents, and what the augmentation draws.
    augmented = any(each.startswith(("augment=", "model=csmall", "model=r3gan")) for each in overrides)
    numbers = 2 if augmented else 1
    expected = {"aten._to_copy of torch.int64": 1, "aten._to_copy of torch.float32": numbers}
    assert watched(1000, *overrides) == [expected] * STEPS


def test_a_step_that_is_logged_reads_its_values(watched):
    with pytest.raises(RuntimeError, match="meta"):
        watched(STEPS - 1)
