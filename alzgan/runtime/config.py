"""The schemas of `conf/*.yaml`: the names and types of every setting, checked before anything heavy loads.

Open places (`dict[str, Any]`) take any class with a `_target_`: a new network, loss, dataset or callback is
one class and one yaml, not a change here.
"""

import inspect
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from pydoc import locate
from typing import Any, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from alzgan.runtime.errors import UserError
from alzgan.runtime.resume import run_folder


@dataclass
class SourceConfig:
    """Which images, who is in them, and who is held out."""

    root: str | None = MISSING
    subjects: str = MISSING
    bad_files: str = MISSING
    fractions: tuple[float, float, float] = MISSING
    split_seed: int = MISSING
    cache_dir: str | None = None


@dataclass
class DataConfig(SourceConfig):
    """How they are served."""

    _target_: str = MISSING
    image_size: int = MISSING
    channels: int = MISSING
    slices_as_channels: bool = MISSING
    batch_size: int = MISSING
    num_workers: int = MISSING
    fit: str = MISSING
    sampling: Any = MISSING  # a word, or a weight for each class
    seed: int = MISSING


@dataclass
class OptimizerConfig:
    """Adam (Kingma & Ba 2015)."""

    _target_: str = MISSING
    _partial_: bool = True
    lr: float = MISSING
    betas: tuple[float, float] = MISSING
    eps: float = 1e-8
    weight_decay: float = 0.0
    fused: bool | None = None


@dataclass
class ModelConfig:
    """The two players and their rules."""

    _target_: str = MISSING
    latent_dim: int = MISSING
    generator: dict[str, Any] = MISSING
    discriminator: dict[str, Any] = MISSING
    loss: dict[str, Any] = MISSING
    generator_optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    discriminator_optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    seed: int = MISSING


@dataclass
class TrainerConfig:
    """Arguments of `lightning.Trainer`."""

    _target_: str = MISSING
    accelerator: str = MISSING
    devices: int | str = MISSING
    num_nodes: int = 1
    strategy: str = MISSING
    sync_batchnorm: bool = False
    precision: str = MISSING
    max_epochs: int | None = None
    max_steps: int = -1
    deterministic: bool = False
    log_every_n_steps: int = MISSING


@dataclass
class CheckpointConfig:
    """`last.ckpt` and `best.ckpt`."""

    _target_: str = MISSING
    every_n_train_steps: int = MISSING


@dataclass
class SamplesConfig:
    """The fixed-latent grid."""

    _target_: str = MISSING
    count: int = MISSING
    every_n_epochs: int | None = None
    every_n_train_steps: int | None = None


@dataclass
class QualityConfig:
    """The distance between real and generated images."""

    _target_: str = MISSING
    n_samples: int = MISSING
    every_n_epochs: int = MISSING
    batch_size: int = MISSING
    weights: str | None = None
    download: bool = MISSING
    cache_dir: str | None = None


@dataclass
class TrainConfig:
    """The whole of `conf/train.yaml`."""

    seed: int = MISSING
    ckpt_path: str | None = None
    run_dir: str = MISSING
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    callbacks: dict[str, Any] = field(
        default_factory=lambda: {
            "checkpoint": CheckpointConfig(),
            "samples": SamplesConfig(),
            "quality": QualityConfig(),
        }
    )


@dataclass
class VolumesConfig:
    """Which slices of NIfTI volumes."""

    plane: str = MISSING
    between: tuple[float, float] = MISSING
    central: int | None = None


@dataclass
class PrepareConfig:
    """The whole of `conf/prepare.yaml`."""

    run_dir: str = MISSING
    data: SourceConfig = field(default_factory=SourceConfig)
    images: str | None = None
    volumes: VolumesConfig = field(default_factory=VolumesConfig)


@dataclass
class BenchmarkConfig(TrainConfig):
    """The whole of `conf/benchmark.yaml`."""

    parts: list[str] = MISSING
    loops: list[str] = MISSING
    rounds: int = MISSING
    seconds: float = MISSING
    batch_sizes: list[int] = MISSING
    image_sizes: list[int] = MISSING
    image_counts: list[int] = MISSING


def register() -> None:
    """Make the schemas known to Hydra under the names that `conf/*.yaml` begin with, and what they call."""
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
    OmegaConf.register_new_resolver("named", named, replace=True)
    OmegaConf.register_new_resolver("native_precision", native_precision, replace=True)
    store = ConfigStore.instance()
    store.store(name="train_schema", node=TrainConfig)
    store.store(name="prepare_schema", node=PrepareConfig)
    store.store(name="benchmark_schema", node=BenchmarkConfig)


def named(run_dir: str) -> str:
    """The folder, which an unset shell variable would leave without a name: the current one, then.

    Raises:
        UserError: it has none.
    """
    if not run_dir:
        raise UserError("run_dir is empty; name a folder")
    return run_dir


def native_precision(accelerator: str) -> str:
    """See `alzgan.runtime.devices`; loads torch, where a config asks for it."""
    from alzgan.runtime import devices

    return devices.native_precision(accelerator)


def check_targets(config: DictConfig) -> None:
    """Check every `_target_` in the config, and its arguments' names and plain types, before building any.

    The schema above types the settings that every model shares; a class of one's own says the rest in
    its signature.

    Raises:
        UserError: there is no such class, it has no such argument, or a value is of the wrong type.
    """
    for path, node in target_nodes(config, ""):
        if (target := locate(node._target_)) is None:
            raise UserError(f"{path}._target_={node._target_}: there is no such class")
        hints = get_type_hints(target.__init__ if inspect.isclass(target) else target)
        arguments = inspect.signature(target).parameters
        open_ended = any(argument.kind is argument.VAR_KEYWORD for argument in arguments.values())
        for name, value in OmegaConf.to_container(node, resolve=True).items():
            if name in ("_target_", "_partial_"):
                continue
            if name not in arguments and not open_ended:
                raise UserError(
                    f"{path}.{name}: {node._target_} has no such option, only {', '.join(arguments)}"
                )
            if name in hints and not fits(value, hints[name]):
                raise UserError(f"{path}.{name}={value} must be {describe(hints[name])}")


def target_nodes(node: DictConfig, path: str) -> Iterator[tuple[str, DictConfig]]:
    """Every dictionary under the node that names a class, with its path."""
    if "_target_" in node:
        yield path, node
    for key in node:
        if OmegaConf.is_dict(child := node[key]):
            yield from target_nodes(child, f"{path}.{key}" if path else str(key))


def fits(value: Any, hint: Any) -> bool:
    """Whether a plain value may stand for the hint; hints that are not plain types let all pass."""
    if isinstance(hint, types.UnionType):
        return any(fits(value, option) for option in hint.__args__)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return not isinstance(hint, type) or hint not in (bool, str, type(None)) or isinstance(value, hint)


def describe(hint: Any) -> str:
    """A hint's name as a reader knows it."""
    return getattr(hint, "__name__", str(hint))
