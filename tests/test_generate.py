"""Folders of synthetic images: the same bytes whatever the batch, the order, the processes and the kills.

On one kind of processor and with one number of threads: whatever is asked for, the network is given blocks of
one shape, and an image always has the same row.
"""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL, alzgan, small_settings
from PIL import Image
from torchvision.transforms.functional import gaussian_blur

from alzgan import load
from alzgan.device.pixels import to_uint8
from alzgan.errors import UserError
from alzgan.files import cache_folder
from alzgan.generation import formats
from alzgan.generation.card import asked_otherwise, measured
from alzgan.generation.check import CopyCheck, Judgement
from alzgan.generation.interpolation import between
from alzgan.generation.order import UNCONDITIONAL, refuse_portraits
from alzgan.generation.run import generate
from alzgan.images.decoding import read_image
from alzgan.runs import session
from alzgan.runs.config import compose_config

UNWATCHED = ("callbacks.quality=null", "callbacks.samples=null", "callbacks.health=null", "logger=csv")


def face_of(person: int) -> np.ndarray:
    """Three blobs (36, 36), others for each person."""
    rng, places = np.random.default_rng(person), np.mgrid[:36, :36]
    centres = rng.uniform(8, 28, (3, 2, 1, 1))
    return sum(60 * np.exp(-((places - centre) ** 2).sum(0) / 60) for centre in centres)


