"""Proposals on their own: checks of predictions, and what is chosen among them."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from d2seg.core.modeling.proposal_generator.proposal_utils import all_finite


class Waits(TorchDispatchMode):
    """Counts the values that are read from the device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.count += func.overloadpacket is torch.ops.aten._local_scalar_dense
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_one_value_that_is_not_finite_is_found_with_one_wait(bad: float) -> None:
    levels = [torch.zeros(2, 5), torch.zeros(2, 3, 4), torch.zeros(2, 0)]
    with Waits() as waits:
        assert all_finite(levels)
    assert waits.count == 1
    levels[1][1, 2, 3] = bad
    assert not all_finite(levels)
