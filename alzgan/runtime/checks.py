"""Everything that a user can get wrong and that is cheap to find out, before anything heavy is loaded."""

import os
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from alzgan.data.folder import class_names, scan
from alzgan.data.sampling import class_weights
from alzgan.data.splits import part_shares
from alzgan.runtime.errors import UserError

IMAGE_SIZES = (32, 64, 128, 256)
SEEDS = ("seed", "data.seed", "model.seed")
# The least that each setting can be where it is set at all; null is off.
LEAST = {
    "data.batch_size": 1,
    "data.channels": 1,
    "data.num_workers": 0,
    "model.latent_dim": 1,
    "trainer.log_every_n_steps": 1,
    "callbacks.checkpoint.every_n_train_steps": 1,
    "callbacks.samples.count": 1,
    "callbacks.samples.every_n_epochs": 1,
    "callbacks.samples.every_n_train_steps": 1,
    "callbacks.quality.n_samples": 2,  # a covariance needs two
    "callbacks.quality.every_n_epochs": 1,
    "callbacks.quality.batch_size": 1,
    "callbacks.health.every_n_train_steps": 1,
    "callbacks.health.patience": 1,
}
BENCHMARK_PARTS = ("loops", "stages", "between", "start", "decoding", "growth")
BENCHMARK_LOOPS = (
    "product",
    "product_fast",
    "textbook",
    "textbook_resident",
    "bare",
    "bare_fast",
    "trainer",
    "fast",
)


def check_settings(config: DictConfig) -> None:
    """Check a composed `conf/train.yaml`, its settings against each other and against the disk.

    Raises:
        UserError: at the first that cannot work.
    """
    check_missing(config)
    data, trainer = config.data, config.trainer
    if data.image_size not in IMAGE_SIZES:
        raise UserError(f"data.image_size={data.image_size} must be a power of two: 32, 64, 128 or 256")
    check_numbers(config)
    check_channels(data.channels, data.slices_as_channels)
    check_choice(config, "data.fit", ("crop", "pad"))
    check_source(config)
    if trainer.max_epochs is None and trainer.max_steps < 0:
        raise UserError("set trainer.max_epochs or trainer.max_steps: without either, a run has no end")
    if data.root is not None and data._target_.endswith(".MRIDataModule"):
        check_folder(Path(data.root).expanduser(), data.batch_size, data.sampling)


def check_numbers(config: DictConfig) -> None:
    """Check that each number is one that its setting can have.

    Raises:
        UserError: at the first that is not.
    """
    for name, least in LEAST.items():
        if (value := OmegaConf.select(config, name)) is not None and value < least:
            raise UserError(f"{name}={value} must be at least {least}")
    for name in SEEDS:
        check_seed(config, name)
    for name in ("trainer.max_steps", "trainer.max_epochs"):
        if (value := OmegaConf.select(config, name)) is not None and value != -1 and value < 1:
            raise UserError(f"{name}={value} must be at least 1, or -1 for no limit")
    for player in ("generator", "discriminator"):
        optimizer = config.model[f"{player}_optimizer"]
        if not 0 < optimizer.lr < float("inf"):
            raise UserError(f"model.{player}_optimizer.lr={optimizer.lr} must be above 0")
        if len(optimizer.betas) != 2 or not all(0 <= beta < 1 for beta in optimizer.betas):
            betas = f"model.{player}_optimizer.betas={list(optimizer.betas)}"
            raise UserError(f"{betas} must be two numbers from 0 to below 1")


def check_seed(config: DictConfig, name: str) -> None:
    """Check that a setting can key a stream.

    Raises:
        UserError: it cannot.
    """
    if not 0 <= (value := OmegaConf.select(config, name)) < 2**63:
        raise UserError(f"{name}={value} must be a whole number from 0 to 2**63 - 1")


def check_missing(config: DictConfig) -> None:
    """Check that everything that has no default is set.

    Raises:
        UserError: something is not.
    """
    if missing := sorted(OmegaConf.missing_keys(config)):
        raise UserError(f"{missing[0]} is not set; add {missing[0]}=... to the command line")


def check_choice(config: DictConfig, name: str, choices: tuple[str, ...]) -> None:
    """Check that a setting is one of the words it may be.

    Raises:
        UserError: it is another; the line lists them.
    """
    if (value := OmegaConf.select(config, name)) not in choices:
        raise UserError(f"{name}={value} must be one of {', '.join(choices)}")


def check_source(config: DictConfig) -> None:
    """Check what training and preparation have in common: the folder, and how it is split.

    Raises:
        UserError: at the first that cannot work.
    """
    check_choice(config, "data.bad_files", ("error", "skip"))
    part_shares(config.data.fractions)
    if not 0 <= config.data.split_seed < 2**63:
        raise UserError(
            f"data.split_seed={config.data.split_seed} must be a whole number from 0 to 2**63 - 1"
        )