@pytest.fixture(scope="module")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two classes, of 12 and of 2 people, and places of slices."""
    root = tmp_path_factory.mktemp("people")
    for person in range(18):
        folder = root / ("Many" if person < 15 else "Few")
        folder.mkdir(exist_ok=True)
        for place in range(1, 4):
            noise = np.random.default_rng(3 * person + place).normal(0, 3, (36, 36))
            pixels = (20 * place + face_of(person) + noise).clip(0, 255).astype("uint8")
            Image.fromarray(pixels).save(folder / f"sub-{person:02}_slice-{place}.png")
    options = (
        *UNWATCHED,
        "model=cdcgan",
        "data.conditions=[class,slice]",
        "trainer.max_steps=4",
        "average=ema",
    )
    session.run(small_settings(root, root / "../conditional", *options))
    return (root / "../conditional").resolve()


@pytest.fixture(scope="module")
def unconditional(slices: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unconditional") / "run"
    session.run(small_settings(slices, folder, *UNWATCHED, "trainer.max_steps=3"))
    return folder


def make(run: Path, out: Path, *options: str) -> list[str]:
    return generate(compose_config("generate", [f"ckpt_path={run}", f"out={out}", *options]), options)


def files(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*.*")) if path.is_file()
    }


def images(out: Path) -> dict[str, bytes]:
    return {name: content for name, content in files(out).items() if "/" in name}


def rows(out: Path) -> list[dict[str, str]]:
    with open(out / "manifest.csv", newline="") as handle:
        return list(csv.DictReader(handle))


ANY = "rare_classes=allow"


@pytest.mark.parametrize("kind", ["conditional", "unconditional"])
def test_a_set_is_what_the_loaded_generator_samples(kind: str, request, tmp_path: Path):
    run = request.getfixturevalue(kind)
    make(run, tmp_path / "set", "n=40", "seed=3", ANY)
    samples = load(run).sample(40, seed=3)
    table = rows(tmp_path / "set")
    assert len(table) == 40
    for row in table:
        with Image.open(tmp_path / "set" / row["file"]) as picture:
            assert picture.mode == "L"
            assert picture.text["Seed"] == "3"
            assert picture.text["Synthetic"].startswith("made by alzgan")
            assert np.array_equal(np.asarray(picture), samples[int(row["number"]), 0])
    if kind == "unconditional":
        assert {row["class"] for row in table} == {"synthetic"}
    else:
        kinds = load(run).labels(40, seed=3)[:, 0]
        assert [row["class"] for row in sorted(table, key=lambda row: int(row["number"]))] == [
            ["Few", "Many"][int(kind)] for kind in kinds
        ]


def test_an_image_is_the_same_in_whatever_order_it_is_asked_for(unconditional: Path):
    generator, numbers = load(unconditional), [70, 3, 35]
    latents = torch.cat([generator.latents(1, first=number) for number in numbers])
    floats = generator.floats(latents, numbers=numbers)
    assert torch.equal(to_uint8(floats), generator.sample(71)[numbers])


def test_the_bytes_do_not_depend_on_the_batch(conditional: Path, tmp_path: Path):
    sets = {}
    for size in (1, 64, 1000):
        make(conditional, tmp_path / str(size), "n=70", f"batch_size={size}", ANY)
        sets[size] = files(tmp_path / str(size))
    assert sets[1] == sets[64] == sets[1000]
    assert len(images(tmp_path / "1")) == 70


def test_a_set_is_extended_by_what_comes_first_or_last(conditional: Path, tmp_path: Path):
    make(conditional, tmp_path / "whole", "n=70", ANY)
    for out, parts in (("forth", ((0, 30), (30, 40))), ("back", ((45, 25), (0, 45)))):
        for first, count in parts:
            said = make(conditional, tmp_path / out, f"first={first}", f"n={count}", ANY)
        assert "(70 in all)" in said[0]
        assert images(tmp_path / out) == images(tmp_path / "whole")
        assert rows(tmp_path / out) == rows(tmp_path / "whole")


@pytest.mark.slow
def test_two_processes_make_one_set(conditional: Path, tmp_path: Path):
    make(conditional, tmp_path / "whole", "n=60", ANY)
    halves = [
        [f"ckpt_path={conditional}", f"out={tmp_path / 'two'}", ANY, f"first={f}", "n=30"] for f in (0, 30)
    ]
    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda half: alzgan(*half, verb="generate"), halves))
    assert [each.returncode for each in ended] == [0, 0], ended[0].stderr + ended[1].stderr
    assert images(tmp_path / "two") == images(tmp_path / "whole")
    assert rows(tmp_path / "two") == rows(tmp_path / "whole")


@pytest.mark.slow
def test_a_killed_call_goes_on_and_ends_with_the_same_bytes(conditional: Path, tmp_path: Path):
    order = ["n=800", ANY]
    make(conditional, tmp_path / "whole", *order)
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "alzgan.generate", f"ckpt_path={conditional}", f"out={out}", *order]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while len(list(out.glob("*/*.png"))) < 100:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    there = {name: content for name, content in images(out).items() if name.endswith(".png")}
    assert 100 <= len(there) < 800
    assert not (out / "manifest.csv").exists()
    whole = images(tmp_path / "whole")
    assert all(whole[name] == content for name, content in there.items())
    said = make(conditional, out, *order)
    assert f"({len(there):,} existed already)" in said[0]
    assert {name: content for name, content in images(out).items() if not name.endswith(".part")} == whole
    assert rows(out) == rows(tmp_path / "whole")


def test_another_set_in_the_folder_is_refused_or_gives_way_whole(
    conditional: Path, tmp_path: Path, monkeypatch
):
    out = tmp_path / "set"
    make(conditional, out, "n=20", ANY)
    before = files(out)
    with pytest.raises(Exception, match=r"holds another set \(seed 0 there, 1 here\)"):
        make(conditional, out, "n=20", "seed=1", ANY)
    assert files(out) == before
    (out / "notes.txt").write_text("mine")
    make(conditional, out, "n=10", "seed=1", "overwrite=true", ANY)
    assert len(images(out)) == 10
    assert {row["seed"] for row in rows(out)} == {"1"}
    assert (out / "notes.txt").read_text() == "mine"
    elsewhere = tmp_path / "other"
    elsewhere.mkdir()
    (elsewhere / "thesis.txt").touch()
    with pytest.raises(Exception, match="holds something else"):
        make(conditional, elsewhere, "overwrite=true", ANY)


def test_a_set_that_another_process_is_about_to_begin_is_joined(conditional: Path, tmp_path: Path):
    out = tmp_path / "set"
    out.mkdir()
    (out / f"set.json.{'0a' * 6}.part").touch()
    make(conditional, out, "n=4", "labels=Many")
    assert len(rows(out)) == 4


def test_a_killed_set_gives_way_too(conditional: Path, tmp_path: Path):
    out = tmp_path / "set"
    make(conditional, out, "n=40", "labels=Many")
    (out / "manifest.csv").unlink()  # as of a call that was killed
    make(conditional, out, "n=40", "labels=Many", "seed=1", "overwrite=true")
    make(conditional, tmp_path / "alone", "n=40", "labels=Many", "seed=1")
    assert images(out) == images(tmp_path / "alone")


def test_a_call_without_a_check_forgets_none(conditional: Path, tmp_path: Path):
    make(conditional, tmp_path / "set", "n=20", "labels=Many", "check=true")
    before = rows(tmp_path / "set")
    make(conditional, tmp_path / "set", "n=20", "labels=Many")
    assert rows(tmp_path / "set") == before
    assert "20 of 20 images were compared" in (tmp_path / "set/README.md").read_text()


def middle_ones(values: torch.Tensor, size: int) -> torch.Tensor:
    """The middle one of each of equal parts of values, or all if there are fewer."""
    parts = [int((part + 0.5) * len(values) / size) for part in range(size)]
    return values[parts] if size < len(values) else values


def test_a_stack_is_as_near_as_its_nearest_slice(conditional: Path, tmp_path: Path, monkeypatch):
    def judge(self, pixels: torch.Tensor) -> list[Judgement]:
        return [Judgement(f"{n}.png", "person", 0.9 + 0.01 * n, True) for n in range(len(pixels))]

    begin, thresholds = CopyCheck.__init__, []

    def with_threshold(threshold: float) -> None:
        def init(self, *arguments):
            begin(self, *arguments)
            theirs = self.reference.held_out
            nearest = torch.tensor([each.similarity for each in real_judge(self, theirs.pixels)])
            for size in (2, 4):
                most = [
                    middle_ones(nearest[theirs.people == name], size).max() for name in set(theirs.people)
                ]
                expected = torch.stack(most).double().quantile(0.99)
                thresholds.append((self.threshold_of_stacks(size), pytest.approx(float(expected))))
            self.threshold_of_stacks = lambda _: threshold

        monkeypatch.setattr(CopyCheck, "__init__", init)

    real_judge = CopyCheck.judge
    monkeypatch.setattr(CopyCheck, "judge", judge)
    order = ["people=2", "slices=4", "labels=Many", "check=true"]
    with_threshold(0.935)  # of stacks: each image alone would be a copy
    make(conditional, tmp_path / "kept", *order)
    kept = rows(tmp_path / "kept")
    assert {row["copy"] for row in kept} == {"no"}
    assert [row["similarity"] for row in kept[:4]] == ["0.9000", "0.9100", "0.9200", "0.9300"]
    assert [row["nearest_file"] for row in kept[:4]] == ["0.png", "1.png", "2.png", "3.png"]
    with_threshold(0.925)
    said = make(conditional, tmp_path / "dropped", *order, "copies=drop")
    assert any(
        line.startswith("2 stacks are nearer to a training image than 99 of 100 stacks") for line in said
    )
    assert all(found == expected for found, expected in thresholds)
    assert rows(tmp_path / "dropped") == []
    assert not (tmp_path / "dropped/grid.png").exists()


def test_a_full_disk_ends_in_a_line_and_the_set_goes_on(conditional: Path, tmp_path: Path, monkeypatch):
    make(conditional, tmp_path / "whole", "n=80", ANY)
    out, save, count = tmp_path / "full", formats.save_png, []

    def full(*arguments) -> None:
        count.append(1)
        if len(count) > 30:
            raise OSError(28, "No space left on device")
        save(*arguments)

    monkeypatch.setattr(formats, "save_png", full)
    with pytest.raises(UserError, match="No space left"):
        make(conditional, out, "n=80", ANY)
    assert not list(out.rglob("*.part"))
    monkeypatch.setattr(formats, "save_png", save)
    make(conditional, out, "n=80", ANY)
    assert images(out) == images(tmp_path / "whole")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("balanced", {"Few": 12, "Many": 12}),
        ("Many", {"Many": 24}),
        ("{Few: 5, Many: 19}", {"Few": 5, "Many": 19}),
        ("'{\"Few\": 5, Many:19}'", {"Few": 5, "Many": 19}),
    ],
)
def test_labels_are_those_asked_for(labels: str, expected: dict, conditional: Path, tmp_path: Path):
    make(conditional, tmp_path / "set", "n=24", f"labels={labels}", ANY)
    assert Counter(row["class"] for row in rows(tmp_path / "set")) == expected


def test_an_image_depends_on_its_label_number_and_seed_alone(conditional: Path, tmp_path: Path):
    make(conditional, tmp_path / "balanced", "n=24", "labels=balanced", ANY)
    make(conditional, tmp_path / "many", "n=24", "labels=Many", ANY)
    balanced, many = images(tmp_path / "balanced"), images(tmp_path / "many")
    common = balanced.keys() & many.keys()
    assert len(common) == 12
    assert all(balanced[name] == many[name] for name in common)


def test_truncation_and_seeds_in_place_of_numbers(conditional: Path, tmp_path: Path):
    make(conditional, tmp_path / "seeds", "seeds=[3,4,5,40]", "truncation=0.5", ANY)
    table = rows(tmp_path / "seeds")
    assert sorted(int(row["seed"]) for row in table) == [3, 4, 5, 40]
    generator = load(conditional)
    for row in table:
        seed = int(row["seed"])
        expected = generator.sample(1, row["class"], seed, truncation=0.5)
        with Image.open(tmp_path / "seeds" / row["file"]) as picture:
            assert np.array_equal(np.asarray(picture), expected[0, 0])


def test_people_that_never_were_are_stacks_of_one_latent(conditional: Path, tmp_path: Path):
    make(conditional, tmp_path / "people", "people=3", "slices=5", "labels=Many")
    table = rows(tmp_path / "people")
    assert Counter(row["subject"] for row in table) == {f"synthetic-0-person-{n:04d}": 5 for n in range(3)}
    assert len({row["latent"] for row in table}) == 3
    first = [row for row in table if row["subject"].endswith("0000")]
    assert [float(row["condition slice"]) for row in first] == [1, 1.5, 2, 2.5, 3]
    generator = load(conditional)
    labels = generator.labels(5, "Many", conditions={"slice": [1, 1.5, 2, 2.5, 3]})
    expected = generator.generate(generator.latents(1).expand(5, -1), labels)
    for row, image in zip(first, expected, strict=True):
        with Image.open(tmp_path / "people" / row["file"]) as picture:
            assert np.array_equal(np.asarray(picture), image[0])
    nibabel = pytest.importorskip("nibabel")
    make(conditional, tmp_path / "volumes", "people=3", "slices=5", "labels=Many", "format=nifti")
    volume = nibabel.load(tmp_path / "volumes" / rows(tmp_path / "volumes")[0]["file"])
    assert volume.shape == (32, 32, 5)
    assert nibabel.aff2axcodes(volume.affine) == ("R", "A", "S")
    # The front of the head, the first row of a slice, is the last along the axis to the front.
    assert np.array_equal(np.asarray(volume.dataobj)[:, ::-1, 2].T, expected[2, 0])


@pytest.mark.parametrize(("form", "mode"), [("png16", "I;16"), ("npy", None), ("nifti", None)])
def test_other_formats_hold_the_same_images(form: str, mode: str | None, unconditional: Path, tmp_path: Path):
    make(unconditional, tmp_path / form, "n=3", f"format={form}")
    generator = load(unconditional)
    floats = generator.floats(generator.latents(3)).numpy()[:, 0]
    for row, image in zip(rows(tmp_path / form), floats, strict=True):
        path = tmp_path / form / row["file"]
        if form == "npy":
            assert np.array_equal(np.load(path)[0], image)
        elif form == "png16":
            again = np.rint((image + 1) * 127.5)  # as it is trained on: through no window
            assert np.abs(read_image(path) - again).max() <= 1
            with Image.open(path) as picture:
                assert picture.mode == mode
                found = np.asarray(picture).astype(float) / 32767.5 - 1
            assert np.abs(found - image).max() < 2e-5
        else:
            volume = pytest.importorskip("nibabel").load(path)
            found = np.asarray(volume.dataobj)[:, ::-1, 0].T.astype(float) / 127.5 - 1
            assert np.abs(found - image).max() < 5e-3


@pytest.mark.parametrize(
    "asked", [{"truncation": 0.5}, {"labels": "Many"}, {"conditions": {"slice": 2}}, {"copies": "drop"}]
)
def test_a_card_says_where_other_images_were_measured(asked: dict):
    usual = {"truncation": 1.0, "labels": "as_trained", "conditions": {}, "copies": "keep"}
    assert not asked_otherwise(usual)
    assert asked_otherwise(usual | asked)
    told = "**These images were not measured.**"
    assert any(told in line for line in measured(None, {"verdicts": []}, otherwise=True))
    assert not any(told in line for line in measured(None, {"verdicts": []}))


def test_an_interpolation_goes_along_the_sphere(conditional: Path, tmp_path: Path):
    one, two = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])
    way = between(one, two, torch.tensor([0.0, 0.5]))
    torch.testing.assert_close(way, torch.tensor([[2.0, 0.0], [2**0.5, 2**0.5]]))
    make(conditional, tmp_path / "way", "n=3", "interpolate=4", "labels=Many")
    make(conditional, tmp_path / "set", "n=3", "labels=Many")
    with Image.open(tmp_path / "way/steps.gif") as picture:
        assert picture.n_frames == 9
    with Image.open(tmp_path / "way/strip.png") as picture:
        assert picture.size == (5 * 34 + 2, 2 * 34 + 2)
        strip = np.asarray(picture.convert("L")).astype(int)
    ends = [strip[2 + 34 * row :, 2 + 34 * column :][:32, :32] for row in (0, 1) for column in (0, 4)]
    whole = [
        np.asarray(Image.open(tmp_path / "set" / row["file"]).convert("L")).astype(int)
        for row in rows(tmp_path / "set")
    ]
    for end, image in zip(ends, [whole[0], whole[1], whole[1], whole[2]], strict=True):
        assert abs(end - image).max() <= 1  # the latent is rounded on the way


def test_a_set_is_prepared_and_trained_on_as_it_stands(conditional: Path, tmp_path: Path):
    out = tmp_path / "set"
    make(conditional, out, "n=60", "labels=balanced", ANY)
    prepared = alzgan(f"data.root={out}", f"run_dir={tmp_path / 'report'}", verb="prepare")
    assert prepared.returncode == 0, prepared.stdout + prepared.stderr
    report = json.loads((tmp_path / "report/report.json").read_text())
    assert report["subject_rule"].startswith("csv:")
    settings = compose_config(
        "train",
        [
            "data=mri",
            f"data.root={out}",
            f"run_dir={tmp_path / 'run'}",
            *SMALL,
            *UNWATCHED,
            "trainer.max_steps=1",
        ],
    )
    session.run(settings)
    with open(tmp_path / "run/split.csv", newline="") as handle:
        split = list(csv.DictReader(handle))
    assert len(split) == len({row["subject"] for row in split}) == 60


def test_the_card_says_what_was_measured_and_what_was_not(conditional: Path, tmp_path: Path):
    make(conditional, tmp_path / "set", "n=10", "labels=Many")
    text = (tmp_path / "set/README.md").read_text()
    assert "10 images of 32 x 32 pixels: 10 Many" in text
    assert "14 people" in text or "13 people" in text or "15 people" in text
    assert "**not looked for**" in text
    assert "Quality and diversity: **not measured**" in text
    checkpoint = load(conditional).info
    assert f"step {checkpoint['step']}, average weights" in text


@pytest.mark.parametrize(("weights", "prefix"), [("average", "generator_average."), ("raw", "generator.")])
def test_a_loaded_generator_has_the_weights_that_are_asked_for(weights, prefix, conditional: Path):
    state = torch.load(conditional / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    loaded = load(conditional, weights=weights).network.state_dict()
    assert loaded.keys() == {name.removeprefix(prefix) for name in state if name.startswith(prefix)}
    assert all(torch.equal(value, state[prefix + name]) for name, value in loaded.items())


def test_a_generator_without_classes_is_not_advised_to_leave_one_out(unconditional: Path):
    few = load(unconditional)
    few.people, few.people_in_train = {"A": 2, "B": 3}, 5
    with pytest.raises(UserError, match=r"people \(5\): samples would be portraits of them; set rare"):
        refuse_portraits(few, {UNCONDITIONAL}, False)


def test_what_has_no_average_does_not_say_so(conditional: Path, unconditional: Path):
    assert load(conditional).info["weights"] == "average"
    assert load(unconditional).info["weights"] == "raw"


@pytest.mark.slow
def test_copies_are_judged_and_flagged_or_dropped(conditional: Path, tmp_path: Path):
    said = make(conditional, tmp_path / "kept", "n=40", "check=true", ANY)
    table = rows(tmp_path / "kept")
    flagged = [row["file"] for row in table if row["copy"] == "yes"]
    assert all(-1 <= float(row["similarity"]) <= 1 for row in table)
    assert all(row["nearest_file"].startswith(("Many/sub-", "Few/sub-")) for row in table)
    assert all(row["nearest_person"] for row in table)
    assert f"{len(flagged)} images are nearer" in said[1]
    make(conditional, tmp_path / "dropped", "n=40", "check=true", "copies=drop", ANY)
    assert {row["file"] for row in rows(tmp_path / "dropped")} == {row["file"] for row in table} - {*flagged}


def planted(images: torch.Tensor) -> dict[str, torch.Tensor]:
    """What a generator that only repeats its training images, uint8 (N, 1, H, W), may make of them."""
    floats, noise = images.float(), torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    made = {
        "shifted by 2 pixels": floats.roll((2, -2), (2, 3)),
        "mirrored": floats.flip(3),
        "blurred": gaussian_blur(floats, 7, 1.0),
        "noisy": floats + 10 * noise,
    }
    return {name: values.round().clamp(0, 255).byte() for name, values in made.items()}


def check_of(run: Path) -> CopyCheck:
    path = run / "checkpoints/last.ckpt"
    return CopyCheck(path, compose_config("generate", [f"ckpt_path={run}"]), [], cache_folder())


def test_planted_copies_are_flagged(conditional: Path):
    check = check_of(conditional)
    made = planted(check.reference.train.pixels[:20])
    for name in ("mirrored", "blurred"):  # these few people of blobs are too alike for the others
        judged = check.judge(made[name])
        assert all(each.copy for each in judged), name
        assert [each.file for each in judged] == check.reference.train.files[:20], name


@pytest.mark.long
def test_on_real_slices_planted_copies_are_flagged_and_unseen_people_are_not(tmp_path: Path):
    root = os.environ.get("ALZGAN_MRI_ROOT")
    if root is None:
        pytest.skip("ALZGAN_MRI_ROOT, the folder of the 6,400 real slices, is not set")
    small = [text for text in SMALL if "image_size" not in text]
    options = [f"data.root={root}", f"run_dir={tmp_path / 'run'}", *small, *UNWATCHED, "trainer.max_steps=1"]
    session.run(compose_config("train", ["data=mri", *options]))
    check = check_of(tmp_path / "run")
    rows = np.random.default_rng(0).choice(len(check.reference.train), 100, replace=False)
    for name, images in planted(check.reference.train.pixels[torch.from_numpy(rows)]).items():
        assert all(each.copy for each in check.judge(images)), name
    unseen = check.reference.held_out
    twenty = np.isin(
        unseen.people, np.random.default_rng(0).choice(np.unique(unseen.people), 20, replace=False)
    )
    judged = check.judge(unseen.of(np.flatnonzero(twenty)).pixels)
    assert len(judged) == 640
    assert sum(each.copy for each in judged) <= 0.02 * len(judged)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["n=0"], "n=0 must be at least 1"),
        (["n=many"], "n=many must be int"),
        (["check=maybe"], "check=maybe must be bool"),
        (["labels={Few: 1.5, Many: 2}"], "whole numbers of images"),
        (["seed=9223372036854775808"], r"must be a whole number from 0 to 2\*\*63 - 1"),
        (["people=0"], "people=0 must be at least 1"),
        (["batch_size=0"], "batch_size=0 must be at least 1"),
        (["rare_classes=some"], "rare_classes=some must be one of refuse, allow"),
        (["first=-1"], "first=-1 must be at least 0"),
        (["truncation=0"], "truncation=0 must be above 0"),
        (["labels=Healthy"], "labels=Healthy must be one of as_trained, balanced, Few, Many"),
        (["labels={Healthy: 3}"], "there is no class Healthy, only Few, Many"),
        (["labels={Few: 0, Many: 0}"], "not only 0"),
        (["n=6", "labels={Many: 3}"], "n=6, but the counts in labels add up to 3: leave n out"),
        (["seeds=5-x"], "seeds=5-x must be like 0-63"),
        (["seeds=99999999999999999999"], "must be like 0-63"),
        (["seeds=9223372036854775808"], "lie below"),
        (["seeds=1.5"], "must be like 0-63"),
        (["seeds=[a]"], "must be like 0-63"),
        (["seeds=0-3", "people=2"], "seeds or people, not both"),
        (["labels={}"], "from 0 on, and not only 0"),
        (["conditions=5"], "numbers by name"),
        (["conditions={slice: abc}"], "numbers by name"),
        (["device=gpu"], "device=gpu"),
        (["export=DIR", "license=x", "dtype=bfloat16"], "exported in float32"),
        (["interpolate=4", "labels=Few"], "samples would be portraits"),
        (["format=jpeg"], "format=jpeg must be one of png, png16, npy, nifti"),
        (["copies=drop"], "copies=drop needs check=true"),
        (["dtype=float16"], "dtype=float16 must be one of float32, bfloat16"),
        (["conditions={slice: 9}"], "slice goes from 1 to 3"),
        (["labels=Few"], r"fewer than 10 training people in Few \(\d\): samples would be portraits"),
        (["weights=both"], "weights=both must be one of average, raw"),
        (["export=DIR", "license=4"], "license=4 must be str or null"),
        (["export=DIR", "license=x"], r"fewer than 10 training people in Few \(\d\): samples would be"),
        (["interpolate=1", ANY], "at least 2 steps"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line_before_anything_is_written(
    options: list[str], told: str, conditional: Path, tmp_path: Path
):
    with pytest.raises(UserError, match=told):
        make(conditional, tmp_path / "set", *options)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["labels=balanced"], "unconditional"),
        (["people=2"], "people= needs a generator with the condition slice"),
        (["conditions={age: 70}"], "no condition age, only none"),
    ],
)
def test_what_an_unconditional_generator_cannot_do(options, told, unconditional: Path, tmp_path: Path):
    with pytest.raises(Exception, match=told):
        make(unconditional, tmp_path / "set", *options)


def test_the_verb_says_one_line_where_something_is_missing(error_line: Callable, tmp_path: Path):
    assert "ckpt_path is not set" in error_line(verb="generate")
    line = error_line(f"ckpt_path={tmp_path / 'none'}", verb="generate")
    assert "there is no" in line


@pytest.mark.parametrize("license", ["null", "' '"])
def test_a_licence_is_asked_for_before_the_checkpoint_is_read(license: str, tmp_path: Path):
    (tmp_path / "no.ckpt").touch()
    with pytest.raises(UserError, match="license is not set"):
        make(tmp_path / "no.ckpt", tmp_path / "set", "export=DIR", f"license={license}")


def test_a_class_that_is_no_name_of_a_folder_writes_nothing(conditional: Path, tmp_path: Path):
    run = tmp_path / "crafted"
    (run / "checkpoints").mkdir(parents=True)
    checkpoint = torch.load(conditional / "checkpoints/last.ckpt", weights_only=True)
    data = checkpoint["alzgan"]["provenance"]["data"]
    data["classes"] = {"../../outside": 3, "Many": 40}
    data["people"] = {"../../outside": 30, "Many": 40}
    torch.save(checkpoint, run / "checkpoints/last.ckpt")
    with pytest.raises(Exception, match="cannot name a folder"):
        make(run, tmp_path / "set")
    assert not (tmp_path / "set").exists()


BLOCKED = """
import sys
sys.modules["alzgan"] = None
import numpy as np, torch
sys.path.insert(0, {folder!r})
import sample
np.save({out!r}, sample.sample(40, 5).numpy())
{onnx}
"""
ONNX = """
import onnxruntime
session = onnxruntime.InferenceSession({folder!r} + "/generator.onnx")
sample.network = lambda *inputs: torch.from_numpy(session.run(None, {{
    given.name: value.numpy() for given, value in zip(session.get_inputs(), inputs)}})[0])
