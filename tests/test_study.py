"""The study: what its cells train with, and what its page says."""

import functools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import study
from conftest import REPOSITORY, settings
from omegaconf import OmegaConf
from study_aided import beside_photographs
from study_others import (
    OVER_SPLITS,
    differences,
    of_judge,
    on_other_splits,
    others_generators,
    over_splits,
    shapes,
    within,
)
from study_page import again_over_before, differ, page, summary
from study_rows import (
    BESIDE_PHOTOGRAPHS,
    FOLDER,
    JUDGE,
    METRICS,
    PAGE,
    Found,
    extra,
    floors,
    of_seeds,
    pooled,
)

from alzgan.runs.build import build

CELLS = sorted(path.stem for path in (REPOSITORY / "conf/study").glob("*.yaml") if path.stem != "common")
# What a cell changes of another, and nothing else.
OF_OTHERS = {
    "small_128_long": ("small_128", {"trainer.max_epochs", "callbacks.checkpoint.keep_every_n_epochs"}),
    "csmall_places_without_floor": ("csmall_places", {"model.diversity"}),
    "dcgan_long": ("dcgan", {"trainer.max_epochs", "callbacks.checkpoint.keep_every_n_epochs"}),
    "dcgan_without_norm": ("dcgan", {"model.discriminator.normalization"}),
    "dcgan_without_norm_with_adam_of_small": (
        "dcgan_with_adam_of_small",
        {"model.discriminator.normalization"},
    ),
    "dcgan_with_adam_of_small": ("dcgan", {"model.generator_optimizer", "model.discriminator_optimizer"}),
}
LONGER = {  # epochs
    "small_long": 30,
    "small_128_long": 30,
    "dcgan_long": 30,
    "small_hour": 60,
    "aided": 42,
    "aided_128": 20,
    "aided_stacks": 8,
    "caided": 16,
}
OF_SMALL = {
    "csmall": {
        "model.classes",
        "model.numbers",
        "conditioning",
    },
    "small_128": {"data.image_size"},
    "small_hour": {
        "trainer.max_epochs",
        "callbacks.checkpoint.keep_every_n_epochs",
        "model.augment",
        "model.generator_optimizer.lr",
        "model.discriminator_optimizer.lr",
    },
    "small_long": {"trainer.max_epochs", "callbacks.checkpoint.keep_every_n_epochs"},
    "small_stacks": {"data.slices_as_channels", "data.channels"},
    "small_with_batch_64": {"data.batch_size"},
    "small_with_bce": {"model.loss"},
    "small_without_augmentation": {"model.augment"},
    "small_without_average": {"model.average"},
    "small_without_penalty": {"model.penalties"},
}


def flat(node: Any, name: str = "") -> dict[str, Any]:
    """Settings by their dotted names, as they are written: a reference is the same wherever it leads."""
    if not isinstance(node, dict) or not node:
        return {name: node}
    return {
        key: value for each, below in node.items() for key, value in flat(below, f"{name}.{each}").items()
    }


@functools.cache
def trained_with(cell: str) -> dict[str, Any]:
    node = OmegaConf.to_container(settings(f"study={cell}", "data.root=DIR"))
    return {key.lstrip("."): value for key, value in flat(node).items()}


CHANGES = {**{cell: ("small", changes) for cell, changes in OF_SMALL.items()}, **OF_OTHERS}


@pytest.mark.parametrize("cell", sorted(CHANGES))
def test_a_cell_changes_one_thing_of_another(cell: str):
    base, changes = CHANGES[cell]
    before, after = trained_with(base), trained_with(cell)
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    told = {key: [name for name in changes if key == name or key.startswith(f"{name}.")] for key in changed}
    assert all(told.values()), told
    assert {name for names in told.values() for name in names} == changes


