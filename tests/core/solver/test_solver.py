"""Optimizers and learning rates, against detectron2's record and by hand."""

import copy

import pytest
import torch
from torch import nn

from d2seg.core.config import CfgNode, get_cfg
from d2seg.core.solver import (
    LRMultiplier,
    WarmupCosineLR,
    WarmupMultiStepLR,
    build_lr_scheduler,
    build_optimizer,
    get_default_optimizer_params,
    maybe_add_gradient_clipping,
    reduce_param_groups,
)
from tests.reference.functions import recorded_functions


def config(*opts: object) -> CfgNode:
    cfg = get_cfg()
    cfg.merge_from_list(
        ["SOLVER.BASE_LR", 0.02, "SOLVER.STEPS", (20, 30), "SOLVER.MAX_ITER", 40]
        + ["SOLVER.WARMUP_ITERS", 8, *opts]
    )
    return cfg


def rates(cfg: CfgNode) -> list[float]:
    model = nn.Linear(1, 1)
    optimizer = build_optimizer(cfg, model)
    scheduler = build_lr_scheduler(cfg, optimizer)
    seen = []
    for _ in range(cfg.SOLVER.MAX_ITER):
        if scheduler.last_epoch < len(seen):
            optimizer.step()
            scheduler.step()
        seen.append(optimizer.param_groups[0]["lr"])
    return seen


@pytest.mark.parametrize("name", ["WarmupMultiStepLR", "WarmupCosineLR"])
def test_schedules_are_the_recorded_ones(name: str) -> None:
    recorded = recorded_functions()[f"schedule_{name}"]
    assert rates(config("SOLVER.LR_SCHEDULER_NAME", name)) == pytest.approx(recorded, rel=1e-6)


def test_fixed_gamma_falls_in_equal_parts() -> None:
    cfg = config("SOLVER.LR_SCHEDULER_NAME", "WarmupStepWithFixedGammaLR", "SOLVER.NUM_DECAYS", 3)
    seen = rates(cfg)
    assert [round(seen[step], 8) for step in (9, 10, 20, 30)] == [0.02, 0.002, 0.0002, 0.00002]


@pytest.mark.parametrize("end", [0.0, 0.005])
def test_a_cosine_ends_where_the_config_says(end: float) -> None:
    cfg = config("SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR", "SOLVER.BASE_LR_END", end)
    optimizer = build_optimizer(cfg, nn.Linear(1, 1))
    scheduler = build_lr_scheduler(cfg, optimizer)
    for _ in range(40):
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(end, abs=1e-9)


def test_a_curve_without_a_value_at_its_end_says_so() -> None:
    cfg = config("SOLVER.LR_SCHEDULER_NAME", "WarmupStepWithFixedGammaLR")
    cfg.SOLVER.RESCALE_INTERVAL = True
    optimizer = build_optimizer(cfg, nn.Linear(1, 1))
    scheduler = build_lr_scheduler(cfg, optimizer)
    for _ in range(39):
        optimizer.step()
        scheduler.step()
    with pytest.raises(IndexError):
        scheduler.step()


def test_only_curves_are_taken() -> None:
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    with pytest.raises(ValueError, match="needs a fvcore ParamScheduler; found a float"):
        LRMultiplier(optimizer, 0.5, 10)  # type: ignore[arg-type]


def test_a_rescaled_schedule_follows_the_warm_up() -> None:
    seen = rates(config("SOLVER.RESCALE_INTERVAL", True))
    assert seen[8 + 15] == pytest.approx(0.02)  # step 20 of 40 is now at 8 + 32 * 20 / 40
    assert seen[8 + 17] == pytest.approx(0.002)


def test_a_constant_warm_up_and_bad_names() -> None:
    seen = rates(config("SOLVER.WARMUP_METHOD", "constant"))
    assert seen[0] == seen[7] == pytest.approx(2e-5)
    with pytest.raises(ValueError, match="WARMUP_METHOD is 'cubic'"):
        rates(config("SOLVER.WARMUP_METHOD", "cubic"))
    with pytest.raises(ValueError, match="LR_SCHEDULER_NAME is 'Poly', but must be one of Warmup"):
        rates(config("SOLVER.LR_SCHEDULER_NAME", "Poly"))