def check_channels(channels: int, slices_as_channels: bool) -> None:
    """Check that images can have so many channels.

    Raises:
        UserError: they cannot.
    """
    if slices_as_channels and (channels < 3 or channels % 2 == 0):
        raise UserError(
            f"data.channels={channels} must be an odd number from 3 on with data.slices_as_channels=true: "
            "a slice and as many neighbours on each side"
        )
    if not slices_as_channels and channels not in (1, 3):
        raise UserError(
            f"data.channels={channels} must be 1 (grey) or 3 (RGB); neighbouring slices as channels need "
            "data.slices_as_channels=true"
        )


def check_folder(root: Path, batch_size: int, sampling: Any) -> None:
    """Check that there are images in class folders, enough for a batch, and that the classes have weights.

    Raises:
        UserError: there are not, or they have not; the line says what was found.
    """
    files = scan(root)
    if len(files) < batch_size:
        raise UserError(
            f"{root} has {len(files)} images, fewer than a batch; set data.batch_size to {len(files)} or less"
        )
    class_weights(sampling, class_names(files))


def check_benchmark(config: DictConfig) -> None:
    """Check what is asked of a benchmark.

    Raises:
        UserError: there is no such part or loop, nothing would be measured, or it is no benchmark's to say.
    """
    for name, choices in (("parts", BENCHMARK_PARTS), ("loops", BENCHMARK_LOOPS)):
        if unknown := [word for word in config[name] if word not in choices]:
            raise UserError(f"{name}: there is no {unknown[0]}; choose of {', '.join(choices)}")
        if not config[name]:
            raise UserError(f"{name} is empty; choose of {', '.join(choices)}")
    if config.rounds < 1:
        raise UserError(f"rounds={config.rounds} must be at least 1")
    if not 0 < config.seconds < float("inf"):
        raise UserError(f"seconds={config.seconds} must be above 0")
    check_growth(config)
    if config.ckpt_path is not None:
        raise UserError(f"ckpt_path={config.ckpt_path} is for alzgan.train: a benchmark starts anew")
    if str(config.trainer.devices) != "1" or config.trainer.num_nodes > 1:
        raise UserError(
            f"trainer.devices={config.trainer.devices}: a benchmark is of one device; set it to 1"
        )


def check_growth(config: DictConfig) -> None:
    """Check the sizes that a benchmark goes through.

    Raises:
        UserError: one cannot be measured.
    """
    for size in config.batch_sizes:
        if size < 1:
            raise UserError(f"batch_sizes: {size} must be at least 1")
    for size in config.image_sizes:
        if size not in IMAGE_SIZES:
            raise UserError(f"image_sizes: {size} must be a power of two: 32, 64, 128 or 256")
    least = 2 * config.data.batch_size
    for count in config.image_counts:
        if count < least and "growth" in config.parts:
            raise UserError(f"image_counts: {count} must be at least {least}, two batches")


def check_new_benchmark(run_dir: Path) -> None:
    """Check that a benchmark will not be written over another, nor into a training run.

    Raises:
        UserError: the folder holds one.
    """
    for name, what in (("benchmark.json", "a benchmark"), ("checkpoints", "a run")):
        if (run_dir / name).exists():
            raise UserError(f"{run_dir} holds {what} already; choose another run_dir")


def check_job(config: DictConfig) -> None:
    """Check what a sweep's job may not have.

    Raises:
        UserError: it has it.
    """
    if config.ckpt_path is not None:
        raise UserError("ckpt_path continues one run: leave out -m (--multirun)")
    if str(config.trainer.devices) != "1" or config.trainer.num_nodes > 1:
        # Each rank would start a sweep of its own.
        raise UserError(
            f"trainer.devices={config.trainer.devices}: the jobs of a sweep have one device each; set it to 1"
        )


def check_devices(trainer: DictConfig) -> None:
    """Check that the machine has what is asked for. Loads torch, so not before the rest is in order.

    Raises:
        UserError: it has not.
    """
    import torch

    accelerator, devices = trainer.accelerator, trainer.devices
    gpus = torch.cuda.device_count()
    if accelerator not in ("auto", "cpu", "gpu", "cuda", "mps", "tpu"):
        raise UserError(f"trainer.accelerator={accelerator} must be one of auto, cpu, gpu, cuda, mps, tpu")
    if accelerator in ("gpu", "cuda") and gpus == 0:
        raise UserError(f"trainer.accelerator={accelerator}: there is no CUDA device; use cpu or auto")
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and gpus == 0)
    if trainer.sync_batchnorm and on_cpu:
        raise UserError("trainer.sync_batchnorm=true needs CUDA devices; set it to false")
    if isinstance(devices, str) or devices == -1:
        return  # "auto", a list, or all: Lightning's to say
    available = os.cpu_count() if on_cpu else gpus
    if not 1 <= devices <= available:
        kind = "CPU cores, one for each process" if on_cpu else "CUDA devices"
        raise UserError(f"trainer.devices={devices}: this machine has {available} {kind}")
