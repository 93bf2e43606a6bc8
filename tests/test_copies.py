"""Copies of an image are found whichever way they lie, and nothing else is taken for one."""

import math
import os
from collections import Counter
from statistics import NormalDist

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from alzgan.images.decoding import read_image
from alzgan.images.folder import ImageFile, scan
from alzgan.images.likeness import Nearest
from alzgan.images.thumbnails import shrunk, thumbnails
from alzgan.people import copies, similarity
from alzgan.people.copies import Copy, find_copies, known_copies, tied
from alzgan.people.subjects import identify
from alzgan.sources.phantom import write_phantom

COUNT = 60


@pytest.fixture(scope="module")
def brains(tmp_path_factory):
    """60 slices (192, 192) of 12 phantom people, five neighbours each."""
    root = tmp_path_factory.mktemp("phantom") / "brains"
    write_phantom(root, people=12, slices=5, size=192, spacing=3)
    return [read_image(root / file.path) for file in scan(root)]


def squares_of(images) -> np.ndarray:
    return np.stack([shrunk(image)[1] for image in images])


def found_among(images, names=None) -> list[Copy]:
    squares = squares_of(map(np.ascontiguousarray, images))
    names = names or [f"AD/{number}.png" for number in range(len(images))]
    return find_copies(squares, [ImageFile(name, "AD") for name in names])


def filtered(image: np.ndarray, change) -> np.ndarray:
    return np.asarray(change(Image.fromarray(image)))


CHANGES = {
    "exact": lambda image: image,
    "brighter": lambda image: np.clip(image * 0.8 + 20, 0, 255).astype(np.uint8),
    "noise": lambda image: np.clip(image + np.random.default_rng(0).normal(0, 4, image.shape), 0, 255).astype(
        np.uint8
    ),
    "blurred": lambda image: filtered(image, lambda i: i.filter(ImageFilter.GaussianBlur(0.7))),
    "smaller": lambda image: filtered(image, lambda i: i.resize((134, 134), Image.Resampling.LANCZOS)),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("way", copies.TURNS)
def test_a_copy_is_found_in_each_of_the_eight_ways_and_named(brains, change, way):
    chosen = [3, 17, 44]
    turned = [copies.TURNS[way](CHANGES[change](brains[index])[None])[0] for index in chosen]
    pairs = found_among([*brains, *turned])
    assert [(pair.first, pair.second) for pair in pairs] == [
        (index, COUNT + k) for k, index in enumerate(chosen)
    ]
    # How the second came from the first is how it was made, backwards for a quarter turn.
    back = {"turned by 90": "turned by 270", "turned by 270": "turned by 90"}
    assert {pair.how for pair in pairs} == {back.get(way, way)}
    assert min(pair.r for pair in pairs) >= copies.COPY


def test_neighbouring_slices_are_no_copies(brains):
    assert found_among(brains) == []


def test_constant_images_are_no_copies():
    assert found_among([np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8)]) == []


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (["AD/x.png", "AD/x_aug_1.png"], [(0, 1)]),
        (["AD/x_augmented2.png", "AD/x.png"], [(0, 1)]),
        (["AD/x.png", "AD/x_flip.png", "AD/x_rot90.jpg", "AD/y_flip.png"], [(0, 1), (0, 2)]),
        (["AD/x.png", "CN/x_aug.png"], []),
        (["AD/august.png", "AD/x_august.png"], []),
    ],
)
def test_names_tell_augmented_copies(names, pairs):
    noise = np.random.default_rng(0).integers(0, 256, (len(names), 48, 48), np.uint8)
    found = find_copies(noise, [ImageFile(name, name[:2]) for name in names])
    assert [(copy.first, copy.second) for copy in found] == pairs


def test_pairs_are_found_across_the_blocks_they_are_compared_in(brains, monkeypatch):
    images = [*brains, brains[0][:, ::-1], brains[59]]
    expected = found_among(images)
    assert [(pair.first, pair.second) for pair in expected] == [(0, 60), (59, 61)]
    for module in (copies, similarity):
        monkeypatch.setattr(module, "COMPARED", 7)
    again = found_among(images)
    assert [pair[:3] for pair in again] == [pair[:3] for pair in expected]
    np.testing.assert_allclose([p.r for p in again], [p.r for p in expected], atol=1e-3)


def test_whoever_shares_a_copy_is_tied_with_all_others():
    pairs = [Copy(0, 2, "same", 1.0), Copy(3, 5, "same", 1.0)]
    names = tied(pairs, ["a", "a", "b", "b", "c", "d", "e", "e"])
    groups = Counter(names)
    assert sorted(groups.values()) == [1, 2, 5]
    assert names[0] == names[1] == names[2] == names[3] == names[5]
    assert names[6] == names[7] != names[4]


def test_copies_are_kept_until_a_file_changes(tmp_path, brains):
    (tmp_path / "root/AD").mkdir(parents=True)
    for number, image in enumerate([*brains[:3], brains[0]]):
        Image.fromarray(image).save(tmp_path / f"root/AD/{number}.png")
    files, asked = scan(tmp_path / "root"), []

    def squares():
        asked.append(1)
        return thumbnails(tmp_path / "root", files).square

    first = known_copies(tmp_path / "root", files, squares, tmp_path / "cache")
    assert [(pair.first, pair.second, pair.how) for pair in first] == [(0, 3, "same")]
    assert known_copies(tmp_path / "root", files, squares, tmp_path / "cache") == first
    assert len(asked) == 1
    Image.fromarray(brains[1]).save(tmp_path / "root/AD/3.png")
    again = known_copies(tmp_path / "root", files, squares, tmp_path / "cache")
    assert [(pair.first, pair.second) for pair in again] == [(1, 3)]
    (kept,) = sorted((tmp_path / "cache").glob("copies-*.json"), key=os.path.getmtime)[-1:]
    kept.write_text("[[1]]")  # damaged: found anew
    assert known_copies(tmp_path / "root", files, squares, tmp_path / "cache") == again


