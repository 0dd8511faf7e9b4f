"""Questions to the symbolic tracer of ``torch.fx``, under detectron2's path."""

from typing import Any

import torch


def is_fx_tracing() -> bool:
    """Tell whether ``torch.fx`` is tracing at the moment."""
    return bool(torch.fx._symbolic_trace.is_fx_tracing())


def assert_fx_safe(condition: Any, message: str) -> Any:
    """Raise unless a condition holds; skipped where it cannot be known, in a trace or a script.

    Args:
        condition: A truth value, or a tensor of one element.
        message: Of the error.

    Raises:
        AssertionError: The condition does not hold.
    """
    if torch.jit.is_scripting() or is_fx_tracing():
        return condition
    if not condition:
        raise AssertionError(message)
    return condition
