"""Every piece combines with every other by config alone, and with resuming, bfloat16 and graphs."""

import copy
import itertools
import warnings
from pathlib import Path

import pytest
import torch
from benchmarks.kills import digests
from conftest import settings, small_settings
from omegaconf import DictConfig
from recorder import as_it_is, recorded

from alzgan.benchmarks.loops import BareGame, LoopSettings
from alzgan.device.graphs import WARM_UP_STEPS, CapturedStep
from alzgan.gan import GAN
from alzgan.runs import session
from alzgan.runs.checkpoints import load_checkpoint
from alzgan.runs.resume import Previous

MODELS = ("dcgan", "cdcgan")
LOSSES = ("non_saturating", "hinge", "relativistic")
PENALTIES = ("[]", "r1")
AUGMENTATIONS = ("none", "translate_flip")
AVERAGES = ("none", "ema")
COMBINATIONS = [
    (f"model={model}", f"loss={loss}", f"penalty={penalty}", f"augment={augment}", f"average={average}")
    for model, loss, penalty, augment, average in itertools.product(
        MODELS, LOSSES, PENALTIES, AUGMENTATIONS, AVERAGES
    )
]
UNWATCHED = ("callbacks.quality=null", "callbacks.samples=null", "callbacks.health=null", "logger=csv")


def train(composed: DictConfig, run_dir: Path, steps: int, previous: Previous | None = None) -> dict:
    own = copy.deepcopy(composed)
    own.run_dir, own.trainer.max_steps = str(run_dir), steps
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        session.run(own, (), previous)
    return load_checkpoint(run_dir / "checkpoints/last.ckpt")


@pytest.mark.parametrize("combination", COMBINATIONS, ids=" ".join)
def test_every_combination_trains_resumes_to_the_bit_and_runs_under_bfloat16(
    combination: tuple[str, ...], slices: Path, tmp_path: Path
):
    options = (*UNWATCHED, *combination, "trainer.precision=bf16-mixed")
    composed = small_settings(slices, tmp_path, *options)
    whole = train(composed, tmp_path / "whole", 2)
    train(composed, tmp_path / "part", 1)
    path = tmp_path / "part/checkpoints/last.ckpt"
    resumed = train(composed, tmp_path / "part", 2, Previous(path, load_checkpoint(path)))
    assert digests(whole) == digests(resumed)
    assert all(value.isfinite().all() for value in whole["state_dict"].values())


def played(overrides: tuple[str, ...], steps: int, step_of) -> tuple[GAN, list[dict[str, float]]]:
    """A game of so many steps and what each says; `step_of` gives what takes the alternation's place."""
    torch.manual_seed(0)
    composed = settings(
        "data.image_size=32",
        "data.channels=1",
        "data.batch_size=4",
        "model.generator.width=4",
        "model.discriminator.width=4",
        "trainer.accelerator=cpu",
        *overrides,
    )
    if composed.model.classes is None:
        composed.model.classes, composed.model.numbers = 3, 1
    game = BareGame(LoopSettings(composed))
    game.alternation = step_of(game)
    said = []
    for step in range(steps):
        game.gan.schedules.follow(step / steps, game.optimizers)
        said.append({name: float(value) for name, value in game.step(step).items()})
    return game.gan, said


def captured(game: BareGame) -> CapturedStep:
    scheduled = [list(options) for options in game.gan.schedules.of_optimizers]
    return CapturedStep(game.gan.alternation, game.optimizers, scheduled, recorded, as_it_is)


FALLING = "model.generator_optimizer.lr={_target_: alzgan.schedules.Cosine, start: 1e-3, end: 1e-4}"
LIGHTER = "model.penalties.r1.weight={_target_: alzgan.schedules.Cosine, start: 2, end: 0.2}"
SPECTRAL = "model.discriminator.normalization=spectral"


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("model=cdcgan", "loss=hinge", SPECTRAL, "average=ema"),
        ("model=r1r2", "loss=relativistic", "augment=translate_flip", "model.turns=2", FALLING, LIGHTER),
        ("model=r1r2", "trainer.precision=bf16-mixed"),
    ],
    ids=" ".join,
)
def test_a_step_that_is_recorded_and_replayed_trains_the_same_weights(overrides: tuple[str, ...]):
    # Penalties are due at every 4th step: they are recorded after their warm-up, and replayed twice.
    steps = 4 * (WARM_UP_STEPS + 2) + 1
    plain, said = played(overrides, steps, lambda game: game.gan.alternation)
    graphs: list[CapturedStep] = []
    replayed, said_again = played(overrides, steps, lambda game: graphs.append(captured(game)) or graphs[0])
    assert len(graphs[0].graphs) == (2 if "model=r1r2" in overrides else 1)
    assert said == said_again
    for (name, ours), theirs in zip(plain.state_dict().items(), replayed.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


def test_a_learning_rate_that_is_baked_in_is_found_out():
    plain, _ = played((FALLING,), 8, lambda game: game.gan.alternation)

    def baked(game: BareGame) -> CapturedStep:
        return CapturedStep(game.gan.alternation, game.optimizers, (), recorded, as_it_is)

    replayed, _ = played((FALLING,), 8, baked)
    assert not torch.equal(plain.generator[1].weight, replayed.generator[1].weight)


def test_a_branch_on_the_step_is_found_out():
    def branching(game: BareGame, wrap) -> object:
        count, alternation = itertools.count(), game.gan.alternation

        def step(turns, due):
            said = alternation(turns, due)
            with torch.no_grad():
                game.gan.generator[1].weight.mul_(1.01 if next(count) % 2 else 1.0)
            return said

        return wrap(step)

    plain, _ = played((), 8, lambda game: branching(game, lambda step: step))
    replayed, _ = played(
        (),
        8,
        lambda game: branching(
            game, lambda step: CapturedStep(step, game.optimizers, (), recorded, as_it_is)
        ),
    )
    assert not torch.equal(plain.generator[1].weight, replayed.generator[1].weight)


def test_a_value_that_is_read_is_found_out():
    def reading(game: BareGame) -> CapturedStep:
        alternation = game.gan.alternation

        def step(turns, due):
            said = alternation(turns, due)
            assert said["loss/generator"].item() > 0
            return said

        return CapturedStep(step, game.optimizers, (), recorded, as_it_is)

    with pytest.raises(RuntimeError, match="a value of the device is read"):
        played((), WARM_UP_STEPS + 1, reading)
