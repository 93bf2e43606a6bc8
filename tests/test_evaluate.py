"""The verb `alzgan.evaluate`, from a run or a folder to a report."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import small_settings
from PIL import Image
from test_parts import AIDED

from alzgan import files
from alzgan.data.datamodule import MRIDataModule
from alzgan.errors import UserError
from alzgan.evaluation import reference, run
from alzgan.evaluation.candidates import from_folder, people_in
from alzgan.evaluation.fidelity import INDEPENDENT, PEOPLE, UNKNOWN
from alzgan.files import read_table, write_table
from alzgan.images.folder import scan
from alzgan.people.subjects import PARTS
from alzgan.runs import session
from alzgan.runs.config import compose_config

QUICK = [
    "features=[random-conv,pixels]",
    "n=24",
    "preset.size=16",
    "preset.unseen=14",
    "preset.draws=10",
    "device=cpu",
]
SPLIT = "data.fractions=[0.5,0.25,0.25]"  # five and five of twenty people are held out


@pytest.fixture(scope="module")
def trained(slices: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A conditional run of two steps."""
    run_dir = tmp_path_factory.mktemp("trained") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALZGAN_CACHE", str(run_dir.parent / "cache"))
        options = ("model=cdcgan", "trainer.max_steps=2", "callbacks.quality=null", SPLIT)
        session.run(small_settings(slices, run_dir, *options))
    return run_dir


