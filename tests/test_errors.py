import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import REPOSITORY, SMALL, alzgan
from hydra.core.override_parser.overrides_parser import OverridesParser
from PIL import Image


def test_a_wrong_setting_ends_the_process_with_one_line_and_code_1(tmp_path: Path):
    result = alzgan("data.batch_size=0", f"run_dir={tmp_path}")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "alzgan: data.batch_size=0 must be at least 1\n"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model=foo", "Could not find 'model/foo'; Available options in 'model': aided; aided_stacks; "),
        ("model.foo=1", "there is no setting model.foo: --help lists them"),
        ("penalty=[r1,r3]", "Available options in 'penalty': gradient; lecam; r1; r2"),
        ("/my/folder", "cannot read /my/folder; write data.root=/my/folder"),
        ("tests", "cannot read tests; write data.root=tests"),
        ("+model.foo=1", "model.foo: alzgan.gan.GAN has no such option, only generator, "),
        ("epochs=3", "there is no setting epochs: --help lists them"),
        ("model.generator_optimizer.weight_decay=0.1", "use +model.generator_optimizer.weight_decay=0.1"),
        ("+trainer.fast_dev_run=true", "trainer.fast_dev_run is not used here: set trainer.max_steps=1"),
        (
            "augment=none model.augment.shift=0.1",
            "there is no setting model.augment.shift: --help lists them; if its class has such an "
            "option, use +model.augment.shift=0.1; if a recipe has it, name the recipe too: model=NAME",
        ),
        ("augment=none +model.augment.shift=0.1", "model.augment.shift=0.1: the run has no model.augment; "),
        ("model=small augment=none model.augment.shift=0.1", "the run has no model.augment; choose one with"),
        (
            "model=small average=none +model.average.ramp_up=1",
            "the run has no model.average; choose one with",
        ),
        (
            "penalty=[r2] +model.penalties.r1.weight=5",
            "the run has no model.penalties.r1; choose one with penal",
        ),
        ("+model.penalties.r3={weight:5}", "the run has no model.penalties; choose one with penalty="),
        ("+model.penalties.r3=5", "the run has no model.penalties; choose one with penalty="),
        ("model.generator_optimizer.lr=abc", "model.generator_optimizer.lr=abc must be float"),
        ("data.batch_size=many", "data.batch_size=many must be int"),
        ("data.batch_size=0", "data.batch_size=0 must be at least 1"),
        ("data.image_size=48", "alzgan: data.image_size=48 must be one of 32, 64, 128, 256"),
        ("model=cdcgan conditioning.strength=-1", "alzgan: conditioning.strength=-1 must be from 0 to 1"),
        ("model.latent_dim=0", "alzgan: model.latent_dim=0 must be at least 1"),
        ("model.generator.latent_dim=0", "alzgan: model.generator.latent_dim=0 must be at least 1"),
        ("data.fit=squash", "data.fit=squash must be one of crop, pad"),
        ("data.channels=2", "data.channels=2 must be 1 (grey) or 3 (RGB)"),
        ("data.channels=5", "neighbouring slices as channels need data.slices_as_channels=true"),
        ("data.slices_as_channels=true data.channels=4", "data.channels=4 must be an odd number from 3 on"),
        ("data.fractions=[0.5,0.2,0.2]", "alzgan: data.fractions=[0.5, 0.2, 0.2] must be three numbers"),
        ("data.split_seed=-1", "data.split_seed=-1 must be a whole number from 0"),
        ("data=mri", "data.root is not set; add data.root="),
        ("seed=1,2", "Ambiguous value for argument 'seed=1,2'"),
        ("seed", "Error parsing override 'seed'"),
        ("callbacks=null", "Config group override must be a string or a list"),
        ("trainer.devices=1000", "trainer.devices=1000: this machine has"),
        ("trainer.devices=0", "trainer.devices=0: this machine has"),
        (
            "trainer.accelerator=abacus",
            "trainer: You selected an invalid accelerator name: `accelerator='abacus'`",
        ),
        ("trainer.max_epochs=null", "set trainer.max_epochs or trainer.max_steps"),
        ("trainer.max_steps=0", "trainer.max_steps=0 must be at least 1, or -1 for no limit"),
        ("trainer.max_epochs=-5", "trainer.max_epochs=-5 must be at least 1, or -1 for no limit"),
        ("callbacks.samples.count=0", "callbacks.samples.count=0 must be at least 1"),
        ("callbacks.samples.every_n_epochs=-1", "callbacks.samples.every_n_epochs=-1 must be at least 1"),
        ("callbacks.quality.n_samples=1", "callbacks.quality.n_samples=1 must be at least 2"),
        (
            "callbacks.health.every_n_train_steps=0",
            "callbacks.health.every_n_train_steps=0 must be at least 1",
        ),
        ("data.num_workers=-1", "data.num_workers=-1 must be at least 0"),
        ("seed=abc", "alzgan: seed=abc must be int"),
        (
            "data.chanels=1",
            "there is no setting data.chanels: did you mean data.channels? --help lists all; if",
        ),
        (f"seed={2**63}", f"seed={2**63} must be a whole number from 0 to 2**63 - 1"),
        ("model.generator_optimizer.lr=-1", "model.generator_optimizer: Invalid learning rate: -1"),
        ("model.generator_optimizer.betas=[0.5,2]", "Invalid beta parameter at index 1: 2"),
        ("model.loss=hinge", "model.loss=hinge must be AdversarialLoss"),
        ("loss=hindge", "Could not find 'loss/hindge'; Available options in 'loss': hinge"),
        ("penalty=r1 model.penalties.r1.interval=0", "model.penalties.r1.interval=0 must be at least 1"),
        ("augment=translate_flip model.augment.shift=2", "model.augment.shift=2 must be from 0 to 1"),
        (
            "average=ema model.average.ramp_up=0",
            "model.average.ramp_up=0 must be above 0; null is no",
        ),
        ("model.generator.image_size=128", "model.generator.image_size=128 differs from data.image_size=64"),
        ("model.discriminator.channels=1", "discriminator.channels=1 differs from data.channels=3: leave it"),
        ("model.generator.latent_dim=50", "model.generator.latent_dim=50 differs from model.latent_dim=100"),
        ("trainer.log_every_n_steps=null", "trainer.log_every_n_steps=None must be a whole number from 1 on"),
        ("trainer.devices=[0] trainer.accelerator=cpu", "trainer: "),
        ("data=mri data.root=x data.exclude=5", "data.exclude=5 must be a pattern, or a list of patterns"),
        (
            "augment=mri model.augment.probability={_target_:alzgan.schedules.Linear,start:0,end:5}",
            "model.augment.probability.end=5 must be from 0 to 1",
        ),
        ("average=ema model.average.half_life=0", "model.average.half_life=0 must be at least 1"),
        (
            "model.discriminator.normalization=layer",
            "normalization=layer must be one of batch, none, spectral",
        ),
        ("average=ema trainer.precision=bf16-true", "small steps of ExponentialMovingAverage are lost"),
        ("augment=ada trainer.precision=bf16-true", "small steps of AdaptiveAugmentation are lost"),
        ("penalty=lecam trainer.precision=bf16-true", "small steps of LeCam are lost in bfloat16"),
        ("model.gradient_clip=1 trainer.precision=16-mixed", "choose bf16-mixed"),
        ("model.gradient_clip=1 trainer.precision=16", "choose bf16-mixed"),
        ("model.gradient_clip=0", "model.gradient_clip=0 must be above 0; null is no limit"),
        ("callbacks.checkpoint.every_n_train_steps=0", "checkpoint.every_n_train_steps=0 must be at least 1"),
        (
            "model=small model.augment.shift={_target_:alzgan.schedules.Linear,start:0,end:1}",
            "must be float",
        ),
        ("+trainer.limit_train_batches=3", "limit_train_batches is not used here: set trainer.max_steps"),
        ("model=r3gan augment=ada", "model.augment.probability is adapted by ADA: give its first value"),
        ("model.turns=3", "data.batch_size=32 must be a multiple of model.turns=3"),
        ("+trainer.logger=true", "trainer.logger is not used here: alzgan sets it, leave it out"),
        ("+trainer.profiler=simple", "trainer.profiler is not used here"),
        ("+trainer.default_root_dir=x", "trainer.default_root_dir is not used here"),
        (
            "+trainer.gradient_clip_val=1",
            "trainer.gradient_clip_val is not used here: set model",
        ),
        ("+trainer.accumulate_grad_batches=2", "trainer.accumulate_grad_batches is not used here"),
        ("trainer.precision=16-true", "trainer.precision=16-true: float16 is too small for Adam"),
        ("data=mri data.root=", "data.root is not set"),
        ("model.generator_optimizer.betas=[0.5]", "model.generator_optimizer.betas=[0.5] must be [float"),
    ],
)
def test_a_wrong_setting_gets_one_line(error_line: Callable, override: str, expected: str, tmp_path: Path):
    assert expected in error_line(*override.split(), f"run_dir={tmp_path / 'run'}")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model.generator.width=abc", "model.generator.width=abc must be int"),
        (
            "+model.generator.widht=8",
            "model.generator.widht: alzgan.networks.dcgan.Generator has no such option",
        ),
        (
            "+model.generator.features=8",
            "model.generator.features: alzgan.networks.dcgan.Generator has no such",
        ),
        ("model.generator.strength=high", "model.generator.strength=high must be float or Schedule"),
        ("model.discriminator.classes=-1", "alzgan: model.discriminator.classes=-1 must be at least 0"),
        (
            "model.loss._target_=alzgan.losses.Nothing",
            "model.loss._target_=alzgan.losses.Nothing: module 'alzgan.losses' has no attribute 'Nothing'",
        ),
        ("model.generator.width=0", "alzgan: model.generator.width=0 must be at least 1"),
        ("trainer.precision=8", "alzgan: trainer: Precision 8 is invalid."),
        ("trainer.strategy=foo", "alzgan: trainer: You selected an invalid strategy name"),
        ("callbacks.quality.extractor=inception:/nowhere.pth", "/nowhere.pth: No such file"),
        ("model=cdcgan model.classes=1", "the data has 2 classes, but model.classes=1 is fewer"),
        ("model=cdcgan trainer.max_epochs=-1", "the model has schedules over the run's length"),
    ],
)
def test_a_wrong_setting_of_an_open_place_gets_one_line(
    error_line: Callable, override: str, expected: str, slices: Path, tmp_path: Path
):
    root, run = f"data.root={slices}", f"run_dir={tmp_path}"
    assert expected in error_line("data=mri", root, run, *SMALL, *override.split())


