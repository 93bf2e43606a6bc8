import hashlib
import json
import os
from pathlib import Path

import pytest
from conftest import SMALL, alzgan, settings
from lightning import Callback
from torch import Tensor

from alzgan.errors import UserError
from alzgan.runs.build import check_devices
from alzgan.runs.checkpoints import load_checkpoint
from alzgan.runs.sweep import check_job


def digest(*tensors: Tensor) -> str:
    return hashlib.sha256(b"".join(tensor.detach().numpy().tobytes() for tensor in tensors)).hexdigest()


class RankWitness(Callback):
    """Writes what a rank has seen and what it has ended with."""

    def __init__(self, folder: str):
        self.folder, self.seen = Path(folder), {"batches": [], "latents": []}

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.seen["batches"].append(digest(batch[0]))
        latents = pl_module.latents(8, "train", trainer.global_step, pl_module.global_rank)
        self.seen["latents"].append(digest(latents))

    def on_train_end(self, trainer, pl_module):
        self.seen["parameters"] = digest(*pl_module.parameters())
        self.seen["anchors"] = pl_module.penalties["lecam"].anchors.tolist()
        self.seen["probability"] = pl_module.augment.probability.item()
        (self.folder / f"{trainer.global_rank}.json").write_text(json.dumps(self.seen))


@pytest.fixture(scope="module")
def output_and_folder(slices: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Six steps, an epoch and a half of each rank, on two real processes."""
    folder = tmp_path_factory.mktemp("ddp")
    witness = [f"+callbacks.witness._target_={__name__}.RankWitness", f"+callbacks.witness.folder={folder}"]
    run = ["data=mri", f"data.root={slices}", f"run_dir={folder / 'run'}", *SMALL, "data.batch_size=4"]
    run += ["penalty=lecam", "augment=ada", "model.augment.target=0", "model.augment.length=100"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        patch.setenv("ALZGAN_CACHE", str(folder / "cache"))
        ranks = ["trainer=ddp", "trainer.devices=2", "trainer.max_steps=6"]
        result = alzgan(*run, *witness, *ranks, fresh=True)  # whose command line makes the other rank
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    return result.stdout, folder


def test_ranks_end_with_equal_parameters_after_different_batches_and_latents(output_and_folder):
    _, folder = output_and_folder
    one, two = (json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1))
    assert one["parameters"] == two["parameters"]
    for what in ("batches", "latents"):
        assert len(one[what]) == 6
        assert len({*one[what], *two[what]}) == 12, what


def test_ranks_agree_on_what_follows_the_game_though_each_sees_its_own_logits(output_and_folder):
    _, folder = output_and_folder
    one, two = (json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1))
    assert one["anchors"] == two["anchors"]
    assert one["anchors"][0] != one["anchors"][1]
    # One change in six steps, of 4 steps of 8 images in a length of 100.
    assert one["probability"] == two["probability"] in (0.0, pytest.approx(0.32))


def test_the_first_rank_alone_writes_and_speaks(output_and_folder):
    output, folder = output_and_folder
    names = {path.name for path in (folder / "run").iterdir() if not path.name.startswith("events.")}
    assert names == {
        *("checkpoints", "samples", "config.yaml", "run.json", "metrics.json", "split.csv", "train.log")
    }
    assert len(list((folder / "run").glob("events.*"))) == 1
    lines = output.splitlines()
    assert len(lines) == len(set(lines)) > 5
    assert (folder / "run/train.log").read_text() == output
    record = load_checkpoint(folder / "run/checkpoints/last.ckpt")["alzgan"]["provenance"]
    assert record["world_size"] == 2


def test_a_sweep_on_several_devices_is_refused():
    with pytest.raises(UserError, match=r"trainer.devices=2: the jobs of a sweep have one device each"):
        check_job(settings("trainer.devices=2"))
    with pytest.raises(UserError, match="ckpt_path continues one run"):
        check_job(settings("ckpt_path=x", "run_dir=x"))
    check_job(settings())


def test_synchronised_batch_norm_needs_a_gpu():
    with pytest.raises(UserError, match=r"trainer.sync_batchnorm=true needs CUDA"):
        check_devices(settings("trainer.sync_batchnorm=true", "trainer.accelerator=cpu").trainer)
    if (os.cpu_count() or 1) > 1:
        check_devices(settings("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2").trainer)
