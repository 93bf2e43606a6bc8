import logging
from math import log
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import small_settings
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from alzgan.callbacks.health import TrainingHealth, spread
from alzgan.losses import HingeLoss, NonSaturatingLoss, RelativisticLoss
from alzgan.runs import session

EARLY = ("callbacks.health.every_n_train_steps=2", "callbacks.health.patience=4")


def images(spread: float, seed: int = 0) -> torch.Tensor:
    noise = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    return (128 + spread * noise).clamp(0, 255).to(torch.uint8)


class Watched:
    """A game of which only what the callback looks at is there."""

    def __init__(self, health: TrainingHealth, diversity: float = 30, loss=None):
        self.health, self.logged, self.diversity = health, [], diversity
        self.trainer = SimpleNamespace(
            global_step=0,
            is_global_zero=True,
            datamodule=SimpleNamespace(
                sample_real=lambda count: (images(30, 1), None),
                draw_labels=lambda count, _: torch.zeros(count, dtype=torch.long),
            ),
            loggers=[SimpleNamespace(log_metrics=lambda values, step: self.logged.append((step, values)))],
        )
        self.gan = SimpleNamespace(
            device="cpu",
            loss=loss or NonSaturatingLoss(),
            latents=lambda *_: None,
            sample=lambda *_: images(self.diversity),
        )
        health.on_train_start(self.trainer, self.gan)

    def play(self, steps: int, loss: float = 1.0) -> None:
        outputs = {"loss/discriminator": torch.tensor(loss)}
        for _ in range(steps):
            self.trainer.global_step += 1
            self.health.on_train_batch_end(self.trainer, self.gan, outputs)


def health(**options) -> TrainingHealth:
    return TrainingHealth(**{"every_n_train_steps": 2, "patience": 6, "count": 16, **options})


@pytest.fixture
def warnings_of(caplog: pytest.LogCaptureFixture):
    return lambda: [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_a_discriminator_that_has_won_is_warned_of_once(warnings_of):
    game = Watched(health())
    game.play(5, loss=0.01)
    assert warnings_of() == []
    game.play(20, loss=0.01)
    (line,) = warnings_of()
    assert (
        "the discriminator has won: for 6 steps its loss has been below 4% of a guessing discriminator's"
        in line
    )
    assert "model.discriminator_optimizer.lr" in line
    assert game.logged[2] == (
        6,
        {"health/discriminator_won": 6, "health/sample_diversity": pytest.approx(1, 0.1)},
    )


def test_a_game_that_comes_back_is_not_warned_of(warnings_of):
    game = Watched(health())
    for _ in range(5):
        game.play(5, loss=0.01)
        game.play(1, loss=0.4)
    assert warnings_of() == []


@pytest.mark.parametrize(("loss", "limit"), [(HingeLoss(), 2 * 0.036), (RelativisticLoss(), 0.036 * log(2))])
def test_what_is_near_the_end_is_the_losss_own(loss, limit: float, warnings_of):
    game = Watched(health(), loss=loss)
    game.play(20, loss=1.02 * limit)
    assert warnings_of() == []
    game.play(20, loss=0.98 * limit)
    assert len(warnings_of()) == 1


def test_a_loss_without_an_end_is_never_won(warnings_of):
    wasserstein = SimpleNamespace(discriminator=lambda real, fake: (fake - real).mean())
    Watched(health(), loss=wasserstein).play(20, loss=-100.0)
    assert warnings_of() == []


def test_a_collapsed_generator_is_warned_of_once(warnings_of):
    game = Watched(health(), diversity=0.5)
    game.play(20)
    (line,) = warnings_of()
    assert "the generator has collapsed: for 6 steps its samples have differed by less than 10%" in line
    assert game.logged[0][1]["health/sample_diversity"] < 0.1


def test_a_resumed_run_goes_on_counting_and_does_not_warn_again(warnings_of):
    first = Watched(health())
    first.play(4, loss=0.01)
    second = health()
    second.load_state_dict(first.health.state_dict())
    game = Watched(second)
    game.play(2, loss=0.01)
    assert len(warnings_of()) == 1
    third = health()
    third.load_state_dict(second.state_dict())
    Watched(third).play(10, loss=0.01)
    assert len(warnings_of()) == 1


def test_spread_is_the_distance_between_two_images():
    pair = torch.tensor([[[[0.0, 10.0]]], [[[20.0, 40.0]]]])
    assert spread(pair) == pytest.approx(((20**2 + 30**2) / 2) ** 0.5)


def test_a_healthy_small_run_is_not_warned_of_and_shows_both_curves(
    slices: Path, tmp_path: Path, warnings_of
):
    session.run(small_settings(slices, tmp_path, "trainer.max_steps=60", *EARLY[:1]))
    assert not any("has won" in line or "has collapsed" in line for line in warnings_of())
    events = EventAccumulator(str(tmp_path)).Reload()
    for tag in ("health/discriminator_won", "health/sample_diversity"):
        assert [event.step for event in events.Scalars(tag)] == list(range(2, 61, 2))


def test_a_generator_that_cannot_learn_is_found_collapsed(slices: Path, tmp_path: Path, warnings_of):
    still = ("model.generator_optimizer.lr=0", "trainer.max_steps=8")
    session.run(small_settings(slices, tmp_path, *still, *EARLY))
    assert sum("the generator has collapsed" in line for line in warnings_of()) == 1
