"""What was found in one image, the same for every kind of model file."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from d2seg.core.ops.boxes import clip_boxes, nonempty
from d2seg.framework import Boxes, Instances
from d2seg.postprocess import rescale_boxes
from d2seg.predict.masks import BoxMasks, ImageMasks, Index


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
        limit = self.mask_threshold if threshold is None else threshold
        if limit < 0:
            raise ValueError(f"threshold is {limit}, but run lengths are of hard masks: give 0..1.")
        return self._masks().rle(limit)

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
        ids = range(1, len(self.class_names) + 1) if category_ids is None else category_ids
        if len(ids) != len(self.class_names):
            raise ValueError(
                f"category_ids has {len(ids)} entries, but the model has {len(self.class_names)} "
                "classes."
            )
        columns: dict[str, list[Any]] = {
            "category_id": [ids[index] for index in self.classes.tolist()],
            "bbox": torch.cat(
                [self.boxes[:, :2], self.boxes[:, 2:] - self.boxes[:, :2]], 1
            ).tolist(),
            "score": self.scores.tolist(),
        }
        if self.has_masks:
            columns["segmentation"] = self.rle()
        if self.keypoints is not None:
            shift = torch.tensor([0.5, 0.5, 0.0])
            columns["keypoints"] = (self.keypoints - shift).flatten(1).tolist()
        rows = zip(*columns.values(), strict=True)
        return [{"image_id": image_id, **dict(zip(columns, row, strict=True))} for row in rows]

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

    def _masks(self) -> BoxMasks | ImageMasks:
        if self.mask_source is None:
            raise ValueError("This model gives no masks; has_masks tells which one does.")
        return self.mask_source


def from_network(
    found: Prediction, image_size: tuple[int, int], box_masks: Tensor | None = None
) -> Prediction:
    """Bring what was found from the pixels of the network's input to those of the image.

    Boxes are clipped to the image, and objects with nothing left are dropped.

    Args:
        found: In pixels of the input; its ``image_size`` is that of the input. Not modified.
        image_size: Height and width of the image.
        box_masks: (N, 1, h, w) float, probabilities within the boxes.
    """
    boxes = clip_boxes(rescale_boxes(found.boxes, found.image_size, image_size), image_size)
    masks = found.mask_source
    if box_masks is not None:
        masks = BoxMasks(box_masks[:, 0], boxes, image_size)
    keypoints = found.keypoints
    if keypoints is not None:
        height, width = image_size
        scale = [width / found.image_size[1], height / found.image_size[0], 1.0]
        keypoints = keypoints * torch.tensor(scale)
    moved = replace(
        found, boxes=boxes, image_size=image_size, keypoints=keypoints, mask_source=masks
    )
    return moved[nonempty(boxes)]
