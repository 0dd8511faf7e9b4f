"""Masks of the objects of one image: as bits, as polygons, and as small squares within boxes."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from d2seg.core.ops.masks import paste_masks, paste_masks_whole_pixels, paste_traced_masks
from d2seg.core.ops.roi_align import roi_align
from d2seg.core.ops.waiting import rows_of_groups
from d2seg.core.structures.boxes import Boxes
from d2seg.core.structures.polygons import (
    polygon_area,
    polygons_to_bitmask,
    rasterize_polygons_within_box,
)
from d2seg.core.structures.script_types import moved, to_device

__all__ = [
    "BitMasks",
    "PolygonMasks",
    "ROIMasks",
    "polygon_area",
    "polygons_to_bitmask",
    "rasterize_polygons_within_box",
]


_PIXELS_AT_ONCE = 2**25
"""Bitmaps are made floats so many pixels at a time, which bounds the memory of many objects."""


class BitMasks:
    """One full-size bitmap per object.

    Attributes:
        image_size: H and W.
    """

    def __init__(self, tensor: Tensor | np.ndarray) -> None:
        """Hold (N, H, W) masks; anything nonzero counts as inside."""
        tensor = torch.as_tensor(tensor).to(torch.bool)
        if tensor.ndim != 3:
            raise ValueError(f"BitMasks needs masks (N, H, W); found shape {tuple(tensor.shape)}.")
        self._bitmaps: Tensor = tensor
        self._rows: Tensor | None = None
        self.image_size: tuple[int, int] = (tensor.shape[1], tensor.shape[2])

    @property
    def tensor(self) -> Tensor:
        """The masks, (N, H, W) bool."""
        if self._rows is not None:
            self._bitmaps, self._rows = self._bitmaps[self._rows], None
        return self._bitmaps

    @tensor.setter
    def tensor(self, tensor: Tensor) -> None:
        self._bitmaps, self._rows = tensor, None

    def sharing(self, rows: Tensor) -> "BitMasks":
        """Return masks that share these bitmaps until somebody asks for their tensor.

        Args:
            rows: (M,) int64, which of them; the same one may come many times.
        """
        chosen = BitMasks(self._bitmaps)
        chosen._rows = rows if self._rows is None else self._rows[rows]
        return chosen

    def to(self, *args: Any, **kwargs: Any) -> "BitMasks":
        """Return the masks after ``tensor.to(...)``."""
        return BitMasks(moved(self.tensor, *args, **kwargs))

    @property
    def device(self) -> torch.device:
        """Where the masks are."""
        return self._bitmaps.device

    def area(self) -> Tensor:
        """Return the number of pixels of each mask, (N,) int64."""
        return self.tensor.flatten(1).sum(dim=1)

    def nonempty(self) -> Tensor:
        """Return which masks have a pixel, (N,) bool."""
        return _any(self.tensor, dim=(1, 2))

    def get_bounding_boxes(self) -> Boxes:
        """Return the tight boxes; the far edges are exclusive, an empty mask gives all zeros."""
        left, right = _extent(_any(self.tensor, dim=(1,)))
        top, bottom = _extent(_any(self.tensor, dim=(2,)))
        return Boxes(torch.stack([left, top, right, bottom], dim=1).float())

    def crop_and_resize(self, boxes: Tensor, mask_size: int) -> Tensor:
        """Cut one box out of each mask and resample it to a square.

        Args:
            boxes: (N, 4) float, XYXY pixels, one per mask.
            mask_size: Height and width S of the result.

        Returns:
            (N, S, S) bool, on the device of the boxes.

        Raises:
            ValueError: Not as many boxes as masks.
        """
        _require_one_box_each(boxes, len(self))
        used, index = self._bitmaps_in_use()
        index = index.to(boxes.device)
        rois = torch.cat([index.to(boxes.dtype)[:, None], boxes], dim=1)
        at_once = max(1, _PIXELS_AT_ONCE // max(1, self.image_size[0] * self.image_size[1]))
        crops = boxes.new_zeros([len(boxes), mask_size, mask_size], dtype=torch.bool)
        parts = -(-len(used) // at_once)
        everyone = torch.arange(len(boxes), device=boxes.device)
        members = [everyone] if parts == 1 else rows_of_groups(index // at_once, parts)
        for part, rows in enumerate(members):
            pixels = self._bitmaps[used[part * at_once : (part + 1) * at_once]]
            pixels = pixels.to(device=boxes.device, dtype=torch.float32)[:, None]
            of_rows = rois[rows]
            of_rows[:, 0] -= part * at_once
            soft = roi_align(pixels, of_rows, (mask_size, mask_size), 1.0, 0, True)
            crops[rows] = soft[:, 0] >= 0.5
        return crops

    def _bitmaps_in_use(self) -> tuple[Tensor, Tensor]:
        """Return the bitmaps to read, (U,) int64, and for each mask which of them it is, (N,)."""
        everyone = torch.arange(len(self._bitmaps), device=self.device)
        if self._rows is None:
            return everyone, everyone
        if self.device.type != "cpu":
            # A few bitmaps in vain are sooner read than counted.
            return everyone, self._rows
        # Each bitmap once, however many boxes see it.
        return torch.unique(self._rows, return_inverse=True)

    @staticmethod
    def from_polygon_masks(
        polygon_masks: "PolygonMasks | Sequence[Sequence[np.ndarray]]", height: int, width: int
    ) -> "BitMasks":
        """Rasterise the polygons of each object onto an image of this size."""
        polygons = getattr(polygon_masks, "polygons", polygon_masks)
        masks = [polygons_to_bitmask(parts, height, width) for parts in polygons]
        return BitMasks(np.stack(masks) if masks else np.zeros((0, height, width), dtype=bool))

    @staticmethod
    def from_roi_masks(roi_masks: "ROIMasks", boxes: Tensor, height: int, width: int) -> "BitMasks":
        """Paste predicted masks into an image of this size; see :meth:`ROIMasks.to_bitmasks`."""
        return roi_masks.to_bitmasks(boxes, height, width)

    @staticmethod
    def cat(bitmasks_list: list["BitMasks"]) -> "BitMasks":
        """Join masks of the same image."""
        return BitMasks(torch.cat([masks.tensor for masks in bitmasks_list], dim=0))

    def __getitem__(self, item: int | slice | Tensor) -> "BitMasks":
        """Return the chosen masks; an integer gives one mask."""
        if self._rows is not None and isinstance(item, Tensor):
            return self.sharing(torch.arange(len(self), device=self.device)[item])
        return BitMasks(self.tensor[item][None] if isinstance(item, int) else self.tensor[item])

    def __iter__(self) -> Iterator[Tensor]:
        """Yield each mask as a tensor (H, W) bool."""
        yield from self.tensor

    def __len__(self) -> int:
        return len(self._bitmaps if self._rows is None else self._rows)

    def __repr__(self) -> str:
        height, width = self.image_size
        return f"BitMasks(num_instances={len(self)}, image_height={height}, image_width={width})"


class PolygonMasks:
    """The outline of each object, as one or more polygons.

    Attributes:
        polygons: For each object its polygons, each a float64 array ``x0, y0, x1, y1, ...`` in
            pixels. An object may have none.
    """

    def __init__(self, polygons: Sequence[Sequence[Any]]) -> None:
        """Hold these polygons.

        Args:
            polygons: For each object a sequence of flat coordinate lists, arrays or tensors.

        Raises:
            TypeError: Not nested like that.
            ValueError: A polygon with fewer than three points or half a point.
        """
        if not isinstance(polygons, list | tuple):
            raise TypeError(
                "PolygonMasks needs a list with one list of polygons per object; "
                f"found a {type(polygons).__name__}."
            )
        self.polygons: list[list[np.ndarray]] = [
            _object_polygons(index, parts) for index, parts in enumerate(polygons)
        ]

    def to(self, *args: Any, **kwargs: Any) -> "PolygonMasks":
        """Return self: polygons always stay on the CPU."""
        return self

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    def area(self) -> Tensor:
        """Return the sum of each object's polygon areas, (N,) float32; overlaps count twice."""
        areas = [sum(polygon_area(p[0::2], p[1::2]) for p in parts) for parts in self.polygons]
        return torch.tensor(areas, dtype=torch.float32)

    def nonempty(self) -> Tensor:
        """Return which objects have a polygon, (N,) bool."""
        return torch.tensor([len(parts) > 0 for parts in self.polygons], dtype=torch.bool)

    def get_bounding_boxes(self) -> Boxes:
        """Return the tight boxes; an object without polygons gives all zeros."""
        return Boxes([_bounds(parts) for parts in self.polygons])

    def crop_and_resize(self, boxes: Tensor, mask_size: int) -> Tensor:
        """Rasterise each object as seen through its box.

        Args:
            boxes: (N, 4) float, XYXY pixels, one per object.
            mask_size: Height and width S of the result.

        Returns:
            (N, S, S) bool, on the device of the boxes.

        Raises:
            ValueError: Not as many boxes as objects.
        """
        _require_one_box_each(boxes, len(self))
        crops = [
            rasterize_polygons_within_box(parts, box, mask_size)
            for parts, box in zip(self.polygons, boxes.detach().cpu().numpy(), strict=True)
        ]
        if not crops:
            return torch.zeros((0, mask_size, mask_size), dtype=torch.bool, device=boxes.device)
        return torch.stack(crops).to(boxes.device)

    @staticmethod
    def cat(polymasks_list: list["PolygonMasks"]) -> "PolygonMasks":
        """Join the objects of several lists."""
        return PolygonMasks([parts for masks in polymasks_list for parts in masks.polygons])

    def __getitem__(self, item: int | slice | Sequence[int] | Tensor) -> "PolygonMasks":
        """Return the chosen objects; an integer gives one object."""
        if isinstance(item, int):
            return PolygonMasks([self.polygons[item]])
        if isinstance(item, slice):
            return PolygonMasks(self.polygons[item])
        positions = torch.arange(len(self))[torch.as_tensor(item).cpu()]
        return PolygonMasks([self.polygons[position] for position in positions])

    def __iter__(self) -> Iterator[list[np.ndarray]]:
        """Yield the list of polygons of each object."""
        return iter(self.polygons)

    def __len__(self) -> int:
        return len(self.polygons)

    def __repr__(self) -> str:
        return f"PolygonMasks(num_instances={len(self)})"


