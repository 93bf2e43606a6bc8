"""A copy is found whatever happened to it, and other people's images are never taken for one."""

import os

import numpy as np
import pytest
import torch
from benchmarks.copies import CHANGES, changed, halves, mirror
from torch import Tensor

from alzgan.data.datamodule import MRIDataModule
from alzgan.evaluation.reference import images_of
from alzgan.images import likeness
from alzgan.images.decoding import read_image
from alzgan.images.folder import scan
from alzgan.images.likeness import Nearest, Search
from alzgan.metrics.memorisation import copies_of
from alzgan.sources.phantom import write_phantom

KNOWN, FEW = 36, 6


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Tensor:
    """One slice (64, 64) of each of 60 people."""
    root = tmp_path_factory.mktemp("phantom") / "brains"
    write_phantom(root, people=60, slices=1, size=64)
    return torch.from_numpy(np.stack([read_image(root / file.path) for file in scan(root)]))[:, None]


@pytest.fixture(scope="module")
def search(phantoms: Tensor) -> Search:
    return Search(phantoms[:KNOWN])


@pytest.fixture(scope="module")
def unseen(phantoms: Tensor, search: Search) -> Nearest:
    return search.nearest(phantoms[KNOWN:])


@pytest.mark.parametrize("name", CHANGES)
def test_a_copy_is_found_whatever_happened_to_it(
    phantoms: Tensor, search: Search, unseen: Nearest, name: str
):
    found = search.nearest(changed(phantoms[:FEW], CHANGES[name]))
    assert found.index.tolist() == list(range(FEW))
    assert copies_of(found, unseen).certain_count == FEW


def test_other_people_are_no_copies_whatever_happened_to_them(
    phantoms: Tensor, search: Search, unseen: Nearest
):
    assert unseen.similarity.max() < 0.85
    for name in ("turned by 8, scaled by 1.1", "warped, noise", "gamma 2", "inverted"):
        found = search.nearest(changed(phantoms[KNOWN : KNOWN + FEW], CHANGES[name]))
        assert copies_of(found, unseen).certain_count == 0, name


def test_without_the_alignment_few_copies_are_found(
    phantoms: Tensor, search: Search, unseen: Nearest, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(likeness, "align", lambda images, references, pose, steps: pose)
    found = search.nearest(changed(phantoms[:FEW], CHANGES["turned by 7, scaled by 0.89, shifted"]))
    assert copies_of(found, unseen).certain_count < FEW / 2


@pytest.mark.parametrize(
    "change",
    [mirror, lambda images: 255 - images, lambda images: 0.5 * images + 40, lambda images: images],
    ids=["mirrored", "inverted", "paler", "colour"],
)
def test_mirrors_negatives_gains_and_colours_change_nothing(phantoms: Tensor, search: Search, change):
    images = phantoms[KNOWN : KNOWN + FEW].float()
    before, after = search.nearest(images), search.nearest(change(images).repeat(1, 3, 1, 1))
    assert torch.equal(before.index, after.index)
    torch.testing.assert_close(before.similarity, after.similarity, atol=1e-3, rtol=0)


def test_the_similarity_is_the_correlation_of_detail(phantoms: Tensor):
    one, two = (likeness.detail(phantoms[k : k + 1], 64) for k in (0, 1))
    r = float(likeness.correlation(one, two, torch.eye(3)[None]))
    assert r == pytest.approx(abs(np.corrcoef(one.flatten(), two.flatten())[0, 1]), abs=0.02)
    shifted = torch.tensor([[[1, 0, 2 / 64], [0, 1, 0], [0, 0, 1.0]]])  # a pixel to the right
    r = float(likeness.correlation(one.roll(1, 3), one, shifted))
    assert r == pytest.approx(1, abs=1e-5)


def test_blocks_and_the_number_of_references_do_not_matter(
    phantoms: Tensor, search: Search, monkeypatch: pytest.MonkeyPatch
):
    images = changed(phantoms[:7], CHANGES["turned by 8"])
    expected = search.nearest(images)
    monkeypatch.setattr(likeness, "SEARCH_BLOCK", 4)
    monkeypatch.setattr(likeness, "ALIGN_BLOCK", 3)
    again = search.nearest(images)
    assert torch.equal(again.index, expected.index)
    torch.testing.assert_close(again.similarity, expected.similarity, atol=1e-4, rtol=0)
    few = Search(phantoms[:3]).nearest(images[:3])
    assert few.index.tolist() == [0, 1, 2]
    assert few.similarity.min() > 0.98


@pytest.mark.parametrize("grey", [0, 7, 200])
def test_constant_images_are_like_nothing(grey: int, phantoms: Tensor, search: Search):
    plain = torch.full_like(phantoms[:2], grey)
    assert search.nearest(plain).similarity.tolist() == [0, 0]
    assert Search(plain).nearest(phantoms[:2]).similarity.tolist() == [0, 0]
    assert Search(plain).nearest(plain).similarity.tolist() == [0, 0]


@pytest.mark.long
def test_on_real_slices_copies_are_found_and_unseen_people_are_not():
    root = os.environ.get("ALZGAN_MRI_ROOT")
    if not root:
        pytest.skip("ALZGAN_MRI_ROOT, the folder of the 6,400 real slices, is not set")
    data = MRIDataModule(root, image_size=64, channels=1, fractions=(0.7, 0.15, 0.15))
    data.read()
    train, others = images_of(data, ["train"]), images_of(data, ["validation", "test"])
    others = others.of(np.arange(0, len(others), 4))
    search = Search(train.pixels)
    one, two = halves(others, search.nearest(others.pixels))
    assert copies_of(two, one).above <= 0.03 * len(two.index)
    rows = torch.from_numpy(np.random.default_rng(0).permutation(len(train))[:20])
    for name, change in CHANGES.items():
        found = copies_of(search.nearest(changed(train.pixels[rows], change)), one)
        assert found.above >= 19, name
        assert found.certain_count >= 16, name
