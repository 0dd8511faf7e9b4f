"""Predictions in the forms that other libraries work with."""

import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from d2seg.predict.masks import BoxMasks, ImageMasks

if TYPE_CHECKING:
    import pandas as pd
    import supervision as sv

    from d2seg.predict.prediction import Prediction


def require(package: str, purpose: str) -> Any:
    """Return a package of the extra ``viz``.

    Args:
        package: Its name.
        purpose: What it is needed for, the beginning of a sentence.

    Raises:
        ImportError: It is not installed.
    """
    # It draws well enough without, and who uses our commands cannot act on the advice.
    warnings.filterwarnings(
        "ignore", message="OpenCV .* supervision is using", category=UserWarning
    )
    try:
        return import_module(package)
    except ImportError as error:
        raise ImportError(
            f'{purpose} needs the package {package}: pip install "d2seg[viz]".'
        ) from error


def to_coco(
    found: "Prediction", image_id: int | str, category_ids: Sequence[int] | None
) -> list[dict[str, Any]]:
    """See :meth:`d2seg.predict.Prediction.to_coco`."""
    ids = range(1, len(found.class_names) + 1) if category_ids is None else category_ids
    if len(ids) != len(found.class_names):
        raise ValueError(
            f"category_ids has {len(ids)} entries, but the model has {len(found.class_names)} "
            "classes."
        )
    sides = found.boxes[:, 2:] - found.boxes[:, :2]
    columns: dict[str, list[Any]] = {
        "category_id": [ids[index] for index in found.classes.tolist()],
        "bbox": torch.cat([found.boxes[:, :2], sides], 1).tolist(),
        "score": found.scores.tolist(),
    }
    if found.has_masks:
        columns["segmentation"] = found.rle()
    if found.keypoints is not None:
        shift = torch.tensor([0.5, 0.5, 0.0])
        columns["keypoints"] = (found.keypoints - shift).flatten(1).tolist()
    rows = zip(*columns.values(), strict=True)
    return [{"image_id": image_id, **dict(zip(columns, row, strict=True))} for row in rows]


def coco_dataset(
    names: Sequence[str], sizes_hw: Sequence[tuple[int, int]], class_names: Sequence[str]
) -> dict[str, Any]:
    """Return the COCO data set that results refer to: images and categories, no annotations.

    Args:
        names: File names of the images; ids count from 1.
        sizes_hw: Height and width of each image.
        class_names: In the order of the class indices; category ids count from 1.
    """
    return {
        "images": [
            {"id": number, "file_name": name, "height": size_hw[0], "width": size_hw[1]}
            for number, (name, size_hw) in enumerate(zip(names, sizes_hw, strict=True), start=1)
        ],
        "categories": [
            {"id": number, "name": name} for number, name in enumerate(class_names, start=1)
        ],
        "annotations": [],
    }


def to_polygons(masks: BoxMasks | ImageMasks, threshold: float) -> list[list[np.ndarray]]:
    """See :meth:`d2seg.predict.Prediction.to_polygons`."""
    from d2seg.framework import GenericMask

    polygons = []
    for pixels, origin_xy in masks.windows(threshold):
        window = pixels.numpy().astype(np.uint8)
        parts, _ = GenericMask(window, *window.shape).mask_to_polygons(window)
        polygons.append([part + np.tile(origin_xy, len(part) // 2) for part in parts])
    return polygons


def to_torchvision(found: "Prediction", soft: bool) -> dict[str, Tensor]:
    """See :meth:`d2seg.predict.Prediction.to_torchvision`."""
    columns = {"boxes": found.boxes, "labels": found.classes + 1, "scores": found.scores}
    if found.has_masks:
        is_soft = isinstance(found.mask_source, BoxMasks)
        pixels = found.masks(-1) / 255 if soft and is_soft else found.masks()
        columns["masks"] = pixels[:, None].float() if soft else pixels
    if found.keypoints is not None:
        columns["keypoints"] = found.keypoints
    return columns


def to_supervision(found: "Prediction", threshold: float) -> "sv.Detections":
    """See :meth:`d2seg.predict.Prediction.to_supervision`."""
    sv = require("supervision", "to_supervision()")
    masks = None
    if found.has_masks:
        runs = found.rle(threshold)
        left_top, sides = np.split(_run_boxes(runs), 2, axis=1)
        # Their boxes name the last row and column, not the ones behind.
        corners = np.hstack([left_top, (left_top + sides - 1).clip(min=left_top)])
        masks = sv.CompactMask.from_coco_rle(runs, corners, found.image_size)
    return sv.Detections(
        xyxy=found.boxes.numpy(),
        mask=masks,
        confidence=found.scores.numpy(),
        class_id=found.classes.numpy(),
        data={"class_name": np.array(found.names, dtype=str)},
    )


def to_dataframe(found: "Prediction") -> "pd.DataFrame":
    """See :meth:`d2seg.predict.Prediction.to_dataframe`."""
    pd = require("pandas", "to_dataframe()")
    columns: dict[str, Any] = {
        "name": found.names,
        "class": found.classes.numpy(),
        "score": found.scores.numpy(),
    }
    columns |= dict(zip(("left", "top", "right", "bottom"), found.boxes.numpy().T, strict=True))
    if found.has_masks:
        columns["area"] = coco_mask.area(found.rle()) if len(found) else np.zeros(0, np.uint32)
    return pd.DataFrame(columns)


def _run_boxes(runs: list[dict[str, Any]]) -> np.ndarray:
    """Return (N, 4): left, top, width and height of what is in masks, zeros for an empty one."""
    return coco_mask.toBbox(runs).reshape(-1, 4) if runs else np.zeros((0, 4))
