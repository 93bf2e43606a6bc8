"""`python -m alzgan.prepare`: what it says, and what it leaves behind."""

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import SMALL, alzgan
from PIL import Image

from alzgan.images.decoding import read_image
from alzgan.images.folder import scan
from alzgan.people.subjects import identify
from alzgan.sources.phantom import write_phantom
from alzgan.text import shell_override

PEOPLE, SLICES = 12, 6


@pytest.fixture(scope="module")
def brains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom of 12 people with 6 slices each, and its manifest."""
    root = tmp_path_factory.mktemp("phantom") / "brains"
    write_phantom(root, people=PEOPLE, slices=SLICES, size=64)
    return root


@pytest.fixture
def error_line(error_line: Callable) -> Callable:
    return partial(error_line, verb="prepare")


def prepare(root: Path, run_dir: Path, *options: str, code: int = 0) -> list[str]:
    """The lines that a preparation prints, which ends with 0, or with 2 for a folder that is not ready."""
    result = alzgan(f"data.root={root}", f"run_dir={run_dir}", *options, verb="prepare")
    assert result.returncode == code, result.stderr
    return result.stdout.splitlines()


def rows(table: Path) -> list[dict[str, str]]:
    with open(table, newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def test_a_folder_is_reported_and_its_manifest_reads_back(brains: Path, tmp_path: Path):
    lines = prepare(brains, tmp_path / "run", "volumes.central=3")
    assert "note: volumes.central=3 has no effect: the folder has no volumes" in lines
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "report.json",
        "manifest.csv",
        "contact_sheet.png",
    }
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert (report["images"], report["subjects"]) == (PEOPLE * SLICES, PEOPLE)
    assert report["root"] == str(brains)
    verdict = lines.index(f"verdict: {report['verdict']}")
    assert report["verdict"].startswith("ready to train: 72 images of 12 people in 4 classes")
    assert lines[verdict + 1].startswith(f"written to {tmp_path / 'run'}: contact_sheet.png, manifest.csv")
    manifest = rows(tmp_path / "run/manifest.csv")
    assert Counter(row["split"] for row in manifest) == {
        part: numbers["images"] for part, numbers in report["split"].items()
    }
    back = identify(brains, scan(brains), f"csv:{tmp_path / 'run/manifest.csv'}")
    assert back.subject == [row["subject"] for row in manifest]
    with Image.open(tmp_path / "run/contact_sheet.png") as sheet:
        assert sheet.size == (960, 4 * 112)


def test_the_command_it_ends_with_trains_on_the_same_split(brains: Path, tmp_path: Path):
    options = ["data.split_seed=3", "data.fractions=[0.5,0.25,0.25]", "data.subjects=bids"]
    *_, last = prepare(brains, tmp_path / "run", *options)
    command = shlex.split(last.removeprefix("train on it: python -m alzgan.train "))
    result = alzgan(*command, *SMALL, "trainer.max_steps=1", f"run_dir={tmp_path / 'trained'}")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "trained/split.csv").read_bytes() == (tmp_path / "run/manifest.csv").read_bytes()


def test_options_of_training_go_into_the_command(brains: Path, error_line: Callable, tmp_path: Path):
    options = ["data.image_size=32", "data.channels=1", "data.batch_size=99", "seed=3"]
    *_, last = prepare(brains, tmp_path / "run", *options)
    train = Counter(row["split"] for row in rows(tmp_path / "run/manifest.csv"))["train"]
    kept = "data.image_size=32 data.channels=1 seed=3"
    small = f"alzgan.train model=small data=mri data.root={brains}"
    assert last.endswith(f"{small} trainer=fast data.batch_size={train} {kept}")
    *_, last = prepare(brains, tmp_path / "small", "data.batch_size=8")
    assert last.endswith(f"{small} data.channels=1 trainer=fast data.batch_size=8")


def test_the_recipe_has_one_channel_where_all_images_are_grey(brains: Path, tmp_path: Path):
    root = tmp_path / "coloured"
    shutil.copytree(brains, root)
    first = root / scan(root)[0].path
    with Image.open(first) as image:
        coloured = image.convert("RGB")
    coloured.save(first)
    *_, last = prepare(root, tmp_path / "grey")
    assert "data.channels=1" in last
    coloured.putpixel((8, 8), (0, 99, 0))
    coloured.save(first)
    *_, last = prepare(root, tmp_path / "run")
    assert last.endswith(f"alzgan.train model=small data=mri data.root={root} trainer=fast")


def test_a_setting_of_training_is_checked(brains: Path, error_line: Callable, tmp_path: Path):
    line = error_line(f"data.root={brains}", f"run_dir={tmp_path / 'no'}", "data.batch_size=many")
    assert line == "alzgan: data.batch_size=many must be int"
    line = error_line(f"data.root={brains}", f"run_dir={tmp_path / 'no'}", "data.colour=1")
    assert line.startswith("alzgan: there is no setting data.colour: --help lists them")


def test_bad_files_are_listed_with_their_reason(brains: Path, tmp_path: Path):
    root = tmp_path / "brains"
    shutil.copytree(brains, root)
    bad = [file.path for file in scan(root)][:2]
    for path in bad:
        (root / path).write_bytes(b"")
    lines = prepare(root, tmp_path / "strict", code=2)
    assert [line for line in lines if line.startswith("verdict: not ready to train: 2 of ")]
    assert not [line for line in lines if line.startswith("train on it")]
    lines = prepare(root, tmp_path / "run", "data.bad_files=skip")
    assert [line for line in lines if line.startswith("verdict: ready to train: 70 images")]
    assert lines[-1].endswith("data.bad_files=skip")
    assert rows(tmp_path / "run/skipped.csv") == [
        {"file": path, "reason": "the file is empty"} for path in bad
    ]
    assert not {row["file"] for row in rows(tmp_path / "run/manifest.csv")} & set(bad)


def test_a_hostile_folder_is_reported_and_never_a_crash(brains: Path, tmp_path: Path):
    root = tmp_path / "two words"
    shutil.copytree(brains, root)
    (root / "loop").symlink_to(".")
    (root / "NonDemented/dangling.png").symlink_to("nowhere.png")
    copied = next((root / "NonDemented").glob("*.png")).read_bytes()
    odd = Path(os.fsdecode(b"\xff\n"))  # no UTF-8, and a line's end
    (root / odd).mkdir()
    (root / odd / odd.with_suffix(".png")).write_bytes(copied)
    lines = prepare(root, tmp_path / "run", "data.subjects=none", "data.bad_files=skip")
    assert [line for line in lines if line.startswith("verdict: ready to train")]
    assert [line for line in lines if line.startswith("note: each image counts as a person of its own")]
    assert [row["file"] for row in rows(tmp_path / "run/skipped.csv")] == ["NonDemented/dangling.png"]
    assert f"{odd}/{odd}.png" in {row["file"] for row in rows(tmp_path / "run/manifest.csv")}


def test_where_nobody_is_known_the_manifest_waits_to_be_filled_in(error_line: Callable, tmp_path: Path):
    rng = np.random.default_rng(0)
    (tmp_path / "data/A").mkdir(parents=True)
    for number in range(8):
        noise = rng.integers(0, 256, (40, 40), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"data/A/{number}.png")
    lines = prepare(tmp_path / "data", tmp_path / "run", code=2)
    table = f"data.subjects=csv:{tmp_path}/run/manifest.csv"
    assert lines[-1] == f"to say who is who, fill in its column subject and give {table}"
    manifest = rows(tmp_path / "run/manifest.csv")
    assert [(row["subject"], row["split"]) for row in manifest] == [("", "")] * 8
    line = error_line(
        f"data.root={tmp_path / 'data'}",
        f"run_dir={tmp_path / 'again'}",
        f"data.subjects=csv:{tmp_path}/run/manifest.csv",
    )
    assert "manifest.csv line 2: no subject for A/0.png" in line


@pytest.mark.slow
def test_the_commands_it_prints_work_when_pasted(brains: Path, tmp_path: Path):
    root = tmp_path / "it's a=b, archive (1)"
    shutil.copytree(brains, root)

    def paste(command: str) -> str:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        result = subprocess.run(
            ["bash", "-c", command], capture_output=True, text=True, env={**os.environ, "PATH": path}
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    where = [shell_override("data.root", root), shell_override("run_dir", tmp_path / "the run")]
    told = paste(f"python -m alzgan.prepare {' '.join(where)}").splitlines()[-1]
    train = told.removeprefix("train on it: ")
    assert train.startswith("python -m alzgan.train model=small data=mri ")
    composed = yaml.safe_load(paste(f"{train} --cfg job --package data"))  # all but the training itself
    assert composed["root"] == str(root)


def test_a_root_that_hydra_cannot_parse_is_told_how_to_be_quoted(error_line: Callable, tmp_path: Path):
    line = error_line("data.root=a=b, (1)", f"run_dir={tmp_path / 'run'}")
    quoted = re.search(r"write it as (.*)$", line)[1]
    assert shlex.split(quoted) == ["data.root='a=b, (1)'"]


def test_copies_are_listed_and_left_out_of_the_manifest_that_trains(brains: Path, tmp_path: Path):
    root = tmp_path / "brains"
    shutil.copytree(brains, root)
    first, second, *_ = (root / file.path for file in scan(root))
    mirrored = root / "VeryMildDemented/sub-999_T1w_slice-001.png"
    augmented = second.with_name(f"{second.stem}_aug_1.png")
    Image.fromarray(np.ascontiguousarray(read_image(first)[:, ::-1])).save(mirrored)
    shutil.copy(second, augmented)
    lines = prepare(root, tmp_path / "run", "data.subjects=bids")
    names = {file: file.relative_to(root).as_posix() for file in (first, second, mirrored, augmented)}
    pairs = {(row["file"], row["copy"], row["how"]) for row in rows(tmp_path / "run/pairs.csv")}
    assert pairs == {
        (names[first], names[mirrored], "mirrored"),
        (names[second], names[augmented], "same"),
    }
    parts = {row["file"]: row["split"] for row in rows(tmp_path / "run/manifest.csv")}
    assert {name for name, part in parts.items() if part == "left out"} == {names[mirrored], names[augmented]}
    assert [
        line
        for line in lines
        if "1 pair of copies between two people, who stay together in the split (up to 2 people)" in line
    ]
    command = shlex.split(lines[-1].removeprefix("or without the copies: python -m alzgan.train "))
    result = alzgan(*command, *SMALL, "trainer.max_steps=1", f"run_dir={tmp_path / 'trained'}")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "trained/split.csv").read_bytes() == (tmp_path / "run/manifest.csv").read_bytes()
    again = prepare(root, tmp_path / "again", f"data.subjects=csv:{tmp_path / 'run/manifest.csv'}")
    assert [line for line in again if line.startswith("verdict: ready to train: 74 images")]
    assert "note: 2 images left out by the column split" in again


def volume(path: Path, seed: int) -> None:
    """A 20 x 24 x 16 head of 2 x 2 x 3 mm: a bright ball with noise."""
    nibabel = pytest.importorskip("nibabel")
    path.parent.mkdir(parents=True, exist_ok=True)
    grid = np.moveaxis(np.indices((20, 24, 16)), 0, -1) - [10, 12, 8]
    noise = np.random.default_rng(seed).uniform(100, 200, (20, 24, 16))
    head = (np.linalg.norm(grid * [2, 2, 3], axis=-1) < 18) * noise
    nibabel.save(nibabel.Nifti1Image(head.astype(np.float32), np.diag([2.0, 2, 3, 1])), path)


def test_volumes_become_an_image_folder_that_is_judged(error_line: Callable, tmp_path: Path):
    for person in range(4):
        volume(tmp_path / f"scans/{'AD' if person % 2 else 'CN'}/p{person}.nii.gz", person)
    (tmp_path / "scans/AD/broken.nii").write_bytes(b"nothing")
    options = ["volumes.plane=coronal", "volumes.central=5", "data.bad_files=skip", "data.subjects=none"]
    lines = prepare(tmp_path / "scans", tmp_path / "run", *options, "data.exclude='*.mgz'")
    images = tmp_path / "run/images"
    assert lines[-1].endswith(
        f"data.root={images} data.channels=1 trainer=fast data.batch_size=10 data.bad_files=skip"
    )
    assert "volumes and files of volumes left out: 1" in lines
    assert [line for line in lines if line.startswith("  AD/broken.nii: damaged or not a scan")]
    assert "note: each volume counts as a person of its own" in lines
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert (report["images"], report["subjects"]) == (20, 4)
    assert report["classes"] == {"AD": 10, "CN": 10}
    assert report["sizes"] == {"20x24": 20}  # 40 x 48 mm at 2 mm a pixel
    assert [path for path, _ in report["skipped_volumes"]] == ["AD/broken.nii"]
    assert [row["file"] for row in rows(tmp_path / "run/skipped.csv")] == ["AD/broken.nii"]
    manifest = rows(tmp_path / "run/manifest.csv")
    assert {row["file"] for row in manifest} == {file.path for file in scan(images)}
    assert {row["slice"] for row in manifest} == {"9", "10", "11", "12", "13"}
    strict = [f"data.root={tmp_path / 'scans'}", f"run_dir={tmp_path / 'strict'}", "volumes.central=5"]
    assert "broken.nii" in error_line(*strict, "data.subjects=none")
    assert not (tmp_path / "strict/images").exists()


def test_volumes_under_unknown_names_are_read_by_the_rule_that_the_line_suggests(
    error_line: Callable, tmp_path: Path
):
    for person in range(4):
        volume(tmp_path / f"scans/patient{person:03d}_bl.nii.gz", person)
        volume(tmp_path / f"scans/patient{person:03d}_m12.nii.gz", 9 + person)
    line = error_line(f"data.root={tmp_path / 'scans'}", f"run_dir={tmp_path / 'none'}", "volumes.central=3")
    (rule,) = shlex.split(re.search(r"; give (.*?) if patient000 is a person, or data", line)[1])
    lines = prepare(tmp_path / "scans", tmp_path / "run", rule, "volumes.central=3")
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert (report["images"], report["subjects"]) == (24, 4)
    assert "data.subjects" not in lines[-1]  # the manifest beside the slices says it
    # Noise has no content to go by: nobody is made up, neither here nor in the folder of slices.
    options = ["data.subjects=content", "volumes.central=3"]
    assert "subjects: unknown" in prepare(tmp_path / "scans", tmp_path / "content", *options, code=2)
    assert {row["subject"] for row in rows(tmp_path / "content/images/manifest.csv")} == {""}


def test_a_table_says_who_is_in_volumes_and_what_is_known_of_them(tmp_path: Path):
    for person in range(4):
        volume(tmp_path / f"scans/scan_{person}.nii.gz", person)
    told = "".join(f"scan_{n}.nii.gz,p{n // 2},{'AD' if n < 2 else 'CN'},{70 + n}\n" for n in range(4))
    (tmp_path / "people.csv").write_text("file,subject,class,age\n" + told)
    rule = f"data.subjects=csv:{tmp_path / 'people.csv'}"
    prepare(tmp_path / "scans", tmp_path / "run", rule, "data.classes=csv", "volumes.central=2")
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert (report["classes"], report["subjects"]) == ({"AD": 4, "CN": 4}, 2)
    ages = {row["scan"]: row["age"] for row in rows(tmp_path / "run/images/manifest.csv")}
    assert ages == {f"scan_{n}": str(70 + n) for n in range(4)}


def test_images_far_from_square_are_warned_of(tmp_path: Path):
    (tmp_path / "data").mkdir()
    for number, size in enumerate([(40, 12), (40, 14), (14, 44)]):
        pixels = np.random.default_rng(number).integers(0, 256, size, dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"data/{number}.png")
    lines = prepare(tmp_path / "data", tmp_path / "run", "data.subjects=none")
    assert (
        "note: 2 images with one side more than 3 times the other, the first is 0.png (12x40): "
        "training crops or pads to a square"
    ) in lines


def test_slices_go_where_the_user_says_and_nowhere_over_others(error_line: Callable, tmp_path: Path):
    volume(tmp_path / "scans/p1.nii", 1)
    folder = tmp_path / "slices"
    prepare(tmp_path / "scans", tmp_path / "run", f"images={folder}", "volumes.between=[0.25,0.75]")
    assert len(scan(folder)) == 8
    root, again = f"data.root={tmp_path / 'scans'}", f"run_dir={tmp_path / 'again'}"
    assert f"{folder} exists already" in error_line(root, again, f"images={folder}")


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("volumes.between=[0.1]", "alzgan: volumes.between=[0.1] must be [float, float]"),
        ("volumes.central=99999", "volumes.central=99999, but it has 16 axial slices"),
    ],
)
def test_slices_that_no_volume_has_get_one_line(
    error_line: Callable, option: str, expected: str, tmp_path: Path
):
    volume(tmp_path / "scans/p1.nii", 1)
    assert expected in error_line(f"data.root={tmp_path / 'scans'}", f"run_dir={tmp_path / 'run'}", option)


def test_images_beside_volumes_are_refused(error_line: Callable, brains: Path, tmp_path: Path):
    root = tmp_path / "brains"
    shutil.copytree(brains, root)
    volume(root / "p1.nii.gz", 1)
    line = error_line(f"data.root={root}", f"run_dir={tmp_path / 'run'}")
    assert "has both images" in line
    assert "(p1.nii.gz)" in line


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "data.root is not set; add data.root="),
        (["data.root=null"], "data.root is not set; add data.root="),
        (["data.root=nowhere"], "there is no folder nowhere"),
        (["data.root=.", "data.bad_files=ignore"], "data.bad_files=ignore must be one of error, skip"),
        (["data.root=.", "data.fractions=[1,1,1]"], "alzgan: data.fractions=[1, 1, 1] must be three numbers"),
        (["data.root=.", "data.split_seed=x"], "data.split_seed=x must be int"),
        (["data.root=.", "seed=y", "data.split_seed=${seed}"], "data.split_seed=y must be int"),
        (["data.root=.", "data.side=64"], "there is no setting data.side: --help lists them"),
        (["data.root=.", "volumes.central=few"], "volumes.central=few must be int or null"),
    ],
)
def test_a_wrong_setting_gets_one_line(
    error_line: Callable, options: list[str], expected: str, tmp_path: Path
):
    assert expected in error_line(*options, f"run_dir={tmp_path / 'run'}")


def test_a_run_folder_that_cannot_be_written_gets_one_line(
    error_line: Callable, brains: Path, tmp_path: Path
):
    (tmp_path / "file").touch()
    assert "cannot be written" in error_line(f"data.root={brains}", f"run_dir={tmp_path / 'file'}")
    (tmp_path / "run/report.json").mkdir(parents=True)
    assert f"cannot write to run_dir={tmp_path / 'run'}" in error_line(
        f"data.root={brains}", f"run_dir={tmp_path / 'run'}"
    )


def test_help_says_what_it_is_for():
    result = alzgan("--help", verb="prepare")
    assert result.returncode == 0
    assert result.stdout.startswith("Report on the content of a folder of images or volumes")
    assert "subjects: auto" in result.stdout


@pytest.mark.long
@pytest.mark.skipif("ALZGAN_MRI_ROOT" not in os.environ, reason="ALZGAN_MRI_ROOT, the real slices, is unset")
def test_the_real_slices_are_ready_and_content_finds_the_same_people(tmp_path: Path):
    root = Path(os.environ["ALZGAN_MRI_ROOT"])
    lines = prepare(root, tmp_path / "run", "data.subjects=content")
    assert [line for line in lines if line.startswith("verdict: ready to train: 6400 images of 200 people")]
    by_content = [row["subject"] for row in rows(tmp_path / "run/manifest.csv")]
    by_name = identify(root, scan(root), "kaggle4").subject
    pairs = set(zip(by_name, by_content, strict=True))
    assert len(pairs) == len(set(by_name)) == len(set(by_content)) == 200
