import os
from pathlib import Path

import numpy as np
import pytest
import torch

from alzgan.images.arrays import Preprocessing, decode
from alzgan.images.folder import scan
from alzgan.metrics import measures
from alzgan.metrics.anatomy import (
    BRAIN_COLOUR,
    UNITS,
    VENTRICLE_COLOUR,
    grey,
    masks_of,
    outlined,
)

Y, X = np.mgrid[-1:1:96j, -1:1:96j]


def brain(grey: float = 160, ventricle: float = 0.2, shift: int = 0) -> torch.Tensor:
    """A disc of radius 0.8 with a dark disc in its middle, uint8 (1, 1, 96, 96)."""
    image = np.where(np.hypot(X, Y) < 0.8, grey, 0)
    image[np.hypot(X, Y) < ventricle] = 0.2 * grey
    return torch.from_numpy(np.roll(image, shift, 1).astype("uint8"))[None, None]


def measure(name: str, images: torch.Tensor) -> float:
    """One measure of one image."""
    return float(measures(images)[name])


def test_areas_are_those_of_the_discs():
    assert measure("brain_area", brain()) == pytest.approx(np.pi * 0.8**2 / 4, rel=0.02)
    assert measure("ventricle_ratio", brain(ventricle=0.2)) == pytest.approx(0.2**2 / 0.8**2, rel=0.05)
    assert measure("ventricle_ratio", brain(ventricle=0.3)) == pytest.approx(0.3**2 / 0.8**2, rel=0.05)
    assert measure("ventricle_ratio", brain(ventricle=0)) == 0


def test_fluid_near_the_edge_is_no_ventricle():
    image = brain(ventricle=0)
    image[0, 0, 44:52, 15:22] = 10  # inside the disc, a few pixels from its edge, and as dark as background
    assert measure("ventricle_ratio", image) == 0
    assert bool(masks_of(grey(image)).brain[0, 47, 18])  # a hole is filled


def test_fluid_in_the_fissure_at_the_front_is_no_ventricle():
    image = brain(ventricle=0)
    image[0, 0, 17:29, 46:50] = 30  # deep enough, but more than 0.55 of the half length of 38 above row 48
    assert int(masks_of(grey(image)).ventricles[0, :27].sum()) == 0
    image[0, 0, 29:41, 46:50] = 30
    assert int(masks_of(grey(image)).ventricles[0, 29:41].sum()) == 12 * 4


def test_a_speck_of_fluid_is_no_ventricle_and_the_fluid_beside_it_is():
    image = brain(ventricle=0)
    image[0, 0, 40:43, 40:43] = 30  # 9 of 4,500 pixels; 0.003 of them are 13.6
    assert measure("ventricle_ratio", image) == 0
    image[0, 0, 50:54, 50:54] = 30
    assert int(masks_of(grey(image)).ventricles.sum()) == 16


def test_an_oval_ventricle_has_the_area_of_an_ellipse():
    image = brain(ventricle=0)
    image[0, 0][torch.from_numpy(np.hypot(X / 0.15, Y / 0.35) < 1)] = 30
    assert measure("ventricle_ratio", image) == pytest.approx(0.15 * 0.35 / 0.8**2, rel=0.05)


def test_colours_count_as_their_mean():
    channels = torch.cat([brain(150), brain(60), brain(90)], 1)
    assert measure("intensity_95", channels) == pytest.approx(100 / 255)
    assert measure("ventricle_ratio", channels) == measure("ventricle_ratio", brain(100))


def test_brightness_does_not_change_what_is_measured():
    for image in (brain(40), brain(160), brain(250)):
        assert measure("ventricle_ratio", image) == pytest.approx(
            measure("ventricle_ratio", brain()), abs=1e-9
        )
        assert measure("brain_area", image) == pytest.approx(measure("brain_area", brain()), abs=1e-9)


def test_a_bright_speck_beside_the_brain_is_none_of_it():
    image = brain()
    image[0, 0, 2:5, 2:5] = 255
    assert measure("brain_area", image) == measure("brain_area", brain())


