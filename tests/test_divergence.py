from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import small_settings
from torch import Tensor

from alzgan.errors import UserError
from alzgan.losses import NonSaturatingLoss
from alzgan.runs import session


class BreaksAtStep(NonSaturatingLoss):
    """Gives NaN from the given step on."""

    def __init__(self, step: int):
        self.steps_left = step

    def generator(self, fake_logits: Tensor, real: Callable[[], Tensor]) -> Tensor:
        self.steps_left -= 1
        return super().generator(fake_logits, real) * (float("nan") if self.steps_left <= 0 else 1)


def breaking(slices: Path, run_dir: Path, step: int, *overrides: str) -> None:
    loss = ("model.loss._target_=test_divergence.BreaksAtStep", f"+model.loss.step={step}")
    session.run(small_settings(slices, run_dir, *loss, "trainer.max_epochs=4", *overrides))


def test_a_nan_stops_the_run_at_its_step_and_the_last_good_checkpoint_stays(slices: Path, tmp_path: Path):
    with pytest.raises(UserError, match="training diverged: a loss became NaN or infinite by step 7;"):
        breaking(slices, tmp_path, 7, "callbacks.checkpoint.every_n_train_steps=3")
    checkpoint = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 6
    assert all(value.isfinite().all() for value in checkpoint["state_dict"].values())


def test_weights_that_diverged_are_never_saved(slices: Path, tmp_path: Path):
    # Both at the same step: the checkpoint is due right where the loss breaks.
    with pytest.raises(UserError, match="by step 6"):
        breaking(slices, tmp_path, 6, "callbacks.checkpoint.every_n_train_steps=3")
    assert torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 3


def test_an_infinite_weight_is_refused_at_the_save(
    slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def poisoned(self, *arguments):
        said = original(self, *arguments)
        if self.global_step == 3:  # inside the fourth step
            with torch.no_grad():
                self.generator[1].weight[0, 0] = float("inf")
        return said

    original = session.GAN.play
    monkeypatch.setattr(session.GAN, "play", poisoned)
    with pytest.raises(UserError, match="NaN or infinite"):
        session.run(
            small_settings(
                slices, tmp_path, "trainer.max_steps=4", "callbacks.checkpoint.every_n_train_steps=2"
            )
        )
    checkpoint = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 2
