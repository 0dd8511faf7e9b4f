"""What mappers are made of: reading images, transforming annotations, collecting instances."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from d2seg.core.config import CfgNode
from d2seg.core.data.annotation_transforms import (
    get_bbox,
    transform_instance_annotations,
    transform_keypoint_annotations,
    transform_proposals,
)
from d2seg.core.data.catalog import MetadataCatalog, get_fed_loss_cls_weights
from d2seg.core.data.errors import InvalidArgumentError
from d2seg.core.data.ground_truth import (
    annotations_to_instances,
    annotations_to_instances_rotated,
    filter_empty_instances,
)
from d2seg.core.data.images import (
    IMAGE_FORMATS,
    SizeMismatchError,
    check_image_size,
    convert_image_to_rgb,
    convert_PIL_to_numpy,
    read_image,
)
from d2seg.core.data.transforms import (
    Augmentation,
    CropTransform,
    RandomFlip,
    ResizeShortestEdge,
    build_test_resizing,
)

__all__ = [
    "IMAGE_FORMATS",
    "SizeMismatchError",
    "annotations_to_instances",
    "annotations_to_instances_rotated",
    "build_augmentation",
    "build_transform_gen",
    "check_image_size",
    "check_metadata_consistency",
    "convert_PIL_to_numpy",
    "convert_image_to_rgb",
    "create_keypoint_hflip_indices",
    "filter_empty_instances",
    "gen_crop_transform_with_instance",
    "get_bbox",
    "get_fed_loss_cls_weights",
    "read_image",
    "transform_instance_annotations",
    "transform_keypoint_annotations",
    "transform_proposals",
]


def build_augmentation(cfg: CfgNode, is_train: bool) -> list[Augmentation]:
    """Build the policies that a config asks for: resizing, and for training a flip.

    Args:
        cfg: ``INPUT.MIN_SIZE_*``, ``INPUT.MAX_SIZE_*``, ``INPUT.RESIZE_TEST`` and
            ``INPUT.RANDOM_FLIP`` are read.
        is_train: Whether it is for training.
    """
    if not is_train:
        return [build_test_resizing(cfg)]
    resizing = ResizeShortestEdge(
        cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING
    )
    flip = cfg.INPUT.RANDOM_FLIP
    if flip == "none":
        return [resizing]
    if flip not in ("horizontal", "vertical"):
        raise ValueError(f"INPUT.RANDOM_FLIP is horizontal, vertical or none; found '{flip}'.")
    return [resizing, RandomFlip(horizontal=flip == "horizontal", vertical=flip == "vertical")]


build_transform_gen = build_augmentation
"""The earlier name of the same thing."""


def create_keypoint_hflip_indices(dataset_names: str | Sequence[str]) -> list[int]:
    """Say which keypoint takes the place of which when an image is mirrored.

    Args:
        dataset_names: One name or several, whose metadata has the same ``keypoint_names`` and
            ``keypoint_flip_map`` (pairs of names that change places).

    Returns:
        K indices: keypoint i of the mirrored image is keypoint ``indices[i]`` of the original.

    Raises:
        ValueError: The data sets differ.
    """
    names = [dataset_names] if isinstance(dataset_names, str) else list(dataset_names)
    check_metadata_consistency("keypoint_names", names)
    check_metadata_consistency("keypoint_flip_map", names)
    metadata = MetadataCatalog.get(names[0])
    partner = dict(metadata.keypoint_flip_map)
    partner.update({right: left for left, right in metadata.keypoint_flip_map})
    keypoints = list(metadata.keypoint_names)
    return [keypoints.index(partner.get(keypoint, keypoint)) for keypoint in keypoints]


def check_metadata_consistency(key: str, dataset_names: Sequence[str]) -> None:
    """Check that several data sets have the same value of a metadata key.

    Args:
        key: Such as ``thing_classes``; data sets that do not have it count as having None.
        dataset_names: At least one.

    Raises:
        ValueError: The values differ, or there is no name.
    """
    if not dataset_names:
        raise InvalidArgumentError("At least one data set name is needed; found none.")
    first = MetadataCatalog.get(dataset_names[0]).get(key)
    for name in dataset_names[1:]:
        other = MetadataCatalog.get(name).get(key)
        if other != first:
            raise ValueError(
                f"Data sets that are used together need the same '{key}': '{dataset_names[0]}' "
                f"has {_shortened(first)}, '{name}' has {_shortened(other)}."
            )


def gen_crop_transform_with_instance(
    crop_size: tuple[int, int], image_size: tuple[int, int], instance: dict[str, Any]
) -> CropTransform:
    """Choose a random crop that holds the centre of an object.

    Args:
        crop_size: Height and width in pixels; cut down to those of the image.
        image_size: Height and width of the image.
        instance: An annotation with ``bbox`` and ``bbox_mode``.

    Raises:
        ValueError: The centre of the object is not within the image.
    """
    size = np.minimum(crop_size, image_size).astype(np.int64)
    left, top, right, bottom = get_bbox(instance)
    centre = np.array([(top + bottom) / 2, (left + right) / 2])
    if (centre < 0).any() or (centre > np.array(image_size)).any():
        raise InvalidArgumentError(
            f"The centre of the object, y {centre[0]} and x {centre[1]}, is outside of the image "
            f"of height {image_size[0]} and width {image_size[1]}."
        )
    least = np.maximum(np.floor(centre).astype(np.int64) - size, 0)
    greatest = np.minimum(np.ceil(centre).astype(np.int64), np.array(image_size) - size)
    y, x = (
        int(np.random.randint(low, high + 1)) for low, high in zip(least, greatest, strict=True)
    )
    return CropTransform(x, y, int(size[1]), int(size[0]))


def _shortened(value: Any, length: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= length else f"{text[:length]}..."
