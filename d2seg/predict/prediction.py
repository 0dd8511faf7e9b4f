"""What was found in one image, the same for every kind of model file."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from d2seg.core.ops.boxes import clip_boxes, nonempty
from d2seg.framework import Boxes, Instances
from d2seg.postprocess import rescale_boxes
from d2seg.predict import conversion
from d2seg.predict.masks import BoxMasks, ImageMasks, Index

if TYPE_CHECKING:
    import pandas as pd
    import supervision as sv


@dataclass(frozen=True, eq=False)
class Prediction:
    """The objects of one image, best score first, on the CPU.

    Masks stay as small as the network gave them until :meth:`masks` is called::

        for name, box, score in zip(found.names, found.boxes, found.scores): ...
        sure = found[found.scores > 0.8]
        pixels = sure.masks()

    Attributes:
        boxes: (N, 4) float, XYXY pixels of the image as it was given, before any resizing.
        scores: (N,) float in [0, 1].
        classes: (N,) int64, index into ``class_names``.
        class_names: The names of all classes of the model.
        image_size: Height and width of the image.
        keypoints: (N, K, 3) float: x and y in pixels of the image, score; None if the model has
            none.
        mask_source: The masks as the model gave them; None if it has none.
        mask_threshold: Probability from which a pixel belongs to the object.
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor
    class_names: tuple[str, ...]
    image_size: tuple[int, int]
    keypoints: Tensor | None = None
    mask_source: BoxMasks | ImageMasks | None = None
    mask_threshold: float = 0.5

    def __len__(self) -> int:
        """Count the objects."""
        return len(self.boxes)

    def __getitem__(self, index: Index) -> "Prediction":
        """Keep some objects.

        Args:
            index: A slice, (N,) bool, or (M,) int64 rows.
        """
        if not isinstance(index, (slice, Tensor)):
            raise TypeError(
                "A Prediction takes a slice, or a tensor of booleans or of rows, but got "
                f"{index!r}; for the first object write prediction[:1]."
            )
        return replace(
            self,
            boxes=self.boxes[index],
            scores=self.scores[index],
            classes=self.classes[index],
            keypoints=None if self.keypoints is None else self.keypoints[index],
            mask_source=None if self.mask_source is None else self.mask_source[index],
        )

    @property
    def names(self) -> list[str]:
        """The name of each object's class."""
        return [self.class_names[index] for index in self.classes.tolist()]

    @property
    def has_masks(self) -> bool:
        """Whether the model gives masks, also if nothing was found."""
        return self.mask_source is not None

    def masks(self, threshold: float | None = None) -> Tensor:
        """Return the masks as pixels; they take N times the area of the image.

        Args:
            threshold: Probability from which a pixel belongs to the object; by default
                    ``mask_threshold``. Below zero gives soft masks.

        Returns:
            (N, height, width) bool, or uint8 in [0, 255] for a threshold below zero.

        Raises:
            ValueError: The model has no masks, or gave them with another threshold.
        """
        return self._masks().paste(self.mask_threshold if threshold is None else threshold)

    def rle(self, threshold: float | None = None) -> list[dict[str, Any]]:
        """Return the masks as COCO's compressed run lengths, without holding all as pixels.

        Args:
            threshold: As of :meth:`masks`, zero or more.

        Returns:
            For each object ``size`` (height, width) and ``counts``, a text.

        Raises:
            ValueError: As of :meth:`masks`, or the threshold is below zero.
        """
        return self._masks().rle(self._limit(threshold))

    def to_coco(
        self, image_id: int | str, category_ids: Sequence[int] | None = None
    ) -> list[dict[str, Any]]:
        """Return COCO results, which ``COCO.loadRes`` and evaluators read.

        Args:
            image_id: The image's id in the data set.
            category_ids: The data set's id of each class, in the order of ``class_names``; by
                default they count from 1.

        Returns:
            For each object ``image_id``, ``category_id``, ``bbox`` (left, top, width, height),
            ``score`` and, if the model has them, ``segmentation`` (run lengths) and ``keypoints``
            (x, y, score in turn; COCO counts pixels from their centres, so x and y are half a pixel
            less than here).

        Raises:
            ValueError: There are not as many ids as classes.
        """
        return conversion.to_coco(self, image_id, category_ids)

    def to_polygons(self, threshold: float | None = None) -> list[list[np.ndarray]]:
        """Return the outlines of the masks, along the edges of pixels.

        Args:
            threshold: As of :meth:`rle`.

        Returns:
            For each object one polygon for each of its parts, (2 M,) float: x and y in turn, in
            pixels of the image. Holes are left out, as COCO's polygons cannot have any.

        Raises:
            ValueError: As of :meth:`rle`.
        """
        return conversion.to_polygons(self._masks(), self._limit(threshold))

    def to_torchvision(self, soft: bool = False) -> dict[str, Tensor]:
        """Return what a detection model of torchvision returns for an image.

        Args:
            soft: Give masks as such a model does, instead of those that its users make of them.

        Returns:
            ``boxes`` (N, 4) float XYXY; ``labels`` (N,) int64, class index + 1, because 0 is the
            background there; ``scores`` (N,) float; if the model has them, ``keypoints`` (N, K, 3)
            and ``masks``: (N, height, width) bool, or if soft (N, 1, height, width) float in
            [0, 1].
        """
        return conversion.to_torchvision(self, soft)

    def to_supervision(self, threshold: float | None = None) -> "sv.Detections":
        """Return a ``Detections`` of the package supervision, to draw, count, track or slice.

        Args:
            threshold: As of :meth:`rle`.

        Returns:
            ``xyxy``, ``confidence``, ``class_id``, ``data["class_name"]`` and, for a model with
            masks, ``mask``: a ``CompactMask``, which takes no more memory than run lengths.

        Raises:
            ImportError: supervision is not installed.
        """
        return conversion.to_supervision(self, self._limit(threshold))

    def to_dataframe(self) -> "pd.DataFrame":
        """Return a table with a row for each object.

        Returns:
            ``name``, ``class``, ``score``, ``left``, ``top``, ``right``, ``bottom``, and for a
            model with masks ``area``: how many pixels belong to the object.

        Raises:
            ImportError: pandas is not installed.
        """
        return conversion.to_dataframe(self)

    def to_instances(self) -> Instances:
        """Return detectron2's form, with masks as pixels.

        Returns:
            ``pred_boxes``, ``scores``, ``pred_classes``, and where the model has them
            ``pred_masks`` (N, height, width) bool and ``pred_keypoints`` (N, K, 3).
        """
        fields: dict[str, Any] = {
            "pred_boxes": Boxes(self.boxes),
            "scores": self.scores,
            "pred_classes": self.classes,
        }
        if self.has_masks:
            fields["pred_masks"] = self.masks()
        if self.keypoints is not None:
            fields["pred_keypoints"] = self.keypoints
        return Instances(self.image_size, **fields)

    def _limit(self, threshold: float | None) -> float:
        """Return the threshold of hard masks."""
        limit = self.mask_threshold if threshold is None else threshold
        if limit < 0:
            raise ValueError(f"threshold is {limit}, but run lengths are of hard masks: give 0..1.")
        return limit

    def _masks(self) -> BoxMasks | ImageMasks:
        if self.mask_source is None:
            raise ValueError("This model gives no masks; has_masks tells which one does.")
        return self.mask_source


