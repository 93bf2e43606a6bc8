"""Measure alzgan on the machine at hand: ``python -m alzgan.benchmark``."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from alzgan.runs import cli


def benchmark(settings: DictConfig) -> None:
    """Time the loops that `conf/benchmark.yaml` names and print the results."""
    hydra = HydraConfig.get()
    from alzgan.benchmarks.measure import measure  # loads torch, which takes seconds

    measure(settings, hydra.overrides.task, Path(hydra.runtime.output_dir))


if __name__ == "__main__":
    cli.run(benchmark, "benchmark")
