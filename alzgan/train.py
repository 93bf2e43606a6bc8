"""Train a model: ``python -m alzgan.train model=dcgan trainer.devices=1``."""

from omegaconf import DictConfig

from alzgan.runtime import cli, config
from alzgan.runtime.checks import check_devices, check_settings


def train(settings: DictConfig) -> float:
    """Train as `conf/train.yaml` says; return the best value of the quality metric, lower is better."""
    check_settings(settings)
    check_devices(settings.trainer.accelerator, settings.trainer.devices)
    # Lightning and torchmetrics take seconds to load: only when the settings are accepted.
    from alzgan.training import run

    return run(settings)


if __name__ == "__main__":
    config.register()
    cli.run(train, "train")
