import copy
from types import SimpleNamespace

import pytest
import torch
from conftest import settings
from test_game import SMALL_MODEL, play
from torch import nn

from alzgan.average import ExponentialMovingAverage
from alzgan.errors import SettingError
from alzgan.runs.build import build_model


def at_zero(average: ExponentialMovingAverage, images_a_step: int) -> SimpleNamespace:
    """A game whose generator is one weight of 0 in a batch norm; its average begins at 1."""
    game = SimpleNamespace(generator=nn.BatchNorm1d(1), images_a_step=images_a_step)
    average.start(game.generator)
    with torch.no_grad():
        game.generator.weight.fill_(0.0)
    return game


def test_what_was_has_half_its_weight_after_a_half_life():
    average = ExponentialMovingAverage(half_life=40, ramp_up=1e9)
    game = at_zero(average, images_a_step=10)
    with torch.no_grad():
        game.generator.running_mean.fill_(4.0)  # and here at 0
        game.generator.num_batches_tracked.fill_(7)
    for _ in range(4):
        average.follow(game, {})
    assert average.images.item() == 40
    assert average.network.weight.item() == pytest.approx(0.5, rel=1e-5)
    assert average.network.running_mean.item() == pytest.approx(2.0, rel=1e-5)
    assert average.network.num_batches_tracked.item() == 7
    for _ in range(4):
        average.follow(game, {})
    assert average.network.weight.item() == pytest.approx(0.25, rel=1e-5)


def test_the_half_life_is_at_first_a_share_of_the_images_seen():
    average = ExponentialMovingAverage(half_life=12, ramp_up=0.5)
    game = at_zero(average, images_a_step=10)
    # Half-lives of 5, 10 and then 12 images, not 15.
    for left in (0.5 ** (10 / 5), 0.5 ** (10 / 5 + 10 / 10), 0.5 ** (10 / 5 + 10 / 10 + 10 / 12)):
        average.follow(game, {})
        assert average.network.weight.item() == pytest.approx(left, rel=1e-5)


def test_without_a_ramp_up_the_half_life_is_whole_from_the_first_step():
    average = ExponentialMovingAverage(half_life=20, ramp_up=None)
    game = at_zero(average, images_a_step=10)
    average.follow(game, {})
    assert average.network.weight.item() == pytest.approx(0.5**0.5, rel=1e-5)
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
    gan.generator.load_state_dict(gan.average.network.state_dict())
    gan.average = None
    assert torch.equal(gan.sample(latents), averaged)


def test_in_a_checkpoint_the_average_has_the_generators_names():
    gan = build_model(settings(*SMALL_MODEL, "average=ema"))
    names = gan.state_dict().keys()
    generator = {name for name in names if name.startswith("generator.")}
    average = {name for name in names if "average" in name}
    assert average == {name.replace("generator.", "generator_average.") for name in generator} | {
        "average.images"
    }
    assert not any(each.requires_grad for each in gan.average.parameters())


def test_a_checkpoint_of_a_game_that_held_the_average_itself_is_loaded():
    # As earlier versions wrote it: the average's network beside the generator, the counter in its rule.
    gan = build_model(settings(*SMALL_MODEL, "average=ema"))
    generator, network = build_model(settings(*SMALL_MODEL, "seed=1")).generator, gan.average.network
    old = {name: value for name, value in gan.state_dict().items() if "average" not in name}
    old |= {f"generator_average.{name}": value for name, value in generator.state_dict().items()}
    old["average.images"] = torch.tensor(640)
    copied = copy.deepcopy(gan)  # whose names must be its own
    for each in (gan, copied):
        each.load_state_dict(old)
        assert int(each.average.images) == 640
        for name, value in generator.state_dict().items():
            assert torch.equal(each.average.network.state_dict()[name], value), name
        assert each.state_dict().keys() == old.keys()
    assert not torch.equal(network[1].weight, gan.generator[1].weight)
    assert copied.average.network is not network


def test_an_average_that_is_none_is_refused():
    with pytest.raises(SettingError, match=r"half_life=0.5 must be at least 1"):
        ExponentialMovingAverage(0.5)
