"""Whether the fixed number of steps of the non-maximum suppressions was enough."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from d2seg.core.ops.static_nms import steps_to_settle, suppression_matrix
from d2seg.export.static.stages import MatrixNms


def steps_taken(
    model: nn.Module, inputs: Iterable[tuple[Tensor, ...]]
) -> dict[str, tuple[int, int]]:
    """Count after how many steps each suppression of a model settles.

    Args:
        model: A static model; it is run on every input.
        inputs: What its ``forward`` takes.

    Returns:
        By name of the suppression: the largest number of steps that changed anything, and the
        number of steps that the model does. With more needed than done it differs from the eager
        model.
    """
    parts = {name: one for name, one in model.named_modules() if isinstance(one, MatrixNms)}
    needed = dict.fromkeys(parts, 0)

    def count(name: str, nms: MatrixNms, arguments: Any) -> None:
        boxes, usable, groups = arguments
        matrix = suppression_matrix(boxes, nms.iou_threshold, groups)
        needed[name] = max(needed[name], steps_to_settle(matrix, usable))

    hooks = [
        part.register_forward_pre_hook(
            lambda nms, arguments, name=name: count(name, nms, arguments)
        )
        for name, part in parts.items()
    ]
    try:
        with torch.inference_mode():
            for one in inputs:
                model(*one)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: (needed[name], part.steps) for name, part in parts.items()}
