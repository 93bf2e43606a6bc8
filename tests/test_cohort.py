"""Who is held out of a folder, whatever the folder says itself: no person and no copy on both sides."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alzgan.errors import UserError
from alzgan.images.folder import class_names
from alzgan.people.cohort import Cohort, People
from alzgan.people.subjects import LEFT_OUT


def picture(number: int) -> np.ndarray:
    """(48, 48) noise, its own for each number."""
    return np.random.default_rng(number).integers(0, 256, (48, 48), np.uint8)


def fill(root: Path, images: dict[str, np.ndarray]) -> Path:
    for name, image in images.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(image)).save(root / name)
    return root


def people_of(root: Path, tmp_path: Path, **options) -> People:
    cohort = Cohort(root, cache_dir=tmp_path / "cache", **options)
    return cohort.people(cohort.scan(), [], options.pop("two_valued", []))


def parts_of(people: People) -> dict[str, str]:
    return {file.path: part for file, part in zip(people.files, people.split.parts, strict=True)}


BY_NAME = "regex:p(?P<subject>[0-9]+)_"


@pytest.mark.parametrize("rule", ["none", BY_NAME])
@pytest.mark.parametrize("turn", [np.asarray, np.fliplr, np.flipud, np.rot90])
def test_copies_are_on_one_side_under_any_rule_and_seed(tmp_path, rule, turn):
    images = {f"A/p{number}_0.png": picture(number) for number in range(20)}
    images |= {f"A/p{number + 50}_0.png": turn(picture(number)) for number in range(5)}
    fill(tmp_path / "root", images)
    for seed in range(10):
        people = people_of(
            tmp_path / "root", tmp_path, subjects=rule, split_seed=seed, fractions=(0.4, 0.3, 0.3)
        )
        parts = parts_of(people)
        assert len(people.copies) == 5
        for number in range(5):
            assert parts[f"A/p{number}_0.png"] == parts[f"A/p{number + 50}_0.png"]
    told = [note for note in people.notes if "5 pairs of copies between two people" in note]
    assert len(told) == (rule != "none")


def test_a_split_that_folders_give_is_kept_where_it_leaks_nobody(tmp_path):
    images = {f"train/A/p{number}_0.png": picture(number) for number in range(6)}
    images |= {f"test/A/p{number}_0.png": picture(number) for number in range(6, 9)}
    people = people_of(fill(tmp_path / "root", images), tmp_path, subjects=BY_NAME)
    assert parts_of(people) == {path: path.partition("/")[0] for path in images}
    assert people.notes == ["the folders test, train are a split"]


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (
            ("val/A/p6_1.png", picture(50)),
            "1 of 9 people are in more than one part, and 0 pairs of copies cross it",
        ),
        (
            ("test/A/p0_1.png", picture(50)),
            "1 of 9 people are in more than one part, and 0 pairs of copies cross it",
        ),
        (
            ("test/A/p40_1.png", picture(0)[:, ::-1]),
            "0 of 10 people are in more than one part, and 1 pair of copies cross it",
        ),
    ],
)
def test_a_split_that_leaks_is_audited_and_drawn_anew(tmp_path, extra, said):
    images = {f"train/A/p{number}_0.png": picture(number) for number in range(6)}
    images |= {f"test/A/p{number}_0.png": picture(number) for number in range(6, 9)} | dict([extra])
    people = people_of(fill(tmp_path / "root", images), tmp_path, subjects=BY_NAME)
    (note,) = [note for note in people.notes if "leaks" in note]
    given = "train and validation and test" if extra[0].startswith("val") else "train and test"
    assert note == f"the given split ({given}) leaks: {said}: a new split was drawn by person"
    of_person: dict[str, set[str]] = {}
    for subject, part in zip(people.subjects.subject, people.split.parts, strict=True):
        of_person.setdefault(subject, set()).add(part)
    assert all(len(parts) == 1 for parts in of_person.values())
    one, two = people.copies[0][:2] if people.copies else (0, 0)
    assert people.split.parts[one] == people.split.parts[two]


def table(path: Path, rows: list[str], header: str = "file,subject,split") -> str:
    path.write_text("\n".join([header, *rows]) + "\n")
    return f"csv:{path}"


def test_a_table_that_puts_copies_on_two_sides_is_refused_until_one_is_left_out(tmp_path):
    images = {f"A/{number}.png": picture(number % 5) for number in range(6)}
    root = fill(tmp_path / "root", images)
    parts = ["train", "train", "train", "validation", "test", "test"]
    rows = [f"A/{number}.png,p{number},{part}" for number, part in enumerate(parts)]
    line = r"A/0.png in train and A/5.png in test are copies \(same\); write 'left out' into the column split"
    with pytest.raises(UserError, match=line):
        people_of(root, tmp_path, subjects=table(tmp_path / "t.csv", rows))
    rows[5] = "A/5.png,p5,left out"
    people = people_of(root, tmp_path, subjects=table(tmp_path / "t.csv", rows))
    assert people.split.parts == [*parts[:5], LEFT_OUT]


@pytest.mark.parametrize("given", [True, False])
def test_a_table_that_splits_a_person_of_the_names_is_told_with_how_many_cross_the_split(tmp_path, given):
    images = {f"A/sub-{p}_ses-{s}.png": picture(10 * p + s) for p in range(1, 5) for s in range(2)}
    root = fill(tmp_path / "root", images)
    # Sessions are people: 1 is in train twice, 2 and 3 cross the split, a scan of 4 is left out.
    parts = ["train", "train", "train", "test", "validation", "test", "train", "left out"]
    rows = [f"{path},{path[2:-4]},{part}" for path, part in zip(images, parts, strict=True)]
    rule = table(tmp_path / "t.csv" if given else root / "subjects.csv", rows)
    people = people_of(root, tmp_path, subjects=rule if given else "auto")
    assert people.notes[-1] == (
        "the table splits 4 people of the files' names into 8 (for example sub-1 into sub-1_ses-0 and "
        "sub-1_ses-1), 2 of them across the parts of the split: give each one subject, unless the names are "
        "misleading"
    )


def test_a_table_that_agrees_with_the_names_or_joins_their_people_is_not_remarked_on(tmp_path):
    images = {f"A/sub-{p}_{s}.png": picture(10 * p + s) for p in range(6) for s in range(2)}
    root = fill(tmp_path / "root", images)
    for person in ("p{}".format, lambda number: f"p{int(number) // 2}"):
        rows = [f"{path},{person(path[6])}" for path in images]
        people = people_of(root, tmp_path, subjects=table(tmp_path / "t.csv", rows, "file,subject"))
        assert not any("splits" in note for note in people.notes)


def test_folders_that_spell_a_person_in_two_ways_are_refused(tmp_path):
    folders = [f"case{number}" for number in range(20)] + ["case07"]
    root = fill(tmp_path / "root", {f"{name}/1.png": picture(k) for k, name in enumerate(folders)})
    with pytest.raises(UserError, match="1 person is spelled in several ways, for example case07 and case7"):
        people_of(root, tmp_path)


def test_a_table_may_say_the_class(tmp_path):
    root = fill(tmp_path / "root", {f"scans/{number}.png": picture(number) for number in range(4)})
    rows = [f"scans/{number}.png,p{number},{'AD' if number % 2 else 'CN'}" for number in range(4)]
    rule = table(tmp_path / "t.csv", rows, "file,subject,class")
    labels = [file.label for file in people_of(root, tmp_path, subjects=rule, classes="csv").files]
    assert labels == ["CN", "AD", "CN", "AD"]
    assert {file.label for file in people_of(root, tmp_path, subjects=rule).files} == {"scans"}
    rule = table(tmp_path / "t.csv", [*rows[:3], "scans/3.png,p3,"], "file,subject,class")
    files = people_of(root, tmp_path, subjects=rule, classes="csv").files
    assert ([file.label for file in files], class_names(files)) == (["CN", "AD", "CN", ""], ["AD", "CN"])
    rule = table(
        tmp_path / "t.csv", [f"scans/{number}.png,p{number}," for number in range(4)], "file,subject,class"
    )
    with pytest.raises(UserError, match=r"data.classes=csv needs .* column class, filled in every row"):
        people_of(root, tmp_path, subjects=rule, classes="csv")
    with pytest.raises(UserError, match=r"data.classes=csv needs"):
        people_of(root, tmp_path, classes="csv")


def test_folders_that_are_people_name_them(tmp_path):
    root = fill(
        tmp_path / "root", {f"case{p}/{s}.png": picture(100 * p + s) for p in range(20) for s in range(2)}
    )
    people = people_of(root, tmp_path)
    assert people.subjects.subject == [file.path.partition("/")[0] for file in people.files]
    assert {file.label for file in people.files} == {"all"}
    assert "the 20 folders are people (case0, ...)" in people.notes[0]


def test_pictures_of_two_values_are_masks_unless_most_are(tmp_path):
    images = {f"A/p{number}_0.png": picture(number) for number in range(12)}
    masks = {f"A/p{number}_0m.png": (picture(number) > 99).astype(np.uint8) * 255 for number in range(4)}
    cohort = Cohort(fill(tmp_path / "root", images | masks), BY_NAME, cache_dir=tmp_path / "cache")
    files = cohort.scan()
    people = cohort.people(files, [], sorted(masks))
    assert [file.path for file in people.files] == sorted(images)
    assert [files[row].path for row in people.rows] == sorted(images)
    assert "4 images of two values left out as masks, the first is A/p0_0m.png" in people.notes
    mostly = [file for file in files if file.path in [*masks, *sorted(images)[:4]]]
    assert len(mostly) == 8
    assert len(cohort.people(mostly, [], sorted(masks)).files) == 8


def test_one_of_each_set_of_copies_is_left_in_and_not_the_augmented_one(tmp_path):
    images = {f"A/p{number}_0.png": picture(number) for number in range(12)}
    images |= {"A/p0_0_aug_1.png": picture(50), "A/p0_0_flip.png": picture(51), "A/p3_0b.png": picture(3)}
    people = people_of(fill(tmp_path / "root", images), tmp_path, subjects=BY_NAME)
    parts = dict(zip([file.path for file in people.files], people.without_copies(), strict=True))
    assert [path for path, part in parts.items() if part == LEFT_OUT] == [
        "A/p0_0_aug_1.png",
        "A/p0_0_flip.png",
        "A/p3_0b.png",
    ]
    assert {path: part for path, part in parts_of(people).items() if parts[path] != LEFT_OUT} == {
        path: part for path, part in parts.items() if part != LEFT_OUT
    }


def test_smooth_neighbours_of_one_scan_are_no_copies_but_different_people_who_look_so_are(tmp_path):
    base = picture(0).astype(float)
    near = {
        k: np.clip(base + np.random.default_rng(k).normal(0, 4, base.shape), 0, 255).astype(np.uint8)
        for k in range(3)
    }
    images = {f"A/p{number}_0.png": picture(number + 9) for number in range(9)}
    root = fill(tmp_path / "root", images | {f"A/p70_{k}.png": image for k, image in near.items()})
    rule = "regex:p(?P<subject>[0-9]+)_(?P<slice>[0-9]+)"
    assert people_of(root, tmp_path, subjects=rule).copies == []
    assert (
        len(people_of(root, tmp_path, subjects=BY_NAME).copies) == 3
    )  # nobody says that they are neighbours
    assert len(people_of(root, tmp_path, subjects="none").copies) == 3
