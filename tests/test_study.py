"""The study: what its cells train with, and what the README tells of it."""

import json
from typing import Any

import pytest
from benchmarks import study
from conftest import REPOSITORY, settings
from omegaconf import OmegaConf

CELLS = sorted(path.stem for path in (REPOSITORY / "conf/study").glob("*.yaml") if path.stem != "common")
# What a cell changes of another, and nothing else.
OF_OTHERS = {
    "csmall_places_without_floor": ("csmall_places", {"model.diversity"}),
    "dcgan_without_norm": ("dcgan", {"model.discriminator.normalization"}),
    "dcgan_with_adam_of_small": ("dcgan", {"model.generator_optimizer", "model.discriminator_optimizer"}),
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


def test_all_cells_see_the_same_people_as_often():
    for cell in CELLS:
        found = trained_with(cell)
        assert found["data.fractions"] == [0.6, 0.2, 0.2]
        assert found["data.split_seed"] == 0
        assert found["trainer.max_epochs"] == {"small_long": 30, "small_hour": 60}.get(cell, 10)
        assert "dcgan" not in found["model.generator._target_"] or found["model.generator.width"] == 32


def test_the_readme_tells_what_was_measured():
    results = json.loads((study.FOLDER / "results.json").read_text())
    readme = (REPOSITORY / "README.md").read_text()
    assert "\n".join(study.table(results)) in readme


def test_the_results_name_no_place_of_a_machine_and_no_other_cells():
    text = (study.FOLDER / "results.json").read_text()
    assert "data.root" not in text
    results = json.loads(text)
    assert {row["settings"]["study"] for row in results["over_seeds"]} <= set(CELLS)
    for row in results["over_seeds"]:
        for number in row["numbers"]:
            assert number["low"] <= number["mean"] <= number["high"]
