"""From the annotations of an image to the instances that a model is trained on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from d2seg.core.data.annotation_transforms import get_bbox
from d2seg.core.runtime.untrusted.run_lengths import paint_polygons, paint_runs, read_rle
from d2seg.core.structures import (
    BitMasks,
    Boxes,
    Instances,
    Keypoints,
    PolygonMasks,
    RotatedBoxes,
)


def annotations_to_instances(
    annos: Sequence[dict[str, Any]], image_size: tuple[int, int], mask_format: str = "polygon"
) -> Instances:
    """Collect the annotations of one image.

    Args:
        annos: One dict per object, as :func:`transform_instance_annotations` returns them; either
            all have ``segmentation`` or none has, and so for ``keypoints``.
        image_size: Image height and width in pixels.
        mask_format: ``polygon`` or ``bitmask``. Bitmaps are also made from polygons, polygons not
            from bitmaps.

    Returns:
        Instances with ``gt_boxes`` (Boxes), ``gt_classes`` (N,) int64, and where annotated
        ``gt_masks`` (PolygonMasks or BitMasks) and ``gt_keypoints`` (Keypoints).

    Raises:
        ValueError: The masks are not of the wanted format, or one differs in size.
    """
    instances = Instances(image_size)
    instances.gt_boxes = Boxes(np.array([get_bbox(anno) for anno in annos]).reshape(-1, 4))
    instances.gt_classes = _classes(annos)
    if len(annos) and "segmentation" in annos[0]:
        instances.gt_masks = _masks(
            [anno["segmentation"] for anno in annos], image_size, mask_format
        )
    if len(annos) and "keypoints" in annos[0]:
        points = [np.asarray(anno.get("keypoints", [])).reshape(-1, 3) for anno in annos]
        instances.gt_keypoints = Keypoints(np.stack(points))
    return instances


def annotations_to_instances_rotated(
    annos: Sequence[dict[str, Any]], image_size: tuple[int, int]
) -> Instances:
    """Collect the annotations of one image whose boxes are rotated.

    Args:
        annos: One dict per object, with ``bbox`` (centre x, centre y, width, height, angle).
        image_size: Image height and width in pixels.

    Returns:
        Instances with ``gt_boxes`` (RotatedBoxes, clipped to the image) and ``gt_classes`` (N,)
        int64.
    """
    boxes = RotatedBoxes(np.array([anno["bbox"] for anno in annos]).reshape(-1, 5))
    boxes.clip(image_size)
    return Instances(image_size, gt_boxes=boxes, gt_classes=_classes(annos))


def filter_empty_instances(
    instances: Instances,
    by_box: bool = True,
    by_mask: bool = True,
    box_threshold: float = 1e-5,
    return_mask: bool = False,
) -> Any:
    """Drop the objects that nothing can be learned from.

    Args:
        instances: With ``gt_boxes`` or ``gt_masks`` or both. Not modified.
        by_box: Drop those whose box is empty.
        by_mask: Drop those whose mask is empty.
        box_threshold: A box is empty if it is not wider and higher than this many pixels.
        return_mask: Also say which are kept.

    Returns:
        The instances that are kept; with ``return_mask`` also (N,) bool.

    Raises:
        ValueError: Neither of the two tests is wanted.
    """
    if not by_box and not by_mask:
        raise ValueError("filter_empty_instances needs by_box or by_mask; both are False.")
    tests = []
    if by_box:
        tests.append(instances.gt_boxes.nonempty(threshold=box_threshold))
    if by_mask and instances.has("gt_masks"):
        tests.append(instances.gt_masks.nonempty())
    if not tests:
        return instances
    keep = torch.stack([test.cpu() for test in tests]).all(dim=0)
    kept = instances if keep.all() else instances[keep]  # masks would be copied
    return (kept, keep) if return_mask else kept


def _classes(annos: Sequence[dict[str, Any]]) -> Tensor:
    return torch.tensor([int(anno.get("category_id", 0)) for anno in annos], dtype=torch.int64)


def _masks(
    segmentations: list[Any], image_size: tuple[int, int], mask_format: str
) -> PolygonMasks | BitMasks:
    if mask_format == "bitmask":
        bitmaps = np.zeros((len(segmentations), *image_size), dtype=bool)
        for bitmap, segmentation in zip(bitmaps, segmentations, strict=True):
            _draw(segmentation, bitmap)
        return BitMasks(torch.from_numpy(bitmaps))
    if mask_format != "polygon":
        raise ValueError(f"mask_format is 'polygon' or 'bitmask'; found '{mask_format}'.")
    try:
        return PolygonMasks(segmentations)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"The masks of this data set cannot be held as polygons ({error}) Set "
            "INPUT.MASK_FORMAT to bitmask to train on RLE or bitmaps."
        ) from error


def _draw(segmentation: Any, bitmap: np.ndarray) -> None:
    """Set the pixels of polygons, an RLE or a bitmap in (H, W) zeros."""
    if isinstance(segmentation, list):
        paint_polygons(segmentation, bitmap)
        return
    if isinstance(segmentation, dict):
        counts, size_hw = read_rle(segmentation)
        _require_size(size_hw, bitmap)
        paint_runs(counts, size_hw[0], bitmap)
        return
    if not isinstance(segmentation, np.ndarray) or segmentation.ndim != 2:
        raise ValueError(
            "A segmentation is a list of polygons, an RLE in COCO's form, or a bitmap (H, W); "
            f"found a {type(segmentation).__name__} of shape "
            f"{getattr(segmentation, 'shape', None)}."
        )
    _require_size(segmentation.shape, bitmap)
    bitmap[:] = segmentation


def _require_size(size_hw: tuple[int, ...], bitmap: np.ndarray) -> None:
    if tuple(size_hw) != bitmap.shape:
        raise ValueError(
            f"A mask of size {tuple(size_hw)} is on an image of {bitmap.shape} (height, width); "
            "they must be the same."
        )
