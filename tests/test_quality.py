import csv
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import small_settings
from omegaconf import DictConfig
from PIL import Image
from torch import nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torchvision.utils import make_grid

from alzgan import files
from alzgan.callbacks.quality import Quality, default_extractor, name_of
from alzgan.data.datamodule import MRIDataModule
from alzgan.data.features import features_of
from alzgan.data.loader import SliceDataset
from alzgan.device.pixels import middle
from alzgan.errors import UserError
from alzgan.files import read_arrays
from alzgan.gan import GAN
from alzgan.generation.run import generate
from alzgan.metrics import inception
from alzgan.metrics.distances import frechet, kernel_distance, moments
from alzgan.metrics.features import PixelFeatures, RandomConvFeatures, feature_space
from alzgan.runs import session
from alzgan.runs.build import build, build_model
from alzgan.runs.checkpoints import load_checkpoint
from alzgan.runs.config import compose_config
from alzgan.runs.load import load
from alzgan.runs.resume import Previous


def distance(one: torch.Tensor, two: torch.Tensor) -> float:
    extractor = RandomConvFeatures()
    return frechet(extractor(one), extractor(two))


def blobs(count: int, seed: int, noise: float = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:32j, -1:1:32j]
    radii = rng.uniform(0.4, 0.8, (count, 1, 1))
    images = (np.hypot(x, y) < radii) * 180 + rng.normal(0, noise or 1, (count, 32, 32))
    return torch.from_numpy(images.clip(0, 255).astype("uint8"))[:, None]


def trained(settings: DictConfig, run_dir: Path) -> GAN:
    """The model of a run, with its last weights."""
    gan = build_model(settings)
    gan.load_state_dict(torch.load(run_dir / "checkpoints/last.ckpt", weights_only=True)["state_dict"])
    return gan


def everything(images: SliceDataset) -> torch.Tensor:
    return images[np.arange(len(images))][0]


