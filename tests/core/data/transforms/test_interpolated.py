"""Resizing for testing, as a config asks for it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from d2seg.config import add_d2seg_config
from d2seg.core.config import CfgNode, get_cfg
from d2seg.core.data.transforms import (
    InterpolatedShortestEdge,
    ResizeShortestEdge,
    build_test_resizing,
)


def config(kind: str) -> CfgNode:
    cfg = get_cfg()
    add_d2seg_config(cfg)
    cfg.merge_from_list(
        ["INPUT.RESIZE_TEST", kind, "INPUT.MIN_SIZE_TEST", 40, "INPUT.MAX_SIZE_TEST", 90]
    )
    return cfg


def test_defaults_resize_as_detectron2_does() -> None:
    assert type(build_test_resizing(get_cfg())) is ResizeShortestEdge
    assert type(build_test_resizing(config("pillow"))) is ResizeShortestEdge


def test_interpolation_rounds_sizes_down_and_keeps_fractions() -> None:
    image = np.random.RandomState(0).randint(0, 256, (61, 95, 3)).astype(np.uint8)
    transform = build_test_resizing(config("interpolate")).get_transform(image)
    resized = transform.apply_image(image)
    planes = torch.from_numpy(image.transpose(2, 0, 1)).float()[None]
    wanted = F.interpolate(planes, (40, 62), mode="bilinear", align_corners=False)  # 62.3 wide
    assert resized.dtype == np.float32 and resized.shape == (40, 62, 3)
    np.testing.assert_array_equal(resized, wanted[0].numpy().transpose(1, 2, 0))
    points = transform.apply_coords(np.array([[95.0, 61.0]]))
    np.testing.assert_allclose(points, [[62.0, 40.0]])


def test_labels_are_not_mixed_and_a_length_of_zero_keeps_the_image() -> None:
    labels = np.arange(61 * 95).reshape(61, 95).astype(np.int32)
    policy = InterpolatedShortestEdge(40, 90, "choice")
    resized = policy.get_transform(np.zeros((61, 95, 3))).apply_segmentation(labels)
    assert resized.shape == (40, 62) and set(resized.flatten()) <= set(labels.flatten())
    none = InterpolatedShortestEdge(0, 90, "choice").get_transform(np.zeros((61, 95, 3)))
    assert none.apply_image(labels) is labels


def test_another_kind_of_resizing() -> None:
    with pytest.raises(ValueError, match=r"INPUT.RESIZE_TEST is 'cubic'; use one of pillow, inter"):
        build_test_resizing(config("cubic"))