@pytest.mark.slow
def test_all_cells_see_the_same_people_as_often():
    for cell in CELLS:
        found = trained_with(cell)
        assert found["data.fractions"] == [0.6, 0.2, 0.2]
        assert found["data.split_seed"] == 0
        assert found["trainer.max_epochs"] == LONGER.get(cell, 10)
        assert "dcgan" not in found["model.generator._target_"] or found["model.generator.width"] == 32


@pytest.mark.parametrize("length", [[], ["trainer.max_epochs=-1", "trainer.max_steps=350"]])
def test_what_watches_a_cell_can_be_built_however_long_it_trains(length: list[str]):
    node = settings("study=small", "data.root=DIR", *length)
    assert build("callbacks.quality", node.callbacks.quality).n_samples == 1000


def test_the_page_is_what_the_results_say():
    assert PAGE.read_text() == page(Found.read(FOLDER))


def test_the_readme_tells_what_was_measured():
    readme = (REPOSITORY / "README.md").read_text()
    assert summary(Found.read(FOLDER)) in readme


def row(value: float, runs: list[str], precision: str) -> dict[str, Any]:
    unseen = {"mean": 2.0, "low": 1.0, "high": 3.0 + value}
    about = {"stage": "fidelity", "metric": "frechet", "space": "imagenet-lite0", "against": "held-out"}
    number = {**about, "better": "lower", "n": 10, "mean": value, "low": value - 1, "high": value + 1}
    numbers = [{**number, "ratio": value / 2, "people": 5, "unseen": unseen}]
    settings = {"study": "small"}
    return {
        "settings": settings,
        "step": 9,
        "runs": runs,
        "numbers": numbers,
        "utility": [value],
        "precision": precision,
    }


def test_runs_in_two_precisions_are_one_row_and_each_counts_once():
    two, one = row(4.0, ["seed=0", "seed=1"], "32-true"), row(10.0, ["seed=0"], "bf16-mixed")
    (found,) = pooled([two, one])
    (number,) = found["numbers"]
    assert len(found["runs"]) == 3
    assert found["utility"] == [4.0, 10.0]
    assert (number["mean"], number["low"], number["high"]) == (6.0, 3.0, 11.0)
    assert number["ratio"] == 3.0
    assert number["unseen"] == {"mean": 2.0, "low": 1.0, "high": 13.0}
    assert again_over_before([two, one]) == {("small", 9): (2.5, False)}  # outside of 3 to 5
    assert again_over_before([two, row(4.5, ["seed=0"], "bf16-mixed")]) == {("small", 9): (1.125, True)}
    alone = row(5.0, ["seed=0"], "32-true")
    assert again_over_before([alone, row(10.0, ["seed=0"], "bf16-mixed")]) == {("small", 9): (2.0, None)}
    assert again_over_before([two, row(10.0, ["seed=2"], "bf16-mixed")]) == {}


def test_rows_are_compared_over_the_seeds_that_both_have():
    row, other = (
        {"runs": ["seed=0 study=a", "seed=1 study=a", "seed=10 study=a"]},
        {"runs": ["b=2 seed=1 study=a"]},
    )
    found = of_seeds(row, other, {"metric": "recall", "values": [1.0, 5.0, 9.0], "mean": 5.0})
    assert found == {"metric": "recall", "values": [5.0], "mean": 5.0, "low": 5.0, "high": 5.0}
    both = {"runs": ["seed=10 study=a", "seed=0 study=a"]}
    assert of_seeds(row, both, {"values": [1.0, 5.0, 9.0]})["values"] == [1.0, 9.0]


def test_a_change_shows_if_it_is_larger_than_the_spread_of_either_row():
    one, near, far = (row(value, ["seed=0"], "32-true") for value in (4.0, 5.9, 6.1))
    assert not differ(one, near)  # each row spreads by 2
    assert differ(one, far)
    assert differ(far, one)
    one["numbers"][0] |= {"low": 2.8, "high": 5.2}
    assert not differ(one, far)  # one spreads by 2.4
    assert not differ(far, one)


