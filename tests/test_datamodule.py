"""The data used alone, as from a notebook, and what it leaves in a run's folder."""

import contextlib
import csv
import shutil
from collections import Counter
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import small_settings
from lightning.pytorch.utilities.model_helpers import is_overridden

from alzgan.data.datamodule import MRIDataModule
from alzgan.data.slices import SliceFolder
from alzgan.errors import SettingError, UserError
from alzgan.images import decoding
from alzgan.images.arrays import Preprocessing, decode
from alzgan.people.cohort import Cohort
from alzgan.runs import session


def module(root: Path, **options) -> MRIDataModule:
    data = MRIDataModule(root=root, **({"image_size": 32, "batch_size": 8} | options))
    data.setup()
    return data


def test_a_folder_alone_is_enough(slices: Path):
    data = MRIDataModule(root=slices, batch_size=8)
    data.setup()
    images, labels = next(iter(data.train_dataloader()))
    assert (images.shape, images.dtype) == ((8, 3, 64, 64), torch.uint8)
    assert (labels.shape, labels.dtype) == ((8,), torch.int64)
    assert data.classes == ["Demented", "Healthy"]


def test_what_asks_for_the_data_reads_it(slices: Path):
    loader = MRIDataModule(root=slices, image_size=32, batch_size=8).train_dataloader()
    assert next(iter(loader))[0].shape == (8, 3, 32, 32)
    assert len(MRIDataModule(root=slices, image_size=32, batch_size=8).part("test")) == 4


def test_a_first_start_decodes_each_file_once_and_the_next_one_none(
    slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    opened = []
    original = decoding.Image.open
    monkeypatch.setattr(decoding.Image, "open", lambda *a, **k: opened.append(1) or original(*a, **k))
    root = shutil.copytree(slices, tmp_path / "root")
    for rule in ("content", "none"):
        del opened[:]
        with contextlib.suppress(UserError):  # noise says nothing of people
            module(root, subjects=rule, image_size=16, channels=1, cache_dir=tmp_path / rule)
        assert len(opened) == 40
    module(root, subjects="none", image_size=16, channels=1, cache_dir=tmp_path / "none")
    assert len(opened) == 40


def test_who_is_in_a_folder_needs_no_batch(slices: Path):
    data = MRIDataModule(root=slices, image_size=32, batch_size=1000)
    data.read()
    alone = SliceFolder(Cohort(slices), Preprocessing(32))
    alone.read()
    assert alone.fingerprint == data.fingerprint == module(slices).fingerprint
    assert alone.split.parts == data.split.parts
    assert alone.describe().items() <= data.describe().items()
    with pytest.raises(UserError, match=r"has 32 training images, fewer than a batch"):
        data.setup()


def test_a_setting_that_nobody_takes_is_refused(slices: Path):
    with pytest.raises(TypeError, match="MRIDataModule has no setting size"):
        MRIDataModule(root=slices, size=32)


def test_a_root_that_is_not_set_is_told():
    with pytest.raises(UserError, match=r"^data\.root is not set; add data\.root=DIR"):
        MRIDataModule(root=None)


def test_a_batch_larger_than_the_train_part_is_refused_at_once(slices: Path):
    module(slices, batch_size=32)
    data = MRIDataModule(root=slices, image_size=32, batch_size=33)
    for _ in range(2):
        with pytest.raises(UserError) as caught:
            data.setup()
        assert str(caught.value) == (
            f"{slices} has 32 training images, fewer than a batch; set data.batch_size to 32 or less"
        )


def test_each_of_several_devices_needs_a_batch(slices: Path):
    data = module(slices, batch_size=32)
    data.trainer = SimpleNamespace(global_step=0, global_rank=0, world_size=2)
    with pytest.raises(UserError, match=r"for each of 2 devices; set data\.batch_size to 16 or less$"):
        data.train_dataloader()


def test_the_parts_are_all_images_once_and_no_person_twice(slices: Path):
    data = module(slices)
    parts = {name: data.part(name) for name in ("train", "validation", "test")}
    rows = {name: part.stacks.ravel().tolist() for name, part in parts.items()}
    assert {name: len(part) for name, part in parts.items()} == {"train": 32, "validation": 4, "test": 4}
    assert sorted(chain(*rows.values())) == list(range(40))
    people = [{data.subjects.subject[row] for row in part} for part in rows.values()]
    assert len(set.union(*people)) == sum(map(len, people)) == 20
    images, labels = parts["test"][np.arange(4)]
    pixels = decode(slices, preprocessing=Preprocessing(32)).images
    assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), pixels[rows["test"]])
    assert [data.classes[label] for label in labels] == [data.files[row].label for row in rows["test"]]
    with pytest.raises(UserError, match="there is no part val of the data, only train, validation, test"):
        data.part("val")


