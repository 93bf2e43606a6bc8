"""What `scan` finds in a folder, by names alone."""

import os

import pytest

from alzgan.errors import UserError
from alzgan.images.folder import ImageFile, class_names, printable, scan, survey


def fill(root, *paths):
    """Make an empty file at each path; a path that ends in "/" is an empty folder."""
    for path in paths:
        target = root / path
        (target if path.endswith("/") else target.parent).mkdir(parents=True, exist_ok=True)
        if not path.endswith("/"):
            target.touch()
    return root


def paths_of(root):
    return [file.path for file in scan(root)]


def test_images_are_sorted_and_labelled_by_the_first_folder(tmp_path):
    fill(tmp_path, "b/1.png", "a/2.JPG", "a/sub/deep/3.tiff")
    assert scan(tmp_path) == [
        ImageFile("a/2.JPG", "a"),
        ImageFile("a/sub/deep/3.tiff", "a"),
        ImageFile("b/1.png", "b"),
    ]


def test_classes_are_the_folders_that_hold_an_image(tmp_path):
    fill(tmp_path, "zebra/1.png", "ant/1.png", "empty/")
    assert class_names(scan(tmp_path)) == ["ant", "zebra"]


@pytest.mark.parametrize(
    "ignored",
    [
        "a/.hidden.png",
        ".git/x.png",
        "a/._1.png",
        "a/.DS_Store",
        "a/Thumbs.db",
        "a/desktop.ini",
        "__MACOSX/a/1.png",
        "a/@eaDir/1.png",
        "a/notes.txt",
        "a/1",
        "manifest.csv",
        "phantom.json",
        "contact_sheet.png",
    ],
)
def test_clutter_and_other_files_are_ignored(tmp_path, ignored):
    fill(tmp_path, "a/1.png", ignored)
    assert paths_of(tmp_path) == ["a/1.png"]


def test_a_survey_names_what_a_scan_leaves_alone(tmp_path):
    fill(tmp_path, "a/1.png", "a/notes.txt", "loose.png", "empty/", ".hidden/2.png", "a/Thumbs.db")
    listing = survey(tmp_path)
    assert listing.folders == ["a", "empty"]
    assert listing.others == ["a/notes.txt", "loose.png"]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ([], "holds nothing"),
        (["x.txt"], "holds 1 .txt file and no folders"),
        (["a/", "b/"], "holds 2 folders"),
        (["a/", *(f"{i}.png" for i in range(37))], "holds 37 images and 1 folder"),
        (
            ["a/1.dcm", "a/2.dcm", "b/3.nii.gz", "x.png"],
            "holds 2 .dcm files and 1 .gz file and 1 image and 2 folders",
        ),
        (["a/README"], "holds 1 file and 1 folder"),
    ],
)
def test_a_root_without_images_in_class_folders_says_what_was_found(tmp_path, content, found):
    with pytest.raises(UserError) as caught:
        scan(fill(tmp_path, *content))
    line = str(caught.value)
    assert f"{tmp_path} {found};" in line
    assert "one folder a class" in line
    assert "\n" not in line


def test_a_missing_root_is_named(tmp_path):
    with pytest.raises(UserError, match=f"^there is no folder {tmp_path}/nowhere: check data.root$"):
        scan(tmp_path / "nowhere")