def test_a_recipe_says_what_it_measured():
    found = Found.read(FOLDER)
    judged = {cell: extra(row, "frechet", JUDGE) for (cell, _), row in beside_photographs(found).items()}
    ends = {cell: each["mean"] / each["unseen"]["mean"] for cell, each in judged.items()}
    ends |= {row["group"]: floors(row) for row in sorted(found.rows, key=lambda row: row["step"])}
    for path in sorted((REPOSITORY / "conf/model").glob("*.yaml")):
        lines = path.read_text().splitlines()
        told = " ".join(line for line in lines[: lines.index("defaults:")])
        wanted = f"Fréchet distance {ends[path.stem]:.1f}" if path.stem in ends else "Not measured"
        assert wanted in told, f"{path.stem}: {wanted}"


def test_small_says_how_many_of_its_samples_are_too_near_to_training_images():
    found, told = Found.read(FOLDER), (REPOSITORY / "conf/model/small.yaml").read_text()
    for epochs in (12, 30):
        near = found.copies("small_long", 240 * epochs)["share_above_threshold"]
        assert f"{epochs} epochs {100 * near['value']:.1f} %" in told
    assert f"unseen people's images {100 * near['unseen']['mean']:.1f} % are" in told


def test_the_results_name_no_place_of_a_machine_and_no_other_cells():
    text = (FOLDER / "results.json").read_text()
    assert "data.root" not in text
    results = json.loads(text)
    assert {row["settings"]["study"] for row in results["over_seeds"]} <= set(CELLS)
    for row in results["over_seeds"]:
        for number in row["numbers"]:
            assert number["low"] <= number["mean"] <= number["high"]


def test_an_interval_over_splits_is_wider_than_that_of_independent_samples():
    effect = over_splits([1.0, 2.0, 3.0, 4.0, 5.0], 1 / 3)
    assert effect.mean == pytest.approx(3)
    assert effect.error == pytest.approx((2.5 * (1 / 5 + 1 / 3)) ** 0.5)  # Nadeau and Bengio 2003
    assert effect.degrees == 4


def split_run(cell: str, split: int, recall: float) -> dict[str, Any]:
    unseen = {"mean": 2.0, "low": 1.0, "high": 3.0}
    numbers = [
        {"metric": metric, "space": space, "value": recall, "unseen": unseen}
        for metric, space in OVER_SPLITS.values()
    ]
    people = {"train": 120, "held_out": 40}
    return {"cell": cell, "split": split, "step": 1920, "people": people, "numbers": numbers}


def test_recipes_are_compared_split_by_split():
    values = {"small": [0.1, 0.5, 0.2], "aided": [0.3, 0.6, 0.5]}
    runs = [split_run(cell, split, each) for cell, own in values.items() for split, each in enumerate(own)]
    found = Found.read(FOLDER)._replace(splits=runs[::-1])
    by_hand = over_splits([0.2, 0.1, 0.3], 1 / 3)
    effect = differences(found)["recall"]
    assert [effect.mean, effect.error] == pytest.approx([by_hand.mean, by_hand.error])
    distance = differences(found)["Fréchet distance"]  # over unseen people's
    assert [distance.mean, distance.error] == pytest.approx([by_hand.mean / 2, by_hand.error / 2])
    section = on_other_splits(found)
    assert "| recall | +0.20 |" in section
    section = " ".join(section.split())
    assert "it is on 0 of 3" in section  # a distance of 0.3 is farther than 0.1
    assert "they are 0.1 to 0.3 and 0.1 to 0.2" in section
    assert "it is on 3 splits, and that of `small` on 3" in section


def peer(name: str, distance: float, recall: float, minutes: float = 20) -> dict[str, Any]:
    """What a generator of others has; unseen people have a distance of 2."""
    values = dict.fromkeys(METRICS, 0.5) | {
        "frechet": distance,
        "kernel_distance": distance / 1000,
        "recall": recall,
    }
    unseen = {"mean": 2.0, "low": 1.0, "high": 3.0}
    numbers = [
        {"metric": metric, "space": space, "value": values[metric], "unseen": unseen, "n": 500}
        for metric, space in BESIDE_PHOTOGRAPHS.values()
    ]
    return {"name": name, "seed": 0, "minutes": minutes, "steps": 7, "numbers": numbers}


