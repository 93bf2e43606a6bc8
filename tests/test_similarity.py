"""People are recovered from images alone, or not at all."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alzgan.device.streams import stream
from alzgan.errors import UserError
from alzgan.images.folder import ImageFile, scan
from alzgan.images.thumbnails import thumbnails
from alzgan.people import similarity
from alzgan.people.similarity import (
    LINK,
    Band,
    components,
    contrast,
    detail,
    leaks,
    positions,
    recover,
    spanning_forest,
    strongest_links,
    widest_band,
)
from alzgan.people.subjects import kaggle4
from alzgan.sources.phantom import write_phantom


def noise(n, purpose="noise"):
    return stream(0, purpose).integers(0, 256, (n, 52, 44)).astype(np.uint8)


def rows_of_slices(people, slices, share=0.8):
    """Thumbnails in which each slice shares part of its pixels with the one before, and none with others."""
    rng = stream(1, "slices")
    thumbs = np.empty((people, slices, 52, 44), np.uint8)
    for person in thumbs:
        image = rng.integers(0, 256, (52, 44))
        for i in range(slices):
            image = np.where(rng.random((52, 44)) < share, image, rng.integers(0, 256, (52, 44)))
            person[i] = image
    return thumbs.reshape(-1, 52, 44)


def same_groups(one, other):
    return len(set(zip(one, other, strict=True))) == len(set(one)) == len(set(other))


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    """(thumbnails, labels, people, places) of a phantom with the given distance between slices in mm."""

    def make(spacing):
        root = tmp_path_factory.mktemp("phantom") / "brains"
        write_phantom(root, people=12, slices=6, size=64, spacing=spacing)
        files = scan(root)
        names = [Path(file.path).stem.split("_slice-") for file in files]
        people, places = zip(*names, strict=True)
        return thumbnails(root, files).upright, [file.label for file in files], people, list(map(int, places))

    return make


def test_people_and_slice_order_of_a_phantom_are_recovered(phantom):
    thumbs, labels, people, places = phantom(1.5)
    order = stream(0, "order").permutation(len(thumbs))  # else all lines start at slice 1 by chance of names
    found = recover(thumbs[order], [labels[i] for i in order])
    assert same_groups(found.person.tolist(), [people[i] for i in order])
    assert found.position in ([places[i] for i in order], [7 - places[i] for i in order])


def test_thick_slices_are_refused_with_the_evidence(phantom):
    thumbs, labels, _, _ = phantom(8.0)
    with pytest.raises(UserError, match=r"from 72 to \d+ and .*(nowhere|spans a factor 1\.[0-5])"):
        recover(thumbs, labels)


def test_order_of_the_files_and_exact_copies_change_nothing():
    thumbs = rows_of_slices(6, 5)
    shuffled = stream(0, "shuffle").permutation(30)
    twice = np.concatenate([thumbs[shuffled], thumbs[:3]])
    found = recover(twice, ["a"] * 33)
    assert same_groups(found.person.tolist(), [*(shuffled // 5), 0, 0, 0])
    where = {int(image): place for place, image in enumerate(shuffled)}
    assert [found.position[30 + i] for i in range(3)] == [found.position[where[i]] for i in range(3)]
    for person in range(6):
        places = [found.position[where[5 * person + i]] for i in range(5)]
        assert places in ([1, 2, 3, 4, 5], [5, 4, 3, 2, 1])


def test_unrelated_images_are_refused():
    with pytest.raises(UserError, match=r"no two of 40 different images correlate above 0\.5"):
        recover(noise(40), ["a"] * 40)


def test_groups_that_hold_over_a_narrow_band_only_are_refused():
    with pytest.raises(UserError, match=r"its widest stable band, 6 groups .* spans a factor 1\.[123]"):
        recover(rows_of_slices(6, 5, share=0.62), ["a"] * 30)


def test_exact_copies_alone_say_nothing():
    with pytest.raises(UserError, match="no two of 20 different images"):
        recover(np.repeat(noise(20), 5, axis=0), ["a"] * 100)


def test_edited_copies_are_no_slices_in_a_row():
    originals = np.repeat(noise(20).astype(int), 8, axis=0)
    edited = originals + stream(0, "edits").integers(-40, 41, originals.shape)
    with pytest.raises(UserError, match="as copies do and slices in a row do not"):
        recover(np.clip(edited, 0, 255).astype(np.uint8), ["a"] * 160)


def test_groups_that_mix_classes_are_refused():
    with pytest.raises(UserError, match="6 of 6 groups mix classes"):
        recover(rows_of_slices(6, 5), ["a", "b"] * 15)


def test_one_crowd_is_not_one_person():
    thumbs = rows_of_slices(1, 40)
    with pytest.raises(UserError, match="nowhere a set of people"):
        recover(thumbs, ["a"] * 40)


def test_constant_images_resemble_nothing():
    vectors = detail(np.full((2, 52, 44), 7, np.uint8))
    assert np.array_equal(vectors, np.zeros((2, 52 * 44)))


def test_detail_is_what_differs_from_the_mean_of_the_pixels_around():
    thumbs = noise(3)
    padded = np.pad(thumbs.astype(float), [(0, 0), (2, 2), (2, 2)], mode="edge")
    mean = sum(padded[:, i : i + 52, j : j + 44] for i in range(5) for j in range(5)) / 25
    expected = (thumbs - mean).reshape(3, -1)
    expected -= expected.mean(axis=1, keepdims=True)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(detail(thumbs), expected, atol=1e-4)


def test_forest_found_in_small_blocks_connects_what_all_pairs_connect(monkeypatch):
    vectors = contrast(rows_of_slices(9, 7, share=0.6))
    monkeypatch.setattr(similarity, "COMPARED", 10)
    monkeypatch.setattr(similarity, "MAX_LINKS", 50)
    held = []
    monkeypatch.setattr(
        similarity,
        "spanning_forest",
        lambda parts, n: held.append(sum(map(len, parts))) or spanning_forest(parts, n),
    )
    forest = strongest_links(vectors, floor=0.0)
    assert max(held) <= len(vectors) + 50 + 10 * 10  # the forest, what may wait, and one block
    r = vectors.astype(np.float32) @ vectors.astype(np.float32).T
    first, second = np.nonzero(np.triu(r > 0, 1))
    for threshold in (0.1, 0.3, 0.5, 0.6):
        above = r[first, second] > threshold
        pairs = np.array(list(zip(first[above], second[above], r[first, second][above], strict=True)), LINK)
        expected = components(pairs, len(vectors))
        assert np.array_equal(components(forest[forest["r"] > threshold], len(vectors)), expected)
    assert len(forest) == len(vectors) - components(forest, len(vectors)).max() - 1


def test_spanning_forest_keeps_the_strongest_links_sorted():
    links = np.array([(0, 1, 0.9), (1, 2, 0.7), (0, 2, 0.8), (3, 4, 0.6), (2, 3, 0.8)], LINK)
    kept = spanning_forest([links[:2], links[2:]], 6)
    assert {(link["first"], link["second"]) for link in kept.tolist() and kept} == {
        (0, 1),
        (0, 2),
        (2, 3),
        (3, 4),
    }
    assert kept["r"].tolist() == sorted(kept["r"].tolist(), reverse=True)


def test_widest_band_is_measured_in_one_minus_r():
    chains = [(4 * k + i, 4 * k + i + 1, 0.9) for k in range(3) for i in range(3)]
    links = np.array([*chains, (3, 4, 0.6), (7, 8, 0.55)], LINK)
    band = widest_band(links, 12)
    assert (band.groups, band.links) == (3, 9)
    assert band.width == pytest.approx(0.4 / 0.1, rel=1e-5)
    assert Band(3, 0.2, 0.6, 0).width == pytest.approx(2.0)


def test_positions_follow_a_line_and_leave_a_bush_alone():
    line = [(4, 2, 0.9), (2, 0, 0.9)]
    bush = [(1, 3, 0.9), (1, 5, 0.9), (1, 6, 0.9)]
    links = np.array(line + bush, LINK)
    assert positions(links, components(links, 8)).tolist() == [1, 0, 2, 0, 3, 0, 0, 1]


@pytest.mark.parametrize("block", [3, 2048])
def test_leaks_are_the_test_images_with_a_train_neighbour(monkeypatch, block):
    monkeypatch.setattr(similarity, "COMPARED", block)
    thumbs = noise(12)
    thumbs[8:10] = thumbs[:2]  # two test images are train images, and one train image is twice in test
    thumbs[10] = thumbs[0]
    thumbs[11] = thumbs[5]  # this one resembles a validation image only
    parts = ["train"] * 4 + ["validation"] * 2 + ["test"] * 6
    assert leaks(thumbs, parts).tolist() == [8, 9, 10]
    assert not len(leaks(thumbs, ["train"] * 12))


def test_thumbnails_of_any_size_and_mode_are_grey_and_of_one_shape(tmp_path):
    Image.new("RGB", (9, 200), (255, 255, 255)).save(tmp_path / "a.png")
    Image.linear_gradient("L").save(tmp_path / "b.png")
    thumbs = thumbnails(tmp_path, [ImageFile("a.png", "x"), ImageFile("b.png", "x")])
    for small, shape in zip(thumbs, [(52, 44), (48, 48)], strict=True):
        assert small.shape == (2, *shape)
        assert small.dtype == np.uint8
        assert (small[0] == 255).all()
        assert np.all(np.diff(small[1][:, 0].astype(int)) > 0)
    np.testing.assert_array_equal(thumbs.of(np.array([1])).square, thumbs.square[1:])


@pytest.fixture(scope="module")
def slices():
    root = os.environ.get("ALZGAN_MRI_ROOT")
    if not root:
        pytest.skip("ALZGAN_MRI_ROOT, the folder of the 6,400 real slices, is not set")
    files = scan(root)
    return files, thumbnails(root, files).upright


@pytest.mark.slow
def test_content_agrees_with_the_file_names_on_all_real_slices(slices):
    files, thumbs = slices
    by_name = kaggle4(files)
    found = recover(thumbs, [file.label for file in files])
    assert same_groups(found.person.tolist(), by_name.subject)
    assert sorted(Counter(found.person.tolist()).values()) == [32] * 200
    assert found.position in (by_name.slice, [33 - place for place in by_name.slice])


@pytest.mark.parametrize("step", [2, 4, 8])
def test_every_second_or_later_real_slice_is_refused(slices, step):
    files, thumbs = slices
    kept = [i for i, place in enumerate(kaggle4(files).slice) if place % step == 0]
    with pytest.raises(UserError, match="the images do not say who is who"):
        recover(thumbs[kept], [files[i].label for i in kept])
