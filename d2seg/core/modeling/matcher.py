"""Assignment of ground truth as an object that knows its thresholds."""

from torch import Tensor

from d2seg.core.ops.matching import match_boxes


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