def test_others_that_are_better_are_said_first():
    found = Found.read(FOLDER)
    ours = of_judge(within(found, "aided", 20), "recall")["mean"]
    poor, good = peer("poor", 200.0, 0.0), peer("good", 2.2, ours / 2)
    section = others_generators(found._replace(peers=[poor, good]))
    assert "the good is nearer to unseen people than `aided`" in section
    assert "nearest of the others, the good, has 1.1 times and" in section
    assert "none is more varied" in section
    assert [line.split(" | ")[0] for line in section.splitlines() if line.startswith("| ")][2:] == [
        "| good",
        "| `aided`",
        "| `small_long`",
        "| poor",
        "| unseen people",
    ]
    assert "| good | 20 | 7 | 500 | 1.1 |" in section
    few = peer("few", 2.0, 0.0)  # its ratio is of another number of images
    next(each for each in few["numbers"] if each["metric"] == "kernel_distance")["value"] = 0.9
    section = others_generators(found._replace(peers=[peer("many", 80.0, 0.0), few]))
    assert "none is nearer" in section
    assert "nearest of the others, the many, has 40.0 times and" in section
    varied = [peer(name, 200.0, ours + 0.1) for name in "abc"]
    section = others_generators(found._replace(peers=varied))
    assert "none is nearer" in section
    assert "the a, the b and the c are more varied" in section


def test_what_was_expected_of_others_stands_beside_what_they_have_then_or_later():
    found = Found.read(FOLDER)
    name = "light-weight GAN"
    both = [peer(name, 20.0, 0.0), peer(name, 9.0, 0.0, 60)]
    section = others_generators(found._replace(peers=both))
    assert "The light-weight GAN: 4 to 6 times after 20 minutes. It has 10.0 after 20 (7 steps)." in section
    assert "The light-weight GAN: 3 to 4 times after 60 minutes. It has 4.5 after 60 (7 steps)." in section
    assert "Not judged" not in section
    later = peer("denoising diffusion", 24.0, 0.0, 60)
    section = others_generators(found._replace(peers=[both[0], later]))
    assert (
        "The denoising diffusion: over 15 times after 20 minutes. It has 12.0 after 60 (7 steps)." in section
    )
    assert "3 to 4" not in section
    assert (
        "Not judged are the denoising diffusion after 20 minutes and the light-weight GAN after 60 minutes. "
        in section
    )


def test_our_rows_beside_others_took_no_more_minutes():
    found = Found.read(FOLDER)
    for minutes in (20, 60):
        row = within(found, "aided", minutes)
        later = [each for (cell, _), each in beside_photographs(found).items() if cell == "aided"]
        assert row["minutes"] <= minutes
        assert all(each["minutes"] > minutes for each in later if each["step"] > row["step"])


def test_what_a_script_of_others_left_stands_beside_its_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(study, "FOLDER", tmp_path)
    marks = [{"minutes": 20.0, "steps": 5}, {"minutes": 60.0, "steps": 9}]
    (tmp_path / "peer.json").write_text(json.dumps({"name": "theirs", "seed": 3, "samples": marks}))
    numbers = peer("theirs", 8.0, 0.1)["numbers"] + [{"metric": "vendi", "space": JUDGE}]
    run = {"name": str(tmp_path / "60_minutes"), "kind": "folder", "n": 500, "numbers": numbers}
    data = {"train": {"people": 120}, "held_out": {"people": 80}}
    (tmp_path / "evaluation.json").write_text(json.dumps({"candidates": [run], "data": data}))
    study.gather_peers([tmp_path / "evaluation.json"])
    (found,) = json.loads((tmp_path / "peers.json").read_text())
    assert found["name"] == "theirs"
    assert (found["minutes"], found["steps"], found["seed"], found["data"]) == (60.0, 9, 3, data)
    assert found["numbers"] == numbers[:-1]
    assert str(tmp_path) not in (tmp_path / "peers.json").read_text()
    (tmp_path / "evaluation.json").write_text(
        json.dumps({"candidates": [{**run, "name": str(tmp_path / "20_minutes")}], "data": data})
    )
    study.gather_peers([tmp_path / "peers.json", tmp_path / "evaluation.json"])
    assert [each["minutes"] for each in json.loads((tmp_path / "peers.json").read_text())] == [20.0, 60.0]
    with pytest.raises(AssertionError, match="judged twice"):
        study.gather_peers([tmp_path / "peers.json", tmp_path / "evaluation.json"])


