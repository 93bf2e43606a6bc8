"""The audit of an image folder: true facts, and a verdict that follows from them."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alzgan.data.datamodule import MRIDataModule
from alzgan.errors import UserError
from alzgan.images.folder import scan
from alzgan.people import copies
from alzgan.people.cohort import Cohort
from alzgan.people.splits import write_split
from alzgan.sources import audit as audit_module
from alzgan.sources.audit import audit, contact_sheet, inspect, lines

MRI_ROOT = os.environ.get("ALZGAN_MRI_ROOT")
BY_NAME = "regex:/p(?P<subject>[0-9]+)_(?P<slice>[0-9]+)"


def picture(person: int, slice: int = 0) -> np.ndarray:
    """(40, 36) noise of its own for each person, nearly the same from slice to slice."""
    own = np.random.default_rng(person).integers(20, 230, (40, 36))
    return (own + np.random.default_rng([person, slice]).integers(0, 8, own.shape)).astype(np.uint8)


def alike(person: int, slice: int) -> np.ndarray:
    """(40, 36) smooth image of its own for each person, with noise of its own: alike, but no copies."""
    own = Image.fromarray(np.random.default_rng(person).integers(0, 256, (5, 4), np.uint8))
    smooth = np.asarray(own.resize((36, 40), Image.Resampling.BICUBIC)).astype(int) // 2 + 60
    noise = np.random.default_rng([person, slice]).integers(0, 10, smooth.shape)
    return (smooth + noise).astype(np.uint8)


def save(root: Path, name: str, image: np.ndarray | Image.Image) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(root / name)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Class A has 10 people and B has 5, of 4 slices each."""
    root = tmp_path / "folder"
    for person in range(15):
        for slice in range(4):
            save(root, f"{'A' if person < 10 else 'B'}/p{person}_{slice}.png", picture(person, slice))
    return root


def report_of(root: Path, rule: str = BY_NAME, **options) -> dict:
    report = audit(Cohort(root, rule, **{"fractions": (0.6, 0.2, 0.2), **options})).report
    assert json.loads(json.dumps(report)) == report
    assert lines(report)[-1] == f"verdict: {report['verdict']}"
    assert "\n" not in "".join(lines(report))
    return report


def test_a_sound_folder_is_ready_to_train(folder):
    report = report_of(folder)
    assert report["images"] == 60
    assert report["classes"] == {"A": 40, "B": 20}
    assert report["class_balance"] == 0.5
    assert report["sizes"] == {"36x40": 60}
    assert report["modes"] == {"L": 60}
    assert report["bit_depths"] == {"8": 60}
    assert report["grey"] == 60
    assert (report["unreadable"], report["duplicates"], report["empty_classes"]) == ([], [], [])
    assert (report["subject_rule"], report["subjects"]) == (BY_NAME, 15)
    assert report["slices_per_subject"] == {"lowest": 4, "median": 4, "highest": 4}
    assert sum(part["images"] for part in report["split"].values()) == 60
    assert sum(part["subjects"] for part in report["split"].values()) == 15
    assert report["near_duplicates_across_splits"] == 0
    assert report["verdict"].startswith("ready to train: 60 images of 15 people in 2 classes")


def test_sizes_modes_depths_and_intensities_are_those_of_the_files(folder):
    save(folder, "A/p20_0.png", Image.fromarray(np.stack([picture(20)] * 3, axis=2)))
    save(folder, "A/p24_0.png", Image.fromarray(np.stack([picture(24), picture(24), picture(25)], axis=2)))
    save(folder, "A/p21_0.tif", Image.fromarray(picture(21)[:30].astype(np.uint16) * 200))
    save(folder, "A/p22_0.png", Image.fromarray(picture(22) > 100))
    save(folder, "A/p23_0.png", np.zeros((40, 36), np.uint8))
    (folder / "A/notes.txt").touch()
    (folder / "C").mkdir()
    facts, *_ = inspect(folder, scan(folder))
    expected = np.stack([picture(person, slice) for person in range(15) for slice in range(4)])
    assert np.mean([fact.mean for fact in facts if fact.mode == "L"][:60]) == pytest.approx(
        expected.mean(), 0.02
    )
    report = report_of(folder)
    # The picture of two values is a mask.
    assert report["sizes"] == {"36x40": 63, "36x30": 1}
    assert report["modes"] == {"L": 61, "RGB": 2, "I;16": 1}
    assert report["bit_depths"] == {"8": 63, "16": 1}
    assert report["grey"] == report["images"] - 1  # one of both in RGB is grey
    assert "1 image of two values left out as masks, the first is A/p22_0.png" in report["notes"]
    assert (report["intensity"]["lowest"], report["intensity"]["highest"]) == (0, 255)
    assert report["intensity"]["constant"] == ["A/p23_0.png"]
    assert 1 / 64 < report["intensity"]["zeros"] < 1.2 / 64  # the black image, and 0.5 % of the 16-bit one
    assert report["empty_classes"] == ["C"]
    assert report["ignored_files"] == 1
    assert [note for note in report["notes"] if "several sizes" in note]


