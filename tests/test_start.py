"""Another run's weights as the start of this one."""

import copy
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from benchmarks.kills import digests
from conftest import alzgan, settings, small_settings
from test_game import SMALL_MODEL, play
from torch import nn

from alzgan.errors import UserError
from alzgan.gan import GAN
from alzgan.runs import session
from alzgan.runs.build import build_model
from alzgan.runs.checkpoints import load_checkpoint
from alzgan.runs.resume import run_to_continue
from alzgan.runs.start import check_held_out, start_from

NEW = ("model.generator_optimizer.lr=1e-5", "data.batch_size=4", "trainer.max_steps=4")
UNWATCHED = ("callbacks.quality=null", "callbacks.samples=null", "callbacks.health=null", "logger=csv")


@pytest.fixture(scope="module")
def source(slices: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder."""
    folder = tmp_path_factory.mktemp("source") / "run"
    session.run(small_settings(slices, folder, *UNWATCHED, "trainer.max_steps=3", "average=ema"))
    return folder


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(folder / "checkpoints/last.ckpt")["state_dict"]


def small_model(*options: str) -> nn.Module:
    return build_model(
        settings(*SMALL_MODEL, "model.generator.width=8", "model.discriminator.width=8", "seed=5", *options)
    )


def test_all_weights_of_the_same_model_are_taken(source: Path):
    gan = small_model("average=ema")
    report = start_from(gan, str(source))
    theirs = weights_of(source)
    ours = gan.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert report["taken"] == len(ours)
    assert report["new"] == []
    assert int(gan.average.images) == int(theirs["average.images"]) > 0  # or it would soon be forgotten


def test_what_does_not_fit_stays_as_it_is_and_is_named(source: Path, caplog: pytest.LogCaptureFixture):
    gan = small_model("model=cdcgan", "model.classes=2", "model.numbers=0", "data.channels=3")
    fresh = {name: value.clone() for name, value in gan.state_dict().items()}
    with caplog.at_level("INFO", logger="alzgan.runs.start"):
        report = start_from(gan, str(source), ["discriminator"])
    first = "discriminator.0.weight"  # of 3 channels instead of 1
    assert torch.equal(gan.state_dict()[first], fresh[first])
    assert torch.equal(
        gan.state_dict()["discriminator.2.weight"], weights_of(source)["discriminator.2.weight"]
    )
    assert all(torch.equal(v, fresh[n]) for n, v in gan.state_dict().items() if n.startswith("generator."))
    assert first in report["new"]
    assert any(name.endswith("embedding.weight") for name in report["new"])
    assert f"of {report['taken'] + len(report['new'])}; new are {first}" in caplog.text


def test_an_average_that_the_source_lacks_starts_at_its_generator(source: Path, slices: Path, tmp_path: Path):
    session.run(small_settings(slices, tmp_path, *UNWATCHED, "trainer.max_steps=1"))
    gan = small_model("average=ema")
    start_from(gan, str(tmp_path), ["generator"])
    assert torch.equal(gan.average.network[1].weight, weights_of(tmp_path)["generator.1.weight"])


def test_a_run_starts_there_says_so_and_goes_on_from_its_own_checkpoint(
    source: Path, slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    started: list[torch.Tensor] = []
    original = session.start_from

    def spy(gan, *arguments):
        record = original(gan, *arguments)
        started.append(gan.discriminator[0].weight.detach().clone())
        return record

    monkeypatch.setattr(session, "start_from", spy)
    options = (*UNWATCHED, "trainer.max_steps=2", f"model.start_from={source}", "model.freeze=1")
    session.run(small_settings(slices, tmp_path, *options))
    checkpoint = load_checkpoint(tmp_path / "checkpoints/last.ckpt")
    frozen = weights_of(source)["discriminator.0.weight"]
    assert torch.equal(started[0], frozen)
    assert torch.equal(checkpoint["state_dict"]["discriminator.0.weight"], frozen)
    assert not torch.equal(
        checkpoint["state_dict"]["discriminator.2.weight"], weights_of(source)["discriminator.2.weight"]
    )
    assert checkpoint["alzgan"]["provenance"]["started_from"]["step"] == 3


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["model.start_from=nowhere"], "nowhere"),
        (["model.start_with=[critic]"], "start_with=critic must be one or both of generator, discriminator"),
        (["model.generator.width=4", "model.discriminator.width=4"], "none of its weights fits"),
        (["model.freeze=9"], "freeze=9 must be less than the discriminator's 4 convolutions"),
    ],
)
def test_a_start_that_is_none_is_refused_in_a_line(options, told, source: Path, slices: Path, tmp_path: Path):
    with pytest.raises(UserError, match=told):
        session.run(small_settings(slices, tmp_path, f"model.start_from={source}", *options))


@pytest.mark.parametrize("normalization", ["batch", "spectral"])
def test_frozen_convolutions_stay_and_the_rest_learns(normalization: str, recwarn):
    gan = small_model("model.freeze=2", f"model.discriminator.normalization={normalization}")
    before = {name: value.detach().clone() for name, value in gan.discriminator.named_parameters()}
    play(gan, [torch.rand(4, 1, 32, 32)] * 2)
    moved = [not torch.equal(value, before[name]) for name, value in gan.discriminator.named_parameters()]
    convolutions = [m for m in gan.discriminator.modules() if isinstance(m, nn.Conv2d)]
    first = [id(p) for p in gan.discriminator.parameters()].index(id(next(convolutions[2].parameters())))
    assert not any(moved[:first])
    assert all(moved[first:])


def test_freezing_all_is_refused():
    with pytest.raises(UserError, match="freeze=4 must be less"):
        small_model("model.freeze=4")


@pytest.mark.parametrize("named", ["as there", "by a link"])
def test_a_start_that_knows_people_held_out_here_is_refused(
    named: str, source: Path, slices: Path, tmp_path: Path
):
    if named == "by a link":
        (tmp_path / "link").symlink_to(slices)
        slices = tmp_path / "link"
    options = (*UNWATCHED, "trainer.max_steps=1", f"model.start_from={source}")
    with pytest.raises(UserError, match=r"held out here, for example .*; hold out the same"):
        session.run(small_settings(slices, tmp_path / "other", *options, "data.split_seed=1"))
    table = source / "split.csv"
    session.run(small_settings(slices, tmp_path / "same", *options, f"data.subjects=csv:{table}"))


def known(people: list[str], rule: str) -> SimpleNamespace:
    """Data in another folder, with one held-out image of each of these people."""
    return SimpleNamespace(
        fingerprint="ours",
        root="ours",
        files=[SimpleNamespace(path=f"new/{who}.png") for who in people],
        subjects=SimpleNamespace(rule=rule, subject=people),
        split=SimpleNamespace(parts=["test"] * len(people)),
    )


@pytest.mark.parametrize(
    ("people", "rule", "warned"),
    [
        (["Sub 01"], "csv:people.csv", True),  # under another name of its file, and another spelling
        (["Sub 02"], "csv:people.csv", False),  # was not trained on
        (["Sub 01"], "content", False),  # a number that means nothing elsewhere
    ],
)
def test_a_start_that_was_trained_on_people_of_the_same_names_is_warned_of(
    people: list[str], rule: str, warned: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "split.csv").write_text("file,subject,split\na.png,sub_01,train\nb.png,sub_02,test\n")
    path = str(tmp_path / "checkpoints/last.ckpt")
    first = {"path": path, "fingerprint": "theirs", "root": "theirs", "subject_rule": "regex:x"}
    unknown = {**first, "fingerprint": "ours"}
    for started in (first, {**unknown, "started_from": first}):  # also of the run before it
        caplog.clear()
        check_held_out(started, known(people, rule))
        assert ("may have been trained on people who are held out here" in caplog.text) == warned


def test_where_it_started_stays_in_the_record_of_a_run_that_goes_on(
    source: Path, slices: Path, tmp_path: Path
):
    from test_resume import go_on

    options = (*UNWATCHED, "trainer.max_steps=1", f"model.start_from={source}")
    session.run(small_settings(slices, tmp_path, *options))
    go_on(tmp_path, "trainer.max_steps=2", "trainer.accelerator=cpu")
    record = load_checkpoint(tmp_path / "checkpoints/last.ckpt")["alzgan"]["provenance"]
    assert record["started_from"]["step"] == 3


def depart(source: Path, run_dir: Path, *overrides: str) -> None:
    """Train as `python -m alzgan.train ckpt_path=SOURCE run_dir=RUN_DIR ...` does."""
    words = (f"ckpt_path='{source}'", *overrides)
    composed = settings(*words)
    previous = run_to_continue(composed, run_dir, words)
    config = previous.to_train()
    config.run_dir = str(run_dir)
    session.run(config, words, previous)


def test_other_settings_make_a_new_run_from_weights_and_optimizers(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """The first step is Adam's with the old moments and the new rate; the steps count from 0."""
    begun: list[tuple] = []

    def spy(gan, batch, batch_idx):
        if not begun:
            states = [copy.deepcopy(optimizer.state_dict()) for optimizer in gan.trainer.optimizers]
            begun.append((gan.global_step, digests(gan.state_dict()), states, len(batch[0])))
        return original(gan, batch, batch_idx)

    original = GAN.training_step
    monkeypatch.setattr(GAN, "training_step", spy)
    with caplog.at_level("INFO"):
        depart(source, tmp_path, *NEW)
    old = load_checkpoint(source / "checkpoints/last.ckpt")
    step, weights, states, images = begun[0]
    assert (step, images) == (0, 4)
    assert weights == digests(old["state_dict"])
    for ours, theirs, lr in zip(states, old["optimizer_states"], (2e-4, 1e-5), strict=True):
        assert digests(ours["state"]) == digests(theirs["state"])
        assert ours["state"][0]["step"] == 3
        assert (ours["param_groups"][0]["lr"], theirs["param_groups"][0]["lr"]) == (lr, 2e-4)
    new = load_checkpoint(tmp_path / "checkpoints/last.ckpt")
    assert new["global_step"] == 4
    assert new["optimizer_states"][1]["state"][0]["step"] == 7
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["started_from"]["path"] == str(source / "checkpoints/last.ckpt")
    assert (record["started_from"]["step"], record["started_from"]["optimizers"]) == (
        3,
        ["discriminator", "generator"],
    )
    assert record["overrides"] == list(NEW)
    assert [each["from_step"] for each in record["sessions"]] == [0]
    assert (
        f"A new run in {tmp_path} with {NEW[0]}, {NEW[1]}: it starts from the weights and optimizers of "
        f"{source / 'checkpoints/last.ckpt'} at step 3, and counts its steps from 0"
    ) in caplog.messages


def test_a_new_run_from_another_goes_on_to_the_bit(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from test_resume import go_on, same_end

    depart(source, tmp_path / "whole", *NEW)
    depart(source, tmp_path / "part", *NEW[:2], "trainer.max_steps=2")
    go_on(tmp_path / "part", "trainer.max_steps=4")
    assert same_end(tmp_path / "whole", tmp_path / "part")
    # The same command again: refused, and from Slurm's queue its own run is continued.
    with pytest.raises(
        UserError, match=r"holds a run already; choose another run_dir, because model\.generator_"
    ):
        depart(source, tmp_path / "part", *NEW[:2], "trainer.max_steps=6")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    depart(source, tmp_path / "part", *NEW[:2], "trainer.max_steps=6")
    assert load_checkpoint(tmp_path / "part/checkpoints/last.ckpt")["global_step"] == 6


def test_an_optimizer_of_another_kind_starts_without_its_state(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level("INFO"):
        depart(source, tmp_path, "+model.generator_optimizer.amsgrad=true", "trainer.max_steps=1")
    assert "model.generator_optimizer differs from that of" in caplog.text
    steps = [
        state["state"][0]["step"]
        for state in load_checkpoint(tmp_path / "checkpoints/last.ckpt")["optimizer_states"]
    ]
    assert steps == [4, 1]
    assert json.loads((tmp_path / "run.json").read_text())["started_from"]["optimizers"] == ["discriminator"]


def test_a_new_run_keeps_labels_that_a_schedule_has_brought_in(slices: Path, tmp_path: Path):
    options = (*UNWATCHED, "model=cdcgan", "trainer.max_steps=2", "conditioning.strength.since=0")
    session.run(small_settings(slices, tmp_path / "old", *options))
    reached = weights_of(tmp_path / "old")["generator.0.strength"].item()
    assert reached > 0
    depart(tmp_path / "old", tmp_path / "new", "seed=1", "trainer.max_steps=1")
    stored = load_checkpoint(tmp_path / "new/checkpoints/last.ckpt")["alzgan"]["config"]["model"]
    assert stored["generator"]["strength"] == stored["discriminator"]["strength"] == reached


def test_other_networks_are_refused_with_what_takes_them(source: Path, tmp_path: Path):
    line = r"does not fit the model: its generator.* that fit, give model.start_from=.* instead of ckpt_path"
    with pytest.raises(UserError, match=line):
        depart(source, tmp_path, "model.generator.width=4")
    with pytest.raises(UserError, match="ckpt_path gives the weights; leave one of them out"):
        depart(source, tmp_path / "both", "model.start_from=nowhere")


@pytest.mark.slow
def test_a_new_run_has_a_folder_of_its_own_and_the_old_one_is_untouched(source: Path, tmp_path: Path):
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    result = alzgan(f"ckpt_path={source}", "model.generator_optimizer.lr=1e-5", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert {path: path.read_bytes() for path in source.rglob("*") if path.is_file()} == before
    (folder,) = (tmp_path / "outputs").iterdir()
    assert f"A new run in {folder} with model.generator_optimizer.lr=1e-5: " in result.stdout
    assert {"train.log", "config.yaml", "run.json", "checkpoints"} <= {each.name for each in folder.iterdir()}
