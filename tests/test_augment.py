from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_game import play
from torch import Tensor, nn
from torch.nn.functional import pad

from alzgan.augment import AdaptiveAugmentation, MRIAugmentation, TranslateFlip
from alzgan.device.streams import stream
from alzgan.errors import SettingError
from alzgan.gan import GAN
from alzgan.losses import NonSaturatingLoss

IMAGE = torch.arange(1.0, 17.0).view(1, 1, 4, 4)


def augmented(down: float, right: float, mirror: float, **options) -> torch.Tensor:
    """The image under uniforms, black shown as 0."""
    result = TranslateFlip(**{"shift": 0.25, **options})(IMAGE, torch.tensor([[down, right, mirror]]))
    return torch.where(result == -1, 0, result)[0, 0]


def test_an_image_is_shifted_by_whole_pixels_and_black_comes_in():
    assert torch.equal(augmented(0.5, 0.5, 0.9), IMAGE[0, 0])
    assert augmented(0.9, 0.5, 0.9).tolist() == [[0] * 4, *IMAGE[0, 0, :3].tolist()]
    assert augmented(0.1, 0.5, 0.9).tolist() == [*IMAGE[0, 0, 1:].tolist(), [0] * 4]
    assert augmented(0.5, 0.9, 0.9).tolist() == [[0, *row[:3]] for row in IMAGE[0, 0].tolist()]
    assert augmented(0.5, 0.5, 0.2).tolist() == [row[::-1] for row in IMAGE[0, 0].tolist()]
    # What comes in is black on the side that it is shifted from, mirrored or not.
    assert augmented(0.5, 0.9, 0.2).tolist() == [[0, *row[:0:-1]] for row in IMAGE[0, 0].tolist()]


def test_every_shift_is_as_likely_as_any_other_and_half_are_mirrored():
    augmentation = TranslateFlip(shift=0.125)
    image = torch.full((1, 1, 32, 32), -1.0)
    image[0, 0, 16, 8] = 1.0
    count = 8100
    uniforms = torch.from_numpy(augmentation.draw(stream(0, "test"), count))
    assert uniforms.shape == (count, 3)
    assert uniforms.dtype == torch.float32
    found = augmentation(image.expand(count, -1, -1, -1), uniforms)
    _, _, rows, columns = (found == 1).nonzero(as_tuple=True)
    mirrored = columns > 15
    columns = torch.where(mirrored, 31 - columns, columns)
    # Nine shifts along each axis, 900 expected of each; five standard deviations are 141.
    for places, centre in ((rows, 16), (columns, 8)):
        counts = np.bincount(places - centre + 4, minlength=9)
        assert len(counts) == 9
        assert abs(counts - 900).max() < 141
    assert abs(mirrored.double().mean() - 0.5) < 0.028


