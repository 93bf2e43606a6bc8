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
from recorder import patch_graphs

from alzgan.benchmarks.loops import BareGame
from alzgan.device.graphs import WARM_UP_STEPS, CapturedStep
from alzgan.gan import GAN
from alzgan.runs import session
from alzgan.runs.build import build_model
from alzgan.runs.checkpoints import load_checkpoint
from alzgan.runs.resume import Previous

GROUPS = (
    ("model=dcgan", "model=residual"),
    ("conditioning=none", "conditioning=gradual"),
    ("loss=non_saturating", "loss=hinge", "loss=least_squares", "loss=wasserstein", "loss=relativistic"),
    ("penalty=[]", "penalty=r1", "penalty=gradient", "penalty=lecam", "penalty=[r1,r2,gradient,lecam]"),
    ("augment=none", "augment=translate_flip", "augment=mri", "augment=ada"),
    ("average=none", "average=ema"),
    ("part=[]", "part=patches"),
    ("model.turns=1", "model.turns=2"),
    ("model.diversity=0", "model.diversity=0.4"),
)


def pairs_of(combination: tuple[str, ...]) -> set[tuple[str, str]]:
    return set(itertools.combinations(combination, 2))


def covering(groups: tuple[tuple[str, ...], ...]) -> list[tuple[str, ...]]:
    """Few combinations in which each two choices of different groups meet."""
    every = list(itertools.product(*groups))
    missing = set().union(*map(pairs_of, every))
    chosen = []
    while missing:
        chosen.append(max(every, key=lambda each: len(pairs_of(each) & missing)))
        missing -= pairs_of(chosen[-1])
    return chosen


COMBINATIONS = covering(GROUPS)
RECIPES = (
    "dcgan", "cdcgan", "r1r2", "small", "csmall", "aided", "caided", "residual", "sngan", "wgan_gp", "r3gan"
)  # fmt: skip
SLOW = {"aided": [pytest.mark.slow], "r3gan": [pytest.mark.long], "caided": [pytest.mark.long]}
SIZES = [(32, 1), *(pytest.param(*each, marks=pytest.mark.long) for each in ((32, 3), (64, 1), (64, 3)))]
UNWATCHED = ("callbacks.quality=null", "callbacks.samples=null", "callbacks.health=null", "logger=csv")


@pytest.fixture(autouse=True)
def graphs_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    patch_graphs(monkeypatch)


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
    composed = small_settings(slices, tmp_path, *UNWATCHED, *combination, "trainer.precision=bf16-mixed")
    check_resumed(composed, tmp_path)


@pytest.mark.parametrize(("size", "channels"), SIZES)
@pytest.mark.parametrize("recipe", [pytest.param(each, marks=SLOW.get(each, ())) for each in RECIPES])
def test_every_recipe_trains_resumes_to_the_bit_and_runs_under_bfloat16(
    recipe: str, size: int, channels: int, slices: Path, tmp_path: Path
):
    shape = (f"data.image_size={size}", f"data.channels={channels}", "data.batch_size=10")
    options = (*UNWATCHED, f"model={recipe}", "trainer.precision=bf16-mixed", *shape)
    check_resumed(small_settings(slices, tmp_path, *options), tmp_path)


# What its paper says, or what it is here for.
PAPERS = {
    "dcgan": ("NonSaturatingLoss", "batch", 1, (2e-4, 2e-4), (0.5, 0.999), {}),
    "sngan": ("HingeLoss", "spectral", 1, (1e-4, 4e-4), (0.0, 0.9), {}),
    "wgan_gp": ("WassersteinLoss", "none", 5, (1e-4, 1e-4), (0.0, 0.9), {"gradient": (10, 1)}),
    "small": ("RelativisticLoss", "none", 1, (5e-4, 5e-4), (0.0, 0.99), {"r1": (0.5, 4), "r2": (0.5, 4)}),
}


@pytest.mark.parametrize("recipe", sorted(PAPERS))
def test_a_recipe_is_what_its_paper_says(recipe: str):
    model = settings(f"model={recipe}").model
    players = model.generator_optimizer, model.discriminator_optimizer
    assert players[0].betas == players[1].betas
    assert (
        model.loss._target_.rpartition(".")[2],
        model.discriminator.normalization,
        model.turns,
        tuple(each.lr for each in players),
        tuple(players[0].betas),
        {name: (each.weight, each.interval) for name, each in (model.get("penalties") or {}).items()},
    ) == PAPERS[recipe]


def check_resumed(composed: DictConfig, tmp_path: Path) -> None:
    """Two steps at once, and one after the other, end with the same bits."""
    whole = train(composed, tmp_path / "whole", 2)
    train(composed, tmp_path / "part", 1)
    path = tmp_path / "part/checkpoints/last.ckpt"
    resumed = train(composed, tmp_path / "part", 2, Previous(path, load_checkpoint(path)))
    assert digests(whole) == digests(resumed)
    assert all(value.isfinite().all() for value in whole["state_dict"].values())


