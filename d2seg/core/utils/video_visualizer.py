"""Pictures of the frames of a video, in which objects keep their colours."""

from typing import Any

import numpy as np
import pycocotools.mask as mask_util
from torch import Tensor

from d2seg.core.data.catalog import Metadata
from d2seg.core.structures import Instances
from d2seg.core.tracking.overlap import OverlapTracker, Regions
from d2seg.core.utils.canvas import VisImage
from d2seg.core.utils.colormap import Color, random_color
from d2seg.core.utils.shapes import text_labels, to_numpy
from d2seg.core.utils.visualizer import ColorMode, Visualizer

_FRAMES_REMEMBERED = 8


class VideoVisualizer:
    """Draws frame after frame; an object that overlaps one seen before gets its colour.

    Args:
        metadata: As of `Visualizer`.
        instance_mode: ``IMAGE`` or ``IMAGE_BW``.
    """

    def __init__(self, metadata: Metadata, instance_mode: ColorMode = ColorMode.IMAGE) -> None:
        if instance_mode not in (ColorMode.IMAGE, ColorMode.IMAGE_BW):
            raise ValueError("VideoVisualizer has the modes IMAGE and IMAGE_BW only.")
        self.metadata = metadata
        self._instance_mode = instance_mode
        self._tracker = OverlapTracker(_FRAMES_REMEMBERED, min_mask_iou=0.5, min_box_iou=0.6)
        self._colors: dict[int, np.ndarray] = {}
        self._stuff_colors: dict[int, Color] = {}

    def draw_instance_predictions(self, frame: np.ndarray, predictions: Instances) -> VisImage:
        """Draw the detections of one frame.

        Args:
            frame: (H, W, 3) uint8 RGB.
            predictions: As of `Visualizer.draw_instance_predictions`.
        """
        visualizer = Visualizer(frame, self.metadata, instance_mode=self._instance_mode)
        if len(predictions) == 0:
            self._tracker.update([], [])
            return visualizer.output
        alpha = 0.3 if self._instance_mode == ColorMode.IMAGE_BW else 0.5
        colors = self._assign_colors(predictions)
        return visualizer.overlay_predictions(predictions, colors, alpha)

    def draw_sem_seg(
        self, frame: np.ndarray, sem_seg: Tensor, area_threshold: float | None = None
    ) -> VisImage:
        """Draw the classes (H, W) of one frame."""
        return self._with_stuff_colors(frame).draw_sem_seg(sem_seg, area_threshold)

    def draw_panoptic_seg_predictions(
        self,
        frame: np.ndarray,
        panoptic_seg: Tensor,
        segments_info: list[dict[str, Any]] | None,
        area_threshold: float | None = None,
        alpha: float = 0.5,
    ) -> VisImage:
        """Draw the segments (H, W) of one frame; things keep their colours by mask overlap."""
        visualizer = self._with_stuff_colors(frame)
        infos = segments_info or []
        stuff = [one for one in infos if not one["isthing"]]
        things = [one for one in infos if one["isthing"]]
        if segments_info is None or not things:
            return visualizer.draw_panoptic_seg(panoptic_seg, segments_info, area_threshold, alpha)
        visualizer.draw_panoptic_seg(panoptic_seg, stuff, area_threshold, alpha)
        segments = to_numpy(panoptic_seg)
        masks = np.stack([segments == one["id"] for one in things])
        classes = [one["category_id"] for one in things]
        scores = [one["score"] for one in things] if "score" in things[0] else None
        found = Instances(segments.shape, pred_masks=masks, pred_classes=np.array(classes))
        return visualizer.overlay_instances(
            masks=masks,
            labels=text_labels(classes, scores, self.metadata.get("thing_classes")),
            assigned_colors=self._assign_colors(found),
            alpha=alpha,
        )

    def _with_stuff_colors(self, frame: np.ndarray) -> Visualizer:
        visualizer = Visualizer(frame, self.metadata, instance_mode=self._instance_mode)
        visualizer.stuff_colors = self._stuff_colors
        return visualizer

    def _assign_colors(self, predictions: Instances) -> list[np.ndarray]:
        """Match the objects to those of earlier frames and remember them."""
        labels = [int(one) for one in predictions.pred_classes]
        names = self._tracker.update(labels, _regions(predictions))
        return [self._colors.setdefault(name, random_color(rgb=True, maximum=1)) for name in names]


def _regions(predictions: Instances) -> Regions:
    """Return the masks, as run lengths, or the boxes (N, 4) of all objects."""
    if not predictions.has("pred_masks"):
        return predictions.pred_boxes.tensor.cpu().numpy()
    masks = to_numpy(predictions.pred_masks).astype(np.uint8)
    return [mask_util.encode(np.asfortranarray(mask)) for mask in masks]
