"""Measure alzgan on the machine at hand: ``python -m alzgan.benchmark``."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from alzgan.runtime import cli, config
from alzgan.runtime.checks import check_benchmark, check_devices, check_new_benchmark, check_settings


def benchmark(settings: DictConfig) -> None:
    """Measure the parts that `conf/benchmark.yaml` names and say what came out."""
    check_settings(settings)
    check_benchmark(settings)
    hydra = HydraConfig.get()
    run_dir = Path(hydra.runtime.output_dir)
    check_new_benchmark(run_dir)
    check_devices(settings.trainer)
    # Loads torch: only when the settings are accepted.
    from alzgan.benchmarks.measure import measure

    measure(settings, hydra.overrides.task, run_dir)


if __name__ == "__main__":
    config.register()
    cli.run(benchmark, "benchmark")
