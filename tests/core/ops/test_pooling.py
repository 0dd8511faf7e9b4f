"""Pooling from levels against detectron2's record, and from several levels against one by one."""

import pytest
import torch

from d2seg.core.ops.pooling import assign_levels, pool_multilevel
from d2seg.core.ops.roi_align import roi_align
from tests.reference.functions import recorded_functions


def test_levels_are_detectron2s() -> None:
    record = recorded_functions()
    levels = assign_levels(torch.tensor(record["boxes_jittered"]), 4, 2, 224, 4)
    assert levels.tolist() == record["levels_2_to_5"]


def test_levels_change_where_the_area_does() -> None:
    sides = [0.0, 55.9, 111.9, 112.1, 223.9, 224.1, 447.9, 448.1, 5000.0]
    boxes = torch.tensor([[0.0, 0.0, side * 2, side / 2] for side in sides])
    assert assign_levels(boxes, 4, 2, 224, 4).tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("aten_only", [False, True])
@pytest.mark.parametrize(("kind", "ratio"), [("aligned", 0), ("aligned", 2), ("legacy", 0)])
def test_roi_align_is_detectron2s(kind: str, ratio: int, aten_only: bool) -> None:
    record = recorded_functions()
    features = torch.tensor(record["roi_align_input"])
    boxes = torch.tensor(record["boxes_jittered"])
    rois = torch.cat([torch.zeros(len(boxes), 1), boxes], dim=1)
    want = torch.tensor(record[f"roi_align_{kind}_ratio_{ratio}"])
    pooled = roi_align(
        features, rois, (want.shape[2], want.shape[3]), 1 / 8, ratio, kind == "aligned", aten_only
    )
    torch.testing.assert_close(pooled, want, atol=1e-4, rtol=0)


@pytest.mark.parametrize("aten_only", [False, True])
def test_each_box_is_pooled_from_its_level_and_image(aten_only: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    features = [torch.randn(2, 3, 60 // 2**i, 100 // 2**i, generator=generator) for i in range(3)]
    scales = [1 / 4, 1 / 8, 1 / 16]
    boxes = torch.tensor([[3.0, 5, 300, 200], [9, 9, 20, 90], [100, 50, 240, 190], [0, 0, 30, 30]])
    images = torch.tensor([1, 0, 0, 1])
    pooled = pool_multilevel(features, boxes, images, (5, 3), scales, 2, True, 224.0, 4, aten_only)
    levels = assign_levels(boxes, 3, 2, 224, 4).tolist()
    assert levels == [2, 0, 1, 0]
    for i, level in enumerate(levels):
        roi = torch.cat([images[i : i + 1].float(), boxes[i]])[None]
        alone = roi_align(features[level], roi, (5, 3), scales[level], 2, True)
        torch.testing.assert_close(pooled[i], alone[0], atol=1e-5, rtol=0)


def test_no_boxes() -> None:
    features = [torch.randn(1, 3, 8, 8), torch.randn(1, 3, 4, 4)]
    none = torch.zeros(0, 4)
    pooled = pool_multilevel(features, none, none[:, 0], (5, 3), [1 / 4, 1 / 8], 0, True, 224.0, 4)
    assert pooled.shape == (0, 3, 5, 3)
