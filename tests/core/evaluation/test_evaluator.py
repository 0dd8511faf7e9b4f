"""The loop that feeds evaluators."""

import functools
import logging
from typing import Any

import pytest
import torch
from torch import nn

from d2seg.core.config import get_cfg
from d2seg.core.evaluation import (
    DatasetEvaluator,
    DatasetEvaluators,
    inference_context,
    inference_on_dataset,
    print_csv_format,
    verify_results,
)


class Counter(DatasetEvaluator):
    def __init__(self, task: str = "count") -> None:
        self.task, self.seen = task, [-1]

    def reset(self) -> None:
        self.seen = []

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        self.seen += [output["value"] for output in outputs]

    def evaluate(self) -> dict[str, dict[str, float]]:
        return {self.task: {"sum": float(sum(self.seen))}}


class Doubler(nn.Module):
    def forward(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        assert not self.training and not torch.is_grad_enabled()
        return [{"value": 2 * image["value"]} for image in inputs]


BATCHES = [[{"value": 1}, {"value": 2}], [{"value": 3}]]


def test_every_image_reaches_the_evaluator_in_evaluation_mode() -> None:
    model = Doubler().train()
    assert inference_on_dataset(model, BATCHES, Counter()) == {"count": {"sum": 12.0}}
    assert model.training


def test_several_evaluators_and_none(caplog: pytest.LogCaptureFixture) -> None:
    results = inference_on_dataset(Doubler(), iter(BATCHES), [Counter("a"), Counter("b")])
    assert results == {"a": {"sum": 12.0}, "b": {"sum": 12.0}}
    with caplog.at_level(logging.INFO):
        assert inference_on_dataset(Doubler(), BATCHES, None) == {}
    assert "3 images" in caplog.text


def test_two_evaluators_of_one_task() -> None:
    with pytest.raises(ValueError, match="measure the task 'count'"):
        DatasetEvaluators([Counter(), Counter()]).evaluate()


def test_the_mode_comes_back_after_an_error() -> None:
    model = Doubler().train()
    with pytest.raises(ZeroDivisionError), inference_context(model):
        assert not model.training
        _ = 1 / 0
    assert model.training


def test_csv_lines_leave_out_classes(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        print_csv_format({"bbox": {"AP": 53.2311, "AP50": 85.5, "AP-cell": 1.0}})
    assert [record.message for record in caplog.records] == [
        "copypaste: Task: bbox",
        "copypaste: AP,AP50",
        "copypaste: 53.2311,85.5000",
    ]
    caplog.clear()
    with caplog.at_level(logging.INFO):
        print_csv_format({"seconds": 3})
    assert caplog.messages == ["copypaste: seconds=3"]


def test_callbacks_around_each_batch() -> None:
    called: list[str] = []
    names = ("on_start", "before_inference", "after_inference", "on_end")
    callbacks = {name: functools.partial(called.append, name) for name in names}
    inference_on_dataset(Doubler(), BATCHES, None, callbacks)
    batch = ["before_inference", "after_inference"]
    assert called == ["on_start", *batch, *batch, "on_end"]
    with pytest.raises(ValueError, match="on_end; found 'at_the_end'"):
        inference_on_dataset(Doubler(), BATCHES, None, {"at_the_end": print})


def test_an_evaluator_may_define_only_what_it_needs() -> None:
    class Quiet(DatasetEvaluator):
        def process(self, inputs: Any, outputs: Any) -> None:
            self.last = outputs[-1]

    quiet = Quiet()
    assert inference_on_dataset(Doubler(), BATCHES, quiet) == {}
    assert quiet.last == {"value": 6}


def test_results_are_compared_with_expected_ones(caplog: pytest.LogCaptureFixture) -> None:
    cfg = get_cfg()
    results = {"bbox": {"AP": 40.4, "APl": float("nan")}}
    assert verify_results(cfg, results)
    cfg.TEST.EXPECTED_RESULTS = [["bbox", "AP", 40.0, 0.5]]
    assert verify_results(cfg, results)
    for wrong in (["bbox", "AP", 41.0, 0.5], ["bbox", "APl", 1.0, 9.0], ["segm", "AP", 1.0, 9.0]):
        cfg.TEST.EXPECTED_RESULTS = [["bbox", "AP", 40.0, 0.5], wrong]
        with pytest.raises(SystemExit, match="1"):
            verify_results(cfg, results)
    assert "bbox AP is 40.4, expected 41.0 +- 0.5" in caplog.text
