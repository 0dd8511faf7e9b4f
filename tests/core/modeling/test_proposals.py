"""Proposals on their own: checks of predictions, and what is chosen among them."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from d2seg.core.modeling.proposal_generator.proposal_utils import find_top_rpn_proposals
from d2seg.core.modeling.proposal_generator.rrpn import find_top_rrpn_proposals
from d2seg.core.ops.proposals import all_finite


def decoded_levels(box_dim: int) -> tuple[list[Tensor], list[Tensor]]:
    """Two levels of three boxes in two images, which differ in their scores alone."""
    boxes = torch.tensor([[20.0, 20, 10, 8, 0], [21.0, 20, 10, 8, 0], [60.0, 20, 10, 8, 0]])
    if box_dim == 4:
        boxes = torch.cat([boxes[:, :2] - boxes[:, 2:4] / 2, boxes[:, :2] + boxes[:, 2:4] / 2], 1)
    levels = [boxes.expand(2, 3, box_dim)] * 2
    logits = [
        torch.tensor([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]]),
        torch.tensor([[0.5, 2.5, -1.0], [9.0, 8.0, 7.0]]),
    ]
    return levels, logits


@pytest.mark.parametrize(
    ("find", "box_dim"), [(find_top_rpn_proposals, 4), (find_top_rrpn_proposals, 5)]
)
def test_the_best_of_each_level_after_suppression(find: Any, box_dim: int) -> None:
    levels, logits = decoded_levels(box_dim)
    sizes = [(40, 80), (40, 80)]
    first, second = find(levels, logits, sizes, 0.5, 2, 3, 0.0, False)
    # Of each level the best two enter; neighbours suppress each other within a level only.
    assert first.objectness_logits.tolist() == [3.0, 2.5]
    assert second.objectness_logits.tolist() == [9.0, 3.0, 2.0]
    torch.testing.assert_close(second.proposal_boxes.tensor[0], levels[1][1, 0])
    (clipped, _) = find(levels, logits, [(40, 57), (40, 80)], 0.5, 3, 9, 3.0, False)
    assert clipped.objectness_logits.tolist() == [3.0, 2.5]
    logits[0][0, 1] = float("nan")
    assert len(find(levels, logits, sizes, 0.5, 3, 9, 0.0, False)[0]) == 4
    with pytest.raises(FloatingPointError, match="training has diverged"):
        find(levels, logits, sizes, 0.5, 3, 9, 0.0, True)


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
