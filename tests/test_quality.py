import hashlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import small_settings
from torch import nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torchmetrics.image.fid import FrechetInceptionDistance

from alzgan import training
from alzgan.callbacks.quality import Quality
from alzgan.data.datamodule import MRIDataModule
from alzgan.metrics import features
from alzgan.metrics.features import RandomConvFeatures, default_extractor
from alzgan.runtime.errors import UserError


def distance(one: torch.Tensor, two: torch.Tensor) -> float:
    metric = FrechetInceptionDistance(RandomConvFeatures())
    metric.update(one, real=True)
    metric.update(two, real=False)
    return metric.compute().item()


def frechet(one: np.ndarray, two: np.ndarray) -> float:
    """The distance as the paper writes it, by eigenvalues of the product of the covariances."""
    means, covariances = zip(*((f.mean(0), np.cov(f, rowvar=False)) for f in (one, two)), strict=True)
    roots = np.sqrt(np.linalg.eigvals(covariances[0] @ covariances[1]).astype(complex)).real
    return ((means[0] - means[1]) ** 2).sum() + sum(map(np.trace, covariances)) - 2 * roots.sum()


def blobs(count: int, seed: int, noise: float = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:32j, -1:1:32j]
    radii = rng.uniform(0.4, 0.8, (count, 1, 1))
    images = (np.hypot(x, y) < radii) * 180 + rng.normal(0, noise or 1, (count, 32, 32))
    return torch.from_numpy(images.clip(0, 255).astype("uint8"))[:, None]


def test_the_measured_distance_is_the_papers(slices: Path, tmp_path: Path):
    settings = small_settings(slices, tmp_path, "trainer.max_steps=2", "callbacks.quality.n_samples=600")
    objective = training.run(settings)
    gan = training.build_model(settings)
    gan.load_state_dict(torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)["state_dict"])
    extractor = RandomConvFeatures()
    data = training.instantiate(settings.data)
    data.setup()
    counts = [64] * 9 + [24]
    fake = torch.cat([gan.sample(gan.latents(count, "quality", i)) for i, count in enumerate(counts)])
    real = torch.cat(list(data.real_batches(7)))
    expected = frechet(extractor(real).double().numpy(), extractor(fake).double().numpy())
    assert objective == pytest.approx(expected, rel=0.02)


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


def test_the_real_statistics_are_computed_once(slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls = []
    original = Quality.compute_real
    monkeypatch.setattr(Quality, "compute_real", lambda self, b: (calls.append(1), original(self, b)))
    overrides = ("trainer.max_epochs=2", "callbacks.quality.every_n_epochs=1")
    first = training.run(small_settings(slices, tmp_path / "1", *overrides))
    second = training.run(small_settings(slices, tmp_path / "2", *overrides))
    assert calls == [1]
    assert first == second


def no_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def one_array(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, real_features_sum=np.zeros(3))


def other_features(path: Path) -> None:
    with np.load(path) as arrays:
        fewer = {name: array[..., :-1] if array.ndim else array for name, array in arrays.items()}
    with path.open("wb") as file:
        np.savez(file, **fewer)


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_damaged_statistics_are_computed_anew(slices: Path, tmp_path: Path, own_cache: Path):
    data = MRIDataModule(slices, image_size=32, channels=1, batch_size=8)
    data.setup()
    trainer = SimpleNamespace(
        datamodule=data, is_global_zero=True, strategy=SimpleNamespace(barrier=lambda: None)
    )

    def real_sum() -> torch.Tensor:
        quality = Quality(download=False)
        quality.distance = FrechetInceptionDistance(quality.extractor, reset_real_features=False)
        quality.load_real(trainer)
        return quality.distance.real_features_cov_sum

    expected = real_sum()
    (path,) = own_cache.glob("statistics-*.npz")
    whole = path.read_bytes()
    damages = [
        lambda path: path.write_bytes(b"garbage"),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(whole[: len(whole) // 2]),
        *(no_array, one_array, other_features, flipped),
    ]
    for damage in damages:
        damage(path)
        assert path.read_bytes() != whole
        assert torch.equal(real_sum(), expected)
        with np.load(path) as arrays:
            assert np.array_equal(arrays["real_features_cov_sum"], expected.numpy())


def test_statistics_that_cannot_be_kept_get_one_line(tmp_path: Path):
    (tmp_path / "file").touch()
    quality = Quality(download=False, cache_dir=str(tmp_path / "file"))
    quality.distance = FrechetInceptionDistance(quality.extractor, reset_real_features=False)
    with pytest.raises(UserError, match=f"cannot write the cache {tmp_path}/file: .* is a file, no folder"):
        quality.save_real(quality.cache_dir / "statistics-0.npz")


def test_without_weights_the_run_says_which_file_goes_where(caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")
    extractor = default_extractor(weights=None, download=False)
    assert (extractor.name, extractor.distance) == ("random-conv-v1", "frechet_random_conv")
    (line,) = [record.getMessage() for record in caplog.records]
    assert "weights-inception-2015-12-05-6726825d.pth" in line
    assert str(Path(torch.hub.get_dir()) / "checkpoints") in line


def test_a_failed_download_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch):
    def broken(url: str, path: str, hash_prefix: str) -> None:
        raise features.URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", broken)
    assert default_extractor(weights=None, download=True).distance == "frechet_random_conv"
    assert not list((Path(torch.hub.get_dir()) / "checkpoints").iterdir())


def test_another_file_is_not_taken_for_the_inception_network(tmp_path: Path):
    path = tmp_path / "weights.pth"
    torch.save({}, path)
    with pytest.raises(UserError, match=r"is not weights-inception-2015-12-05-6726825d\.pth"):
        default_extractor(str(path), download=False)
    with pytest.raises(UserError, match="No such file"):
        default_extractor(str(tmp_path / "missing.pth"), download=False)


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
    monkeypatch.setattr(features, "INCEPTION_SHA256", digest[:8])
    quality = Quality(weights=str(random_inception))
    assert quality.tag == "quality/fid"
    images = blobs(2, 0)
    one = quality.extractor(images)
    assert one.shape == (2, 2048)
    assert torch.equal(one, quality.extractor(images.repeat(1, 3, 1, 1)))
    assert not quality.extractor.train().network.training