def played(overrides: tuple[str, ...], steps: int, step_of) -> tuple[GAN, list[dict[str, float]]]:
    """A game of so many steps and what each says; `step_of` gives what plays in its place."""
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
    game = BareGame(composed)
    game.play = step_of(game)
    said = []
    for step in range(steps):
        game.gan.schedules.follow(step / steps, game.optimizers)
        said.append({name: float(value) for name, value in game.step(step).items()})
    return game.gan, said


def captured(game: BareGame) -> CapturedStep:
    scheduled = [list(options) for options in game.gan.schedules.of_optimizers]
    return CapturedStep(game.play, game.optimizers, scheduled)


FALLING = "model.generator_optimizer.lr={_target_: alzgan.schedules.Cosine, start: 1e-3, end: 1e-4}"
LIGHTER = "model.penalties.r1.weight={_target_: alzgan.schedules.Cosine, start: 2, end: 0.2}"
FIXED_BETAS = [f"model.{player}_optimizer.betas=[0.0,0.9]" for player in ("generator", "discriminator")]
SPECTRAL = "model.discriminator.normalization=spectral"


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("model=cdcgan", "loss=hinge", SPECTRAL, "average=ema"),
        ("model=sngan", "penalty=lecam", "augment=ada"),
        ("model=wgan_gp", "model.turns=2", "augment=mri"),
        ("model=residual", "conditioning=gradual"),
        ("model=csmall",),
        pytest.param(
            ("model=r3gan", *FIXED_BETAS, "model.generator.group=8", "model.discriminator.group=8"),
            marks=pytest.mark.slow,
        ),
        ("model=r1r2", "loss=relativistic", "augment=translate_flip", "model.turns=2", FALLING, LIGHTER),
        ("model=r1r2", "trainer.precision=bf16-mixed"),
    ],
    ids=" ".join,
)
def test_a_step_that_is_recorded_and_replayed_trains_the_same_weights(overrides: tuple[str, ...]):
    # Penalties are due at every 4th step: they are recorded after their warm-up, and replayed twice.
    steps = 4 * (WARM_UP_STEPS + 2) + 1
    plain, said = played(overrides, steps, lambda game: game.play)
    graphs: list[CapturedStep] = []
    replayed, said_again = played(overrides, steps, lambda game: graphs.append(captured(game)) or graphs[0])
    lazy = any(each in overrides for each in ("model=r1r2", "model=residual", "model=csmall"))
    assert len(graphs[0].graphs) == (2 if lazy else 1)
    assert said == said_again
    for (name, ours), theirs in zip(plain.state_dict().items(), replayed.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


def test_a_learning_rate_that_is_baked_in_is_found_out():
    plain, _ = played((FALLING,), 8, lambda game: game.play)

    def baked(game: BareGame) -> CapturedStep:
        return CapturedStep(game.play, game.optimizers)

    replayed, _ = played((FALLING,), 8, baked)
    assert not torch.equal(plain.generator[1].weight, replayed.generator[1].weight)


def test_a_branch_on_the_step_is_found_out():
    def branching(game: BareGame, wrap) -> object:
        count, play = itertools.count(), game.play

        def step(turns, due):
            said = play(turns, due)
            with torch.no_grad():
                game.gan.generator[1].weight.mul_(1.01 if next(count) % 2 else 1.0)
            return said

        return wrap(step)

    plain, _ = played((), 8, lambda game: branching(game, lambda step: step))
    replayed, _ = played(
        (),
        8,
        lambda game: branching(game, lambda step: CapturedStep(step, game.optimizers)),
    )
    assert not torch.equal(plain.generator[1].weight, replayed.generator[1].weight)


def test_a_value_that_is_read_is_found_out():
    def reading(game: BareGame) -> CapturedStep:
        play = game.play

        def step(turns, due):
            said = play(turns, due)
            assert said["loss/generator"].item() > 0
            return said

        return CapturedStep(step, game.optimizers)

    with pytest.raises(RuntimeError, match="a value of the device is read"):
        played((), WARM_UP_STEPS + 1, reading)


@pytest.mark.parametrize("recipe", RECIPES)
def test_each_piece_of_a_recipe_can_be_left_out_by_its_group(recipe: str):
    composed = settings(
        f"model={recipe}", "penalty=[]", "part=[]", "augment=none", "average=none", "data.channels=1"
    )
    composed.model.classes, composed.model.numbers = 0, 0
    gan = build_model(composed)
    assert (len(gan.penalties), len(gan.parts), gan.augment, gan.average) == (0, 0, None, None)
    assert not composed.model.augment
    assert not composed.model.get("penalties")


@pytest.mark.long
@pytest.mark.parametrize("size", [128, 256])
@pytest.mark.parametrize("recipe", ["dcgan", "small", "residual"])
def test_larger_images_train_and_resume(recipe: str, size: int, slices: Path, tmp_path: Path):
    options = (
        *UNWATCHED,
        f"model={recipe}",
        f"data.image_size={size}",
        "data.channels=1",
        "data.batch_size=4",
    )
    check_resumed(small_settings(slices, tmp_path, *options), tmp_path)
