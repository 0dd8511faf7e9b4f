"""What is done at the end of a training, and what is not when it fails."""

from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from d2seg.core.engine import TrainerBase, hooks


class FailsAt(TrainerBase):
    """Records a metric at each step, and fails at one of them."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self._step = step

    def run_step(self) -> None:
        self.storage.put_scalar("AP", float(self.iter), smoothing_hint=False)
        if self.iter == self._step:
            raise FloatingPointError("not a number")


@pytest.mark.parametrize(("step", "is_complete"), [(4, False), (2, False), (9, True)])
def test_only_a_complete_training_is_evaluated_at_its_end(
    tmp_path: Path, step: int, is_complete: bool
) -> None:
    evaluate, saver = mock.Mock(return_value={"AP": 7.0}), mock.Mock()
    loop = FailsAt(step)
    best: Any = hooks.BestCheckpointer(0, saver, "AP")
    loop.register_hooks([hooks.EvalHook(0, evaluate), best])
    if is_complete:
        loop.train(0, 5)
    else:
        with pytest.raises(FloatingPointError, match="not a number"):
            loop.train(0, 5)
    assert evaluate.call_count == saver.save.call_count == int(is_complete)
    assert best.best_metric == (7.0 if is_complete else None)


def test_of_two_failures_the_first_is_told(caplog: pytest.LogCaptureFixture) -> None:
    last = mock.Mock(spec=hooks.HookBase, after_train=mock.Mock(side_effect=OSError("disk full")))
    loop = FailsAt(2)
    loop.register_hooks([last])
    with pytest.raises(FloatingPointError, match="not a number"):
        loop.train(0, 5)
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        "Training stopped at iteration 2: not a number",
        "Then this went wrong as well: disk full",
    ]


def test_a_complete_training_fails_with_what_comes_after_it() -> None:
    last = mock.Mock(spec=hooks.HookBase, after_train=mock.Mock(side_effect=OSError("disk full")))
    loop = FailsAt(9)
    loop.register_hooks([last])
    with pytest.raises(OSError, match="disk full"):
        loop.train(0, 5)


@pytest.mark.parametrize("period", [0, -1])
def test_without_a_period_only_the_end_is_saved(period: int) -> None:
    saver = mock.Mock()
    loop = FailsAt(9)
    loop.register_hooks([hooks.PeriodicCheckpointer(saver, period)])
    loop.train(0, 5)
    assert [call.args for call in saver.save.call_args_list] == [("model_final",)]
