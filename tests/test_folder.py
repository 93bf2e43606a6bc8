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
        ([f"{i}.png" for i in range(37)], "holds 37 images and no folders"),
        (["x.png"], "holds 1 image and no folders"),
        (["a/", "b/"], "holds 2 folders"),
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


def test_train_and_test_folders_are_not_taken_for_classes(tmp_path):
    fill(tmp_path, "train/AD/1.png", "test/AD/2.png")
    with pytest.raises(UserError, match=r"\(test, train\) are a split, not classes"):
        scan(tmp_path)


@pytest.mark.parametrize(
    "paths",
    [["control/1.png", "test/a/1.png"], ["test/1.png", "train/1.png"], ["test/a/1.png", "train/1.png"]],
)
def test_a_class_may_be_called_test_where_it_can_be_one(tmp_path, paths):
    assert paths_of(fill(tmp_path, *paths)) == paths


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
