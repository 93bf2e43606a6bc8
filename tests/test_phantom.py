"""The phantom: ordinary files, a brain by measure, classes that differ as the disease would have it."""

import csv
import itertools
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import alzgan.sources.phantom as phantom_module
from alzgan.device.streams import stream
from alzgan.errors import UserError
from alzgan.sources.phantom import CLASS_SHARES, FIELD_OF_VIEW, Brain, Settings, draw_slice, write_phantom

SMALL = {"people": 12, "slices": 3, "size": 32}


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> Path:
    """24 people, 6 slices each, at the default spacing."""
    root = tmp_path_factory.mktemp("phantom") / "brains"
    write_phantom(root, people=24, slices=6, size=96)
    return root


def manifest(root: Path) -> list[dict[str, str]]:
    with open(root / "manifest.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def contents(root: Path) -> dict[str, bytes]:
    return {str(f.relative_to(root)): f.read_bytes() for f in root.rglob("*") if f.is_file()}


def image(path: Path) -> np.ndarray:
    with Image.open(path) as opened:
        return np.asarray(opened)


def test_files_are_plain_8_bit_grey_png_in_four_class_folders(phantom):
    assert sorted(f.name for f in phantom.iterdir() if f.is_dir()) == sorted(CLASS_SHARES)
    files = list(phantom.glob("*/*"))
    assert len(files) == 24 * 6
    for file in files:
        with Image.open(file) as opened:
            assert (opened.format, opened.mode, opened.size, opened.info) == ("PNG", "L", (96, 96), {})


def test_manifest_and_file_names_tell_the_same_subjects_and_slices(phantom):
    rows = manifest(phantom)
    assert list(rows[0]) == ["file", "class", "subject", "slice", "split"]
    assert sorted(r["file"] for r in rows) == sorted(
        f.relative_to(phantom).as_posix() for f in phantom.glob("*/*")
    )
    for row in rows:
        label, subject, number = re.fullmatch(r"(\w+)/(sub-\d{3})_slice-(\d{2})\.png", row["file"]).groups()
        assert (row["class"], row["subject"], int(row["slice"]), row["split"]) == (
            label,
            subject,
            int(number),
            "",
        )
    for _, of_person in itertools.groupby(sorted(rows, key=lambda r: r["subject"]), lambda r: r["subject"]):
        of_person = list(of_person)
        assert len({r["class"] for r in of_person}) == 1
        assert sorted(int(r["slice"]) for r in of_person) == [1, 2, 3, 4, 5, 6]


def test_classes_are_as_unequal_as_the_real_ones_but_none_has_fewer_than_three_people():
    assert np.bincount(Settings(64, 16, 128, 1.25, 0).grades()).tolist() == [30, 21, 10, 3]
    assert np.bincount(Settings(12, 16, 128, 1.25, 0).grades()).tolist() == [3, 3, 3, 3]


def test_same_seed_gives_the_same_bytes_and_another_seed_other_people(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_phantom(tmp_path / name, **SMALL, seed=seed)
    a, b, c = (contents(tmp_path / name) for name in "abc")
    assert a == b
    assert not set(a.values()) & {data for name, data in c.items() if name != "manifest.csv"}


def test_about_half_of_each_picture_is_exactly_0_and_no_brain_touches_the_border(phantom):
    images = np.stack([image(f) for f in sorted(phantom.glob("*/*.png"))])
    empty = (images == 0).mean(axis=(1, 2))
    assert 0.45 < empty.mean() < 0.50
    assert 0.38 < empty.min() < empty.max() < 0.56
    border = np.ones(images.shape[1:], bool)
    border[1:-1, 1:-1] = False
    assert (images[:, border] == 0).all()
    assert (images[:, 40:56, 40:56] > 0).all()  # fluid is dark, but not background


def anatomy(picture: np.ndarray) -> tuple[float, float, float]:
    """Area of the ventricles (mm^2), thickness of the cortex (mm), area of the fluid in the sulci (mm^2)."""
    pixel = FIELD_OF_VIEW / len(picture)
    y, x = (np.indices(picture.shape) + 0.5) * pixel - FIELD_OF_VIEW / 2
    white = np.percentile(picture[picture > 0], 80)
    fluid, grey = (picture > 0) & (picture < white / 3), (picture >= white / 3) & (picture < white * 0.75)
    middle, rim = (abs(x) < 32) & (abs(y) < 58), np.hypot(x / 66, y / 84) > 0.62
    ribbon, core = grey & rim, (picture >= white * 0.75) & rim
    border = sum(
        (ribbon & np.roll(core, step, axis)).sum() for step, axis in itertools.product((-1, 1), (0, 1))
    )
    return (
        (fluid & middle).sum() * pixel**2,
        ribbon.sum() / border * pixel,
        (fluid & ~middle).sum() * pixel**2,
    )


def test_ventricles_grow_cortex_thins_and_sulci_open_from_class_to_class(phantom):
    ventricles, cortex, sulci = np.transpose(
        [np.mean([anatomy(image(f)) for f in (phantom / label).iterdir()], axis=0) for label in CLASS_SHARES]
    )
    assert (np.diff(ventricles) > 200).all()
    assert 300 < ventricles[0] < 900
    assert 1800 < ventricles[-1] < 3000
    assert cortex[0] - 0.3 > cortex[1] > cortex[2:].max() + 0.3  # the worst two have too few people to tell
    assert 2 < cortex.min() < cortex.max() < 5
    assert (np.diff(sulci) > 100).all()


@pytest.mark.parametrize("person", range(3))
def test_one_brain_worsens_steadily_with_severity(person):
    course = []
    for severity in np.linspace(0, 1, 4):
        brain = Brain(stream(0, "test", person), severity)
        slices = [draw_slice(brain, z, 192) for z in (6, 13, 20)]
        course.append(np.mean([anatomy(np.rint(255 * signal) * mask) for signal, mask in slices], axis=0))
    ventricles, cortex, sulci = np.diff(course, axis=0).T
    assert (ventricles > 200).all()
    assert (cortex < -0.2).all()
    assert (sulci > 100).all()


def similarity(root: Path) -> tuple[np.ndarray, np.ndarray]:
    """Correlations of neighbouring slices of one person, and of any slices of two people."""
    rows = sorted(manifest(root), key=lambda r: (r["subject"], int(r["slice"])))
    thumbnails = []
    for row in rows:
        with Image.open(root / row["file"]) as opened:
            flat = np.asarray(opened.resize((44, 52), Image.Resampling.BOX), dtype=float).ravel()
        thumbnails.append((flat - flat.mean()) / np.linalg.norm(flat - flat.mean()))
    correlations = np.stack(thumbnails) @ np.transpose(thumbnails)
    subject = np.array([r["subject"] for r in rows])
    same = subject[:, None] == subject
    return np.diag(correlations, 1)[np.diag(same, 1)], correlations[~same]


def test_neighbouring_slices_resemble_each_other_more_than_any_two_people_do(phantom):
    neighbours, strangers = similarity(phantom)
    assert 0.985 < neighbours.min() < neighbours.max() < 0.9999
    assert 0.80 < np.median(strangers) < strangers.max() < 0.97


def test_thick_slices_of_one_person_are_further_apart_than_some_strangers(tmp_path):
    write_phantom(tmp_path / "thick", people=24, slices=6, size=64, spacing=8)
    neighbours, strangers = similarity(tmp_path / "thick")
    assert neighbours.min() < strangers.max()


def test_a_finished_phantom_is_found_and_not_made_again(tmp_path, monkeypatch):
    write_phantom(tmp_path / "p", **SMALL)
    monkeypatch.setattr(phantom_module, "fill", lambda *_: pytest.fail("made again"))
    write_phantom(tmp_path / "p", **SMALL)
    assert [f.name for f in tmp_path.iterdir()] == ["p"]


def test_an_empty_folder_and_missing_parents_are_accepted(tmp_path):
    (tmp_path / "empty").mkdir()
    write_phantom(tmp_path / "empty", **SMALL)
    write_phantom(tmp_path / "a" / "b", **SMALL)
    assert contents(tmp_path / "empty") == contents(tmp_path / "a" / "b")


def other_content(root: Path) -> None:
    root.mkdir()
    (root / "thesis.txt").write_text("mine")


def a_file(root: Path) -> None:
    root.write_text("mine")


def other_settings(root: Path) -> None:
    write_phantom(root, **SMALL, seed=5)


def an_image_gone(root: Path) -> None:
    write_phantom(root, **SMALL)
    next(root.glob("*/*.png")).unlink()


@pytest.mark.parametrize(
    ("prepare", "complaint"),
    [
        (other_content, "exists and is not a phantom"),
        (a_file, "exists and is not a phantom"),
        (other_settings, "other settings"),
        (an_image_gone, "missing or added"),
    ],
)
def test_a_folder_with_anything_else_in_it_is_refused_and_left_alone(tmp_path, prepare, complaint):
    root = tmp_path / "p"
    prepare(root)
    before = contents(tmp_path)
    with pytest.raises(UserError, match=f"{re.escape(str(root))} .*{complaint}"):
        write_phantom(root, **SMALL)
    assert contents(tmp_path) == before


def test_a_phantom_that_another_version_drew_is_drawn_anew(tmp_path):
    root, fresh = tmp_path / "p", tmp_path / "fresh"
    write_phantom(fresh, **SMALL)
    for version in (phantom_module.PHANTOM_VERSION - 1, phantom_module.PHANTOM_VERSION + 1, None):
        write_phantom(root, **SMALL)
        settings = json.loads((root / "phantom.json").read_text())
        settings["version"] = version
        if version is None:
            del settings["version"]
        (root / "phantom.json").write_text(json.dumps(settings))
        Image.new("L", (32, 32)).save(next(root.glob("*/*.png")))
        with pytest.raises(UserError, match="other settings"):
            write_phantom(root, **SMALL, seed=9)
        assert contents(root) != contents(fresh)
        write_phantom(root, **SMALL)
        assert contents(root) == contents(fresh)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["fresh", "p"]


def test_a_place_that_cannot_be_written_is_named_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=f"cannot write a phantom to {re.escape(str(tmp_path))}.*") as caught:
        write_phantom(tmp_path / "file" / "p", **SMALL)
    assert "\n" not in str(caught.value)


def test_a_failure_midway_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(json, "dumps", full)
    with pytest.raises(UserError, match="No space left on device"):
        write_phantom(tmp_path / "p", **SMALL)
    assert not list(tmp_path.iterdir())


def writer(root: Path, **settings: int) -> subprocess.Popen:
    """A process of its own that writes a phantom."""
    call = f"write_phantom({str(root)!r}, **{settings!r})"
    return subprocess.Popen(
        [sys.executable, "-c", f"from alzgan.sources.phantom import write_phantom; {call}"]
    )


def test_a_killed_writer_leaves_nothing_that_looks_complete(tmp_path):
    process = writer(tmp_path / "p", people=1000)
    until = time.monotonic() + 20
    while not list(tmp_path.glob("p.*.part/*/*.png")) and time.monotonic() < until:
        time.sleep(0.02)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "p").exists()
    assert [f.name for f in tmp_path.iterdir() if f.suffix != ".part"] == []
    write_phantom(tmp_path / "p", **SMALL)
    assert len(list((tmp_path / "p").glob("*/*.png"))) == 36