def test_steps_after_the_end_are_named(caplog: pytest.LogCaptureFixture) -> None:
    rates(config("SOLVER.STEPS", (20, 50)))
    assert caplog.messages == [
        "SOLVER.STEPS [50] come after SOLVER.MAX_ITER 40 and have no effect."
    ]


def test_a_resumed_schedule_goes_on() -> None:
    cfg = config()
    optimizer = build_optimizer(cfg, nn.Linear(1, 1))
    scheduler = build_lr_scheduler(cfg, optimizer)
    for _ in range(25):
        optimizer.step()
        scheduler.step()
    other = build_lr_scheduler(cfg, build_optimizer(cfg, nn.Linear(1, 1)))
    other.load_state_dict(scheduler.state_dict())
    assert set(scheduler.state_dict()) == {"base_lrs", "last_epoch"}
    assert other.get_lr() == scheduler.get_lr() == [pytest.approx(0.002)]


def test_the_older_schedules_agree_with_the_recorded_ones() -> None:
    recorded = recorded_functions()["schedule_WarmupMultiStepLR"]
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.02)
    scheduler = WarmupMultiStepLR(optimizer, [20, 30], warmup_iters=8)
    seen = []
    for _ in range(40):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert seen == pytest.approx(recorded, rel=1e-6)
    cosine = WarmupCosineLR(torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0), 40)
    cosine.last_epoch = 2000
    with pytest.raises(ValueError, match="Milestones must rise"):
        WarmupMultiStepLR(optimizer, [30, 20])


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1)
        self.norm = nn.BatchNorm2d(2)
        self.shared = self.conv
        self.frozen = nn.Linear(1, 1).requires_grad_(False)


def test_parameters_are_grouped_by_what_they_are() -> None:
    net = Net()
    groups = get_default_optimizer_params(
        net,
        base_lr=1.0,
        weight_decay=0.5,
        weight_decay_norm=0.0,
        bias_lr_factor=2.0,
        weight_decay_bias=0.25,
    )
    found = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    assert found == {
        id(net.conv.weight): (1.0, 0.5),
        id(net.conv.bias): (2.0, 0.25),
        id(net.norm.weight): (1.0, 0.0),
        id(net.norm.bias): (2.0, 0.25),
    }
    assert len(groups) == 3


def test_factors_and_overrides() -> None:
    net = Net()
    groups = get_default_optimizer_params(
        net,
        base_lr=1.0,
        lr_factor_func=lambda name: 0.1 if name.startswith("conv") else 1.0,
        overrides={"weight": {"weight_decay": 0.7}},
    )
    found = {id(p): (g["lr"], g.get("weight_decay")) for g in groups for p in g["params"]}
    assert found[id(net.conv.weight)] == (0.1, 0.7)
    assert found[id(net.norm.bias)] == (1.0, None)
    with pytest.raises(ValueError, match="lr_factor_func multiplies .* base_lr is not given"):
        get_default_optimizer_params(net, lr_factor_func=lambda name: 1.0)
    with pytest.raises(ValueError, match="biases are given twice"):
        get_default_optimizer_params(net, weight_decay_bias=0.0, overrides={"bias": {"lr": 1.0}})


def test_equal_groups_are_joined_in_order() -> None:
    groups = [
        {"params": ["a"], "lr": 1.0},
        {"params": ["b"], "lr": 2.0},
        {"params": ["c", "d"], "lr": 1.0},
    ]
    assert reduce_param_groups(groups) == [
        {"params": ["a", "c", "d"], "lr": 1.0},
        {"params": ["b"], "lr": 2.0},
    ]


def test_a_parameter_of_several_groups_comes_once_with_the_options_of_all() -> None:
    groups = [
        {"params": ["a", "b", "c"], "lr": 1.0, "weight_decay": 3.0},
        {"params": ["b", "d"], "lr": 2.0},
        {"params": ["a"], "weight_decay": 4.0},
    ]
    assert reduce_param_groups(groups) == [
        {"params": ["a"], "lr": 1.0, "weight_decay": 4.0},
        {"params": ["b"], "lr": 2.0, "weight_decay": 3.0},
        {"params": ["c"], "lr": 1.0, "weight_decay": 3.0},
        {"params": ["d"], "lr": 2.0},
    ]