def test_tasks_of_slurm_that_would_all_be_the_same_run_are_refused(
    error_line: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    line = error_line(f"run_dir={tmp_path}")
    assert "srun has started 2 tasks, and each would train this whole run: set trainer=ddp" in line
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    assert "data.batch_size=32 must be" in error_line(f"run_dir={tmp_path}", "model.turns=3")


def folder_of(root: Path, count: int) -> Path:
    (root / "Healthy").mkdir(parents=True)
    for index in range(count):
        Image.new("L", (40, 40), index).save(root / "Healthy" / f"{index}.png")
    return root


def test_a_folder_that_cannot_be_used_gets_one_line(error_line: Callable, tmp_path: Path):
    def line(root: Path) -> str:
        return error_line("data=mri", f"data.root={root}", f"run_dir={tmp_path / 'run'}", *SMALL)

    missing, empty, flat = (tmp_path / name for name in ("missing", "empty", "flat"))
    empty.mkdir()
    flat.mkdir()
    Image.new("L", (40, 40)).save(flat / "one.png")
    assert f"there is no folder {missing}" in line(missing)
    assert str(empty) in line(empty)
    assert "1 different image " in line(flat)
    few = folder_of(tmp_path / "few", 7)
    weights = ("data.sampling={Healthy: 1, Ill: 2}", "data.batch_size=4")
    assert "there is no class Ill, only Healthy" in error_line(
        "data=mri", f"data.root={few}", f"run_dir={tmp_path / 'run'}", *SMALL, *weights
    )
    none = ("data.subjects=none", "data.batch_size=6")
    assert "set data.batch_size to 5 or less" in error_line(
        "data=mri", f"data.root={few}", f"run_dir={tmp_path / 'run'}", *SMALL, *none
    )


def test_an_unreadable_image_is_named(error_line: Callable, tmp_path: Path):
    root = folder_of(tmp_path / "data", 9)
    (root / "Healthy" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    line = error_line("data=mri", f"data.root={root}", f"run_dir={tmp_path / 'run'}", *SMALL)
    assert "Healthy/broken.png" in line


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_run_folder_that_cannot_be_written_gets_one_line(error_line: Callable, place: str, tmp_path: Path):
    (tmp_path / "file").touch()
    line = error_line(f"run_dir={tmp_path / place}", *SMALL)
    assert f"run_dir={tmp_path}/file" in line
    assert "cannot be written" in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_run_folder_gets_one_line(error_line: Callable, tmp_path: Path):
    tmp_path.chmod(0o500)
    assert "cannot be written: Permission denied" in error_line(f"run_dir={tmp_path / 'run'}", *SMALL)


def test_an_empty_run_folder_is_refused(error_line: Callable):
    assert error_line("run_dir=") == "alzgan: run_dir is empty; name a folder"


def test_help_shows_the_groups_and_the_options():
    result = alzgan("--help", fresh=True)
    assert result.returncode == 0
    assert "model: aided, aided_stacks, caided, cdcgan, csmall, dcgan, " in result.stdout
    assert "generator_optimizer:" in result.stdout


def test_settings_are_judged_before_anything_heavy_is_loaded():
    code = "import sys, alzgan.train; print({'torch', 'lightning', 'torchvision'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


@pytest.mark.parametrize("value", ["/x/a=b", "/x/a[b]", "/x/a{b}", "/x/a(b)"])
def test_a_value_that_hydra_cannot_read_is_to_be_quoted(error_line: Callable, value: str, tmp_path: Path):
    line = error_line("data=mri", f"data.root={value}", f"run_dir={tmp_path / 'run'}")
    assert line == f"alzgan: cannot read data.root={value}; write it as \"data.root='{value}'\""


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("/x/é", "/x/é"),
        ("ü", "ü"),
        ("'/x/it's'", "/x/it's"),
        ("~/é", f"{Path.home()}/é"),
        ("{Très léger: 30}", "{Très léger: 30}"),
        ('{"AD": 1}', '{"AD": 1}'),
        ("[class, Âge]", ["class", "Âge"]),
        ("a\nb(", "a\nb("),
    ],
)
def test_the_advice_is_read_as_what_was_meant_and_never_what_was_typed(
    error_line: Callable, value: str, read: str | list[str], tmp_path: Path
):
    typed = f"data.root={value}"
    advice = error_line(typed, f"run_dir={tmp_path}").partition("; write it as ")[2]
    pasted = subprocess.check_output(["bash"], input=f"printf %s {advice}", text=True)
    assert pasted != typed
    assert OverridesParser.create().parse_override(pasted).value() == read


