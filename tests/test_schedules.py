from functools import partial

import pytest
import torch
from conftest import settings
from test_game import SMALL_MODEL, play

from alzgan.augment import MRIAugmentation
from alzgan.average import ExponentialMovingAverage
from alzgan.errors import SettingError, at_least, fraction
from alzgan.networks.conditioning import Conditioned
from alzgan.parts import Part
from alzgan.penalties import R1
from alzgan.runs.build import build_model
from alzgan.schedules import Cosine, Linear, make_optimizer, value_at

RISING = "{_target_: alzgan.schedules.Linear, start: 0.9, end: 0.99}"
FALLING = "{_target_: alzgan.schedules.Linear, start: 1e-3, end: 5e-4}"


def test_schedules_go_from_start_to_end_as_their_shape_says():
    assert [Linear(2, 4)(done) for done in (0, 0.25, 1)] == [2, 2.5, 4]
    assert [Cosine(2, 4)(done) for done in (0, 0.5, 1)] == pytest.approx([2, 3, 4])
    assert Cosine(2, 4)(0.25) == pytest.approx(2 + (1 - 0.5**0.5))
    assert [Linear(2, 4, until=0.5)(done) for done in (0.25, 0.5, 0.9)] == [3, 4, 4]
    assert value_at([0.0, Linear(0.9, 0.99)], 0.5) == pytest.approx((0.0, 0.945))
    with pytest.raises(SettingError, match=r"until=2 must be from 0 to 1"):
        Linear(0, 1, until=2)
    assert [Linear(2, 4, since=0.5, until=0.75)(done) for done in (0.4, 0.625, 0.9)] == [2, 3, 4]
    with pytest.raises(SettingError, match=r"since=0.9 must not be after until=0.5"):
        Linear(0, 1, until=0.5, since=0.9)


@pytest.mark.parametrize(
    ("piece", "setting", "least", "most"),
    [
        (R1, "weight", 0, None),
        (partial(Part, torch.nn.Identity()), "weight", 0, None),
        (ExponentialMovingAverage, "half_life", 1, None),
        (partial(Conditioned, 2), "strength", 0, 1),
        (MRIAugmentation, "probability", 0, 1),
    ],
)
def test_both_ends_of_a_schedule_are_in_the_range_of_its_setting(piece, setting, least, most):
    inside = 0.5 if most else 100
    wanted = f"from {least} to {most}" if most else f"at least {least}"
    for outside in (least - 1, most + 1 if most else float("inf")):
        with pytest.raises(SettingError, match=rf"^{setting}\.start={outside} must be {wanted}$"):
            piece(**{setting: Linear(outside, inside)})
        with pytest.raises(SettingError, match=rf"^{setting}\.end={outside} must be {wanted}$"):
            piece(**{setting: Cosine(inside, outside)})
    kept = piece(**{setting: Linear(least, most or inside)})
    assert vars(kept)[setting].end == (most or inside)


def test_none_has_no_range():
    at_least(1, one=None)
    fraction(one=None)


def test_an_optimizer_begins_where_its_schedules_do():
    parameter = torch.nn.Parameter(torch.zeros(1))
    factory = partial(torch.optim.Adam, lr=Linear(0.1, 0.2), betas=[0.5, Cosine(0.9, 0.99)])
    group = make_optimizer(factory, [parameter]).param_groups[0]
    assert (group["lr"], group["betas"]) == (0.1, (0.5, 0.9))
    (group,) = make_optimizer(partial(torch.optim.Adam, betas=[0, 0.99]), [parameter]).param_groups
    assert group["betas"] == (0.0, 0.99)  # Adam itself takes no 0 beside a 0.99
    assert make_optimizer(lambda p: torch.optim.SGD(p, lr=0.3), [parameter]).param_groups[0]["lr"] == 0.3


def test_each_step_has_the_value_of_its_fraction_of_the_run(recwarn):
    gan = build_model(
        settings(
            *SMALL_MODEL,
            "model=r1r2",
            "augment=mri",
            "model.augment.probability={_target_: alzgan.schedules.Linear, start: 0, end: 0.4}",
            f"model.generator_optimizer.lr={FALLING}",
            f"model.discriminator_optimizer.betas=[0, {RISING}]",
            "model.penalties.r1.weight={_target_: alzgan.schedules.Linear, start: 2, end: 1}",
            "model.average.half_life={_target_: alzgan.schedules.Linear, start: 100, end: 500}",
        )
    )
    seen: list[tuple[float, ...]] = []
    logged = []

    def spy(turns, due):
        judge, generator = (optimizer.param_groups[0] for optimizer in gan.trainer.optimizers)
        weight, half_life = gan.penalties["r1"].weight, gan.average.half_life
        seen.append((generator["lr"], judge["betas"][1], weight.item(), half_life.item(), judge["lr"]))
        said = gan.play(turns, due)
        logged.append(said["augment/probability"].item())
        return said

    gan.captured = spy
    play(gan, [torch.rand(4, 1, 32, 32)] * 4)
    assert logged == pytest.approx([0, 0.1, 0.2, 0.3])
    expected = [(1e-3 - 1.25e-4 * k, 0.9 + 0.0225 * k, 2 - 0.25 * k, 100 + 100 * k, 2e-4) for k in range(4)]
    for found, wanted in zip(seen, expected, strict=True):
        assert found == pytest.approx(wanted, rel=1e-6)


def test_a_schedule_adds_nothing_to_a_checkpoint():
    plain = build_model(settings(*SMALL_MODEL, "model=r1r2")).state_dict()
    scheduled = build_model(settings(*SMALL_MODEL, "model=r1r2", f"model.penalties.r1.weight={FALLING}"))
    assert scheduled.state_dict().keys() == plain.keys()