@pytest.mark.parametrize(("kind", "expected"), [("value", [1.0, 1.0]), ("norm", [0.6, 0.8])])
def test_gradients_are_clipped_before_the_step(kind: str, expected: list[float]) -> None:
    cfg = config("SOLVER.CLIP_GRADIENTS.ENABLED", True, "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", kind)
    parameter = nn.Parameter(torch.zeros(2))
    optimizer = maybe_add_gradient_clipping(cfg, torch.optim.SGD)([parameter], lr=1.0)
    assert isinstance(optimizer, torch.optim.SGD)
    parameter.grad = torch.tensor([-3.0, -4.0])
    optimizer.step()
    torch.testing.assert_close(parameter.detach(), torch.tensor(expected))
    instance = torch.optim.SGD([parameter], lr=1.0)
    assert maybe_add_gradient_clipping(cfg, instance) is instance
    assert type(instance).__name__ == "SGDWithGradientClip"
    with pytest.raises(ValueError, match="CLIP_TYPE is 'both'"):
        maybe_add_gradient_clipping(
            config(
                *["SOLVER.CLIP_GRADIENTS.ENABLED", True],
                *["SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "both"],
            ),
            torch.optim.SGD,
        )


@pytest.mark.parametrize("name", ["WarmupMultiStepLR", "WarmupCosineLR"])
def test_a_training_has_iterations(name: str) -> None:
    cfg = config("SOLVER.LR_SCHEDULER_NAME", name, "SOLVER.MAX_ITER", 0)
    with pytest.raises(ValueError, match=r"SOLVER.MAX_ITER is 0, but must be 1 or more"):
        rates(cfg)


@pytest.mark.parametrize("steps", [(30, 20), (20, 20), (0, 10)])
def test_steps_rise(steps: tuple[int, ...]) -> None:
    cfg = config("SOLVER.STEPS", steps)
    with pytest.raises(ValueError, match=r"SOLVER.STEPS are \[.*\], but must be .* rising order"):
        rates(cfg)


@pytest.mark.parametrize("clips", [False, True])
def test_a_step_is_the_plain_one_and_stays_so_after_loading(clips: bool) -> None:
    def train(optimizer: torch.optim.Optimizer, model: nn.Module, steps: int) -> None:
        for step in range(steps):
            for number, parameter in enumerate(model.parameters()):
                chance = torch.Generator().manual_seed(100 * step + number)
                parameter.grad = torch.randn(parameter.shape, generator=chance)
            optimizer.step()

    torch.manual_seed(0)
    cfg = config("SOLVER.CLIP_GRADIENTS.ENABLED", clips, "SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 0.5)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    plain_model = copy.deepcopy(model)
    optimizer = build_optimizer(cfg, model)
    plain_class = maybe_add_gradient_clipping(cfg, torch.optim.SGD)
    plain = plain_class(
        get_default_optimizer_params(
            plain_model, base_lr=0.02, weight_decay=1e-4, weight_decay_norm=0.0
        ),
        lr=0.02,
        momentum=0.9,
        foreach=False,
    )
    train(plain, plain_model, 3)
    train(optimizer, model, 3)
    torch.testing.assert_close(list(model.parameters()), list(plain_model.parameters()))
    # A checkpoint of the plain one, as older versions wrote it.
    optimizer.load_state_dict(copy.deepcopy(plain.state_dict()))
    group = optimizer.param_groups[0]
    assert (group.get("fused"), group.get("foreach")) == ((None, True) if clips else (True, None))
    train(plain, plain_model, 2)
    train(optimizer, model, 2)
    torch.testing.assert_close(list(model.parameters()), list(plain_model.parameters()))


@pytest.mark.parametrize("resumes", [False, True])
def test_half_precision_is_unscaled_by_whoever_steps(resumes: bool) -> None:
    model = nn.Linear(3, 2)
    optimizer = build_optimizer(config("SOLVER.WEIGHT_DECAY", 0.0), model)
    if resumes:
        older = torch.optim.SGD(optimizer.param_groups, lr=0.02, momentum=0.9, foreach=False)
        for group in older.param_groups:
            group["fused"], group["foreach"] = None, None
        optimizer.load_state_dict(copy.deepcopy(older.state_dict()))
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    before = model.weight.detach().clone()
    scaler.scale(model(torch.ones(1, 3)).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    torch.testing.assert_close(before - model.weight, torch.full((2, 3), 0.02))