def test_an_image_that_cannot_be_read_stops_training_unless_skipped(folder):
    whole = (folder / "A/p0_0.png").read_bytes()
    (folder / "A/p0_0.png").write_bytes(whole[: len(whole) // 2])
    (folder / "B/p14_9.png").touch()
    report = report_of(folder)
    assert [path for path, _ in report["unreadable"]] == ["A/p0_0.png", "B/p14_9.png"]
    assert report["unreadable"][1][1] == "the file is empty"
    assert report["images"] == 59
    assert report["verdict"].startswith(
        "not ready to train: 2 of 61 images cannot be read, the first is A/p0_0.png"
    )
    assert "data.bad_files=skip" in report["verdict"]
    assert report_of(folder, bad_files="skip")["verdict"].startswith("ready to train: 59")


def test_a_folder_without_one_readable_image_is_an_error(tmp_path):
    (tmp_path / "A").mkdir()
    (tmp_path / "A/a.png").write_bytes(b"")
    with pytest.raises(
        UserError, match=r"1 of 1 image cannot be read, the first is A/a\.png \(the file is empty\)"
    ):
        audit(Cohort(tmp_path))


def test_the_same_pixels_in_other_bytes_are_a_duplicate(folder):
    save(folder, "A/p0_5.bmp", picture(0, 0))
    report = report_of(folder)
    assert report["duplicates"] == [["A/p0_0.png", "A/p0_5.bmp"]]
    assert (report["duplicates_in_two_classes"], report["duplicates_of_two_subjects"]) == (0, 0)
    assert report["verdict"].startswith("ready to train")


@pytest.mark.parametrize(
    ("name", "classes", "people", "said"),
    [
        ("B/p0_9.png", 1, 0, "in two classes 1 time"),
        ("A/p1_9.png", 0, 1, "of two people 1 time"),
        ("B/p11_9.png", 1, 1, "in two classes 1 time and of two people 1 time"),
    ],
)
def test_the_same_image_in_two_classes_or_of_two_people_is_not_safe(folder, name, classes, people, said):
    save(folder, name, picture(0, 0))
    report = report_of(folder)
    assert report["duplicates_in_two_classes"] == classes
    assert report["duplicates_of_two_subjects"] == people
    assert report["verdict"] == (
        f"ready to train, not safe to evaluate, according to data.subjects={BY_NAME}: "
        f"the same image is there {said}: train on the manifest, which leaves copies out"
    )


def test_black_images_are_constant_and_no_duplicates(folder):
    for person in (0, 14):
        save(folder, f"{'AB'[person > 9]}/p{person}_9.png", np.zeros((40, 36), np.uint8))
    report = report_of(folder)
    assert report["duplicates"] == []
    assert report["intensity"]["constant"] == ["A/p0_9.png", "B/p14_9.png"]
    assert report["verdict"] == (
        f"ready to train: 62 images of 15 people in 2 classes, according to data.subjects={BY_NAME}; "
        "no person, copy or near-duplicate on both sides of the split (constant images aside)"
    )
    said = [
        line for line in lines(report) if line.startswith("exact duplicates (constant images aside): 0 g")
    ]
    assert len(said) == 1


def test_a_folder_of_mostly_constant_images_is_not_ready(folder):
    for number in range(19):
        save(folder, f"A/p{number % 10}_{number + 10}.png", np.full((40, 36), 7, np.uint8))
    assert report_of(folder)["verdict"].startswith("ready to train")
    save(folder, "B/p14_30.png", np.full((40, 36), 7, np.uint8))
    assert report_of(folder)["verdict"] == (
        "not ready to train: 20 of 80 images are of one constant value, the first is A/p0_10.png: remove them"
    )


def test_one_of_a_thing_is_told_in_the_singular(tmp_path):
    save(tmp_path, "A/p0_0.png", picture(0))
    told = lines(report_of(tmp_path))
    assert told[0] == "images: 1 in 1 class: A 1 (100.0%)"
    copies = "copies, including near, mirrored and turned ones"
    assert f"exact duplicates: 0 groups, 0 of them in two classes; {copies}: 0 pairs" in told
    assert f"subjects: 1 by {BY_NAME}, 1 slice each" in told
    assert "train: 1 image of 1 subject" in told
    assert "test: 0 images of 0 subjects" in told
    save(tmp_path, "A/p0_1.png", picture(0))
    (tmp_path / "A/p0_2.png").touch()
    report = report_of(tmp_path)
    assert f"exact duplicates: 1 group, 0 of them in two classes; {copies}: 1 pair" in lines(report)
    assert report["verdict"].startswith(
        "not ready to train: 1 of 3 images cannot be read, the first is A/p0_2.png"
    )


def test_images_without_people_are_not_safe_and_the_leak_is_counted(folder):
    for path, person in [(path, path.stem.split("_")) for path in sorted(folder.rglob("*.png"))]:
        save(folder, path.relative_to(folder), alike(*map(int, (person[0][1:], person[1]))))
    report = report_of(folder, "none")
    test = report["split"]["test"]["images"]
    assert 0 < test <= report["near_duplicates_across_splits"] + 1
    assert report["verdict"].startswith(
        "ready to train, not safe to evaluate, according to data.subjects=none: "
    )
    assert f"{report['near_duplicates_across_splits']} of {test} test images" in report["verdict"]
    assert "content" not in report["verdict"]  # which has been tried, or would lead back here


def test_a_slice_like_one_of_another_person_is_no_sign_of_two_names(tmp_path):
    table = ["file,subject,split"]
    for person, part in enumerate(["train"] * 6 + ["validation"] * 2 + ["test"] * 4):
        for slice in range(11):
            # One slice of the first person of test looks like one of train.
            base = 0 if (person, slice) in ((0, 0), (8, 0)) else 100 * person + slice
            save(tmp_path, f"A/p{person}_{slice}.png", alike(base, 100 * person + slice))
            table.append(f"A/p{person}_{slice}.png,p{person},{part}")
    (tmp_path / "people.csv").write_text("\n".join(table))
    report = report_of(tmp_path, f"csv:{tmp_path / 'people.csv'}")
    assert (report["near_duplicates_across_splits"], report["people_near_duplicated"]) == (1, 0)
    assert "no person or copy on both sides of the split" in report["verdict"]
    assert [note for note in report["notes"] if "less than a tenth of any person's images" in note]
    save(tmp_path, "A/p8_1.png", alike(100, 1))  # now two of eleven
    report = report_of(tmp_path, f"csv:{tmp_path / 'people.csv'}")
    assert (report["near_duplicates_across_splits"], report["people_near_duplicated"]) == (2, 1)
    assert "under two names" in report["verdict"]


def test_one_person_under_two_names_is_not_safe(tmp_path):
    for slice in range(16):
        save(tmp_path, f"A/p{slice}_0.png", alike(0, slice))
    report = report_of(tmp_path)
    assert report["near_duplicates_across_splits"] == report["split"]["test"]["images"] > 0
    assert report["verdict"].startswith(
        "ready to train, not safe to evaluate, according to data.subjects=regex:"
    )
    assert "under two names" in report["verdict"]


def test_a_table_that_splits_people_of_the_names_across_the_parts_is_not_safe(tmp_path):
    names = [f"A/sub-{p}_{s}.png" for p in range(10) for s in range(2)]
    for number, name in enumerate(names):
        save(tmp_path, name, picture(number))
    rows = [f"{name},{name},{'test' if name in names[:3] else 'train'}" for name in names]
    (tmp_path / "subjects.csv").write_text("\n".join(["file,subject,split", *rows]))
    report = report_of(tmp_path, "auto")
    assert report["named_people_across_splits"] == 1
    assert report["verdict"].startswith("ready to train, not safe to evaluate, ")
    assert "the table splits 1 person of the files' names across the parts" in report["verdict"]


@pytest.mark.parametrize(("people", "short"), [(10, True), (50, False)])
def test_too_few_people_to_evaluate_are_said_before_training(people, short, tmp_path):
    for person in range(people):
        save(tmp_path, f"A/sub-{person:02d}_1.png", picture(person))
    told = "4 people held out, alzgan.evaluate needs 5: add people, or train with larger shares for"
    verdict = report_of(tmp_path, "auto")["verdict"]
    assert (told in verdict) is short
    assert verdict.startswith("ready to train, not safe to evaluate, " if short else "ready to train: ")


def test_a_wrong_table_is_refused_before_an_image_is_read(tmp_path):
    (tmp_path / "A").mkdir()
    (tmp_path / "A/1.png").write_text("no image, which is said when it is read")
    (tmp_path / "people.csv").write_text("file;person\nA/1.png;x\n")
    with pytest.raises(UserError, match="has no column subject"):
        audit(Cohort(tmp_path, "csv:people.csv"))
    with pytest.raises(UserError, match="has no column subject"):
        MRIDataModule(root=tmp_path, subjects="csv:people.csv", cache_dir=tmp_path / "cache").setup()


def test_where_nobody_is_known_the_report_is_there_and_says_what_to_give(tmp_path):
    for person in range(12):
        save(tmp_path, f"A/{person}.png", picture(person))
    found = audit(Cohort(tmp_path))
    assert found.people is None
    assert not found.is_ready
    report = report_of(tmp_path, "auto")
    for key in ("subject_rule", "subjects", "split", "near_duplicates_across_splits"):
        assert report[key] is None
    assert report["images"] == 12
    assert report["verdict"].startswith("not ready to train: the images do not say who is who")
    assert "data.subjects=csv:FILE" in report["verdict"]


def test_a_rule_that_was_asked_for_must_fit(folder):
    with pytest.raises(UserError, match="does not fit"):
        audit(Cohort(folder, "regex:patient(.*)"))


def test_a_split_without_a_test_part_is_not_safe(folder):
    report = report_of(folder, fractions=(1, 0, 0))
    assert report["verdict"].startswith("ready to train, not safe to evaluate, ")
    assert "the test part is empty" in report["verdict"]


def test_the_split_of_a_table_is_the_one_that_is_judged(folder, tmp_path):
    found = audit(Cohort(folder, BY_NAME))
    write_split(tmp_path / "split.csv", found.files, found.people.subjects, found.people.split.parts)
    report = report_of(folder, f"csv:{tmp_path / 'split.csv'}", split_seed=7)
    assert report["split"] == found.report["split"]


def test_of_very_many_images_near_duplicates_are_not_sought_and_the_report_says_so(folder, monkeypatch):
    for module in (audit_module, copies):
        monkeypatch.setattr(module, "MOST_COMPARED", 59)
    save(folder, "A/p0_9.png", picture(3, 0))  # an image of p3
    report = report_of(folder)
    assert report["near_duplicates_across_splits"] is None
    assert report["copies"] == 1
    assert "of more than 59 images, only copies with equal thumbnails are found" in report["notes"]
    assert "of two people 1 time" in report["verdict"]
    assert any("copies, including mirrored ones: 1 pair" in line for line in lines(report))
    (folder / "A/p0_9.png").unlink()
    assert report_of(folder)["verdict"].endswith("no person on both sides of the split")


def test_the_sheet_has_a_row_of_images_for_each_class(folder, tmp_path):
    save(folder, "Ç\n/p30_0.png", picture(30))
    contact_sheet(folder, scan(folder), tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.size == (10 * 96, 3 * (96 + 16))
        sheet = np.asarray(image.convert("L")).reshape(3, 112, 960)
    lit = (sheet[:, 16:].reshape(3, 96, 10, 96) > 0).mean(axis=(1, 3))  # 36 x 40 padded to 96 x 96: 0.9
    assert (lit[:2] > 0.8).all()
    assert (lit[2] > 0.8).tolist() == [True] + [False] * 9
    assert (sheet[:, :16].max(axis=(1, 2)) > 200).all()


@pytest.mark.long
@pytest.mark.skipif(MRI_ROOT is None, reason="ALZGAN_MRI_ROOT is unset")
def test_the_real_slices_leak_by_image_and_not_by_person():
    by_person, by_image = (
        report_of(Path(MRI_ROOT), rule, fractions=(0.8, 0.1, 0.1)) for rule in ("kaggle4", "none")
    )
    assert (by_person["images"], by_person["subjects"]) == (6400, 200)
    assert by_person["slices_per_subject"] == {"lowest": 32, "median": 32, "highest": 32}
    assert by_person["duplicates"] == by_person["unreadable"] == []
    assert by_person["near_duplicates_across_splits"] == 0
    assert by_person["verdict"].startswith("ready to train: 6400 images of 200 people in 4 classes")
    share = by_image["near_duplicates_across_splits"] / by_image["split"]["test"]["images"]
    assert 0.93 < share < 0.99
