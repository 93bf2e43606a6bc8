import json
import logging
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import small_settings
from omegaconf import OmegaConf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from alzgan.runs import session


def load(path: Path) -> dict:
    return torch.load(path, weights_only=True)


@pytest.fixture(scope="module")
def run_dir(slices: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of 3 epochs of 4 steps: 32 of the 40 images are for training."""
    run_dir = tmp_path_factory.mktemp("run")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a normal run warns of nothing
        session.run(
            small_settings(slices, run_dir, "trainer.max_epochs=3", "callbacks.samples.every_n_epochs=1")
        )
    return run_dir


@pytest.fixture(scope="module")
def events(run_dir: Path) -> EventAccumulator:
    return EventAccumulator(str(run_dir), size_guidance={"images": 0, "scalars": 0}).Reload()


def test_a_runs_folder_holds_its_parts_and_nothing_else(run_dir: Path):
    names = {path.relative_to(run_dir).as_posix() for path in run_dir.rglob("*") if path.is_file()}
    events = {name for name in names if name.startswith("events.out.tfevents")}
    assert len(events) == 1
    assert names - events == {
        "config.yaml",
        "run.json",
        "metrics.json",
        "split.csv",
        "checkpoints/last.ckpt",
        "checkpoints/best.ckpt",
        "samples/real.png",
        *(f"samples/step_{step:07}.png" for step in (0, 4, 8, 12)),
    }


def test_scalars_are_logged_at_the_steps_they_belong_to(events: EventAccumulator):
    every_second = {
        "loss/discriminator",
        "loss/generator",
        "probability/D(x)",
        "probability/D(G(z))_before_D_step",
        "probability/D(G(z))_after_D_step",
        "speed/images_per_second",
    }
    for tag in every_second:
        assert [event.step for event in events.Scalars(tag)] == [2, 4, 6, 8, 10, 12], tag
    assert [event.step for event in events.Scalars("quality/frechet_random_conv")] == [12]
    assert "quality/fid" not in events.Tags()["scalars"]


def test_logged_probabilities_are_probabilities_and_losses_finite(events: EventAccumulator):
    for tag in events.Tags()["scalars"]:
        values = np.array([event.value for event in events.Scalars(tag)])
        assert np.isfinite(values).all(), tag
        if tag.startswith("probability/"):
            assert ((values > 0) & (values < 1)).all(), tag


def test_grids_are_logged_at_start_every_epoch_and_end(events: EventAccumulator, run_dir: Path):
    assert [image.step for image in events.Images("samples/grid")] == [0, 4, 8, 12]
    assert [image.step for image in events.Images("real/grid")] == [0]
    with Image.open(run_dir / "samples/step_0000012.png") as grid:
        assert grid.size == (4 * 34 + 2, 4 * 34 + 2)


def test_the_grid_shows_the_same_latents_all_through_the_run(run_dir: Path, slices: Path):
    state = load(run_dir / "checkpoints/last.ckpt")["state_dict"]
    gan = session.build_model(small_settings(slices, run_dir))
    gan.load_state_dict(state)
    first = gan.sample(gan.latents(16, "samples"))[0, 0].numpy()
    with Image.open(run_dir / "samples/step_0000012.png") as grid:
        shown = np.asarray(grid.convert("L"))[2:34, 2:34]
    # The file was drawn by a batch of 16 too, yet on weights before they were saved and loaded.
    assert np.array_equal(first, shown)


def test_config_and_hyper_parameters_are_in_tensorboard(events: EventAccumulator):
    assert "config/text_summary" in events.Tags()["tensors"]
    text = events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "latent_dim: 100" in text
    method = events.Tensors("quality/method/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "32 generated images beside 32 real images of 16 training people" in method
    assert "extractor random-conv-v1: random convolutions" in method
    plugins = events.summary_metadata
    assert any(tag.startswith("_hparams_") for tag in plugins)


def test_the_checkpoint_is_plain_and_says_what_it_is(run_dir: Path):
    checkpoint = load(run_dir / "checkpoints/last.ckpt")
    assert checkpoint["global_step"] == 12
    prefixes = {name.split(".")[0] for name in checkpoint["state_dict"]}
    assert prefixes == {"generator", "discriminator"}
    config = checkpoint["alzgan"]["config"]
    assert config == OmegaConf.to_container(OmegaConf.load(run_dir / "config.yaml"))
    assert config["model"]["generator"]["width"] == 8
    record = json.loads((run_dir / "run.json").read_text())
    assert checkpoint["alzgan"]["provenance"] == record
    assert record["packages"]["torch"] == torch.__version__.split("+")[0]
    assert record["data"]["images"] == 40
    assert record["data"]["subjects"] == 20
    assert record["data"]["split"] == {"train": 32, "validation": 4, "test": 4}
    assert record["data"]["classes"] == {"Demented": 20, "Healthy": 20}


def test_metrics_name_the_objective_and_its_step(run_dir: Path):
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert metrics["objective"] == "quality/frechet_random_conv"
    assert metrics["best"] == metrics["final"] > 0
    assert metrics["steps"] == metrics["best_step"] == 12


def test_the_same_seed_gives_the_same_weights_bit_for_bit(slices: Path, run_dir: Path, tmp_path: Path):
    # With a worker, without grids in between: neither may matter.
    overrides = ("trainer.max_epochs=3", "data.num_workers=1", "callbacks.samples.every_n_epochs=null")
    session.run(small_settings(slices, tmp_path, *overrides))
    ours, theirs = (load(folder / "checkpoints/last.ckpt") for folder in (run_dir, tmp_path))
    assert ours["state_dict"].keys() == theirs["state_dict"].keys()
    for name, value in ours["state_dict"].items():
        assert torch.equal(value, theirs["state_dict"][name]), name
    other = session.build_model(small_settings(slices, tmp_path, "seed=1")).state_dict()
    assert not torch.equal(other["generator.1.weight"], ours["state_dict"]["generator.1.weight"])


def test_training_returns_the_best_objective_and_keeps_its_checkpoint(slices: Path, tmp_path: Path):
    overrides = ("trainer.max_epochs=4", "callbacks.quality.every_n_epochs=1")
    objective = session.run(small_settings(slices, tmp_path, *overrides))
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    logged = EventAccumulator(str(tmp_path)).Reload().Scalars("quality/frechet_random_conv")
    best = min(logged, key=lambda event: event.value)
    assert type(objective) is float
    assert metrics["final"] == pytest.approx(logged[-1].value)
    assert objective == metrics["best"] == pytest.approx(best.value)
    assert metrics["best_step"] == best.step
    assert load(tmp_path / "checkpoints/best.ckpt")["global_step"] == best.step


def test_the_log_ends_with_where_everything_is(
    slices: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "alzgan")
    session.run(small_settings(slices, tmp_path, "trainer.max_steps=2"))
    text = "\n".join(record.getMessage() for record in caplog.records)
    assert f"Samples:     {tmp_path}/samples/step_0000002.png" in text
    assert f"Checkpoint:  {tmp_path}/checkpoints/last.ckpt" in text
    assert f"tensorboard --logdir {tmp_path} --samples_per_plugin images=500" in text
    assert len(caplog.records) == len({record.getMessage() for record in caplog.records})
