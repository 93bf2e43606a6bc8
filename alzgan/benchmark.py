"""Measure alzgan on the machine at hand: ``python -m alzgan.benchmark``."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from alzgan.runtime import cli, config
from alzgan.runtime.checks import check_benchmark, check_devices, check_settings


def benchmark(settings: DictConfig) -> None:
    """Measure the parts that `conf/benchmark.yaml` names and say what came out."""
    check_settings(settings)
    check_benchmark(settings)
    check_devices(settings.trainer)
    # Loads torch: only when the settings are accepted.
    from alzgan.benchmarks.measure import measure

    hydra = HydraConfig.get()
    measure(settings, hydra.overrides.task, Path(hydra.runtime.output_dir))


if __name__ == "__main__":
    config.register()
    cli.run(benchmark, "benchmark")