def test_it_is_differentiable_twice_and_each_pixel_passes_its_own_gradient():
    augmentation = TranslateFlip()
    images = torch.rand(3, 2, 8, 8, dtype=torch.double, requires_grad=True)
    uniforms = torch.rand(3, 3, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(lambda x: augmentation(x, uniforms), images)
    assert torch.autograd.gradgradcheck(lambda x: augmentation(x, uniforms).pow(3), images)


def test_the_same_uniforms_do_the_same_to_real_and_fake_whatever_else_is_in_the_batch():
    augmentation = TranslateFlip()
    images, uniforms = torch.rand(6, 1, 16, 16), torch.rand(6, 3)
    together = augmentation(images, uniforms)
    for index in range(6):
        alone = augmentation(images[index : index + 1], uniforms[index : index + 1])
        assert torch.equal(alone[0], together[index])


def test_shares_that_are_none_are_refused():
    with pytest.raises(SettingError, match=r"shift=1.5 must be from 0 to 1"):
        TranslateFlip(shift=1.5)


OPERATIONS = ("flip", "shift", "rotation", "scale", "contrast", "brightness", "cutout")
DRAWN = ("mirror", "down", "right", "turn", "grow", "bright", "sharp", "top", "left")


def in_scanner(image: Tensor, happening: str, options: dict | None = None, **drawn: float) -> Tensor:
    """An image (H, W) after one operation; what is drawn goes from -1 to 1."""
    happens = [0.0 if name == happening else 0.9 for name in OPERATIONS]
    uniforms = [(drawn.get(name, 0.0) + 1) / 2 for name in DRAWN]
    augmentation = MRIAugmentation(0.5, **(options or {}))
    return augmentation(image[None, None], torch.tensor([happens + uniforms]))[0, 0]


PICTURE = torch.rand(8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_what_does_not_happen_changes_nothing():
    torch.testing.assert_close(in_scanner(PICTURE, "nothing", turn=0.7, bright=1), PICTURE, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("operation", "options", "drawn", "expected"),
    [
        ("flip", {}, {"mirror": -0.5}, PICTURE.flip(1)),
        ("flip", {}, {"mirror": 0.5}, PICTURE),
        ("rotation", {"rotation": 90}, {"turn": 1}, PICTURE.rot90(-1)),
        ("shift", {"shift": 0.125}, {"right": 1}, pad(PICTURE[:, :-1], (1, 0), value=-1)),
        (
            "shift",
            {"shift": 0.25},
            {"down": -1},
            pad(PICTURE[2:], (0, 0, 0, 2), value=-1),
        ),
        # Half a pixel to the right: each pixel the mean of its own and its left neighbour.
        (
            "shift",
            {"shift": 0.125},
            {"right": 0.5},
            (PICTURE + pad(PICTURE[:, :-1], (1, 0), value=-1)) / 2,
        ),
        # From black: 1.5 as far.
        ("brightness", {"brightness": 0.5}, {"bright": 1}, (PICTURE + 1) * 1.5 - 1),
        ("brightness", {"brightness": 0.5}, {"bright": -1}, (PICTURE + 1) / 1.5 - 1),
    ],
)
def test_operations_of_a_scanner_by_hand(operation: str, options: dict, drawn: dict, expected: Tensor):
    found = in_scanner(PICTURE, operation, options, **drawn)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_scaling_is_about_the_middle():
    ramp = (torch.arange(8.0) - 3.5).expand(8, 8) / 100
    grown = in_scanner(ramp, "scale", {"scale": 0.25}, grow=1)
    torch.testing.assert_close(grown[3], ramp[3] / 1.25)
    shrunk = in_scanner(ramp, "scale", {"scale": 0.25}, grow=-1)
    torch.testing.assert_close(shrunk[3, 1:-1], ramp[3, 1:-1] * 1.25)
    assert shrunk[0].max() < -0.8  # black comes in


def test_contrast_bends_the_greys_and_keeps_black_and_white():
    greys = torch.tensor([[-1.0, -0.5, 0.0, 1.0]])
    bent = in_scanner(greys, "contrast", {"contrast": 0.4}, sharp=1)
    assert bent[0].tolist() == pytest.approx([-1, 2 * (0.25 + 0.4 * 0.1875) - 1, 2 * (0.5 + 0.1) - 1, 1])


def test_cutout_is_off_as_it_comes_and_makes_a_square_black():
    white = torch.ones(8, 8)
    assert torch.equal(in_scanner(white, "cutout"), white)
    found = in_scanner(white, "cutout", {"cutout": 0.5}, top=-0.5, left=0)
    rows, columns = (found == -1).nonzero(as_tuple=True)
    assert sorted(set(rows.tolist())) == [0, 1, 2, 3]
    assert sorted(set(columns.tolist())) == [2, 3, 4, 5]


def test_a_share_of_the_images_is_changed_by_each_operation():
    augmentation = MRIAugmentation(0.3, flip=1.0, shift=0, rotation=0, scale=0, brightness=0, contrast=0)
    images = PICTURE.expand(5000, 1, 8, 8)
    found = augmentation(images, torch.from_numpy(augmentation.draw(stream(0, "test"), 5000)))
    mirrored = (found - images).abs().amax((1, 2, 3)) > 1e-3
    assert mirrored.double().mean().item() == pytest.approx(0.3, abs=0.033)  # 5 standard deviations


def test_the_scanner_is_differentiable_twice():
    augmentation = MRIAugmentation(1.0, cutout=0.3)
    images = torch.rand(2, 2, 6, 6, dtype=torch.double, requires_grad=True)
    uniforms = torch.rand(2, 16, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    assert torch.autograd.gradcheck(lambda x: augmentation(x, uniforms), images)
    assert torch.autograd.gradgradcheck(lambda x: augmentation(x, uniforms).pow(3), images)


def test_the_probability_goes_up_where_the_discriminator_overfits_and_down_where_not():
    augmentation = AdaptiveAugmentation(target=0.6, interval=2, length=1000, limit=0.8)
    gan = SimpleNamespace(images_a_step=100)
    found = []
    # Means of two: 0.9, 0.5, 0.9, 0.9, 0.9, 0.9 and 0.9; a change is 2 * 100 / 1000.
    for sign in (0.8, 1.0, 0.4, 0.6, *[0.9] * 10):
        said = {"overfitting/r_t": torch.tensor(sign)}
        augmentation.follow(gan, said)
        found.append(round(augmentation.probability.item(), 6))
    assert found == [0, 0.2, 0.2, 0, 0, 0.2, 0.2, 0.4, 0.4, 0.6, 0.6, 0.8, 0.8, 0.8]
    assert said["augment/probability"].item() == pytest.approx(0.8)
    assert {"probability", "steps", "signs"} == set(augmentation.state_dict())


class LeftOrRight(nn.Module):
    """A generator of one number: how much of the light is on the left."""

    def __init__(self, light: float):
        super().__init__()
        self.light = nn.Parameter(torch.tensor(light))

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        left = self.light + 0.1 * latents[:, 0]
        return torch.stack([left, -left], 1).tanh()[:, None, None, :].expand(-1, 1, 2, 2)


class Sides(nn.Sequential):
    """A discriminator of such images."""

    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(4, 1), nn.Flatten(0))

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return super().forward(images)


def light_after_training(probability: float) -> float:
    """Where a generator of mirrored images ends; of that share of the images half are mirrored for D."""
    torch.manual_seed(0)
    augmentation = MRIAugmentation(probability, shift=0, rotation=0, scale=0, brightness=0, contrast=0)
    adam = partial(torch.optim.Adam, lr=0.02, betas=(0.0, 0.99))
    gan = GAN(LeftOrRight(-1.0), Sides(), NonSaturatingLoss(), adam, adam, latent_dim=1, augment=augmentation)
    lit_from_the_left = torch.tensor([0.76, -0.76]).expand(64, 1, 2, 2)
    play(gan, [lit_from_the_left] * 150)
    return gan.generator.light.item()


def test_a_mirror_of_every_other_image_leaks_into_samples_and_a_rarer_one_does_not(recwarn):
    assert light_after_training(0.7) > 0.5  # back to the side of the data
    assert light_after_training(1.0) < 0.0  # the discriminator cannot tell left from right