@pytest.mark.parametrize("override", ["données.root=x", "données.root=é", "a b=1"])
def test_no_quotes_are_advised_where_the_name_is_what_cannot_be_read(error_line: Callable, override: str):
    assert "write it as" not in error_line(override)


def test_a_run_folder_that_hydra_or_tensorboard_cannot_take_gets_one_line(
    error_line: Callable, tmp_path: Path
):
    line = error_line(f"run_dir='{tmp_path}/\\${{x}}'")
    assert line == f"alzgan: run_dir={tmp_path}/${{x}} has ${{ in its name; choose another"
    run = tmp_path / os.fsdecode(b"\xff")
    line = error_line(f"run_dir='{run}'", *SMALL)
    assert line == f"alzgan: run_dir={tmp_path}/\\udcff is not UTF-8: choose another, or logger=csv"


@pytest.mark.parametrize(
    ("verb", "name", "options"),
    [
        ("train", "data.root", ["data=mri"]),
        ("prepare", "data.root", []),
        ("generate", "ckpt_path", []),
        ("evaluate", "data.root", ["samples=."]),
    ],
)
def test_an_interpolation_of_no_setting_gets_one_line(
    error_line: Callable, tmp_path: Path, verb: str, name: str, options: list[str]
):
    line = error_line(*options, name + "=${nothing}", f"run_dir={tmp_path / 'run'}", verb=verb)
    assert line == f"alzgan: {name}: Interpolation key 'nothing' not found; write the value itself"


