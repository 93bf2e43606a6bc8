import copy

import pytest
import torch
from conftest import settings
from test_game import SMALL_MODEL, play
from torch import nn

from alzgan.average import ExponentialMovingAverage
from alzgan.errors import SettingError
from alzgan.runs.build import build_model


class Game(nn.Module):
    """A generator of one number with batch norm, and its average."""

    def __init__(self, images_a_step: int):
        super().__init__()
        self.generator = nn.BatchNorm1d(1)
        self.generator_average = copy.deepcopy(self.generator)
        self.images_a_step = images_a_step


def test_what_was_has_half_its_weight_after_a_half_life():
    game, average = Game(images_a_step=10), ExponentialMovingAverage(half_life=40, ramp_up=1e9)
    with torch.no_grad():
        game.generator.weight.fill_(0.0)  # the average is at 1
        game.generator.running_mean.fill_(4.0)  # and here at 0
        game.generator.num_batches_tracked.fill_(7)
    for _ in range(4):
        average.follow(game, {})
    assert average.images.item() == 40
    assert game.generator_average.weight.item() == pytest.approx(0.5, rel=1e-5)
    assert game.generator_average.running_mean.item() == pytest.approx(2.0, rel=1e-5)
    assert game.generator_average.num_batches_tracked.item() == 7
    for _ in range(4):
        average.follow(game, {})
    assert game.generator_average.weight.item() == pytest.approx(0.25, rel=1e-5)


def test_the_half_life_is_at_first_a_share_of_the_images_seen():
    game, average = Game(images_a_step=10), ExponentialMovingAverage(half_life=12, ramp_up=0.5)
    with torch.no_grad():
        game.generator.weight.fill_(0.0)
    # Half-lives of 5, 10 and then 12 images, not 15.
    for left in (0.5 ** (10 / 5), 0.5 ** (10 / 5 + 10 / 10), 0.5 ** (10 / 5 + 10 / 10 + 10 / 12)):
        average.follow(game, {})
        assert game.generator_average.weight.item() == pytest.approx(left, rel=1e-5)


def test_without_a_ramp_up_the_half_life_is_whole_from_the_first_step():
    game, average = Game(images_a_step=10), ExponentialMovingAverage(half_life=20, ramp_up=None)
    with torch.no_grad():
        game.generator.weight.fill_(0.0)
    average.follow(game, {})
    assert game.generator_average.weight.item() == pytest.approx(0.5**0.5, rel=1e-5)
    with pytest.raises(SettingError, match="ramp_up=0 must be above 0; null is no ramp-up"):
        ExponentialMovingAverage(ramp_up=0)


def test_samples_are_the_averages_and_training_leaves_it_out_of_the_game(recwarn):
    gan = build_model(settings(*SMALL_MODEL, "average=ema"))
    batches = [torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(i)) for i in range(6)]
    play(gan, batches)
    plain = build_model(settings(*SMALL_MODEL))
    play(plain, batches)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, gan.state_dict()[name]), name  # the average changes nothing of the game
    latents = gan.latents(3, "test")
    raw, averaged = plain.sample(latents), gan.sample(latents)
    assert not torch.equal(raw, averaged)
    gan.generator.load_state_dict(gan.generator_average.state_dict())
    gan.generator_average = None
    assert torch.equal(gan.sample(latents), averaged)


def test_in_a_checkpoint_the_average_has_the_generators_names():
    gan = build_model(settings(*SMALL_MODEL, "average=ema"))
    names = gan.state_dict()
    generator = {name for name in names if name.startswith("generator.")}
    average = {name for name in names if name.startswith("generator_average.")}
    assert {name.replace("generator.", "generator_average.") for name in generator} == average
    assert "average.images" in names
    assert not any(
        p.requires_grad
        for p in build_model(settings(*SMALL_MODEL, "average=ema")).generator_average.parameters()
    )


def test_an_average_that_is_none_is_refused():
    with pytest.raises(SettingError, match=r"half_life=0.5 must be at least 1"):
        ExponentialMovingAverage(0.5)
