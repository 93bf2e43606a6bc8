"""Environment variables on the command line: their values are what is used, recorded and printed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SMALL, alzgan
from hydra.core.override_parser.overrides_parser import OverridesParser

from alzgan.runs.checkpoints import load_checkpoint
from alzgan.runs.cli import environment_filled_in
from alzgan.sources.phantom import write_phantom


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("${oc.env:NUMBER}", 3),
        ("${oc.env:FOLDER}", "/a b"),
        ("${oc.env:FOLDER}/c", "/a b/c"),
        ("csv:${oc.env:FOLDER}/c.csv", "csv:/a b/c.csv"),
        ("[x, ${oc.env:NUMBER}, ${oc.env:FOLDER}/c]", ["x", 3, "/a b/c"]),
        ("{s: ${oc.env:NUMBER}, t: ${oc.env:FOLDER}}", {"s": 3, "t": "/a b"}),
        ("'${oc.env:COMMA}, c'", "a, b, c"),
        ("${oc.env:ABSENT,/c}", "/c"),
        ("${oc.env:ABSENT,${oc.env:FOLDER}}", "/a b"),
        ("${oc.env:ABSENT,null}", None),
        ("${oc.env:NUMBER}_${seed}", "3_${seed}"),  # Hydra knows the other
        ("outputs/${seed}", "outputs/${seed}"),
    ],
)
def test_a_value_of_the_environment_is_read_as_if_it_had_been_typed(
    given: str, value: object, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("NUMBER", "3")
    monkeypatch.setenv("FOLDER", "/a b")
    monkeypatch.setenv("COMMA", "a, b")
    word = environment_filled_in(f"name={given}")
    assert "oc.env" not in word
    assert OverridesParser.create().parse_override(word).value() == value


VERBS = {
    "train": (["data=mri"], "data.root"),
    "prepare": ([], "data.root"),
    "evaluate": ([], "ckpt_path"),
    "generate": ([], "ckpt_path"),
    "benchmark": (["data=mri"], "data.root"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_reads_the_environment_alike(
    verb: str, error_line: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    arguments, name = VERBS[verb]
    place = [*arguments, f"run_dir={tmp_path / 'run'}", name + "='${oc.env:PLACE}/data'"]
    line = error_line(*place, verb=verb)
    advice = "${oc.env:PLACE} has no value: set this environment variable, or write the value itself"
    assert line == f"alzgan: {place[-1]}: {advice}"
    monkeypatch.setenv("PLACE", "/nowhere, at all")
    assert "/nowhere, at all/data" in error_line(*place, verb=verb)


def test_the_advice_of_a_preparation_has_the_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_phantom(tmp_path / "brains", people=12, slices=2, size=64)
    monkeypatch.setenv("PLACE", str(tmp_path))
    monkeypatch.setenv("RULE", "folder, sub-{}")
    options = [
        "data.root=${oc.env:PLACE}/brains",
        f"run_dir={tmp_path / 'run'}",
        "data.exclude='${oc.env:RULE}'",
    ]
    result = alzgan(*options, verb="prepare")
    assert result.returncode == 0, result.stderr
    advice = result.stdout.splitlines()[-1]
    where = f"data.root={tmp_path}/brains data.channels=1 trainer=fast data.batch_size=8"
    assert advice.endswith(f"{where} \"data.exclude='folder, sub-{{}}'\"")


def test_a_run_records_the_values_and_goes_on_with_them(
    slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run, seed = tmp_path / "run", "seed=${oc.env:SEED}"
    monkeypatch.setenv("SLICES", str(slices))
    monkeypatch.setenv("SEED", "5")
    options = ["data=mri", "data.root=${oc.env:SLICES}", *SMALL, "callbacks.quality=null", seed]
    result = alzgan(*options, f"run_dir={run}", "trainer.max_steps=1")
    assert result.returncode == 0, result.stderr
    record = json.loads((run / "run.json").read_text())
    for words in (record["overrides"], record["sessions"][0]["command"]):
        assert {"seed=5", f"data.root={slices}"} <= set(words)
        assert "oc.env" not in " ".join(words)
    config = load_checkpoint(run / "checkpoints/last.ckpt")["alzgan"]["config"]
    assert (config["seed"], config["data"]["root"]) == (5, str(slices))
    monkeypatch.setenv("SEED", "6")  # the same words mean another run now
    result = alzgan(f"ckpt_path={run}", "trainer.max_steps=1", seed, f"run_dir={tmp_path / 'other'}")
    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "other/run.json").read_text())["started_from"]
    config = load_checkpoint(tmp_path / "other/checkpoints/last.ckpt")["alzgan"]["config"]
    assert config["seed"] == 6
