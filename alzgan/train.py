"""Train a model: ``python -m alzgan.train model=dcgan trainer.devices=1``."""

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from alzgan.runtime import cli, config
from alzgan.runtime.checks import check_devices, check_settings


def train(settings: DictConfig) -> float:
    """Train as `conf/train.yaml` says; return the best value of the quality metric, lower is better."""
    check_settings(settings)
    check_devices(settings.trainer.accelerator, settings.trainer.devices)
    # Lightning and torchmetrics take seconds to load: only when the settings are accepted.
    from alzgan.training import run

    hydra = HydraConfig.get()
    settings.run_dir = hydra.runtime.output_dir  # in a sweep, the job's own
    return run(settings, overrides=hydra.overrides.task)


if __name__ == "__main__":
    config.register()
    cli.run(train, "train")
