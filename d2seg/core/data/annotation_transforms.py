"""Doing to annotations and proposals what was done to their image."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch

from d2seg.core.data.errors import InvalidArgumentError
from d2seg.core.data.transforms import HFlipTransform, Transform, TransformList
from d2seg.core.data.transforms.pixel_sources import pixel_sources
from d2seg.core.runtime.untrusted.run_lengths import decode_rle, paint_runs, read_rle
from d2seg.core.structures import Boxes, BoxMode, Instances

Transforms: TypeAlias = Transform | Sequence[Transform]


def get_bbox(annotation: dict[str, Any]) -> np.ndarray:
    """Return the box of an annotation, (4,) XYXY absolute pixels."""
    return np.array(BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], BoxMode.XYXY_ABS))


def transform_instance_annotations(
    annotation: dict[str, Any],
    transforms: Transforms,
    image_size: tuple[int, int],
    *,
    keypoint_hflip_indices: np.ndarray | Sequence[int] | None = None,
) -> dict[str, Any]:
    """Do to the annotation of one object what was done to its image.

    Args:
        annotation: Its ``bbox``, ``bbox_mode``, ``segmentation`` and ``keypoints`` are replaced:
            the box becomes XYXY absolute, within the image; polygons stay polygons; an RLE becomes
            a bitmap (H, W); keypoints become (K, 3).
        transforms: What was done.
        image_size: Image height and width after it, in pixels.
        keypoint_hflip_indices: See :func:`create_keypoint_hflip_indices`; needed for flips.

    Returns:
        The same dict.

    Raises:
        ValueError: The segmentation is in no known form, or a mask has another size than the image.
    """
    transforms = _as_one(transforms)
    box = transforms.apply_box(get_bbox(annotation)[None])[0]
    width_height = np.array(image_size[::-1])
    annotation["bbox"] = np.clip(box, 0, np.tile(width_height, 2))
    annotation["bbox_mode"] = BoxMode.XYXY_ABS
    if "segmentation" in annotation:
        annotation["segmentation"] = _transform_segmentation(
            annotation["segmentation"], transforms, image_size
        )
    if "keypoints" in annotation:
        annotation["keypoints"] = transform_keypoint_annotations(
            annotation["keypoints"], transforms, image_size, keypoint_hflip_indices
        )
    return annotation


def transform_keypoint_annotations(
    keypoints: Any,
    transforms: Transforms,
    image_size: tuple[int, int],
    keypoint_hflip_indices: np.ndarray | Sequence[int] | None = None,
) -> np.ndarray:
    """Do to the keypoints of one object what was done to its image.

    Args:
        keypoints: K times x, y (pixels) and visibility, flat or (K, 3). Not modified.
        transforms: What was done.
        image_size: Image height and width after it, in pixels.
        keypoint_hflip_indices: See :func:`create_keypoint_hflip_indices`; needed for flips.

    Returns:
        (K, 3) float64. A keypoint that left the image is not visible any more, and one that is not
        visible (0) is all zeros.

    Raises:
        ValueError: The image was flipped, and the indices are missing or not K.
    """
    transforms = _as_one(transforms)
    moved = np.array(keypoints, dtype=np.float64).reshape(-1, 3)
    moved[:, :2] = transforms.apply_coords(moved[:, :2])
    inside = (moved[:, :2] >= 0) & (moved[:, :2] <= np.array(image_size[::-1]))
    moved[~inside.all(axis=1), 2] = 0
    if _flips_sides(transforms):
        moved = moved[_checked_hflip_indices(keypoint_hflip_indices, len(moved))]
    moved[moved[:, 2] == 0] = 0
    return moved


def transform_proposals(
    dataset_dict: dict[str, Any],
    image_shape: tuple[int, int],
    transforms: Transforms,
    *,
    proposal_topk: int,
    min_box_size: float = 0,
) -> None:
    """Do to precomputed proposals what was done to their image.

    Args:
        dataset_dict: ``proposal_boxes`` (N, 4), ``proposal_bbox_mode`` and
            ``proposal_objectness_logits`` (N,), best first, are replaced by ``proposals``:
            Instances with ``proposal_boxes`` and ``objectness_logits``. Without them nothing
            happens.
        image_shape: Image height and width after it, in pixels.
        transforms: What was done.
        proposal_topk: Only so many are kept.
        min_box_size: Proposals that are not wider and higher than this many pixels are dropped.
    """
    if "proposal_boxes" not in dataset_dict:
        return
    corners = BoxMode.convert(
        np.asarray(dataset_dict.pop("proposal_boxes"), dtype=np.float32).reshape(-1, 4),
        dataset_dict.pop("proposal_bbox_mode"),
        BoxMode.XYXY_ABS,
    )
    logits = torch.as_tensor(
        np.asarray(dataset_dict.pop("proposal_objectness_logits")).astype("float32")
    )
    boxes = Boxes(_as_one(transforms).apply_box(corners) if len(corners) else corners)
    boxes.clip(image_shape)
    keep = boxes.nonempty(threshold=min_box_size)
    dataset_dict["proposals"] = Instances(
        image_shape,
        proposal_boxes=boxes[keep][:proposal_topk],
        objectness_logits=logits[keep][:proposal_topk],
    )


def _as_one(transforms: Transforms) -> Transform:
    return transforms if isinstance(transforms, Transform) else TransformList(list(transforms))


def _transform_segmentation(
    segmentation: Any, transforms: Transform, image_size: tuple[int, int]
) -> Any:
    if isinstance(segmentation, list):
        polygons = [np.asarray(polygon).reshape(-1, 2) for polygon in segmentation]
        return [polygon.reshape(-1) for polygon in _transform_polygons(polygons, transforms)]
    if not isinstance(segmentation, dict):
        raise ValueError(
            "A segmentation is a list of polygons [x0, y0, x1, y1, ...] or an RLE in COCO's form "
            f"(a dict of 'size' and 'counts'); found a {type(segmentation).__name__}."
        )
    counts, size_hw = read_rle(segmentation)
    sources = pixel_sources(transforms, size_hw)
    if sources is not None and tuple(map(len, sources)) == tuple(image_size):
        drawn = np.zeros(image_size, dtype=np.uint8)
        paint_runs(counts, size_hw[0], drawn, *sources)
        return drawn
    mask = transforms.apply_segmentation(decode_rle(segmentation))
    if tuple(mask.shape[:2]) != tuple(image_size):
        raise InvalidArgumentError(
            f"A mask of size {tuple(segmentation['size'])} became {mask.shape[:2]}, but the image "
            f"became {tuple(image_size)} (height, width): their sizes differed before."
        )
    # Padding brings in the value that label maps get, which is no part of the object.
    return (mask == 1).astype(np.uint8)


def _transform_polygons(polygons: list[np.ndarray], transforms: Transform) -> list[np.ndarray]:
    try:
        return transforms.apply_polygons(polygons)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"Cropping images whose masks are polygons needs the package '{error.name}': "
            "pip install shapely.",
            name=error.name,
        ) from error


def _flips_sides(transforms: Transform) -> bool:
    steps = transforms.transforms if isinstance(transforms, TransformList) else [transforms]
    return sum(isinstance(step, HFlipTransform) for step in steps) % 2 == 1


def _checked_hflip_indices(
    indices: np.ndarray | Sequence[int] | None, num_keypoints: int
) -> np.ndarray:
    if indices is None:
        raise ValueError(
            "Keypoints cannot be flipped without keypoint_hflip_indices; set keypoint_names and "
            "keypoint_flip_map in the metadata of the data set, or do not flip."
        )
    if len(indices) != num_keypoints:
        raise ValueError(
            f"An object has {num_keypoints} keypoints, but keypoint_hflip_indices is for "
            f"{len(indices)}; the data set's keypoint_names do not match its annotations."
        )
    return np.asarray(indices, dtype=np.int64)
