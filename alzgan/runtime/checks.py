"""Everything that a user can get wrong and that is cheap to find out, before anything heavy is loaded."""

import os
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from alzgan.data.folder import scan
from alzgan.runtime.errors import UserError

IMAGE_SIZES = (32, 64, 128, 256)


def check_settings(config: DictConfig) -> None:
    """Check a composed `conf/train.yaml`, its settings against each other and against the disk.

    Raises:
        UserError: at the first that cannot work.
    """
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise UserError(f"{missing[0]} is not set; add {missing[0]}=... to the command line")
    data, trainer = config.data, config.trainer
    if data.image_size not in IMAGE_SIZES:
        raise UserError(f"data.image_size={data.image_size} must be a power of two: 32, 64, 128 or 256")
    for name in ("data.batch_size", "data.channels", "model.latent_dim", "trainer.log_every_n_steps"):
        if (value := OmegaConf.select(config, name)) < 1:
            raise UserError(f"{name}={value} must be at least 1")
    if data.channels not in (1, 3):
        raise UserError(f"data.channels={data.channels} must be 1 (grey) or 3 (RGB)")
    for name, choices in (("data.fit", ("crop", "pad")), ("data.bad_files", ("error", "skip"))):
        if (value := OmegaConf.select(config, name)) not in choices:
            raise UserError(f"{name}={value} must be one of {', '.join(choices)}")
    if data.seed < 0 or config.seed < 0:
        raise UserError(f"seed={config.seed} must not be negative")
    if not trainer.max_epochs and trainer.max_steps < 0:
        raise UserError("set trainer.max_epochs or trainer.max_steps: without either, a run would do nothing")
    if data.root is not None and data._target_.endswith(".MRIDataModule"):
        check_folder(Path(data.root).expanduser(), data.batch_size)


def check_folder(root: Path, batch_size: int) -> None:
    """Check that there are images in class folders, enough for a batch.

    Raises:
        UserError: there are not; the line says what was found.
    """
    images = len(scan(root))
    if images < batch_size:
        raise UserError(
            f"{root} has {images} images, fewer than a batch; set data.batch_size to {images} or less"
        )


def check_devices(accelerator: str, devices: int | str) -> None:
    """Check that the machine has what is asked for. Loads torch, so not before the rest is in order.

    Raises:
        UserError: it has not.
    """
    import torch

    gpus = torch.cuda.device_count()
    if accelerator not in ("auto", "cpu", "gpu", "cuda", "mps", "tpu"):
        raise UserError(f"trainer.accelerator={accelerator} must be one of auto, cpu, gpu, cuda, mps, tpu")
    if accelerator in ("gpu", "cuda") and gpus == 0:
        raise UserError(f"trainer.accelerator={accelerator}: there is no CUDA device; use cpu or auto")
    if isinstance(devices, str) or devices == -1:
        return  # "auto", a list, or all: Lightning's to say
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and gpus == 0)
    available = os.cpu_count() if on_cpu else gpus
    if not 1 <= devices <= available:
        kind = "CPU cores, one for each process" if on_cpu else "CUDA devices"
        raise UserError(f"trainer.devices={devices}: this machine has {available} {kind}")
