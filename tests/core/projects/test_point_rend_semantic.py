"""PointRend for semantic maps, its config, and its change of colours."""

from typing import Any

import numpy as np
import pytest
import torch

from d2seg.core.config import get_cfg
from d2seg.core.modeling import build_model
from d2seg.core.projects.point_rend import ColorAugSSDTransform, add_pointrend_config
from d2seg.core.projects.point_rend.semantic_seg import calculate_uncertainty
from tests.core.modeling.thin import thin_config
from tests.reference.cases import picture, semantic_map


def model(opts: dict[str, Any] | None = None) -> Any:
    cfg = thin_config()
    add_pointrend_config(cfg)
    chosen = {
        "MODEL.META_ARCHITECTURE": "SemanticSegmentor",
        "MODEL.SEM_SEG_HEAD.NAME": "PointRendSemSegHead",
        "MODEL.SEM_SEG_HEAD.NUM_CLASSES": 9,
        "MODEL.SEM_SEG_HEAD.CONVS_DIM": 32,
        "MODEL.POINT_HEAD.NUM_CLASSES": 9,
        "MODEL.POINT_HEAD.FC_DIM": 12,
        "MODEL.POINT_HEAD.SUBDIVISION_STEPS": 2,
        "MODEL.POINT_HEAD.TRAIN_NUM_POINTS": 64,
        **(opts or {}),
    }
    cfg.merge_from_list([item for pair in chosen.items() for item in pair])
    torch.manual_seed(0)
    return build_model(cfg)


def test_keys_and_defaults_are_detectron2s() -> None:
    cfg = get_cfg()
    add_pointrend_config(cfg)
    mask, point = cfg.MODEL.ROI_MASK_HEAD, cfg.MODEL.POINT_HEAD
    assert (mask.IN_FEATURES, mask.FC_DIM, mask.NUM_FC) == (("p2",), 1024, 2)
    assert (mask.OUTPUT_SIDE_RESOLUTION, mask.POINT_HEAD_ON) == (7, False)
    assert dict(point) == {
        "NAME": "StandardPointHead",
        "NUM_CLASSES": 80,
        "IN_FEATURES": ("p2",),
        "TRAIN_NUM_POINTS": 196,
        "OVERSAMPLE_RATIO": 3,
        "IMPORTANCE_SAMPLE_RATIO": 0.75,
        "SUBDIVISION_STEPS": 5,
        "SUBDIVISION_NUM_POINTS": 784,
        "FC_DIM": 256,
        "NUM_FC": 3,
        "CLS_AGNOSTIC_MASK": False,
        "COARSE_PRED_EACH_LAYER": True,
        "COARSE_SEM_SEG_HEAD_NAME": "SemSegFPNHead",
    }
    assert cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA == 1.0
    assert cfg.INPUT.COLOR_AUG_SSD is False


def test_uncertain_is_where_two_classes_are_near() -> None:
    logits = torch.tensor([[[1.0, 5.0], [3.0, 5.0], [2.5, -1.0]]])
    assert calculate_uncertainty(logits).tolist() == [[[-0.5, 0.0]]]


def test_it_trains() -> None:
    made = model().train()
    losses = made([{"image": picture(1, 96, 160), "sem_seg": semantic_map(1, 96, 160)}])
    assert losses.keys() == {"loss_sem_seg", "loss_sem_seg_point"}
    assert all(torch.isfinite(loss) for loss in losses.values())
    losses["loss_sem_seg_point"].backward()
    assert made.sem_seg_head.point_head.fc1.weight.grad.abs().sum() > 0


def test_refining_all_points_is_predicting_them() -> None:
    made = model({"MODEL.POINT_HEAD.SUBDIVISION_NUM_POINTS": 10**6}).eval()
    head = made.sem_seg_head
    with torch.no_grad():
        features = made.backbone(torch.randn(1, 3, 64, 96))
        found, _ = head(features)
        coarse = head.coarse_sem_seg_head.layers(features)
        y, x = torch.meshgrid(
            (torch.arange(64) + 0.5) / 64, (torch.arange(96) + 0.5) / 96, indexing="ij"
        )
        points = torch.stack([x, y], dim=2).view(1, -1, 2)
        direct = head.point_logits(features, coarse, points)
    assert coarse.shape == (1, 9, 16, 24)
    torch.testing.assert_close(found, direct.view(1, 9, 64, 96))


def test_maps_have_the_wanted_size() -> None:
    made = model().eval()
    with torch.no_grad():
        (found,) = made([{"image": picture(1, 96, 160), "height": 50, "width": 80}])
    assert found["sem_seg"].shape == (9, 50, 80)


def test_class_counts_must_agree() -> None:
    with pytest.raises(ValueError, match="POINT_HEAD.NUM_CLASSES is 4, but must be that of"):
        model({"MODEL.POINT_HEAD.NUM_CLASSES": 4})


def test_colours_change_by_the_same_in_either_order() -> None:
    image = np.random.RandomState(0).randint(0, 256, (6, 9, 3), dtype=np.uint8)
    changed = []
    for order, pixels in (("RGB", image), ("BGR", image[:, :, ::-1])):
        np.random.seed(1)
        changed.append(ColorAugSSDTransform(order).apply_image(pixels))
    assert changed[0].dtype == np.uint8 and changed[0].shape == (6, 9, 3)
    assert np.array_equal(changed[0], changed[1][:, :, ::-1])
    assert not np.array_equal(changed[0], image)
    with pytest.raises(ValueError, match="'BGR' or 'RGB'; found 'L'"):
        ColorAugSSDTransform("L")


def test_brightness_and_contrast_stay_within_their_limits() -> None:
    image = np.full((2, 3, 3), 100, dtype=np.uint8)
    np.random.seed(0)
    still: dict[str, Any] = {"saturation_low": 1, "saturation_high": 1, "hue_delta": 0}
    augment = ColorAugSSDTransform("RGB", contrast_low=1, contrast_high=1, **still)
    brightness = [int(augment.apply_image(image)[0, 0, 0]) for _ in range(60)]
    assert min(brightness) >= 68 and max(brightness) <= 132
    assert 10 < brightness.count(100) < 50 and len(set(brightness)) > 10
    augment = ColorAugSSDTransform("RGB", brightness_delta=0, **still)
    contrast = [int(augment.apply_image(image)[0, 0, 0]) for _ in range(60)]
    assert 50 <= min(contrast) < 80 and 120 < max(contrast) <= 150
    boxes = np.array([[1.0, 2.0]])
    assert augment.apply_coords(boxes) is boxes
