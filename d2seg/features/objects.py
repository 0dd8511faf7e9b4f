"""The objects that features are of: detected, or given by the user."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from d2seg.framework import Boxes, Instances


@dataclass(frozen=True)
class GivenObjects:
    """Objects of a batch that were not detected.

    Attributes:
        boxes: Of each image (N, 4), XYXY pixels of its tensor, on the device of the model.
        classes: Of each image (N,) int64; None where they are not known.
    """

    boxes: list[Tensor]
    classes: list[Tensor] | None = None

    def check_classes(self, number: int) -> None:
        """Make sure that the classes are of a model with so many.

        Raises:
            ValueError: One is not; the message names image and object.
        """
        for index, classes in enumerate(self.classes or ()):
            wrong = ((classes < 0) | (classes >= number)).nonzero()
            if len(wrong):
                row = int(wrong[0, 0])
                raise ValueError(
                    f"Class {row} of image {index} is {int(classes[row])}, but the model has the "
                    f"classes 0 to {number - 1}."
                )

    def instances(
        self, sizes: Sequence[tuple[int, int]], classes: list[Tensor] | None = None
    ) -> list[Instances]:
        """Return them as Instances with ``pred_boxes``, and ``pred_classes`` where known.

        Args:
            sizes: Height and width of each image.
            classes: Stand in where the objects have none of their own.
        """
        known = classes if self.classes is None else self.classes
        result = []
        for index, boxes in enumerate(self.boxes):
            one = Instances(sizes[index], pred_boxes=Boxes(boxes))
            if known is not None:
                one.pred_classes = known[index]
            result.append(one)
        return result


def object_features(one: Instances) -> dict[str, Tensor]:
    """Return the boxes of objects, and their scores and classes where they are known."""
    found = {"instances.boxes": one.pred_boxes.tensor}
    for name, field in (("scores", "scores"), ("classes", "pred_classes")):
        if one.has(field):
            found[f"instances.{name}"] = one.get(field)
    return found


def check_objects(
    boxes: Sequence[Any],
    classes: Sequence[Any] | None,
    sizes: Sequence[tuple[int, int]],
    device: torch.device,
) -> GivenObjects:
    """Bring given boxes to tensors on the device of the model, and refuse impossible ones.

    Args:
        boxes: For each image (N, 4): a tensor, an array, a list or ``Boxes``; XYXY pixels.
        classes: For each image (N,) integers; None to let the model decide.
        sizes: Height and width of each image in pixels.
        device: Where they are needed.

    Raises:
        ValueError: Not one entry for each image, a wrong shape, a box that is not finite, has no
            area or lies outside its image, a class that is no whole number. The message names
            image and box.
    """
    if len(boxes) != len(sizes):
        raise ValueError(f"boxes has {len(boxes)} entries for {len(sizes)} image(s).")
    tensors = [_box_tensor(index, item).to(device) for index, item in enumerate(boxes)]
    for index, (tensor, size) in enumerate(zip(tensors, sizes, strict=True)):
        impossible = find_impossible_box(tensor, size)
        if impossible is not None:
            raise ValueError(f"Box {impossible[0]} of image {index}, {impossible[1]}.")
    if classes is None:
        return GivenObjects(tensors)
    labels = [_class_tensor(index, item).to(device) for index, item in enumerate(classes)]
    if [len(item) for item in labels] != [len(item) for item in tensors]:
        raise ValueError(
            f"classes has {[len(item) for item in labels]} entries for the "
            f"{[len(item) for item in tensors]} boxes of each image; give one for each box."
        )
    return GivenObjects(tensors, labels)


def find_impossible_box(boxes: Tensor, size_hw: tuple[int, int]) -> tuple[int, str] | None:
    """Return the row of a box that nothing can be pooled from, and what is wrong with it.

    Args:
        boxes: (N, 4) float, XYXY pixels of the image.
        size_hw: Its height and width.

    Returns:
        Such as ``(3, "(9, 3, 2, 8), has no area (...)")``; None if all are possible.
    """
    height, width = size_hw
    x1, y1, x2, y2 = boxes.unbind(dim=1)
    faults = {
        "is not finite": ~boxes.isfinite().all(dim=1),
        "has no area (x2 must exceed x1, and y2 y1)": (x2 <= x1) | (y2 <= y1),
        f"lies outside its image of {width} x {height} pixels": (
            (x2 <= 0) | (y2 <= 0) | (x1 >= width) | (y1 >= height)
        ),
    }
    for fault, wrong in faults.items():
        if bool(wrong.any()):
            row = int(wrong.nonzero()[0, 0])
            values = ", ".join(f"{value:g}" for value in boxes[row].tolist())
            return row, f"({values}), {fault}"
    return None


def _class_tensor(index: int, item: Any) -> Tensor:
    tensor = torch.as_tensor(item)
    if tensor.numel() == 0:
        return torch.zeros(0, dtype=torch.int64)
    if tensor.dim() != 1 or tensor.is_floating_point():
        raise ValueError(
            f"The classes of image {index} must be whole numbers (N,), found {tensor.dtype} "
            f"{tuple(tensor.shape)}."
        )
    return tensor.to(torch.int64)


def _box_tensor(index: int, item: Any) -> Tensor:
    try:
        tensor = torch.as_tensor(getattr(item, "tensor", item), dtype=torch.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"The boxes of image {index} must be numbers of shape (N, 4): {error}."
        ) from error
    if tensor.numel() == 0:
        return tensor.reshape(0, 4)
    if tensor.dim() != 2 or tensor.shape[1] != 4:
        raise ValueError(
            f"The boxes of image {index} must have shape (N, 4), XYXY pixels; found "
            f"{tuple(tensor.shape)}."
        )
    return tensor