def test_another_seed_on_a_set_is_added_to_those_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(study, "FOLDER", tmp_path)
    data = {"train": {"people": 66}, "held_out": {"people": 44}}
    run = {
        "name": "outputs/x",
        "sha256": "0",
        "weights": "average",
        "step": 9,
        "trained_by": {
            "overrides": ["study=small", "seed=1", "data.channels=3", "data.root=DIR"],
            "precision": "32-true",
            "device": "cpu",
        },
        "numbers": [{**row(8.0, [], "")["numbers"][0], "label": None, "value": 8.0}],
        "utility": None,
    }
    (tmp_path / "evaluation.json").write_text(json.dumps({"candidates": [run], "data": data}))
    there = {"data": data, "verdict": "ready", "over_seeds": [row(4.0, ["seed=0 study=small"], "32-true")]}
    for name in ("results", "again", "photographs", "labels"):
        (tmp_path / f"{name}.json").write_text("{}")
    file = tmp_path / "sets.json"
    file.write_text(json.dumps({"LGG": there, "another": there}))
    study.gather_set("LGG", [file, tmp_path / "evaluation.json"])
    found = json.loads(file.read_text())
    assert found["another"] == there
    assert found["LGG"]["verdict"] == "ready"
    (both,) = found["LGG"]["over_seeds"]
    assert both["runs"] == ["seed=0 study=small", "seed=1 study=small"]
    assert (both["numbers"][0]["mean"], both["numbers"][0]["high"]) == (6.0, 8.0)
    with pytest.raises(AssertionError, match="judged twice"):
        study.gather_set("LGG", [file, tmp_path / "evaluation.json"])
    there["data"] = {"train": {"people": 65}, "held_out": {"people": 44}}
    file.write_text(json.dumps({"LGG": there}))
    with pytest.raises(AssertionError, match="different people"):
        study.gather_set("LGG", [file, tmp_path / "evaluation.json"])


def test_a_record_is_not_lost_or_doubled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(study, "FOLDER", tmp_path)
    shutil.copy(FOLDER / "again.json", tmp_path)
    with pytest.raises(AssertionError, match="judged twice"):
        study.gather_again([FOLDER / "again.json", FOLDER / "again.json"])
    with pytest.raises(AssertionError, match=r"photographs.json is no evaluation and no benchmark"):
        study.gather_photographs([FOLDER / "photographs.json"])
    study.gather_again([FOLDER / "again.json"])
    assert (tmp_path / "again.json").read_text() == (FOLDER / "again.json").read_text()


def test_measures_of_the_brain_stand_over_those_of_unseen_people():
    numbers = [
        {"metric": "wasserstein", "space": space, "mean": mean, "unseen": {"mean": 0.5}}
        for space, mean in (("brain_area", 1.0), ("asymmetry", 2.5))
    ]
    of_brain = {"settings": {"study": "aided"}, "numbers": [*numbers, {"metric": "recall", "space": JUDGE}]}
    lines = shapes([of_brain]).splitlines()
    assert lines[-3:] == [
        "| cell | brain_area | asymmetry |",
        "| --- | --- | --- |",
        "| `aided` | 2.0 | 5.0 |",
    ]
    assert shapes([{**of_brain, "numbers": []}]) == ""