def test_a_missing_root_that_is_relative_is_named_with_the_place_that_was_tried(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        scan("some/nowhere")
    assert str(caught.value) == f"there is no folder some/nowhere ({tmp_path}/some/nowhere): check data.root"


def test_a_root_that_is_a_file_is_named(tmp_path):
    with pytest.raises(UserError, match=f"^{tmp_path}/scans.zip is a file: data.root must be a folder$"):
        scan(fill(tmp_path, "scans.zip") / "scans.zip")


def labels_of(root, **options):
    """Path, class and part of each image."""
    return [(file.path, file.label, file.part) for file in scan(root, **options)]


def test_images_without_a_folder_are_of_one_class(tmp_path):
    listing = survey(fill(tmp_path, "1.png", "2.png", "notes.txt"))
    assert [(file.path, file.label) for file in listing.images] == [("1.png", "all"), ("2.png", "all")]
    assert (listing.folders, listing.others) == ([], ["notes.txt"])
    assert listing.notes == ["there are no class folders: all images are of one class, all"]


@pytest.mark.parametrize("names", [("train", "test"), ("Train", "TEST"), ("Training", "Testing")])
def test_folders_named_as_parts_are_a_split_of_classes(tmp_path, names):
    one, two = names
    fill(tmp_path, f"{one}/AD/1.png", f"{one}/CN/2.png", f"{two}/AD/3.png", "spare/AD/4.png", "5.png")
    listing = survey(tmp_path)
    found = [(file.label, file.part) for file in listing.images]
    assert found == [("AD", "test"), ("AD", "train"), ("CN", "train")]
    assert listing.folders == ["AD", "CN"]
    assert listing.others == ["5.png", "spare/AD/4.png"]
    assert listing.notes == [f"the folders {two}, {one} are a split; left alone beside them: spare"]


def test_a_split_without_class_folders_is_of_one_class(tmp_path):
    fill(tmp_path, "test/1.png", "train/2.png", "val/sub/3.png")
    assert labels_of(tmp_path) == [
        ("test/1.png", "all", "test"),
        ("train/2.png", "all", "train"),
        ("val/sub/3.png", "sub", "validation"),
    ]


def test_a_class_may_be_called_test_where_there_is_no_other_part(tmp_path):
    fill(tmp_path, "control/1.png", "test/a/1.png", "testing/2.png")
    assert labels_of(tmp_path) == [
        ("control/1.png", "control", None),
        ("test/a/1.png", "test", None),
        ("testing/2.png", "testing", None),
    ]


@pytest.mark.parametrize(
    ("folders", "people"),
    [
        (["sub-01", "sub-02"], True),
        (["002_S_0295", "002_S_0413"], True),
        (["OAS1_0001_MR1", "OAS1_0002_MR1"], True),
        ([f"patient{number}" for number in range(20)], True),
        ([f"patient{number}" for number in range(19)], False),
        (["AD", "CN", "sub-01"], False),
        (["stage1", "stage2"], False),
    ],
)
def test_folders_that_are_people_are_recognised(tmp_path, folders, people):
    fill(tmp_path, *(f"{folder}/a/1.png" for folder in folders))
    listing = survey(tmp_path)
    assert listing.people_in_folders == people
    assert {file.label for file in listing.images} == ({"all"} if people else set(folders))
    assert [f"the {len(folders)} folders are people" in note for note in listing.notes] == [True] * people
    as_classes = survey(tmp_path, classes="folder")
    assert {file.label for file in as_classes.images} == set(folders)
    assert not as_classes.people_in_folders
    assert {file.label for file in survey(tmp_path, classes="none").images} == {"all"}


@pytest.mark.parametrize(
    ("names", "masks"),
    [
        (["a/1.tif", "a/1_mask.tif", "a/2_mask.tif"], ["a/1_mask.tif"]),
        (["a/x_1.png", "a/x_1-seg.png", "a/x_1_roi2.png"], ["a/x_1-seg.png", "a/x_1_roi2.png"]),
        (["images/1.png", "masks/1.png"], ["masks/1.png"]),
        (["a/images/1.png", "a/Masks/1.png", "b/masks/1.png"], ["a/Masks/1.png"]),
        (["labels/1.png", "AD/1.png"], []),
        (["a/unmasked.png", "a/un.png"], []),
    ],
)
def test_masks_beside_images_are_left_out_with_a_line(tmp_path, names, masks):
    listing = survey(fill(tmp_path, *names))
    assert listing.others == masks
    assert [file.path for file in listing.images] == sorted(set(names) - set(masks))
    assert [note for note in listing.notes if "beside images left out" in note] == (
        [f"{len(masks)} mask{'s' * (len(masks) > 1)} beside images left out, the first is {masks[0]}"]
        if masks
        else []
    )


@pytest.mark.parametrize(
    ("patterns", "kept"),
    [
        (["*_t2.png"], ["a/1.png", "a/raw/2.png", "b/1.png"]),
        (["raw"], ["a/1.png", "a/1_t2.png", "b/1.png"]),
        (["a/raw/"], ["a/1.png", "a/1_t2.png", "b/1.png"]),
        (["b/*", "*/raw/*"], ["a/1.png", "a/1_t2.png"]),
        (["1.png"], ["a/1_t2.png", "a/raw/2.png"]),
        (["2"], ["a/1.png", "a/1_t2.png", "a/raw/2.png", "b/1.png"]),
    ],
)
def test_what_a_pattern_fits_is_left_out(tmp_path, patterns, kept):
    fill(tmp_path, "a/1.png", "a/1_t2.png", "a/raw/2.png", "b/1.png")
    listing = survey(tmp_path, patterns)
    assert [file.path for file in listing.images] == kept
    left = 4 - len(kept)
    assert listing.notes == ([f"{left} image{'s' * (left > 1)} left out by data.exclude"] if left else [])


def test_links_to_folders_outside_are_followed_once_a_class(tmp_path):
    pool = fill(tmp_path / "pool", "1.png")
    root = fill(tmp_path / "root", "a/", "b/")
    for link in ("a/x", "a/y", "b/x"):
        (root / link).symlink_to(pool)
    assert [path[0] for path in paths_of(root)] == ["a", "b"]


def test_links_that_lead_back_are_not_followed(tmp_path):
    root = fill(tmp_path / "root", "a/1.png", "b/2.png")
    for name, target in {"self": root / "a", "up": root, "top": tmp_path, "sibling": root / "b"}.items():
        (root / "a" / name).symlink_to(target)
    (root / "alias").symlink_to(root / "a")
    assert paths_of(root) == ["a/1.png", "b/2.png"]


def test_loops_outside_the_root_end(tmp_path):
    outside = fill(tmp_path / "outside", "1.png")
    (outside / "loop").symlink_to(outside)
    root = fill(tmp_path / "root", "a/")
    (root / "a" / "x").symlink_to(outside)
    assert paths_of(root) == ["a/x/1.png"]


def test_a_linked_image_is_read_where_its_link_stands(tmp_path):
    root = fill(tmp_path / "root", "a/1.png", "b/")
    (root / "b" / "2.png").symlink_to(root / "a" / "1.png")
    assert [file.label for file in scan(root)] == ["a", "b"]


def test_names_of_any_bytes_can_be_opened_and_printed(tmp_path):
    folder = os.fsencode(tmp_path) + b"/a"
    os.mkdir(folder)
    for name in (b"\xff.png", b"new\nline.png", b"with space.png"):
        open(folder + b"/" + name, "wb").close()
    paths = paths_of(tmp_path)
    assert paths == ["a/new\nline.png", "a/with space.png", "a/\udcff.png"]
    assert all((tmp_path / path).exists() for path in paths)
    assert [printable(path) for path in paths] == ["a/new\\nline.png", "a/with space.png", "a/\\udcff.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_without_permission_is_named(tmp_path):
    fill(tmp_path, "a/1.png", "b/")
    (tmp_path / "b").chmod(0)
    with pytest.raises(UserError, match=f"^cannot list {tmp_path}/b: Permission denied"):
        scan(tmp_path)