def test_the_real_slices_have_no_copies_but_those_that_are_made():
    root = os.environ.get("ALZGAN_MRI_ROOT")
    if not root:
        pytest.skip("ALZGAN_MRI_ROOT, the folder of the 6,400 real slices, is not set")
    files = scan(root)[::4]
    squares = thumbnails(root, files).square
    made = np.stack([squares[0], squares[700][::-1], np.rot90(squares[1500])])
    pairs = find_copies(
        np.concatenate([squares, made]), [*files, *(ImageFile(f"x/{k}", "x") for k in range(3))]
    )
    count = len(files)
    assert [pair[:2] for pair in pairs] == [(0, count), (700, count + 1), (1500, count + 2)]


@pytest.mark.parametrize("way", ["same", "mirrored", "turned by 180", "mirrored and turned by 180"])
def test_of_very_many_images_equal_ones_are_found_without_comparing_each_with_each(brains, monkeypatch, way):
    monkeypatch.setattr(copies, "MOST_COMPARED", COUNT)
    monkeypatch.setattr(copies, "pairs_above", None)
    blank = np.zeros((192, 192), np.uint8)
    turned = [copies.TURNS[way](brains[index][None])[0] for index in (3, 3, 44)]
    pairs = found_among([*brains, *turned, blank, blank])
    assert pairs == [Copy(3, COUNT, way, 1.0), Copy(3, COUNT + 1, way, 1.0), Copy(44, COUNT + 2, way, 1.0)]


def test_altered_copies_are_found_between_people_and_neighbours_are_not(brains):
    people = [str(index // 5) for index in range(COUNT)]
    chosen = [3, 17, 44]
    ways = (
        lambda image: Image.fromarray(255 - np.asarray(image)).rotate(8, fillcolor=255),
        lambda image: image.resize((210, 210), Image.Resampling.BILINEAR).crop((9, 9, 201, 201)),
        lambda image: image.point(lambda value: round(255 * (value / 255) ** 2)),
    )
    made = [np.asarray(way(Image.fromarray(brains[k]))) for k, way in zip(chosen, ways, strict=True)]
    images = [*brains, *made]
    squares = squares_of(images)
    files = [ImageFile(f"AD/{number}.png", "AD") for number in range(len(images))]
    pairs = find_copies(squares, files, [*people, *"abc"])
    expected = [(index, COUNT + k, copies.ALTERED) for k, index in enumerate(chosen)]
    assert [pair[:3] for pair in pairs] == expected
    # One person's slices are as alike as altered copies: of these nothing is said.
    assert find_copies(squares, files) == []
    assert find_copies(squares, files, [*people, *(people[k] for k in chosen)]) == []


@pytest.mark.parametrize(
    ("median", "deviation", "copied", "expected"),
    [
        (1.2, 0.08, 0.0, copies.ALIKE),  # tanh(1.52) = 0.909
        (1.2, 0.18, 0.0, math.tanh(1.2 + 4 * 0.18)),  # 0.938
        (1.2, 0.16, 0.1, 0.963),  # a tenth of the images are copies; without them it is 0.951
        (1.2, 0.3, 0.0, copies.COPY),  # tanh(2.4) = 0.984
        (1.2, 0.1, 1.0, copies.COPY),
    ],
)
def test_copies_must_stand_out_where_all_people_are_alike(median, deviation, copied, expected):
    chance = NormalDist(median, deviation)
    count = 2000
    z = np.array([chance.inv_cdf((k + 0.5) / count) for k in range(count)])
    z[: round(copied * count)] = 3.0  # correlation 0.995; it replaces the lowest
    limit = copies.standing_out(np.tanh(z))
    assert limit == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(("alike", "expected"), [(0.82, [Copy(0, 1, copies.ALTERED, 0.95)]), (0.93, [])])
def test_a_pair_is_a_copy_only_where_it_stands_out(monkeypatch, alike, expected):
    # Beside the pair at 0.95, two thirds of the images have a best match of 0.8, the others of `alike`.
    best = torch.tensor([0.95, 0.95] + [0.8, 0.8, alike] * 13)[:, None]
    nearest = torch.tensor([1, 0] + [0] * 39)[:, None]
    monkeypatch.setattr(copies, "alike_others", lambda squares, who: Nearest(best, nearest))
    people = [str(k) for k in range(41)]
    assert list(copies.altered(np.zeros((41, 48, 48), np.uint8), people)) == expected


@pytest.mark.long
def test_no_two_people_of_the_real_slices_share_an_altered_image():
    root = os.environ.get("ALZGAN_MRI_ROOT")
    if not root:
        pytest.skip("ALZGAN_MRI_ROOT, the folder of the 6,400 real slices, is not set")
    files = scan(root)
    squares = thumbnails(root, files).square
    people = identify(root, files, "auto").subject
    made = np.stack([np.asarray(Image.fromarray(squares[k]).rotate(8)) for k in (0, 700, 1500)])
    files = [*files, *(ImageFile(f"x/{k}.png", "x") for k in range(3))]
    pairs = find_copies(np.concatenate([squares, made]), files, [*people, *"abc"])
    count = len(people)
    assert [pair[:2] for pair in pairs] == [(0, count), (700, count + 1), (1500, count + 2)]
