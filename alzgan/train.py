"""Train a model: ``python -m alzgan.train model=dcgan trainer.devices=1``."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from alzgan.runs import cli
from alzgan.runs.resume import run_to_continue
from alzgan.runs.sweep import check_job, finish_job, finished_job, outliving_failures


def train(settings: DictConfig) -> float:
    """Train as `conf/train.yaml` says; return the best value of the quality metric, lower is better."""
    hydra = HydraConfig.get()
    sweeping = hydra.mode == RunMode.MULTIRUN
    if sweeping:
        check_job(settings)
    run_dir, overrides = Path(hydra.runtime.output_dir), hydra.overrides.task  # in a sweep, the job's own
    if sweeping and (done := finished_job(run_dir)) is not None:
        return done
    previous = run_to_continue(settings, run_dir, overrides, again=sweeping)
    if previous is not None:
        if finished := previous.finished():
            return finish_job(run_dir, previous, finished)
        settings = previous.to_train()
    from alzgan.runs.session import run  # loads torch and Lightning, which takes seconds

    settings.run_dir = str(run_dir)
    return run(settings, overrides, previous)


if __name__ == "__main__":
    cli.run(outliving_failures(train), "train")
