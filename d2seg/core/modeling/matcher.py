"""Assignment of ground truth as an object that knows its thresholds."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from d2seg.core.ops.matching import match_boxes, match_in_parts

_PAIRS_AT_ONCE = 2**18, 2**24
"""On a CPU no more than its caches hold; elsewhere few steps, which are queued one by one."""


class Matcher:
    """Gives each prediction its best ground truth and a label.

    Args:
        thresholds: Rising IoU values, such as [0.3, 0.7].
        labels: One more label than thresholds, such as [0, -1, 1]: background, ignored, object.
        allow_low_quality_matches: Also match the best predictions of each ground truth.
    """

    def __init__(
        self,
        thresholds: list[float],
        labels: list[int],
        allow_low_quality_matches: bool = False,
    ) -> None:
        if len(labels) != len(thresholds) + 1:
            raise ValueError(
                f"IOU_LABELS has {len(labels)} entries, but {len(thresholds)} IOU_THRESHOLDS "
                f"need {len(thresholds) + 1}."
            )
        previous = 0.0
        for value in thresholds:
            if value <= 0.0 or value < previous:
                raise ValueError(
                    f"IOU_THRESHOLDS is {list(thresholds)}, but must rise from above 0."
                )
            previous = float(value)
        for label in labels:
            if label not in [-1, 0, 1]:
                raise ValueError(f"IOU_LABELS is {list(labels)}, but each must be -1, 0 or 1.")
        self.thresholds = [float(value) for value in thresholds]
        self.labels = list(labels)
        self.allow_low_quality_matches = allow_low_quality_matches

    def __call__(self, match_quality_matrix: Tensor) -> tuple[Tensor, Tensor]:
        """Match (M, N) IoUs: matches (N,) int64 and labels (N,) int8."""
        return Matcher._match(
            match_quality_matrix, self.thresholds, self.labels, self.allow_low_quality_matches
        )

    @staticmethod
    def _match(
        iou: Tensor, thresholds: list[float], labels: list[int], allow_low_quality: bool
    ) -> tuple[Tensor, Tensor]:
        # Whoever compiles the class knows its name, but not the names that its module imports.
        return match_boxes(iou, thresholds, labels, allow_low_quality)


def match_in_memory_bounds(
    matcher: Matcher, pairwise_iou: Callable[[Any, Any], Tensor], gt_boxes: Any, boxes: Any
) -> tuple[Tensor, Tensor]:
    """Return ``matcher(pairwise_iou(gt_boxes, boxes))``, without all IoUs in memory.

    Args:
        matcher: One of another class is given all IoUs, as it asks for them.
        pairwise_iou: From M and N boxes to (M, N).
        gt_boxes: M Boxes, or RotatedBoxes.
        boxes: N of them.
    """
    if type(matcher) is not Matcher:
        return matcher(pairwise_iou(gt_boxes, boxes))
    return match_in_parts(
        lambda start, stop: pairwise_iou(gt_boxes, boxes[start:stop]),
        len(gt_boxes),
        len(boxes),
        matcher.thresholds,
        matcher.labels,
        matcher.allow_low_quality_matches,
        _PAIRS_AT_ONCE[boxes.device.type != "cpu"],
    )
