"""The training loop and its hooks, with a model of one number."""

import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from fvcore.common.checkpoint import Checkpointer
from fvcore.common.param_scheduler import StepWithFixedGammaParamScheduler
from torch import nn

from d2seg.core.engine import AMPTrainer, HookBase, SimpleTrainer, TrainerBase, hooks
from d2seg.core.runtime.events import EventStorage, get_event_storage
from d2seg.core.runtime.writers import CommonMetricPrinter, EventWriter, JSONWriter
from d2seg.core.solver import LRMultiplier


class Model(nn.Module):
    """The loss is the square of the distance of one number from the mean of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(5.0))

    def forward(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss_value": (self.value - batch.mean()) ** 2, "loss_zero": self.value * 0}


def batches(value: float = 1.0) -> Iterator[torch.Tensor]:
    while True:
        yield torch.full((3,), value)


def trainer(model: nn.Module | None = None, lr: float = 0.1, value: float = 1.0) -> SimpleTrainer:
    model = model or Model()
    return SimpleTrainer(model, batches(value), torch.optim.SGD(model.parameters(), lr))


def test_training_finds_the_minimum_and_records_its_losses() -> None:
    loop = trainer()
    loop.train(0, 50)
    assert loop.model.value.item() == pytest.approx(1.0, abs=1e-3)
    history = loop.storage.history("total_loss").values()
    assert len(history) == 50
    assert history[0] == (16.0, 0)
    assert loop.iter == 50
    assert {"loss_value", "loss_zero", "data_time"} <= set(loop.storage.histories())


@pytest.mark.parametrize("first", [True, False])
def test_when_gradients_are_cleared_does_not_matter(first: bool) -> None:
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    SimpleTrainer(model, batches(), optimizer, zero_grad_before_forward=first).train(0, 5)
    assert model.value.item() == pytest.approx(1 + 4 * 0.8**5)


def test_losses_of_one_number_may_have_any_shape() -> None:
    class Shaped(Model):
        def forward(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"scalar": self.value * 2, "vector": self.value.reshape(1) * 3}

    loop = trainer(Shaped())
    loop.train(0, 1)
    assert loop.model.value.item() == pytest.approx(5.0 - 0.1 * 5)
    assert loop.storage.latest()["total_loss"] == (25.0, 0)


def test_a_model_without_losses_is_told() -> None:
    class Silent(Model):
        def forward(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
            return {}

    with pytest.raises(ValueError, match="returned no losses"):
        trainer(Silent()).train(0, 1)


def test_a_step_written_for_detectron2_runs() -> None:
    class Own(SimpleTrainer):
        def run_step(self) -> None:
            loss = self.model(next(self._data_loader_iter))["loss_value"]
            self.optimizer.zero_grad()
            loss.backward()
            self._write_metrics({"loss": loss}, 0.5, prefix="my_", iter=self.iter + 100)
            self.optimizer.step()

    model = Model()
    loop = Own(model, batches(), torch.optim.SGD(model.parameters(), 0.1), gather_metric_period=2)
    loop.train(0, 4)
    assert model.value.item() == pytest.approx(1 + 4 * 0.8**4)
    assert [at for _, at in loop.storage.history("my_total_loss").values()] == [101, 103]


def test_a_new_loader_takes_over() -> None:
    loop = trainer(value=1.0)
    loop.train(0, 2)
    loop.reset_data_loader(lambda: batches(9.0))
    loop.train(2, 60)
    assert loop.model.value.item() == pytest.approx(9.0, abs=1e-3)


def test_half_precision_trains_too() -> None:
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    loop = AMPTrainer(model, batches(), optimizer, precision=torch.bfloat16)
    loop.train(0, 30)
    assert model.value.item() == pytest.approx(1.0, abs=0.05)
    assert "grad_scaler" in loop.state_dict()


def test_a_loss_that_is_not_finite_stops_the_training(caplog: pytest.LogCaptureFixture) -> None:
    loop = trainer(value=math.inf)
    seen = []
    loop.register_hooks([hooks.CallbackHook(after_train=lambda one: seen.append(one.iter))])
    with pytest.raises(FloatingPointError, match="losses of iteration 3 are not finite.*BASE_LR"):
        loop.train(3, 10)
    assert seen == [3]
    assert caplog.messages[-1].startswith("Training stopped at iteration 3: The losses of")


def test_hooks_run_in_order_around_every_step() -> None:
    class Recorder(HookBase):
        def __init__(self, name: str) -> None:
            self.name = name

        def before_train(self) -> None:
            calls.append(f"{self.name} before")

        def before_step(self) -> None:
            calls.append(f"{self.name} step {self.trainer.iter}")

        def after_backward(self) -> None:
            calls.append(f"{self.name} backward")

        def after_train(self) -> None:
            calls.append(f"{self.name} after")

    calls: list[str] = []
    loop = trainer()
    loop.register_hooks([Recorder("a"), None, Recorder("b")])
    loop.train(7, 8)
    assert calls == [
        *["a before", "b before", "a step 7", "b step 7", "a backward", "b backward"],
        *["a after", "b after"],
    ]
    with pytest.raises(TypeError, match="must be a HookBase; found a str"):
        loop.register_hooks(["hook"])


def test_a_loop_without_a_step_says_so() -> None:
    with pytest.raises(NotImplementedError, match="must define run_step"):
        TrainerBase().train(0, 1)


def test_writers_write_periodically_and_what_comes_last(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Closed(EventWriter):
        written, closed = 0, 0

        def write(self) -> None:
            self.written += 1

        def close(self) -> None:
            self.closed += 1

    path = tmp_path / "metrics.json"
    other = Closed()
    loop = trainer()
    loop.register_hooks(
        [
            hooks.IterationTimer(),
            hooks.EvalHook(0, lambda: {"bbox": {"AP": 41.5}}),
            hooks.PeriodicWriter([CommonMetricPrinter(50), JSONWriter(str(path)), other]),
        ]
    )
    with caplog.at_level(logging.INFO):
        loop.train(0, 50)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [19, 39, 49, 50]
    assert lines[-1] == {"iteration": 50, "bbox/AP": 41.5}
    assert lines[0]["total_loss"] > lines[1]["total_loss"]
    printed = [message for message in caplog.messages if "iter: " in message]
    assert len(printed) == 3
    assert "iter: 49  " in printed[-1]
    assert printed[-1].startswith("eta: 0:00:00")
    assert (other.written, other.closed) == (4, 1)


@pytest.mark.parametrize(
    ("steps", "period", "count"), [(30, 15, 2), (31, 15, 3), (20, 0, 1), (9, 100, 1)]
)
def test_evaluation_is_periodic_and_at_the_end(steps: int, period: int, count: int) -> None:
    function = mock.Mock(return_value={"metric": 3.0})
    loop = trainer()
    loop.register_hooks([hooks.EvalHook(period, function)])
    loop.train(0, steps)
    assert function.call_count == count
    assert loop.storage.latest()["metric"] == (3.0, steps)
    broken = trainer(value=math.nan)
    broken.register_hooks([hooks.EvalHook(0, function)])
    with pytest.raises(FloatingPointError):
        broken.train(0, 5)
    assert function.call_count == count


@pytest.mark.parametrize(
    ("mode", "metrics", "count"),
    [
        ("max", [0.3, 0.4, 0.35, 0.5], 3),
        ("min", [1.0, 0.8, 0.9, 0.9], 2),
        ("min", [math.nan, 0.8, 0.9, 0.9], 1),
    ],
)
def test_the_best_model_is_kept(
    tmp_path: Path, mode: str, metrics: list[float], count: int
) -> None:
    loop = trainer()
    checkpointer = Checkpointer(loop.model, str(tmp_path))
    values = iter(metrics)
    best = hooks.BestCheckpointer(10, checkpointer, "metric", mode=mode)
    loop.register_hooks([hooks.EvalHook(10, lambda: {"metric": next(values)}), best])
    with mock.patch.object(checkpointer, "save") as save:
        loop.train(0, 40)
    assert save.call_count == count
    assert best.best_metric == (max if mode == "max" else min)(metrics[-3:])
    with pytest.raises(ValueError, match="mode is 'best'"):
        hooks.BestCheckpointer(10, checkpointer, "metric", mode="best")


def test_a_metric_that_is_not_there_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loop = trainer()
    loop.register_hooks([hooks.BestCheckpointer(5, Checkpointer(loop.model, str(tmp_path)), "AP")])
    loop.train(0, 5)
    assert "No metric 'AP' was recorded; no best model is kept." in caplog.messages


def test_a_resumed_training_goes_on_where_it_was(tmp_path: Path) -> None:
    def make(model: nn.Module, lr: float) -> tuple[SimpleTrainer, Any, Checkpointer]:
        loop = trainer(model, lr)
        scheduler = torch.optim.lr_scheduler.StepLR(loop.optimizer, 3)
        checkpointer = Checkpointer(model, str(tmp_path), trainer=loop)
        loop.register_hooks(
            [
                hooks.LRScheduler(loop.optimizer, scheduler),
                hooks.PeriodicCheckpointer(checkpointer, 10),
            ]
        )
        return loop, scheduler, checkpointer

    loop, scheduler, _ = make(Model(), 0.1)
    loop.train(0, 12)
    assert sorted(path.name for path in tmp_path.glob("*.pth")) == [
        "model_0000009.pth",
        "model_final.pth",
    ]
    assert scheduler.last_epoch == 12
    other, schedule, checkpointer = make(Model(), 999.0)
    checkpointer.resume_or_load("none.pth")
    assert other.iter == 11
    assert schedule.last_epoch == 12
    assert other.optimizer.param_groups[0]["lr"] == pytest.approx(1e-5)
    assert other.model.value.item() == loop.model.value.item()
    assert loop.storage.history("lr").values()[3] == (pytest.approx(0.01), 3)


def test_a_curve_becomes_a_schedule_of_the_optimizer() -> None:
    loop = trainer(lr=0.4)
    curve = StepWithFixedGammaParamScheduler(1.0, num_decays=1, gamma=0.5, num_updates=4)
    hook = hooks.LRScheduler(scheduler=curve)
    loop.register_hooks([hook])
    assert hook.state_dict() == {}
    hook.load_state_dict({"last_epoch": 3})  # of a training before; a curve has no state
    loop.train(0, 4)
    assert [rate for rate, _ in loop.storage.history("lr").values()] == [0.4, 0.4, 0.2, 0.2]
    assert hook.state_dict() == {"base_lrs": [0.4], "last_epoch": 4}


def test_an_error_of_a_schedule_before_the_end_is_not_hidden() -> None:
    loop = trainer()
    curve = StepWithFixedGammaParamScheduler(1.0, num_decays=1, gamma=0.5, num_updates=4)
    loop.register_hooks([hooks.LRScheduler(scheduler=LRMultiplier(loop.optimizer, curve, 4))])
    with pytest.raises(IndexError):
        loop.train(0, 6)


def test_the_rate_that_stands_for_all_is_of_the_largest_group_or_the_most_common() -> None:
    def optimizer(*groups: tuple[int, float]) -> torch.optim.SGD:
        return torch.optim.SGD(
            [
                {"params": [nn.Parameter(torch.zeros(1)) for _ in range(count)], "lr": lr}
                for count, lr in groups
            ]
        )

    best = hooks.LRScheduler.get_best_param_group_id
    assert best(optimizer((1, 0.1), (3, 0.2), (2, 0.1))) == 1
    assert best(optimizer((1, 0.1), (1, 0.2), (1, 0.2))) == 1


@pytest.mark.parametrize("result", [{"bbox": {"AP": "high"}}, {"AP": None}])
def test_results_that_are_not_numbers_are_named(result: dict[str, Any]) -> None:
    loop = trainer()
    loop.register_hooks([hooks.EvalHook(0, lambda: result)])
    with pytest.raises(ValueError, match="nested dict of numbers; found .*AP: ('high'|None)"):
        loop.train(0, 1)


class Recording(nn.BatchNorm1d):
    """Records something with every batch."""

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        get_event_storage().put_scalar("seen", batch.mean())
        return super().forward(batch)


def test_precise_statistics_come_from_many_batches() -> None:
    model = nn.Sequential(nn.BatchNorm1d(1))
    data = [torch.tensor([[0.0], [2.0]]), torch.tensor([[10.0], [12.0]])]
    hook = hooks.PreciseBN(1, model, data, 2)
    hook.update_stats()
    assert model[0].running_mean.item() == pytest.approx(6.0)
    with EventStorage() as storage:
        norm = Recording(1)
        hook = hooks.PreciseBN(1, norm, data, 1)
        hook.update_stats()
        assert norm.running_mean.item() == pytest.approx(1.0)
        hook.update_stats()
        assert norm.running_mean.item() == pytest.approx(11.0)
    assert storage.latest() == {}
    without = hooks.PreciseBN(1, nn.Linear(1, 1), data, 2)
    without.update_stats()


@pytest.mark.filterwarnings("ignore:Warning. Profiler clears events")
def test_chosen_steps_are_profiled(tmp_path: Path) -> None:
    loop = trainer()
    loop.register_hooks(
        [hooks.AutogradProfiler(lambda one: one.iter == 1, str(tmp_path), use_cuda=False)]
    )
    loop.train(0, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["profiler_iter1.json"]
    assert json.loads((tmp_path / "profiler_iter1.json").read_text())["traceEvents"]