class ROIMasks:
    """Predicted masks, each a small square that fills the box of its object.

    Attributes:
        tensor: (N, M, M) float probabilities.
    """

    def __init__(self, tensor: Tensor) -> None:
        """Hold (N, M, M) masks."""
        if tensor.ndim != 3:
            raise ValueError(f"ROIMasks needs masks (N, M, M); found shape {tuple(tensor.shape)}.")
        self.tensor = tensor

    def to(self, device: torch.device | str) -> "ROIMasks":
        """Return the masks on this device."""
        return ROIMasks(to_device(self.tensor, device))

    @property
    def device(self) -> torch.device:
        """Where the masks are."""
        return self.tensor.device

    def to_bitmasks(
        self,
        boxes: Tensor,
        height: int,
        width: int,
        threshold: float = 0.5,
        whole_pixels: bool = False,
    ) -> BitMasks:
        """Paste the masks into an image.

        Args:
            boxes: (N, 4) float, XYXY pixels, one per mask.
            height: Image height in pixels.
            width: Image width in pixels.
            threshold: A pixel belongs to the object from this probability on.
            whole_pixels: Resize masks to whole pixels, as
                `d2seg.core.ops.masks.paste_masks_whole_pixels` does.
        """
        # Positions in pixels need more digits than half precision has.
        with torch.autocast(boxes.device.type, enabled=False):
            return BitMasks(self._pasted(boxes, height, width, threshold, whole_pixels))

    def _pasted(
        self, boxes: Tensor, height: int, width: int, threshold: float, whole_pixels: bool
    ) -> Tensor:
        if whole_pixels:
            whole_hw = (int(height), int(width))
            return paste_masks_whole_pixels(self.tensor, boxes, whole_hw, threshold)
        if torch.jit.is_tracing():
            size_hw = torch.stack([torch.as_tensor(height), torch.as_tensor(width)])
            return paste_traced_masks(self.tensor, boxes, size_hw, threshold)
        return paste_masks(self.tensor, boxes, (height, width), threshold)

    def __getitem__(self, item: int | slice | Tensor) -> "ROIMasks":
        """Return the chosen masks; an integer gives one mask."""
        return ROIMasks(self.tensor[item][None] if isinstance(item, int) else self.tensor[item])

    def __len__(self) -> int:
        return self.tensor.shape[0]

    def __repr__(self) -> str:
        return f"ROIMasks(num_instances={len(self)}, mask_size={self.tensor.shape[-1]})"


