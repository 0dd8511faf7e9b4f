"""Poolers beyond RoIAlign of squares, and heads that pool for themselves."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from d2seg.core.layers import ShapeSpec
from d2seg.core.modeling import build_model
from d2seg.core.modeling.poolers import (
    ROIPooler,
    assign_boxes_to_levels,
    convert_boxes_to_pooler_format,
)
from d2seg.core.modeling.roi_heads import ROI_KEYPOINT_HEAD_REGISTRY, ROI_MASK_HEAD_REGISTRY
from d2seg.core.structures import Boxes, Instances, RotatedBoxes
from tests.core.modeling.thin import thin_config
from tests.reference.cases import ground_truth, picture


def test_roi_pool_takes_the_maxima_of_whole_cells() -> None:
    features = [torch.arange(48.0).view(1, 1, 6, 8), torch.arange(12.0).view(1, 1, 3, 4)]
    pooler = ROIPooler((2, 1), [1 / 4, 1 / 8], 0, "ROIPool", 16, 3)
    # Pixels 0..12 are cells 0..3 of the finer level, pixels 0..24 cells 0..3 of the coarser one.
    boxes = Boxes([[0.0, 0.0, 12.0, 12.0], [0.0, 0.0, 24.0, 16.0]])
    pooled = pooler(features, [boxes])
    assert pooled.tolist() == [[[[11.0], [27.0]]], [[[7.0], [11.0]]]]


@pytest.mark.parametrize("kind", ["ROIAlignV2", "ROIAlignRotated", "ROIPool"])
def test_rectangles_of_every_kind(kind: str) -> None:
    rotated = kind == "ROIAlignRotated"
    boxes = RotatedBoxes([[9, 9, 8, 4, 0]]) if rotated else Boxes([[5.0, 7.0, 13.0, 11.0]])
    pooled = ROIPooler((3, 5), [1 / 4], 0, kind)([torch.ones(1, 2, 8, 8)], [boxes])
    torch.testing.assert_close(pooled, torch.ones(1, 2, 3, 5))


def test_boxes_become_rows_and_find_their_levels() -> None:
    lists = [Boxes([[0.0, 0, 224, 224], [0.0, 0, 50, 70]]), Boxes([[0.0, 0, 900, 800]])]
    assert convert_boxes_to_pooler_format(lists).tolist() == [
        [0, 0, 0, 224, 224],
        [0, 0, 0, 50, 70],
        [1, 0, 0, 900, 800],
    ]
    assert assign_boxes_to_levels(lists, 2, 5, 224, 4).tolist() == [2, 0, 3]
    turned = [RotatedBoxes([[9.0, 9, 112, 113, 45]])]
    assert convert_boxes_to_pooler_format(turned).tolist() == [[0, 9, 9, 112, 113, 45]]
    assert assign_boxes_to_levels(turned, 2, 5, 224, 4).tolist() == [1]


@ROI_MASK_HEAD_REGISTRY.register()
@ROI_KEYPOINT_HEAD_REGISTRY.register()
class WholeFeatureHead(nn.Module):
    """A head that gets the features by name and remembers them."""

    def __init__(self, cfg: Any, input_shape: dict[str, ShapeSpec]) -> None:
        super().__init__()
        self.input_shape = input_shape

    def forward(self, x: dict[str, Tensor], instances: list[Instances]) -> list[Instances]:
        self.seen = {name: tuple(feature.shape) for name, feature in x.items()}
        return instances


def test_without_a_pooler_heads_get_the_features() -> None:
    head = {"MODEL.ROI_MASK_HEAD.NAME": "WholeFeatureHead", "MODEL.ROI_MASK_HEAD.POOLER_TYPE": ""}
    head |= {"MODEL.KEYPOINT_ON": True, "MODEL.ROI_KEYPOINT_HEAD.NAME": "WholeFeatureHead"}
    head |= {"MODEL.ROI_KEYPOINT_HEAD.POOLER_TYPE": ""}
    model = build_model(thin_config(head)).eval()
    assert model.roi_heads.mask_pooler is None
    assert model.roi_heads.mask_head.input_shape["p3"] == ShapeSpec(channels=32, stride=8)
    with torch.no_grad():
        model([{"image": picture(1, 64, 96)}])
    sizes = {"p2": (16, 24), "p3": (8, 12), "p4": (4, 6), "p5": (2, 3)}
    expected = {name: (1, 32, *size) for name, size in sizes.items()}
    assert model.roi_heads.mask_head.seen == expected
    assert model.roi_heads.keypoint_head.seen == expected


def test_a_model_with_roi_pool_trains() -> None:
    opts = {
        "MODEL.ROI_BOX_HEAD.POOLER_TYPE": "ROIPool",
        "MODEL.ROI_MASK_HEAD.POOLER_TYPE": "ROIPool",
    }
    model = build_model(thin_config(opts)).train()
    targets = ground_truth(1, 70, 110, 3)
    losses = model([{"image": picture(1, 70, 110), "instances": targets}])
    assert all(torch.isfinite(loss) for loss in losses.values())
    with pytest.raises(ValueError, match="POOLER_TYPE is '', but must be one of ROIAlignV2"):
        build_model(thin_config({"MODEL.ROI_BOX_HEAD.POOLER_TYPE": ""}))