@pytest.mark.parametrize(
    ("split", "part", "told"),
    [
        ([0.3, 0.5, 0.2], "validation", "images beside 20 real images of 10 validation people\n"),
        ([0.3, 0.4, 0.3], "train", "12 real images of 6 training people, which favours copies of them: "
         "there are 8 of validation and 10 are needed\n"),
    ],
)  # fmt: skip
def test_the_measured_distance_is_that_of_fixed_latents_to_validation_people(
    split: list[float], part: str, told: str, slices: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    options = ("trainer.max_steps=2", "callbacks.quality.n_samples=600", f"data.fractions={split}")
    settings = small_settings(slices, tmp_path, *options)
    caplog.set_level("INFO")
    objective = session.run(settings)
    assert told in caplog.text
    gan = trained(settings, tmp_path)
    extractor = RandomConvFeatures()
    data = build("data", settings.data)
    data.setup()
    counts = [64] * 9 + [24]
    fake = torch.cat([gan.sample(gan.latents(count, "quality", i)) for i, count in enumerate(counts)])
    real = everything(data.part(part))
    assert objective == pytest.approx(frechet(extractor(real), extractor(fake)), rel=1e-4)


def test_another_space_and_the_kernel_distance_may_judge(slices: Path, tmp_path: Path):
    chosen = ("callbacks.quality.extractor=pixels", "callbacks.quality.distance=kernel")
    settings = small_settings(slices, tmp_path, "trainer.max_steps=1", *chosen)
    objective = session.run(settings)
    gan = trained(settings, tmp_path)
    extractor = PixelFeatures()
    data = build("data", settings.data)
    data.setup()
    fake = gan.sample(gan.latents(64, "quality", 0))[:32]
    expected = kernel_distance(extractor(everything(data.dataset)), extractor(fake))
    assert objective == pytest.approx(expected, rel=1e-4)
    assert Quality(extractor="pixels", distance="kernel").tag == "quality/kernel_pixels"
    assert Quality(extractor="random-conv").tag == "quality/frechet_random_conv"


@pytest.mark.parametrize("stacked", [True, False])
def test_of_neighbouring_slices_the_middle_one_is_shown_and_measured(
    stacked: bool, slices: Path, tmp_path: Path
):
    options = ("data.channels=3", f"data.slices_as_channels={str(stacked).lower()}", "trainer.max_steps=1")
    settings = small_settings(slices, tmp_path / "run", *options)
    objective = session.run(settings)
    shown = middle if stacked else lambda images: images
    gan = trained(settings, tmp_path / "run")
    gan.requires_grad_(False)
    data = build("data", settings.data)
    data.setup()
    real, fake = (
        RandomConvFeatures()(shown(images))
        for images in (everything(data.dataset), gan.sample(gan.latents(64, "quality", 0))[:32])
    )
    assert objective == pytest.approx(frechet(real, fake), rel=1e-4)
    first = load(tmp_path / "run").sample(4)
    wanted = {
        "run/samples/step_0000001.png": make_grid(shown(gan.sample(gan.latents(16, "samples"))), nrow=4),
        "run/samples/real.png": make_grid(shown(data.sample_real(16)[0]), nrow=4),
        "set/grid.png": make_grid(shown(first), nrow=2),
        "strip/strip.png": make_grid(shown(first[:2]), nrow=2),  # of two steps, the first is its start
    }
    for name, *asked in (("set", "n=4"), ("strip", "n=2", "interpolate=2")):
        overrides = [f"ckpt_path={tmp_path / 'run'}", f"out={tmp_path / name}", "rare_classes=allow", *asked]
        generate(compose_config("generate", overrides), overrides)
    for name, grid in wanted.items():
        with Image.open(tmp_path / name) as picture:
            found = np.asarray(picture)
        width = 36 if "strip" in name else None  # the second image of the strip lies between two
        assert np.array_equal(found[:, :width], grid.permute(1, 2, 0)[:, :width]), name
        assert (np.ptp(found, 2).max() == 0) == (stacked or "real" in name), name


def test_a_run_goes_on_with_the_judge_that_it_began_with():
    quality = Quality(extractor="pixels", distance="kernel")
    quality.load_state_dict(Quality(extractor="pixels", distance="kernel").state_dict())
    Quality(extractor="random-conv").load_state_dict({"extractor": "random-conv-v1"})  # of an older version
    with pytest.raises(UserError, match="measured by pixels-v1 and frechet, here is pixels-v1 and kernel"):
        quality.load_state_dict(Quality(extractor="pixels").state_dict())


def test_a_run_of_an_older_version_goes_on_with_training_people(
    slices: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    options = ("trainer.max_steps=2", "data.fractions=[0.3,0.5,0.2]", "callbacks.quality.every_n_epochs=1")
    settings = small_settings(slices, tmp_path, *options)
    session.run(settings)
    path = tmp_path / "checkpoints/last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint["callbacks"]["Quality"].pop("people") == "validation"
    torch.save(checkpoint, path)
    settings.trainer.max_steps = 3
    caplog.set_level("INFO")
    session.run(settings, previous=Previous(path, load_checkpoint(path)))
    assert (
        "12 real images of 6 training people, which favours copies of them: as this run began" in caplog.text
    )
    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint["callbacks"]["Quality"]["people"] == "train"
    fake = trained(settings, tmp_path)
    fake = fake.sample(fake.latents(64, "quality", 0))[:32]
    data = build("data", settings.data)
    data.setup()
    expected = distance(everything(data.dataset), fake)
    assert json.loads((tmp_path / "metrics.json").read_text())["final"] == pytest.approx(expected, rel=1e-4)


def test_training_people_stand_in_for_a_class_without_validation_people(slices: Path):
    data = MRIDataModule(slices, image_size=32, channels=1, batch_size=8, fractions=(0.3, 0.5, 0.2))
    data.setup()
    rows = np.flatnonzero(data.labels == data.classes.index("Healthy"))
    parts = np.array(data.split.parts)
    parts[rows[parts[rows] == "validation"]] = "test"
    data.split = replace(data.split, parts=parts.tolist())
    images, lacking = data.validation_images()
    assert lacking == ["Healthy"]
    healthy = data.dataset.labels == data.classes.index("Healthy")
    stand_ins = data.dataset[np.flatnonzero(healthy)][0]
    assert torch.equal(everything(images), torch.cat([everything(data.part("validation")), stand_ins]))
    assert np.bincount(images.labels, data.image_weights(images)) == pytest.approx(data.class_shares())
    quality = Quality(download=False)
    quality.people = "validation"
    assert quality.real_images(data)[1].endswith(
        "5 validation people and, for lack of these in Healthy, of training people"
    )


def test_training_images_without_a_class_are_not_in_the_reference(slices: Path, tmp_path: Path):
    paths = sorted(path.relative_to(slices) for path in slices.rglob("*.png"))
    with (tmp_path / "people.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "subject", "class", "split"])
        for row, path in enumerate(paths):
            part = ("train", "validation")[row // 2 % 2]
            table.writerow([path, row // 2, "" if row < 8 and part == "train" else path.parts[0], part])
    people = f"csv:{tmp_path / 'people.csv'}"
    data = MRIDataModule(slices, image_size=32, channels=1, batch_size=8, subjects=people, classes="csv")
    data.setup()
    assert (data.train.labels == -1).sum() == 4
    images, lacking = data.validation_images()
    assert lacking == []
    assert torch.equal(everything(images), everything(data.part("validation")))


def test_the_reference_is_what_is_shown_in_training(slices: Path, tmp_path: Path):
    settings = small_settings(
        slices, tmp_path, "data.sampling={Demented: 3, Healthy: 1}", "data.fractions=[0.3,0.5,0.2]"
    )
    data = build("data", settings.data)
    data.setup()
    quality = Quality(download=False)
    images, _ = quality.real_images(data)
    features = features_of(everything(images), quality.extractor, tmp_path, torch.device("cpu"))
    # Three times as many of one class, counted out, are the same distribution.
    repeated = torch.from_numpy(np.where(images.labels == data.classes.index("Demented"), 3, 1))
    several = features.repeat_interleave(repeated, 0)
    found = moments(features, data.image_weights(images))
    torch.testing.assert_close(found.mean, several.double().mean(0), rtol=0, atol=1e-12)
    assert not torch.allclose(found.mean, features.double().mean(0), atol=1e-4)
    assert data.draw_labels(100, "x").bincount().tolist() == [75, 25]


def test_the_stand_in_ranks_degradations():
    real, again = blobs(300, 0), blobs(300, 1)
    noisy, noisier = blobs(300, 2, noise=20), blobs(300, 3, noise=60)
    assert distance(real, again) < 0.5 * distance(real, noisy)
    assert distance(real, noisy) < 0.5 * distance(real, noisier)


def test_the_stand_in_is_the_same_network_everywhere():
    torch.manual_seed(7)
    one, two = RandomConvFeatures(), RandomConvFeatures()
    assert one(blobs(3, 0)).shape == (3, RandomConvFeatures.num_features)
    assert torch.equal(one(blobs(3, 0)), two(blobs(3, 0)))
    assert not list(one.parameters())


def test_the_real_features_are_computed_once(slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls = []
    original = files.write_arrays
    monkeypatch.setattr(
        files, "write_arrays", lambda path, **arrays: (calls.append(path), original(path, **arrays))
    )
    overrides = ("trainer.max_epochs=2", "callbacks.quality.every_n_epochs=1")
    first = session.run(small_settings(slices, tmp_path / "1", *overrides))
    second = session.run(small_settings(slices, tmp_path / "2", *overrides))
    assert len(calls) == 1
    assert first == second


def no_archive(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def other_name(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, others=np.zeros(3))


def fewer_features(path: Path) -> None:
    with np.load(path) as arrays:
        fewer = arrays["features"][:, :-1]
    with path.open("wb") as file:
        np.savez(file, features=fewer)


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_damaged_features_are_computed_anew(slices: Path, own_cache: Path):
    data = MRIDataModule(slices, image_size=32, channels=1, batch_size=8)
    data.setup()
    images, extractor, cpu = everything(data.dataset), RandomConvFeatures(), torch.device("cpu")
    expected = features_of(images, extractor, own_cache, cpu)
    (path,) = own_cache.glob("features-*.npz")
    whole = path.read_bytes()
    damages = [
        lambda path: path.write_bytes(b"garbage"),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(whole[: len(whole) // 2]),
        *(no_archive, other_name, fewer_features, flipped),
    ]
    for damage in damages:
        damage(path)
        assert path.read_bytes() != whole
        assert torch.equal(features_of(images, extractor, own_cache, cpu), expected)
        assert np.array_equal(read_arrays(path)["features"], expected.numpy())


def test_features_that_cannot_be_kept_are_the_same(tmp_path: Path):
    (tmp_path / "file").touch()
    features = [
        features_of(blobs(8, 0), RandomConvFeatures(), tmp_path / name, torch.device("cpu"))
        for name in ("file", "folder")
    ]
    assert torch.equal(*features)


def test_without_weights_the_run_says_which_file_goes_where(caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")
    extractor = default_extractor(download=False)
    assert extractor.name == "random-conv-v1"
    assert name_of("frechet", extractor) == "frechet_random_conv"
    (line,) = [record.getMessage() for record in caplog.records]
    assert "weights-inception-2015-12-05-6726825d.pth" in line
    assert str(Path(torch.hub.get_dir()) / "checkpoints") in line


def test_a_failed_download_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch):
    def broken(url: str, path: str, hash_prefix: str) -> None:
        raise inception.URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", broken)
    assert default_extractor(download=True).name == "random-conv-v1"
    assert not list((Path(torch.hub.get_dir()) / "checkpoints").iterdir())


def test_another_file_is_not_taken_for_the_inception_network(tmp_path: Path):
    path = tmp_path / "weights.pth"
    torch.save({}, path)
    with pytest.raises(UserError, match=r"is not weights-inception-2015-12-05-6726825d\.pth"):
        feature_space(f"inception:{path}")
    with pytest.raises(UserError, match="No such file"):
        feature_space(f"inception:{tmp_path / 'missing.pth'}")


def test_a_file_with_the_digits_of_the_inception_network_and_more_in_it_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path, traces = tmp_path / "weights.pth", tmp_path / "traces"

    class Trap:
        def __reduce__(self):
            return Path.touch, (traces,)

    torch.save({"fc.weight": Trap()}, path)
    monkeypatch.setattr(inception, "INCEPTION_SHA256", hashlib.sha256(path.read_bytes()).hexdigest()[:8])
    with pytest.raises(UserError, match="has more than weights in it"):
        feature_space(f"inception:{path}")
    assert not traces.exists()


@pytest.fixture(scope="module")
def random_inception(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the Inception network's form, with random weights."""
    path = tmp_path_factory.mktemp("inception") / "inception.pth"
    load, nn.Module.load_state_dict = nn.Module.load_state_dict, lambda *_: None
    torch_load, torch.load = torch.load, lambda *_, **__: {}
    try:
        network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], "unread")
    finally:
        nn.Module.load_state_dict, torch.load = load, torch_load
    torch.save(network.state_dict(), path)
    return path


def test_inception_gives_its_pooled_features_and_is_called_fid(
    random_inception: Path, monkeypatch: pytest.MonkeyPatch, slices: Path, tmp_path: Path
):
    digest = hashlib.sha256(random_inception.read_bytes()).hexdigest()
    monkeypatch.setattr(inception, "INCEPTION_SHA256", digest[:8])
    quality = Quality(extractor=f"inception:{random_inception}")
    assert quality.tag == "quality/fid"
    images = blobs(2, 0)
    one = quality.extractor(images)
    assert one.shape == (2, 2048)
    assert torch.equal(one, quality.extractor(images.repeat(1, 3, 1, 1)))
    assert not quality.extractor.train().network.training
