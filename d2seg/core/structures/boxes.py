"""A list of upright boxes, and what is computed between two such lists."""

from typing import Any

import torch
from torch import Tensor

from d2seg.core.ops import boxes as box_ops
from d2seg.core.structures.box_mode import BoxMode
from d2seg.core.structures.script_types import (
    Device,
    DeviceLike,
    Index,
    TensorLike,
    float_rows,
    to_device,
)

__all__ = [
    "BoxMode",
    "Boxes",
    "matched_pairwise_iou",
    "pairwise_intersection",
    "pairwise_ioa",
    "pairwise_iou",
    "pairwise_point_box_distance",
]


class Boxes:
    """Boxes of one image, as a tensor with the questions that are asked of boxes.

    Attributes:
        tensor: (N, 4) float32, XYXY absolute pixels.
    """

    def __init__(self, tensor: TensorLike) -> None:
        """Hold these boxes.

        Args:
            tensor: (N, 4) tensor, array or nested list, XYXY absolute pixels. Anything without
                elements becomes (0, 4). A float32 tensor is held by reference.

        Raises:
            ValueError: Another shape.
        """
        self.tensor = float_rows(tensor, 4, "Boxes")

    def clone(self) -> "Boxes":
        """Return a copy that shares no memory."""
        return Boxes(self.tensor.clone())

    def to(self, device: DeviceLike) -> "Boxes":
        """Return the boxes on this device."""
        return Boxes(to_device(self.tensor, device))

    def area(self) -> Tensor:
        """Return the areas in square pixels, (N,) float."""
        return box_ops.box_area(self.tensor)

    def clip(self, box_size: tuple[int, int]) -> None:
        """Clip these boxes to an image. The object changes; the tensor it held before does not.

        Args:
            box_size: Image height and width in pixels.

        Raises:
            ValueError: A coordinate is infinite or not a number.
        """
        if not torch.isfinite(self.tensor).all():
            raise ValueError(
                "Boxes.clip found a coordinate that is infinite or not a number; "
                "the box regression that produced it has probably diverged."
            )
        self.tensor = box_ops.clip_boxes(self.tensor, box_size)

    def nonempty(self, threshold: float = 0.0) -> Tensor:
        """Return which boxes are wider and higher than ``threshold`` pixels, (N,) bool."""
        return box_ops.nonempty(self.tensor, threshold)

    def inside_box(self, box_size: tuple[int, int], boundary_threshold: int = 0) -> Tensor:
        """Return which boxes lie inside an image, (N,) bool.

        Args:
            box_size: Image height and width in pixels.
            boundary_threshold: How many pixels a box may reach beyond the border (exclusive at the
                right and the bottom).
        """
        height, width = box_size
        top_left = self.tensor[:, :2] >= -boundary_threshold
        left_of = self.tensor[:, 2] < width + boundary_threshold
        return top_left.all(dim=1) & left_of & (self.tensor[:, 3] < height + boundary_threshold)

    def get_centers(self) -> Tensor:
        """Return the centres, (N, 2) float, XY pixels."""
        return (self.tensor[:, :2] + self.tensor[:, 2:]) / 2

    def scale(self, scale_x: float, scale_y: float) -> None:
        """Scale these boxes about the origin. The object changes; the tensor it held does not."""
        self.tensor = box_ops.scale_boxes(self.tensor, scale_x, scale_y)

    @classmethod
    def cat(cls, boxes_list: list["Boxes"]) -> "Boxes":
        """Join several lists of boxes; an empty list gives no boxes."""
        if len(boxes_list) == 0:
            return cls(torch.empty(0, 4))
        return cls(torch.cat([boxes.tensor for boxes in boxes_list], dim=0))

    @property
    def device(self) -> Device:
        """Where the boxes are."""
        return self.tensor.device

    def __getitem__(self, item: Index) -> "Boxes":
        """Return the chosen boxes; an integer gives a list of one box."""
        if isinstance(item, int):
            return Boxes(self.tensor[item].reshape(1, 4))
        return Boxes(self.tensor[item])

    def __len__(self) -> int:
        return self.tensor.shape[0]

    @torch.jit.unused
    def __iter__(self) -> Any:
        """Yield each box as a tensor (4,)."""
        yield from self.tensor

    def __repr__(self) -> str:
        return f"Boxes({self.tensor})"


def pairwise_intersection(boxes1: Boxes, boxes2: Boxes) -> Tensor:
    """Return the area shared by each pair, (N, M) float, square pixels."""
    return box_ops.pairwise_intersection(boxes1.tensor, boxes2.tensor)


def pairwise_iou(boxes1: Boxes, boxes2: Boxes) -> Tensor:
    """Return the intersection over union of each pair, (N, M) float; 0 where they do not meet."""
    return box_ops.pairwise_iou(boxes1.tensor, boxes2.tensor)


def pairwise_ioa(boxes1: Boxes, boxes2: Boxes) -> Tensor:
    """Return the shared area over the area of the *second* box, (N, M) float; 0 without overlap."""
    shared = pairwise_intersection(boxes1, boxes2)
    return torch.where(shared > 0, shared / boxes2.area(), torch.zeros_like(shared))


def matched_pairwise_iou(boxes1: Boxes, boxes2: Boxes) -> Tensor:
    """Return the intersection over union of each box and its partner, (N,) float.

    Raises:
        ValueError: The lists differ in length.
    """
    if len(boxes1) != len(boxes2):
        raise ValueError(f"{len(boxes1)} boxes cannot be paired with {len(boxes2)}.")
    low = torch.max(boxes1.tensor[:, :2], boxes2.tensor[:, :2])
    high = torch.min(boxes1.tensor[:, 2:], boxes2.tensor[:, 2:])
    shared = (high - low).clamp(min=0).prod(dim=1)
    return shared / (boxes1.area() + boxes2.area() - shared)


def pairwise_point_box_distance(points: Tensor, boxes: Boxes) -> Tensor:
    """Measure how far each point is inside each box.

    Args:
        points: (N, 2) float, XY pixels.
        boxes: M boxes.

    Returns:
        (N, M, 4) float: distance to the left, top, right and bottom edge; all four are positive
        exactly when the point is inside.
    """
    points, corners = points[:, None], boxes.tensor[None]  # [N,1,2], [1,M,4]
    return torch.cat([points - corners[..., :2], corners[..., 2:] - points], dim=2)
