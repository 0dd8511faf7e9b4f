"""A list of rotated boxes, and the overlap of two such lists."""

from typing import Any

import torch
from torch import Tensor

from d2seg.core.ops import rotated as rotated_ops
from d2seg.core.structures.boxes import Boxes
from d2seg.core.structures.script_types import DeviceLike, Index, TensorLike, float_rows, to_device


class RotatedBoxes(Boxes):
    """Rotated boxes of one image.

    Attributes:
        tensor: (N, 5) float32: centre x and y, width and height in pixels, and degrees,
            counter-clockwise as seen on the screen, where y points down. A box turned by 180
            degrees is the same box.
    """

    def __init__(self, tensor: TensorLike) -> None:
        """Hold these boxes.

        Args:
            tensor: (N, 5) tensor, array or nested list. Anything without elements becomes (0, 5).

        Raises:
            ValueError: Another shape.
        """
        self.tensor = float_rows(tensor, 5, "RotatedBoxes")

    def clone(self) -> "RotatedBoxes":
        """Return a copy that shares no memory."""
        return RotatedBoxes(self.tensor.clone())

    def to(self, device: DeviceLike) -> "RotatedBoxes":
        """Return the boxes on this device."""
        return RotatedBoxes(to_device(self.tensor, device))

    def area(self) -> Tensor:
        """Return the areas in square pixels, (N,) float."""
        return self.tensor[:, 2] * self.tensor[:, 3]

    def normalize_angles(self) -> None:
        """Bring the angles of these boxes into [-180, 180) degrees, in the tensor they hold."""
        self.tensor[:, 4] = (self.tensor[:, 4] + 180.0) % 360.0 - 180.0

    def clip(self, box_size: tuple[int, int], clip_angle_threshold: float = 1.0) -> None:
        """Clip those of these boxes that are nearly upright to an image.

        Others stay: cut by the border they would be no boxes any more. The angles of all are
        normalised. The tensor that these boxes hold is written to, as detectron2 does.

        Args:
            box_size: Image height and width in pixels.
            clip_angle_threshold: How many degrees count as upright.
        """
        height, width = box_size
        self.normalize_angles()
        upright = self.tensor[:, 4].abs() <= clip_angle_threshold
        center, size = self.tensor[:, :2], self.tensor[:, 2:4]
        limit = torch.tensor([width, height]).to(self.tensor)
        low = (center - size / 2).clamp(min=0).minimum(limit)
        high = (center + size / 2).clamp(min=0).minimum(limit)
        # Rounding must not make a box larger than it was.
        clipped = torch.cat([(low + high) / 2, size.minimum(high - low)], dim=1)
        self.tensor[upright, :4] = clipped[upright]

    def nonempty(self, threshold: float = 0.0) -> Tensor:
        """Return which boxes are wider and higher than ``threshold`` pixels, (N,) bool."""
        return (self.tensor[:, 2:4] > threshold).all(dim=1)

    def inside_box(self, box_size: tuple[int, int], boundary_threshold: int = 0) -> Tensor:
        """Return which boxes lie inside an image with all corners, (N,) bool.

        Args:
            box_size: Image height and width in pixels.
            boundary_threshold: How many pixels a box may reach beyond the border (exclusive at the
                right and the bottom).
        """
        height, width = box_size
        angle = torch.deg2rad(self.tensor[:, 4:])
        half = self.tensor[:, 2:4] / 2
        reach = angle.cos().abs() * half + angle.sin().abs() * half.flip(1)
        low, high = self.tensor[:, :2] - reach, self.tensor[:, :2] + reach
        left_of = high[:, 0] < width + boundary_threshold
        above = high[:, 1] < height + boundary_threshold
        return (low >= -boundary_threshold).all(dim=1) & left_of & above

    def get_centers(self) -> Tensor:
        """Return the centres, (N, 2) float, XY pixels."""
        return self.tensor[:, :2]

    def scale(self, scale_x: float, scale_y: float) -> None:
        """Scale these boxes about the origin.

        Where the two factors differ, a rotated box becomes a parallelogram; what is kept then is
        the length and direction of its sides, at right angles.
        """
        center, size = self.tensor[:, :2], self.tensor[:, 2:4]
        angle = torch.deg2rad(self.tensor[:, 4])
        cos, sin = angle.cos(), angle.sin()
        width = size[:, 0] * torch.hypot(scale_x * cos, scale_y * sin)
        height = size[:, 1] * torch.hypot(scale_x * sin, scale_y * cos)
        turned = torch.rad2deg(torch.atan2(scale_x * sin, scale_y * cos))
        moved = center * torch.tensor([scale_x, scale_y]).to(center)
        self.tensor = torch.cat([moved, torch.stack([width, height, turned], dim=1)], dim=1)

    @classmethod
    def cat(cls, boxes_list: list["RotatedBoxes"]) -> "RotatedBoxes":  # type: ignore[override]
        """Join several lists of boxes; an empty list gives no boxes."""
        if len(boxes_list) == 0:
            return cls(torch.empty(0, 5))
        return cls(torch.cat([boxes.tensor for boxes in boxes_list], dim=0))

    def __getitem__(self, item: Index) -> "RotatedBoxes":
        """Return the chosen boxes; an integer gives a list of one box."""
        if isinstance(item, int):
            return RotatedBoxes(self.tensor[item].reshape(1, 5))
        return RotatedBoxes(self.tensor[item])

    def __len__(self) -> int:  # TorchScript's classes inherit nothing
        return self.tensor.shape[0]

    @torch.jit.unused
    def __iter__(self) -> Any:
        """Yield each box as a tensor (5,)."""
        yield from self.tensor

    def __repr__(self) -> str:
        return f"RotatedBoxes({self.tensor})"


def pairwise_iou(boxes1: RotatedBoxes, boxes2: RotatedBoxes) -> Tensor:
    """Return the intersection over union of each pair, (N, M) float."""
    return rotated_ops.pairwise_iou_rotated(boxes1.tensor, boxes2.tensor)