@pytest.fixture(scope="module")
def evaluated(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an evaluation of it, with its cache beside."""
    folder = tmp_path_factory.mktemp("evaluated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALZGAN_CACHE", str(folder / "cache"))
        evaluate(folder / "evaluation", f"ckpt_path={trained}")
    return folder / "evaluation"


def evaluate(run_dir: Path, *overrides: str) -> dict[str, Any]:
    run_dir.mkdir(exist_ok=True)
    overrides = (*QUICK, *overrides)
    # With a run_dir, because resolving the default one would make a folder.
    composed = compose_config("evaluate", [*overrides, f"run_dir='{run_dir}'"])
    return run.evaluate(composed, overrides, run_dir)


def values(found: dict[str, Any]) -> list[tuple]:
    (candidate,) = found["candidates"]
    return [(each["metric"], each["space"], each["label"], each["value"]) for each in candidate["numbers"]]


def test_every_number_stands_beside_what_unseen_people_get(evaluated: Path):
    found = json.loads((evaluated / "evaluation.json").read_text())
    (candidate,) = found["candidates"]
    assert {each["stage"] for each in candidate["numbers"]} == {"fidelity", "copies", "anatomy"}
    assert {each["space"] for each in candidate["numbers"] if each["stage"] == "fidelity"} == {
        "random-conv",
        "pixels",
    }
    for each in candidate["numbers"]:
        assert each["n"] >= 10
        assert each["people"] >= 5
        assert each["unseen"]["draws"] >= 10
        assert each["unseen"]["low"] <= each["unseen"]["mean"] <= each["unseen"]["high"]
        assert each["seed"] == 0
        assert each["extractor"]
    assert [each["question"] for each in candidate["verdicts"]] == [
        "fidelity",
        "diversity",
        "copies",
        "anatomy",
    ]
    assert len(candidate["sha256"]) == 64
    assert candidate["trained_by"]["precision"] == "32-true"
    assert found["data"]["train"] == {"images": 20, "people": 10}
    assert found["data"]["held_out"] == {"images": 20, "people": 10}
    page = (evaluated / "report.html").read_text()
    assert all(each["text"][:20] in page for each in candidate["verdicts"])
    assert list(evaluated.glob("candidate_0/events.out.tfevents*"))


def test_test_people_judge_alone_where_they_are_enough(slices: Path, monkeypatch: pytest.MonkeyPatch):
    data = MRIDataModule(slices, image_size=32, channels=1, batch_size=8, fractions=(0.5, 0.2, 0.3))
    data.setup()
    people = {part: {data.subjects.subject[row] for row in data.rows_of(part)} for part in PARTS}
    for enough, parts in ((6, ("test",)), (7, ("validation", "test"))):
        monkeypatch.setattr(reference, "ENOUGH_PEOPLE", enough)
        found = reference.reference_of(data, "auto")
        assert found.parts == parts
        assert set(found.held_out.people) == set.union(*(people[part] for part in parts))
        assert set(found.train.people) == people["train"]
    assert reference.reference_of(data, "test").parts == ("test",)
    assert reference.reference_of(data).parts == ("validation", "test")  # of a check for copies


def test_who_judges_is_said(trained: Path, evaluated: Path, tmp_path: Path):
    both = json.loads((evaluated / "evaluation.json").read_text())["data"]
    fewer = f"10 people of validation and test (test alone has fewer than {reference.ENOUGH_PEOPLE})"
    assert both["judges"] == f"{fewer}; the choice of the run may depend on validation people"
    assert both["judges"] in (evaluated / "report.html").read_text()
    alone = evaluate(tmp_path / "e", f"ckpt_path={trained}", "held_out=test", "metrics=[anatomy]")
    assert alone["data"]["held_out"] == {"images": 12, "people": 6}
    assert alone["data"]["judges"] == "6 people of test, who have no part in the choice of runs"


def test_an_untrained_generator_is_found_bad_and_ten_people_do_not_say_what_a_copy_is(evaluated: Path):
    (candidate,) = json.loads((evaluated / "evaluation.json").read_text())["candidates"]
    answers = {each["question"]: each["answer"] for each in candidate["verdicts"]}
    assert answers == {"fidelity": "bad", "diversity": "bad", "copies": "cannot tell", "anatomy": "bad"}
    (text,) = (each["text"] for each in candidate["verdicts"] if each["question"] == "copies")
    assert "Too few held-out people: up to" in text


def test_images_of_too_few_unseen_people_say_nothing_of_copies(trained: Path, tmp_path: Path):
    told = r"preset.unseen=2: images of 1 person of .* are too few .*: give as many images as 5 people have"
    with pytest.raises(UserError, match=told):
        evaluate(tmp_path / "e", f"ckpt_path={trained}", "preset.unseen=2", "metrics=[copies]")


def test_the_folder_on_record_is_that_of_the_results(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    overrides = (*QUICK, f"ckpt_path={trained}", "metrics=[copies]")
    found = run.evaluate(compose_config("evaluate", [*overrides]), overrides, tmp_path)
    assert found["settings"]["run_dir"] == str(tmp_path)
    assert found["settings"]["metrics"] == ["copies"]
    assert not (tmp_path / "outputs").exists()


def test_too_few_samples_are_told_how_many_are_needed(trained: Path, tmp_path: Path):
    with pytest.raises(
        UserError,
        match=r": 4 samples too few for an interval: give 10, as many images as 5 held-out people have",
    ):
        evaluate(tmp_path / "e", f"ckpt_path={trained}", "n=4", "metrics=[fidelity]")


def test_people_are_known_where_somebody_is_in_several_images(slices: Path):
    files = scan(slices)
    assert len(set(people_in(slices, files))) < len(files)
    first = {file.path.rpartition("_")[0]: file for file in reversed(files)}
    assert people_in(slices, list(first.values())) is None


def test_images_of_a_person_each_by_a_table_are_independent(slices: Path, tmp_path: Path):
    data = MRIDataModule(slices, image_size=32, channels=1)
    data.read()
    rows = ["file,subject"]
    for index, pixels in enumerate(data.images[:4]):
        Image.fromarray(pixels[..., 0]).save(tmp_path / f"{index}.png")
        rows.append(f"{index}.png,synthetic-{index}")
    assert from_folder(tmp_path, data).form == UNKNOWN
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    candidate = from_folder(tmp_path, data)
    assert candidate.form == INDEPENDENT
    assert candidate.images.people is None
    assert "each image is of a person of its own, by its table" in candidate.notes
    (tmp_path / "manifest.csv").write_text("\n".join(rows).replace("synthetic-1", "synthetic-0"))
    assert from_folder(tmp_path, data).form == PEOPLE


def test_a_second_evaluation_computes_no_feature_and_gives_the_same_numbers(
    trained: Path, evaluated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    first = json.loads((evaluated / "evaluation.json").read_text())
    monkeypatch.setenv("ALZGAN_CACHE", str(evaluated.parent / "cache"))
    monkeypatch.setattr(files, "write_arrays", lambda *_, **__: pytest.fail("computed again"))
    assert values(evaluate(tmp_path / "e", f"ckpt_path={trained}")) == values(first)


def test_readers_get_a_page_without_features_and_their_answers_a_verdict(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(run, "chosen_spaces", lambda *_: pytest.fail("loads networks"))
    options = f"ckpt_path={trained}", "metrics=[reading]", "reading.n=20", "n=10"
    (first,) = evaluate(tmp_path / "e", *options)["candidates"]
    assert [(each["question"], each["answer"]) for each in first["verdicts"]] == [("reading", "cannot tell")]
    assert first["reading"]["real"] == {"images": 10, "people": 10}
    key = read_table(tmp_path / "e/reading_key.csv")
    page = (tmp_path / "e/reading.html").read_text()
    assert first["reading"]["page"] in page
    assert not any(row["source"] in page or row["case"] in page for row in key)
    answers = tmp_path / "a.csv"
    rows = [
        (row["page"], "<b>Dr. A", row["item"], 6 if row["truth"] == "synthetic" else 1, 1.5) for row in key
    ]
    write_table(answers, ("page", "reader", "item", "answer", "seconds"), rows)
    (second,) = evaluate(tmp_path / "f", *options, f"answers={answers}")["candidates"]
    assert [(each["question"], each["answer"]) for each in second["verdicts"]] == [("reading", "bad")]
    assert second["reading"]["found"]["all"]["accuracy"]["value"] == 1
    assert (tmp_path / "f/reading.html").read_text() == page
    report = (tmp_path / "f/report.html").read_text()
    assert "&lt;b&gt;Dr. A" in report
    assert "Can readers tell them from real ones?" in report
    with pytest.raises(UserError, match=r"a\.csv is of page \w+, not of \w+: give the ckpt_path"):
        evaluate(tmp_path / "g", *options, f"answers={answers}", "seed=1")


def test_the_seed_decides_samples_and_draws(trained: Path, evaluated: Path, tmp_path: Path):
    first = json.loads((evaluated / "evaluation.json").read_text())
    other = evaluate(tmp_path / "e", f"ckpt_path={trained}", "seed=1", "metrics=[anatomy]")
    anatomy = [each for each in values(first) if each[0] == "wasserstein" and each[2] is None]
    assert [each[:3] for each in values(other)] == [each[:3] for each in anatomy]
    assert values(other) != anatomy


@pytest.mark.slow
def test_a_folder_of_unseen_real_people_is_good_and_one_of_noise_is_not(slices: Path, tmp_path: Path):
    data = MRIDataModule(slices, image_size=32, channels=1)
    data.read()
    for file, pixels in zip(data.files, data.images, strict=True):
        target = tmp_path / "others" / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        if int(file.path.split("sub-")[1][:2]) // 2 % 2:  # of both classes
            Image.fromarray(pixels[..., 0]).save(target)
    noise = np.random.default_rng(0)
    (tmp_path / "noise").mkdir()
    for index in range(24):
        pixels = noise.integers(0, 256, (32, 32), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"noise/{index}.png")
    real = [f"data.root={slices}", "data.image_size=32", "data.channels=1", SPLIT]
    found = evaluate(
        tmp_path / "e", f"samples=[{tmp_path / 'others'},{tmp_path / 'noise'}]", *real, "preset.draws=20"
    )
    good, bad = ({each["question"]: each for each in one["verdicts"]} for one in found["candidates"])
    # Ten images of five people could not have shown a fault, which the verdict says.
    assert good["fidelity"]["answer"] == "cannot tell"
    assert "15 % noise in " in good["fidelity"]["text"]
    assert good["copies"]["answer"] == "bad"  # half of these people were trained on
    assert bad["fidelity"]["answer"] == "bad"
    assert bad["copies"]["answer"] == "cannot tell"  # beside images of so few people
    assert "known" in "".join(found["candidates"][0]["notes"])


def test_more_images_of_a_folder_have_the_shares_that_are_asked_for(slices: Path):
    data = MRIDataModule(slices, image_size=32, channels=1)
    data.read()
    candidate = from_folder(slices, data)
    more = candidate.more(20, np.array([0.75, 0.25]))
    assert np.bincount(more.labels).tolist() == [15, 5]
    assert candidate.more(500, np.array([0.0, 1.0])).labels.tolist() == [1] * 500


@pytest.mark.slow
def test_a_sweeps_folder_is_compared_side_by_side(trained: Path, tmp_path: Path):
    for job in ("job_0", "job_1"):
        shutil.copytree(trained / "checkpoints", tmp_path / "sweep" / job / "checkpoints")
    found = evaluate(tmp_path / "e", f"ckpt_path={tmp_path / 'sweep'}", "metrics=[fidelity]")
    assert [Path(each["name"]).name for each in found["candidates"]] == ["job_0", "job_1"]
    one, two = (each["numbers"] for each in found["candidates"])
    assert one == two
    assert {(each["metric"], each["space"]) for each in found["pairs"]} == {
        (metric, space)
        for metric in ("kernel_distance", "recall", "coverage")
        for space in ("random-conv", "pixels")
    }
    assert all(each["p"] == 1 and each["better"] is None for each in found["pairs"])
    assert "job_1: cannot tell apart (smallest p = 1)" in (tmp_path / "e/report.html").read_text()


def test_a_class_has_numbers_of_its_own_or_a_note_why_not(evaluated: Path):
    (candidate,) = json.loads((evaluated / "evaluation.json").read_text())["candidates"]
    notes = [note for note in candidate["notes"] if "numbers of its own" in note]
    labels = {each["label"] for each in candidate["numbers"]} - {None}
    assert len(notes) + len(labels) == 2


REFUSALS = {
    "nothing": ([], r"give ckpt_path=RUN, or samples=FOLDER"),
    "both": (["ckpt_path={run}", "samples={run}"], r"give ckpt_path=RUN, or samples=FOLDER"),
    "no such run": (["ckpt_path={tmp}/none"], r"there is no such run or file"),
    "no such folder": (
        ["samples={tmp}/none", "data.root={root}"],
        r"samples=.*none: there is no such folder",
    ),
    "no real images": (["samples={root}"], r"data\.root is not set"),
    "a stage that is none": (["ckpt_path={run}", "metrics=[fid]"], r"metrics=fid must be one of fidelity"),
    "a space that is none": (["ckpt_path={run}", "features=[vgg,pixels]"], r"features=vgg must be one of"),
    "a stage as a word": (["ckpt_path={run}", "metrics=utility", "device=gpu7"], r"device=gpu7: "),
    "a device that is not here": (["ckpt_path={run}", "device='cuda:99'"], r"device=cuda:99: "),
    "a stage that is a number": (["ckpt_path={run}", "metrics=5"], r"metrics=5 must be one of"),
    "a number that is a word": (["ckpt_path={run}", "n=many"], r"n=many must be int"),
    "a size that is none": (["ckpt_path={run}", "preset.draws=1.5"], r"preset\.draws=1\.5 must be int"),
    "the same space twice": (["ckpt_path={run}", "features=[pixels,pixels]"], r"one space alone can flatter"),
    "no stage at all but one that cannot be": (
        [
            "samples={plain}",
            "data.root={root}",
            "data.image_size=32",
            "data.channels=1",
            SPLIT,
            "metrics=utility",
        ],
        r"a classifier learns nothing from samples without classes",
    ),
    "samples of one class": (
        [
            "samples={one}",
            "data.root={root}",
            "data.image_size=32",
            "data.channels=1",
            SPLIT,
            "metrics=utility",
        ],
        r"the synthetic images show nobody of class \w+",
    ),
    "one space": (["ckpt_path={run}", "features=[pixels]"], r"one space alone can flatter"),
    "another size": (
        ["samples={root}", "data.root={root}"],
        r"are 36 x 44, the real ones are evaluated at 64",
    ),
    "answers that no stage judges": (["ckpt_path={run}", "answers=A.csv"], r"give metrics=\[reading\]"),
    "answers that are not there": (
        ["ckpt_path={run}", "metrics=[reading]", "answers=A.csv"],
        r"cannot read A\.csv: No such file",
    ),
    "a page for two generators": (
        ["ckpt_path=[{run},{run}]", "metrics=[reading]"],
        r"shows the samples of one generator: give one run or folder",
    ),
    "a reading that is none": (
        ["ckpt_path={run}", "reading.mode=two"],
        r"reading\.mode=two must be one of one",
    ),
    "a margin that is none": (
        ["ckpt_path={run}", "reading.margin=0.5"],
        r"reading\.margin=0\.5 must be above 0 and below 0\.5",
    ),
    "a page of nobody": (
        ["ckpt_path={run}", "metrics=[reading]"],
        r"reading\.n=100 needs 50 images of held-out people, there are 20: lower it",
    ),
    "judges who are nobody": (["ckpt_path={run}", "held_out=train"], r"held_out=train must be one of auto"),
    "too few samples": (["ckpt_path={run}", "n=1"], r"n=1 must be at least 2"),
    "other data": (["ckpt_path={run}", "data.root={other}"], r"are not those that .* was trained on"),
    "data that is gone": (["ckpt_path={run}", "data.root={tmp}/gone"], r"new folder with data\.root=DIR"),
    "another split": (["ckpt_path={run}", "data.split_seed=7"], r"would make it another run"),
}


@pytest.mark.parametrize(("overrides", "line"), REFUSALS.values(), ids=REFUSALS.keys())
def test_what_cannot_be_evaluated_gets_one_line(
    overrides: list[str], line: str, trained: Path, slices: Path, tmp_path: Path, error_line: Callable
):
    other = tmp_path / "other"
    shutil.copytree(slices, other)
    for path in sorted(other.rglob("*.png"))[:4]:
        path.unlink()
    plain = tmp_path / "plain"
    plain.mkdir()
    for index in range(24):
        Image.fromarray(np.full((32, 32), 10 * index, np.uint8)).save(plain / f"{index}.png")
    one = tmp_path / "one"
    shutil.copytree(plain, one / min(path.name for path in slices.iterdir() if path.is_dir()))
    places = {"run": trained, "root": slices, "tmp": tmp_path, "other": other, "plain": plain, "one": one}
    given = [text.format(**places) for text in overrides]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        found = error_line(*QUICK, *given, f"run_dir={tmp_path / 'e'}", verb="evaluate")
    assert re.search(line, found), found


def test_too_few_people_to_judge_by_are_said_with_how_many_are_needed(slices: Path, tmp_path: Path):
    run_dir = tmp_path / "run"
    options = ("trainer.max_steps=1", "callbacks.quality=null", "data.fractions=[0.9,0.05,0.05]")
    session.run(small_settings(slices, run_dir, *options))
    with pytest.raises(UserError, match=r"[24] people held out, an interval over people needs 5"):
        evaluate(tmp_path / "e", f"ckpt_path={run_dir}")


def test_an_evaluation_that_stops_goes_on_from_its_cache(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Of the features that were computed before it stopped, none is computed again."""
    written: list[str] = []
    original = files.write_arrays

    def stops(path: Path, **arrays: np.ndarray) -> None:
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(path.name)
        original(path, **arrays)

    monkeypatch.setattr(files, "write_arrays", stops)
    with pytest.raises(KeyboardInterrupt):
        evaluate(tmp_path / "e", f"ckpt_path={trained}", "metrics=[fidelity]")
    again: list[str] = []

    def noted(path: Path, **arrays: np.ndarray) -> None:
        again.append(path.name)
        original(path, **arrays)

    monkeypatch.setattr(files, "write_arrays", noted)
    evaluate(tmp_path / "e", f"ckpt_path={trained}", "metrics=[fidelity]")
    assert again
    assert not set(again) & set(written)


@pytest.mark.slow
def test_of_neighbouring_slices_as_channels_the_middle_one_is_judged(slices: Path, tmp_path: Path):
    options = ("data.slices_as_channels=true", "data.channels=5", "trainer.max_steps=1", SPLIT)
    session.run(small_settings(slices, tmp_path / "run", "callbacks.quality=null", *options))
    (candidate,) = evaluate(tmp_path / "e", f"ckpt_path={tmp_path / 'run'}")["candidates"]
    assert len(candidate["verdicts"]) == 4
    assert candidate["copies"]["samples"] == 24
    assert candidate["copies"]["held_out_images"] == 14  # not all 20


def test_a_model_that_knows_places_is_judged_by_its_classes(slices: Path, tmp_path: Path):
    places = (
        "model=cdcgan",
        "data.conditions=[class,slice]",
        "trainer.max_steps=2",
        "callbacks.quality=null",
    )
    session.run(small_settings(slices, tmp_path / "run", *places, SPLIT))
    found = evaluate(tmp_path / "evaluation", f"ckpt_path={tmp_path / 'run'}", "metrics=[fidelity]")
    (candidate,) = found["candidates"]
    assert candidate["numbers"]
    # Too few people for numbers of each, whose samples are there as often as theirs.
    notes = [note for note in candidate["notes"] if note.startswith("class ")]
    assert [re.findall(r"class (\w+) .*, (\d+) samples", note) for note in notes] == [
        [("Demented", "12")],
        [("Healthy", "12")],
    ]


@pytest.fixture(scope="module")
def aided(slices: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("aided")
    options = (*AIDED, "trainer.max_steps=2", "callbacks.quality=null", SPLIT)
    session.run(small_settings(slices, folder, *options), AIDED[:1])
    return folder


def test_by_default_a_second_network_judges_whom_the_first_has_trained(
    trained: Path, aided: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def told(names: list[str], *_: object) -> None:
        raise UserError(",".join(names))

    monkeypatch.setattr(run, "chosen_spaces", told)
    for checkpoint, judges in ((aided, True), (trained, False)):
        with pytest.raises(UserError) as error:
            evaluate(tmp_path / "e", f"ckpt_path={checkpoint}", "features=null")
        assert ("imagenet-lite2" in str(error.value)) is judges


@pytest.mark.slow
def test_numbers_in_features_that_the_discriminator_was_trained_on_are_marked_and_decide_nothing(
    trained: Path, aided: Path, tmp_path: Path
):
    spaces = "features=[imagenet-lite0,random-conv]"
    evaluate(tmp_path / "e", f"ckpt_path=[{aided},{trained}]", spaces, "metrics=[fidelity,copies]")
    found = json.loads((tmp_path / "e/evaluation.json").read_text())
    ours, others = found["candidates"]
    for marked in (ours["numbers"], ours["curves"], found["over_seeds"][0]["numbers"], found["pairs"]):
        assert {each["space"] for each in marked if each["trained"]} == {"imagenet-lite0"}
        assert "random-conv" in {each["space"] for each in marked}
        assert not any(each["trained"] != (each["space"] == "imagenet-lite0") for each in marked)
    assert {each["stage"] for each in ours["numbers"] if each["trained"]} == {"fidelity", "copies"}
    for plain in (others["numbers"], others["curves"], found["over_seeds"][1]["numbers"]):
        assert {each["trained"] for each in plain} == {False}
    assert all(each["better"] is None for each in found["pairs"] if each["trained"])
    # Both are noise, which each space that may say so says.
    for candidate, fooled in ((ours, False), (others, True)):
        text = " ".join(each["text"] for each in candidate["verdicts"])
        assert ("imagenet-lite0" in text) == fooled
    (note,) = (note for note in ours["notes"] if "decide nothing" in note)
    assert note.endswith("features=[...,imagenet-lite2]")
    assert not any("decide nothing" in note for note in others["notes"])
    page = (tmp_path / "e/report.html").read_text()
    side, mine, theirs = (
        page[page.index(start) : page.index(end, page.index(start))]
        for start, end in (
            ("By setting", "Which is better"),
            (f"{aided}: 24 samples", f"{trained}: 24 samples"),
            (f"{trained}: 24 samples", "<h2>Methods"),
        )
    )
    rows = [row for row in mine.split("<tr") if "<td>imagenet-lite0</td>" in row]
    assert rows
    assert all("†" in row for row in rows)
    assert "†:" in side
    assert "imagenet-lite0 †" in mine  # in plots
    assert "†" not in theirs
    assert b"frechet/imagenet-lite0_trained" in b"".join(
        path.read_bytes() for path in (tmp_path / "e/candidate_0").iterdir()
    )
