import numpy as np
import pytest
import torch

from alzgan.augment import TranslateFlip
from alzgan.device.streams import stream
from alzgan.errors import SettingError

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
