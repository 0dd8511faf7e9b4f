"""The instance section of the page."""

from collections.abc import Sequence

import numpy as np

from d2seg.framework import Instances
from d2seg.visualize import draw_instances, enlarge, stretch_contrast

DRAWING_PIXELS = 720
"""About how many pixels the shorter side of a small image has after it was enlarged to draw on."""
LONGEST_DRAWING = 2048
"""No image is enlarged beyond this, however narrow it is."""


def draw_pair(
    image: np.ndarray, instances: Instances, class_names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Draw an image for the page: bright and large enough, without and with its instances.

    Args:
        image: (H, W, 3) uint8 RGB.
        instances: All are drawn.
        class_names: In the order of the class indices.

    Returns:
        Two pictures of one size, H and W times a whole number.
    """
    height, width = image.shape[:2]
    limit = LONGEST_DRAWING // max(height, width)
    scale = max(1, min(round(DRAWING_PIXELS / min(height, width)), limit))
    visible = stretch_contrast(image)
    boxes, labels = instances.pred_boxes.tensor, _labels(instances, class_names)
    drawing = draw_instances(visible, instances.pred_masks, boxes, labels, scale)
    return enlarge(visible, scale), drawing


def _labels(instances: Instances, class_names: Sequence[str]) -> list[str]:
    """Label with class and score in percent; a single class needs no name."""
    percents = [f"{score * 100:.0f}" for score in instances.scores.tolist()]
    if len(class_names) == 1:
        return percents
    names = [class_names[index] for index in instances.pred_classes.tolist()]
    return [f"{name} {percent}" for name, percent in zip(names, percents, strict=True)]