np.save({out!r} + ".onnx.npy", sample.sample(40, 5).numpy())
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["conditional", pytest.param("unconditional", marks=pytest.mark.long)])
def test_an_exported_generator_makes_the_same_images_without_alzgan(kind: str, request, tmp_path: Path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    run, out = request.getfixturevalue(kind), tmp_path / "samples.npy"
    folder = str(tmp_path / "exported")
    make(run, tmp_path / "set", f"export={folder}", "license=cc-by-4.0", ANY)
    code = BLOCKED.format(folder=folder, out=str(out), onnx=ONNX.format(folder=folder, out=str(out)))
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert len({path.stat().st_mode for path in Path(folder).iterdir() if path.is_file()}) == 1
    generator = load(run)
    expected = generator.sample(40, seed=5).numpy()
    assert np.array_equal(np.load(out), expected)
    assert np.abs(np.load(f"{out}.onnx.npy").astype(int) - expected).max() <= 1
    from safetensors.torch import load_file

    state = load_file(Path(folder) / "generator.safetensors")
    assert all(torch.equal(state[name], value) for name, value in generator.network.state_dict().items())
    card = (Path(folder) / "README.md").read_text()
    assert card.startswith('---\nlicense: "cc-by-4.0"\n')
    assert ("samples are portraits" in card) == (kind == "conditional")
    script = [sys.executable, str(Path(folder) / "sample.py")]
    told = subprocess.run([*script, "3", "1", "Nobody"], capture_output=True, text=True, cwd=tmp_path)
    assert told.stderr.startswith("there is no class Nobody, only: ")
    told = subprocess.run([*script, "--help"], capture_output=True, text=True, cwd=tmp_path)
    assert told.stderr.startswith("Make images: python sample.py COUNT")
    assert json.loads((Path(folder) / "config.json").read_text())["network"]["width"] == 8