def _any(bits: Tensor, dim: tuple[int, ...]) -> Tensor:
    """Return ``bits.any(dim)``; of bytes many are looked at together, of bools one by one."""
    if not bits.numel():
        return bits.any(dim=dim)
    return bits.view(torch.uint8).amax(dim=dim) > 0


def _extent(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first occupied position of each row and the one past its last; 0, 0 if none."""
    found = occupied.any(dim=1)
    first = occupied.int().argmax(dim=1)
    past_last = occupied.shape[1] - occupied.flip(1).int().argmax(dim=1)
    return first * found, past_last * found


def _require_one_box_each(boxes: Tensor, count: int) -> None:
    if tuple(boxes.shape) != (count, 4):
        raise ValueError(
            f"crop_and_resize needs one box per mask, shape ({count}, 4); "
            f"found {tuple(boxes.shape)}."
        )


def _object_polygons(index: int, parts: Any) -> list[np.ndarray]:
    if not isinstance(parts, list | tuple):
        raise TypeError(
            f"PolygonMasks needs a list of polygons for object {index}; "
            f"found a {type(parts).__name__}."
        )
    polygons = [torch.as_tensor(part, dtype=torch.float64).cpu().numpy() for part in parts]
    for polygon in polygons:
        if polygon.ndim != 1 or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(
                "A polygon is a flat list of at least three x, y pairs; object "
                f"{index} has one of shape {polygon.shape}."
            )
    return polygons


def _bounds(parts: list[np.ndarray]) -> list[float]:
    if not parts:
        return [0.0, 0.0, 0.0, 0.0]
    points_xy = np.concatenate(parts).reshape(-1, 2)
    return [*points_xy.min(axis=0).tolist(), *points_xy.max(axis=0).tolist()]
