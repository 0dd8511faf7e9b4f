"""A loop of steps, with hooks around them."""

import logging
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from d2seg.core.runtime.events import EventStorage

logger = logging.getLogger(__name__)


class HookBase:
    """Something to do around the steps of a training; subclasses define what they need.

    Attributes:
        trainer: The training it is registered with.
    """

    trainer: Any = None

    def before_train(self) -> None:
        """Run once before the first step."""

    def after_train(self) -> None:
        """Run once after the last step, or after a failure."""

    def before_step(self) -> None:
        """Run before each step."""

    def after_backward(self) -> None:
        """Run after the gradients are there, before they are used."""

    def after_step(self) -> None:
        """Run after each step."""

    def state_dict(self) -> dict[str, Any]:
        """Return what must be saved in a checkpoint; nothing by default."""
        return {}


class TrainerBase:
    """A loop with hooks; a subclass defines ``run_step``.

    Attributes:
        iter: The current iteration.
        start_iter: The first one.
        max_iter: The one after the last.
        storage: Where metrics are recorded.
    """

    def __init__(self) -> None:
        self._hooks: list[HookBase] = []
        self.iter = 0
        self.start_iter = 0
        self.max_iter = 0
        self.storage: EventStorage = EventStorage()

    def register_hooks(self, hooks: Iterable[HookBase | None]) -> None:
        """Add hooks, which run in this order; None is left out."""
        for hook in hooks:
            if hook is None:
                continue
            if not isinstance(hook, HookBase):
                raise TypeError(f"A hook must be a HookBase; found a {type(hook).__name__}.")
            # Weak: the hooks must not keep the training alive.
            hook.trainer = weakref.proxy(self)
            self._hooks.append(hook)

    def train(self, start_iter: int, max_iter: int) -> None:
        """Run the iterations from ``start_iter`` up to ``max_iter``, which is not run."""
        logger.info("Starting training from iteration %d", start_iter)
        self.iter = self.start_iter = start_iter
        self.max_iter = max_iter
        with EventStorage(start_iter) as self.storage:
            try:
                self.before_train()
                for self.iter in range(start_iter, max_iter):
                    self.before_step()
                    self.run_step()
                    self.after_step()
                # Hooks after the training can tell that it came to its end.
                self.iter = max(max_iter, start_iter)
            except Exception as error:
                self._tell(error)
                self._after_failure()
                raise
            except BaseException:  # stopped on purpose
                self.after_train()
                raise
            self.after_train()

    def _tell(self, error: Exception) -> None:
        if isinstance(error, OSError | ValueError | FloatingPointError):  # they say what is wrong
            logger.error("Training stopped at iteration %d: %s", self.iter, error)
        else:
            logger.exception("Training stopped at iteration %d.", self.iter)

    def _after_failure(self) -> None:
        """Do what comes at the end; of two errors, people need the first."""
        try:
            self.after_train()
        except OSError as error:  # a full disk takes the last metrics no more than a checkpoint
            logger.error("Then this went wrong as well: %s", error)

    def before_train(self) -> None:
        """Run all hooks before the first step."""
        self._run_hooks(lambda hook: hook.before_train())

    def after_train(self) -> None:
        """Run all hooks after the last step."""
        self.storage.iter = self.iter
        self._run_hooks(lambda hook: hook.after_train())

    def before_step(self) -> None:
        """Run all hooks before a step."""
        self.storage.iter = self.iter
        self._run_hooks(lambda hook: hook.before_step())

    def after_backward(self) -> None:
        """Run all hooks between the gradients and their use."""
        self._run_hooks(lambda hook: hook.after_backward())

    def after_step(self) -> None:
        """Run all hooks after a step."""
        self._run_hooks(lambda hook: hook.after_step())

    def run_step(self) -> None:
        """Do one step."""
        raise NotImplementedError(f"{type(self).__name__} must define run_step().")

    def state_dict(self) -> dict[str, Any]:
        """Return the iteration and the state of the hooks that have one, for a checkpoint."""
        hooks: dict[str, Any] = {}
        for hook in self._hooks:
            state = hook.state_dict()
            if state:
                hooks.setdefault(type(hook).__qualname__, state)
        return {"iteration": self.iter, "hooks": hooks} if hooks else {"iteration": self.iter}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the iteration and the state of the hooks from a checkpoint."""
        self.iter = state_dict["iteration"]
        hooks = {type(hook).__qualname__: hook for hook in reversed(self._hooks)}
        for name, state in state_dict.get("hooks", {}).items():
            if name in hooks:
                hooks[name].load_state_dict(state)  # type: ignore[attr-defined]
            else:
                logger.warning(
                    "The checkpoint has the state of a hook '%s', which is not used.", name
                )

    def _run_hooks(self, what: Callable[[HookBase], None]) -> None:
        for hook in self._hooks:
            what(hook)