def test_an_empty_part_has_no_images(slices: Path):
    data = module(slices, fractions=(0.8, 0.0, 0.2))
    images, labels = data.part("validation")[np.arange(0)]
    assert (len(data.part("validation")), images.shape, labels.shape) == (0, (0, 3, 32, 32), (0,))


def test_a_training_is_shown_its_own_images_and_none_of_the_held_out_people(slices: Path):
    def pixels(images: torch.Tensor) -> set[bytes]:
        return {image.numpy().tobytes() for image in images}

    data = module(slices)
    shown = set().union(*(pixels(images) for images, _ in data.train_dataloader()))
    parts = {name: data.part(name) for name in ("train", "validation", "test")}
    of_part = {name: pixels(part[np.arange(len(part))][0]) for name, part in parts.items()}
    assert shown == of_part["train"]
    assert shown.isdisjoint(of_part["validation"] | of_part["test"])
    assert is_overridden("train_dataloader", data)
    assert not is_overridden("val_dataloader", data)


def test_the_fingerprint_tells_other_labels_of_a_table_apart(slices: Path, tmp_path: Path):
    root = shutil.copytree(slices, tmp_path / "slices")
    files = sorted(path.relative_to(root) for path in root.glob("*/*.png"))

    def fingerprint(shift: int) -> str:
        rows = [f"{file},p{index},{'ab'[(index + shift) % 2]}\n" for index, file in enumerate(files)]
        (root / "people.csv").write_text("file,subject,class\n" + "".join(rows))
        return module(root, subjects="csv:people.csv", classes="csv").fingerprint

    assert fingerprint(0) == fingerprint(2) != fingerprint(1)


def test_the_fingerprint_tells_other_training_images_apart(slices: Path):
    first = module(slices).fingerprint
    assert module(slices).fingerprint == first
    assert module(slices, split_seed=1).fingerprint != first
    grey = module(slices, channels=1).fingerprint
    assert grey not in (first, module(slices, slices_as_channels=True).fingerprint)


def test_balanced_batches_are_balanced(slices: Path, tmp_path: Path):
    root = tmp_path / "unequal"
    shutil.copytree(slices, root)
    for path in sorted((root / "Healthy").iterdir())[8:]:
        path.unlink()

    def classes(sampling) -> Counter:
        data = module(root, sampling=sampling)
        return Counter(data.classes[label] for _, labels in data.train_dataloader() for label in labels)

    assert classes("balanced") == {"Demented": 8, "Healthy": 8}
    assert classes({"Demented": 3, "Healthy": 1}) == {"Demented": 12, "Healthy": 4}
    assert classes("as_is")["Demented"] > 8


def test_neighbouring_slices_are_channels(slices: Path):
    data = module(slices, channels=5, slices_as_channels=True)
    images, _ = data.part("test")[np.arange(4)]
    pixels = decode(slices, preprocessing=Preprocessing(32, 1)).images
    assert images.shape == (4, 5, 32, 32)
    with pytest.raises(SettingError, match="must be an odd number from 3 on"):
        module(slices, channels=4, slices_as_channels=True)
    for image, stack in zip(images, data.part("test").stacks, strict=True):
        assert np.array_equal(image.numpy(), pixels[stack, :, :, 0])
        # Two slices a person: the first or the second in the middle, the ends repeated.
        low, high = sorted(set(stack.tolist()))
        assert stack.tolist() in ([low, low, low, high, high], [low, low, high, high, high])
        assert data.subjects.subject[low] == data.subjects.subject[high]


def test_a_run_on_neighbouring_slices_and_skipped_files_leaves_its_tables(slices: Path, tmp_path: Path):
    root = tmp_path / "root"
    shutil.copytree(slices, root)
    (root / "Healthy" / "sub-01_slice-0.png").write_bytes(b"nothing")
    overrides = [
        "data.channels=5",
        "data.slices_as_channels=true",
        "data.bad_files=skip",
        "data.sampling=balanced",
        "trainer.max_steps=2",
    ]
    session.run(small_settings(root, tmp_path / "run", *overrides))
    with open(tmp_path / "run" / "skipped.csv", newline="") as table:
        rows = list(csv.DictReader(table))
    assert [row["file"] for row in rows] == ["Healthy/sub-01_slice-0.png"]
    assert "not an image" in rows[0]["reason"]
    again = module(root, bad_files="skip", subjects=f"csv:{tmp_path / 'run' / 'split.csv'}", split_seed=9)
    assert again.split.parts == module(root, bad_files="skip").split.parts