def test_a_symmetric_brain_is_symmetric_wherever_it_lies():
    for shift in (0, 3, -4):
        assert measure("asymmetry", brain(shift=shift)) == pytest.approx(0, abs=1e-9)


def test_a_brighter_half_differs_by_the_difference_over_the_sum():
    image = torch.zeros(1, 1, 64, 64).byte()
    image[0, 0, 16:48, 10:26] = 100
    image[0, 0, 16:48, 26:42] = 150
    assert measure("asymmetry", image) == pytest.approx(50 / 250)


def test_a_spot_on_one_side_differs_by_its_share_of_the_grey():
    # A square of 100 with a spot of 200 on one side.
    image = torch.zeros(1, 1, 64, 64)
    image[0, 0, 16:48, 16:48] = 100
    image[0, 0, 20:24, 20:24] = 200
    found = measure("asymmetry", image.byte())
    # Both the extra grey and where it is missing count; the square's four corners are no part of the brain.
    assert found == pytest.approx(2 * 16 * 100 / (2 * (1020 * 100 + 1600)))


def test_quantiles_are_those_of_the_brains_pixels():
    image = torch.zeros(1, 1, 64, 64)
    image[0, 0, 10:50, 10:50] = torch.linspace(100, 200, 40)
    found = {name: measure(name, image.byte()) for name in UNITS if name.startswith("intensity")}
    expected = {"05": 105, "25": 125, "50": 150, "75": 175, "95": 195}
    assert found == pytest.approx({f"intensity_{q}": x / 255 for q, x in expected.items()}, abs=0.005)


def test_what_has_no_brain_has_zeros():
    black, flat = torch.zeros(2, 1, 32, 32).byte(), torch.full((1, 3, 32, 32), 90).byte()
    for name, values in measures(black).items():
        assert values.tolist() == [0, 0], name
    assert measure("brain_area", flat) == pytest.approx(1, abs=0.005)  # without the very corners
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 1, 32, 32), np.uint8))
    assert all(bool(values.isfinite().all()) for values in measures(noise).values())


def test_all_measures_have_a_unit_and_are_those_of_each_image():
    images = torch.cat([brain(), brain(ventricle=0.3)])
    found = measures(images)
    assert set(found) == set(UNITS)
    for name, values in found.items():
        assert values.tolist() == [measure(name, images[:1]), measure(name, images[1:])], name


def test_outlines_are_drawn_on_the_edges_alone():
    image = brain()
    shown = outlined(image)[0].permute(1, 2, 0)
    undrawn = torch.ones(96, 96, dtype=torch.bool)
    for colour, mask in (
        (BRAIN_COLOUR, masks_of(grey(image)).brain[0]),
        (VENTRICLE_COLOUR, masks_of(grey(image)).ventricles[0]),
    ):
        drawn = (shown == torch.tensor(colour)).all(2)
        # On the mask's pixels that have a neighbour, of four, outside of it.
        padded = np.pad(mask, 1)
        around = [padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]
        assert drawn.tolist() == (mask & ~np.all(around, axis=0)).tolist()
        undrawn &= ~drawn
    assert torch.equal(shown[undrawn], image[0, 0][undrawn][:, None].expand(-1, 3))


@pytest.mark.slow
@pytest.mark.skipif("ALZGAN_MRI_ROOT" not in os.environ, reason="needs real slices in ALZGAN_MRI_ROOT")
def test_ventricles_of_real_people_grow_with_their_diagnosis(tmp_path: Path):
    root = Path(os.environ["ALZGAN_MRI_ROOT"])
    decoded = decode(root, scan(root)[::4], Preprocessing(image_size=64, channels=1), cache_dir=tmp_path)
    ratio = measures(torch.from_numpy(decoded.images.transpose(0, 3, 1, 2).copy()))["ventricle_ratio"]
    classes = np.array([Path(file.path).parts[0] for file in decoded.files])
    means = {name: float(ratio[classes == name].mean()) for name in np.unique(classes)}
    assert means["NonDemented"] + 0.01 < means["VeryMildDemented"]
    assert means["VeryMildDemented"] + 0.01 < means["MildDemented"]