def concatenate(parts: Sequence[Prediction]) -> Prediction:
    """Put predictions about one image together, one after the other.

    Args:
        parts: At least one, of one model; masks as run lengths.
    """
    first = parts[0]
    masks = None
    if isinstance(first.mask_source, ImageMasks):
        runs = [run for part in parts for run in part.rle()]
        masks = replace(first.mask_source, runs=runs)
    keypoints = None
    if first.keypoints is not None:
        keypoints = torch.cat([part.keypoints for part in parts if part.keypoints is not None])
    return replace(
        first,
        boxes=torch.cat([part.boxes for part in parts]),
        scores=torch.cat([part.scores for part in parts]),
        classes=torch.cat([part.classes for part in parts]),
        keypoints=keypoints,
        mask_source=masks,
    )


def from_network(
    found: Prediction,
    image_size: tuple[int, int],
    box_masks: Tensor | None = None,
    whole_pixels: bool = False,
) -> Prediction:
    """Bring what was found from the pixels of the network's input to those of the image.

    Boxes are clipped to the image, and objects with nothing left are dropped.

    Args:
        found: In pixels of the input; its ``image_size`` is that of the input. Not modified.
        image_size: Height and width of the image.
        box_masks: (N, 1, h, w) float, probabilities within the boxes.
        whole_pixels: How they are pasted, see :class:`d2seg.predict.masks.BoxMasks`.
    """
    boxes = clip_boxes(rescale_boxes(found.boxes, found.image_size, image_size), image_size)
    masks = found.mask_source
    if box_masks is not None:
        masks = BoxMasks(box_masks[:, 0], boxes, image_size, whole_pixels)
    keypoints = found.keypoints
    if keypoints is not None:
        height, width = image_size
        scale = [width / found.image_size[1], height / found.image_size[0], 1.0]
        keypoints = keypoints * torch.tensor(scale)
    moved = replace(
        found, boxes=boxes, image_size=image_size, keypoints=keypoints, mask_source=masks
    )
    return moved[nonempty(boxes)]