def test_a_value_that_looks_like_an_interpolation_is_refused(error_line: Callable, tmp_path: Path):
    line = error_line("data=mri", r"data.root='a\${x}'", f"run_dir={tmp_path / 'run'}")
    assert line == "alzgan: data.root=a${x} has ${ in it; choose another"


def test_a_home_that_no_shell_has_filled_in_is(error_line: Callable, tmp_path: Path):
    line = error_line("data=mri", "data.root=~/nope", f"run_dir={tmp_path / 'run'}")
    assert line.endswith(f"; write it as data.root={Path.home() / 'nope'}")


def test_a_quoted_value_is_read(error_line: Callable, tmp_path: Path):
    line = error_line("data=mri", "data.root='/x/a=b[c]{d}'", f"run_dir={tmp_path / 'run'}")
    assert line == "alzgan: there is no folder /x/a=b[c]{d}: check data.root"


@pytest.mark.parametrize(
    "choice", ["launcher=joblib", "launcher=ray", "launcher=submitit", "hydra/sweeper=optuna"]
)
def test_a_plugin_that_is_not_installed_says_how_to_install_it(choice: str):
    kind, name = choice.removeprefix("hydra/").split("=")
    program = (
        "import sys; from hydra.core.plugins import Plugins; from alzgan.runs import cli\n"
        "Plugins.is_in_toplevel_plugins_module = staticmethod(lambda name: False)\n"
        f"sys.modules['hydra_plugins.hydra_{name}_{kind}'] = None\n"
        f"sys.argv = ['train', '-m', '{choice}', 'seed=1,2']\n"
        "cli.run(print, 'train')\n"
    )
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].endswith(f"; first: pip install -e '.[{name}]'")


def test_help_that_nobody_reads_on_ends_without_a_word():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "alzgan.train", "--help"]
    result = subprocess.run(command, cwd=REPOSITORY, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (result.returncode, result.stderr) == (1, "")
