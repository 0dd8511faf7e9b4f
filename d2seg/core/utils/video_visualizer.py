"""Pictures of the frames of a video, in which objects keep their colours."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
from torch import Tensor

from d2seg.core.data.catalog import Metadata
from d2seg.core.structures import Boxes, Instances, pairwise_iou
from d2seg.core.utils.canvas import VisImage
from d2seg.core.utils.colormap import Color, random_color
from d2seg.core.utils.shapes import text_labels, to_numpy
from d2seg.core.utils.visualizer import ColorMode, Visualizer

_FRAMES_REMEMBERED = 8
_MIN_IOU = {"mask": 0.5, "box": 0.6}


@dataclass
class _Tracked:
    """An object of earlier frames: what it was, where, and how long ago."""

    label: int
    region: Any
    color: np.ndarray
    age: int = 0


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
        self._tracked: list[_Tracked] = []
        self._stuff_colors: dict[int, Color] = {}

    def draw_instance_predictions(self, frame: np.ndarray, predictions: Instances) -> VisImage:
        """Draw the detections of one frame.

        Args:
            frame: (H, W, 3) uint8 RGB.
            predictions: As of `Visualizer.draw_instance_predictions`.
        """
        visualizer = Visualizer(frame, self.metadata, instance_mode=self._instance_mode)
        if len(predictions) == 0:
            self._tracked = self._still_remembered(self._tracked)
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
        kind = "mask" if predictions.has("pred_masks") else "box"
        labels = [int(one) for one in predictions.pred_classes]
        new = [
            _Tracked(label, region, random_color(rgb=True, maximum=1))
            for label, region in zip(labels, _regions(predictions, kind), strict=True)
        ]
        old = [one for one in self._tracked if isinstance(one.region, dict) == (kind == "mask")]
        overlap = _overlaps(new, old)
        unmatched = list(old)
        order = np.dstack(np.unravel_index(np.argsort(-overlap, axis=None), overlap.shape))[0]
        taken: set[int] = set()
        for row, column in order.tolist():
            if overlap[row, column] < _MIN_IOU[kind]:
                break
            if row not in taken and old[column] in unmatched:
                new[row].color = old[column].color
                taken.add(row)
                unmatched = [one for one in unmatched if one is not old[column]]
        self._tracked = [*new, *self._still_remembered(unmatched)]
        return [one.color for one in new]

    @staticmethod
    def _still_remembered(objects: list[_Tracked]) -> list[_Tracked]:
        for one in objects:
            one.age += 1
        return [one for one in objects if one.age < _FRAMES_REMEMBERED]


def _regions(predictions: Instances, kind: str) -> list[Any]:
    """Return the masks, as run lengths, or the boxes (4,) of all objects."""
    if kind == "box":
        return list(predictions.pred_boxes.tensor.cpu().numpy())
    masks = to_numpy(predictions.pred_masks).astype(np.uint8)
    return [mask_util.encode(np.asfortranarray(mask)) for mask in masks]


def _overlaps(new: list[_Tracked], old: list[_Tracked]) -> np.ndarray:
    """Return the IoU of each pair (N, M); 0 for objects of different classes."""
    if not new or not old:
        return np.zeros((len(new), len(old)))
    first, second = [one.region for one in new], [one.region for one in old]
    if isinstance(first[0], dict):
        iou = np.asarray(mask_util.iou(first, second, [False] * len(second)))
    else:
        iou = pairwise_iou(Boxes(np.stack(first)), Boxes(np.stack(second))).numpy()
    same = np.array([one.label for one in new])[:, None] == [one.label for one in old]
    return iou * same
