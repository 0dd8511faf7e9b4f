"""The ways in which four or five numbers can describe a box, and conversion between them."""

from collections.abc import Callable
from enum import IntEnum, unique
from typing import Any

import numpy as np
import torch
from torch import Tensor


@unique
class BoxMode(IntEnum):
    """How a box is written. The numbers are those that detectron2 stores in dataset files."""

    XYXY_ABS = 0
    """Left, top, right, bottom in pixels."""
    XYWH_ABS = 1
    """Left, top, width, height in pixels; COCO's."""
    XYXY_REL = 2
    """Left, top, right, bottom as shares of the image size. Not convertible."""
    XYWH_REL = 3
    """Left, top, width, height as shares of the image size. Not convertible."""
    XYWHA_ABS = 4
    """Centre, width, height in pixels and a counter-clockwise angle in degrees."""

    @staticmethod
    def convert(box: Any, from_mode: "BoxMode", to_mode: "BoxMode") -> Any:
        """Write boxes in another mode.

        Args:
            box: One box as a list or tuple of 4 (5 for XYWHA) numbers, or boxes as an array or
                tensor (..., 4 or 5). Not modified.
            from_mode: How ``box`` is written.
            to_mode: How the result shall be written.

        Returns:
            The boxes, of the same container type as ``box``. From XYWHA_ABS to XYXY_ABS it is the
            smallest upright box around the rotated one.

        Raises:
            ValueError: ``box`` does not end in as many numbers as ``from_mode`` has, or is a list
                of several boxes.
            NotImplementedError: There is no conversion between these modes.
        """
        from_mode, to_mode = BoxMode(from_mode), BoxMode(to_mode)
        if from_mode == to_mode:
            return box
        convert = _CONVERSIONS.get((from_mode, to_mode))
        if convert is None:
            raise NotImplementedError(
                f"Boxes cannot be converted from {from_mode.name} to {to_mode.name}; "
                f"known: {', '.join(f'{a.name} to {b.name}' for a, b in _CONVERSIONS)}."
            )
        values = box if isinstance(box, Tensor) else torch.from_numpy(np.asarray(box))
        width = 5 if from_mode == BoxMode.XYWHA_ABS else 4
        nested = isinstance(box, list | tuple) and values.ndim != 1
        if nested or values.ndim == 0 or values.shape[-1] != width:
            raise ValueError(
                f"A box in mode {from_mode.name} has {width} numbers (several boxes come as an "
                f"array or tensor); found a {type(box).__name__} of shape {tuple(values.shape)}."
            )
        converted = convert(values)
        if isinstance(box, Tensor):
            return converted
        if isinstance(box, np.ndarray):
            return converted.numpy()
        return type(box)(converted.tolist())


def _xyxy_from_xywh(xywh: Tensor) -> Tensor:
    return torch.cat([xywh[..., :2], xywh[..., :2] + xywh[..., 2:]], dim=-1)


def _xywh_from_xyxy(xyxy: Tensor) -> Tensor:
    return torch.cat([xyxy[..., :2], xyxy[..., 2:] - xyxy[..., :2]], dim=-1)


def _xywha_from_xywh(xywh: Tensor) -> Tensor:
    centre = xywh[..., :2] + xywh[..., 2:] / 2
    return torch.cat([centre, xywh[..., 2:], torch.zeros_like(xywh[..., :1])], dim=-1)


def _xyxy_from_xywha(xywha: Tensor) -> Tensor:
    centre, size, angle = xywha.double().split([2, 2, 1], dim=-1)
    cos, sin = torch.deg2rad(angle).cos().abs(), torch.deg2rad(angle).sin().abs()
    half_extent = (cos * size + sin * size.flip(-1)) / 2
    upright = torch.cat([centre - half_extent, centre + half_extent], dim=-1)
    return upright.to(xywha.dtype) if xywha.is_floating_point() else upright


_CONVERSIONS: dict[tuple[BoxMode, BoxMode], Callable[[Tensor], Tensor]] = {
    (BoxMode.XYWH_ABS, BoxMode.XYXY_ABS): _xyxy_from_xywh,
    (BoxMode.XYXY_ABS, BoxMode.XYWH_ABS): _xywh_from_xyxy,
    (BoxMode.XYWH_ABS, BoxMode.XYWHA_ABS): _xywha_from_xywh,
    (BoxMode.XYWHA_ABS, BoxMode.XYXY_ABS): _xyxy_from_xywha,
}
