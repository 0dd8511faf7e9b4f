"""COCO's named metrics from what COCOeval has accumulated.

Legend: T IoU thresholds (0.50 to 0.95), R recall positions, K categories, A size ranges.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["METRICS", "average_precisions", "mean_percent"]

_Metrics = dict[str, tuple[float | None, str]]

_KEYPOINT_METRICS: _Metrics = {
    "AP": (None, "all"),
    "AP50": (0.5, "all"),
    "AP75": (0.75, "all"),
    "APm": (None, "medium"),
    "APl": (None, "large"),
}
_INSTANCE_METRICS: _Metrics = {
    "AP": (None, "all"),
    "AP50": (0.5, "all"),
    "AP75": (0.75, "all"),
    "APs": (None, "small"),
    "APm": (None, "medium"),
    "APl": (None, "large"),
}
METRICS = {"bbox": _INSTANCE_METRICS, "segm": _INSTANCE_METRICS, "keypoints": _KEYPOINT_METRICS}
"""For each task and metric the IoU threshold (None: the mean of all) and the size range."""


def average_precisions(
    precision: np.ndarray,
    params: Any,
    task: str,
    class_names: Sequence[str] | None = None,
) -> dict[str, float]:
    """Average the precision in the ways that have names.

    Args:
        precision: (T, R, K, A) float, -1 where there is nothing to measure.
        params: With ``iouThrs`` (T,) and ``areaRngLbl``, A names, as those of a COCOeval.
        task: ``bbox``, ``segm`` or ``keypoints``.
        class_names: By category; with several, ``AP-<class name>`` is measured too.

    Returns:
        Metrics in percent; nan where there is nothing to measure.

    Raises:
        ValueError: There are more or fewer names than categories.
    """
    size_ranges = list(params.areaRngLbl)
    metrics = {}
    for name, (threshold, size_range) in METRICS[task].items():
        chosen = precision[..., size_ranges.index(size_range)]
        if threshold is not None:
            chosen = chosen[np.isclose(params.iouThrs, threshold)]
        metrics[name] = mean_percent(chosen)
    if class_names is None or len(class_names) <= 1:
        return metrics
    if len(class_names) != precision.shape[2]:
        raise ValueError(
            f"{len(class_names)} class names were given, but {precision.shape[2]} categories "
            "were measured."
        )
    for index, class_name in enumerate(class_names):
        metrics[f"AP-{class_name}"] = mean_percent(precision[:, :, index, 0])
    return metrics


def mean_percent(values: np.ndarray) -> float:
    """Return the mean of what was measured (not -1) in percent; nan if nothing was."""
    measured = values[values > -1]
    return float(100 * measured.mean()) if measured.size else float("nan")
