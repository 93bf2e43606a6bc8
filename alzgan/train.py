"""Train a model: ``python -m alzgan.train model=dcgan trainer.devices=1``."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from alzgan.runtime import cli, config
from alzgan.runtime.checks import check_devices, check_job, check_settings
from alzgan.runtime.resume import run_to_continue
from alzgan.runtime.sweep import outliving_failures


def train(settings: DictConfig) -> float:
    """Train as `conf/train.yaml` says; return the best value of the quality metric, lower is better."""
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN:
        check_job(settings)
    run_dir, overrides = Path(hydra.runtime.output_dir), hydra.overrides.task  # in a sweep, the job's own
    previous = run_to_continue(settings, run_dir)
    if previous is not None:
        settings = previous.settings(settings, overrides)
    check_settings(settings)
    check_devices(settings.trainer)
    # Lightning and torchmetrics take seconds to load: only when the settings are accepted.
    from alzgan.training import run

    settings.run_dir = str(run_dir)
    return run(settings, overrides, previous)


if __name__ == "__main__":
    config.register()
    cli.run(outliving_failures(train), "train")
