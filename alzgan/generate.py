"""Make images with a trained generator: ``python -m alzgan.generate ckpt_path=RUN n=5000 out=DIR``."""

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from alzgan.errors import UserError
from alzgan.runs import cli
from alzgan.text import printable


def generate(settings: DictConfig) -> None:
    """Generate what `conf/generate.yaml` asks for, and say what came out."""
    if OmegaConf.is_missing(settings, "ckpt_path") or settings.ckpt_path is None:
        raise UserError("ckpt_path is not set; add ckpt_path=RUN, a run's folder or a checkpoint")
    overrides = HydraConfig.get().overrides.task
    from alzgan.generation import run  # loads torch, which takes seconds

    for line in run.generate(settings, overrides):
        print(printable(line))


if __name__ == "__main__":
    cli.run(generate, "generate")
