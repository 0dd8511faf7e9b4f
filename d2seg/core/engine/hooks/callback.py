"""Functions as a hook."""

from collections.abc import Callable
from typing import Any

from d2seg.core.engine.loop import HookBase

StepCallback = Callable[[Any], Any] | None


class CallbackHook(HookBase):
    """Calls functions with the trainer.

    Args:
        before_train: Called before the first step; likewise the others.
        after_train: After the last step.
        before_step: Before each step.
        after_step: After each step.
    """

    def __init__(
        self,
        *,
        before_train: StepCallback = None,
        after_train: StepCallback = None,
        before_step: StepCallback = None,
        after_step: StepCallback = None,
    ) -> None:
        self._callbacks = {
            "before_train": before_train,
            "after_train": after_train,
            "before_step": before_step,
            "after_step": after_step,
        }

    def _call(self, when: str) -> None:
        callback = self._callbacks[when]
        if callback is not None:
            callback(self.trainer)

    def before_train(self) -> None:
        """Call the function for before the first step."""
        self._call("before_train")

    def after_train(self) -> None:
        """Call the function for after the last step."""
        self._call("after_train")

    def before_step(self) -> None:
        """Call the function for before each step."""
        self._call("before_step")

    def after_step(self) -> None:
        """Call the function for after each step."""
        self._call("after_step")