def overtaken(root: Path, monkeypatch, **faster: int) -> dict[Path, int]:
    """Write a phantom that a later writer overtakes; the dates of the files as the faster one left them."""
    fill = phantom_module.fill

    def fill_slowly(*args):
        fill(*args)
        monkeypatch.setattr(phantom_module, "fill", fill)
        write_phantom(root, **faster)
        dates.update({f: f.stat().st_mtime_ns for f in root.rglob("*")})

    dates = {}
    monkeypatch.setattr(phantom_module, "fill", fill_slowly)
    write_phantom(root, **SMALL)
    return dates


def test_a_writer_that_is_overtaken_leaves_the_finished_phantom_as_it_is(tmp_path, monkeypatch):
    dates = overtaken(tmp_path / "p", monkeypatch, **SMALL)
    assert {f: f.stat().st_mtime_ns for f in (tmp_path / "p").rglob("*")} == dates
    assert [f.name for f in tmp_path.iterdir()] == ["p"]


def test_a_writer_that_is_overtaken_by_other_settings_says_so(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="other settings"):
        overtaken(tmp_path / "p", monkeypatch, **SMALL, seed=9)
    assert [f.name for f in tmp_path.iterdir()] == ["p"]


def test_two_writers_at_once_make_one_phantom(tmp_path):
    both = [writer(tmp_path / "p", **SMALL) for _ in range(2)]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    write_phantom(tmp_path / "alone", **SMALL)
    assert contents(tmp_path / "p") == contents(tmp_path / "alone")
    assert sorted(f.name for f in tmp_path.iterdir()) == ["alone", "p"]
