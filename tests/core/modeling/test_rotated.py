"""Rotated boxes through a whole model."""

from typing import Any

import pytest
import torch

from d2seg.core.config import get_cfg
from d2seg.core.layers import ShapeSpec
from d2seg.core.modeling import build_model, build_proposal_generator, build_roi_heads
from d2seg.core.modeling.anchor_generator import RotatedAnchorGenerator
from d2seg.core.modeling.box_regression import (
    Box2BoxTransform,
    Box2BoxTransformLinear,
    Box2BoxTransformRotated,
)
from d2seg.core.modeling.poolers import ROIPooler
from d2seg.core.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from d2seg.core.modeling.roi_heads.rotated_fast_rcnn import RotatedFastRCNNOutputLayers
from d2seg.core.structures import Boxes, BoxMode, ImageList, Instances, RotatedBoxes
from tests.core.modeling.thin import thin_config
from tests.reference.cases import ground_truth, picture

ROTATED: dict[str, Any] = {
    "MODEL.MASK_ON": False,
    "MODEL.PROPOSAL_GENERATOR.NAME": "RRPN",
    "MODEL.ANCHOR_GENERATOR.NAME": "RotatedAnchorGenerator",
    "MODEL.ANCHOR_GENERATOR.ANGLES": [[-30, 0, 60]],
    "MODEL.RPN.BBOX_REG_WEIGHTS": (1.0, 1.0, 1.0, 1.0, 1.0),
    "MODEL.ROI_HEADS.NAME": "RROIHeads",
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": "ROIAlignRotated",
    "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": (10.0, 10.0, 5.0, 5.0, 1.0),
    "MODEL.RPN.POST_NMS_TOPK_TEST": 20,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 20,
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 40,
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": 40,
}
PLAIN_HEADS: dict[str, Any] = {
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": "ROIAlignV2",
    "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": (1.0,) * 4,
}
CASCADE: dict[str, Any] = {
    "MODEL.ROI_HEADS.NAME": "CascadeROIHeads",
    "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": True,
}


def test_a_rotated_model_trains_and_detects() -> None:
    torch.manual_seed(0)
    model = build_model(thin_config(ROTATED)).train()
    targets = ground_truth(1, 96, 160, 3)
    upright = BoxMode.convert(
        BoxMode.convert(targets.gt_boxes.tensor, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS),
        BoxMode.XYWH_ABS,
        BoxMode.XYWHA_ABS,
    )
    rotated = Instances((96, 160), gt_boxes=RotatedBoxes(upright), gt_classes=targets.gt_classes)
    image = picture(1, 96, 160)
    losses = model([{"image": image, "instances": rotated}])
    assert set(losses) == {"loss_cls", "loss_box_reg", "loss_rpn_cls", "loss_rpn_loc"}
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) and loss > 0 for loss in losses.values())
    model.eval()
    model.roi_heads.box_predictor.test_score_thresh = 0.0
    with torch.no_grad():
        found = model([{"image": image, "height": 192, "width": 320}])[0]["instances"]
    assert isinstance(found.pred_boxes, RotatedBoxes)
    assert len(found) > 0
    assert found.image_size == (192, 320)


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        ({"MODEL.MASK_ON": True}, "'RROIHeads' predicts boxes only"),
        ({"MODEL.RPN.BBOX_REG_WEIGHTS": (1.0,) * 4}, "'RRPN' needs five"),
        ({"MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": (1.0,) * 4}, "'RROIHeads' needs five"),
        ({"MODEL.ROI_BOX_HEAD.POOLER_TYPE": "ROIAlignV2"}, "needs 'ROIAlignRotated'"),
        (
            {"MODEL.ANCHOR_GENERATOR.NAME": "DefaultAnchorGenerator"},
            "'DefaultAnchorGenerator' gives anchors of 4 values, but the boxes here have 5",
        ),
        (
            {"MODEL.PROPOSAL_GENERATOR.NAME": "RPN", "MODEL.RPN.BBOX_REG_WEIGHTS": (1.0,) * 4},
            "'RotatedAnchorGenerator' gives anchors of 5 values, but the boxes here have 4",
        ),
        (
            {**PLAIN_HEADS, "MODEL.ROI_HEADS.NAME": "StandardROIHeads"},
            "'RRPN' proposes boxes of 5 values, but .* 'StandardROIHeads' predicts boxes of 4",
        ),
        (
            {**PLAIN_HEADS, **CASCADE},
            "'RRPN' proposes boxes of 5 values, but .* 'CascadeROIHeads' predicts boxes of 4",
        ),
        (
            {
                "MODEL.PROPOSAL_GENERATOR.NAME": "RPN",
                "MODEL.RPN.BBOX_REG_WEIGHTS": (1.0,) * 4,
                "MODEL.ANCHOR_GENERATOR.NAME": "DefaultAnchorGenerator",
            },
            "'RPN' proposes boxes of 4 values, but .* 'RROIHeads' predicts boxes of 5",
        ),
        (
            {
                **PLAIN_HEADS,
                **CASCADE,
                "MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS": ((1.0,) * 5,) * 3,
            },
            "ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS has 5 values",
        ),
    ],
)
def test_settings_that_cannot_work_are_named(opts: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model(thin_config({**ROTATED, **opts}))


def test_anchors_are_ordered_by_size_ratio_and_angle() -> None:
    generator = RotatedAnchorGenerator(
        sizes=[[32, 64]], aspect_ratios=[[0.25, 1]], strides=[4], angles=[[0, 45]], offset=0.0
    )
    (anchors,) = generator([torch.zeros(1, 8, 1, 2)])
    assert generator.num_anchors == [8]
    assert anchors.tensor[:4].tolist() == [
        [0.0, 0.0, 64.0, 16.0, 0.0],
        [0.0, 0.0, 64.0, 16.0, 45.0],
        [0.0, 0.0, 32.0, 32.0, 0.0],
        [0.0, 0.0, 32.0, 32.0, 45.0],
    ]
    assert anchors.tensor[8].tolist() == [4.0, 0.0, 64.0, 16.0, 0.0]


def test_losses_from_a_seed_are_those_that_detectron2s_own_test_expects() -> None:
    cfg = get_cfg()
    opts = {
        key: value for key, value in ROTATED.items() if "TOPK" not in key and "ANGLES" not in key
    }
    opts |= {"MODEL.RPN.HEAD_NAME": "StandardRPNHead", "MODEL.ROI_BOX_HEAD.NUM_FC": 2}
    opts["MODEL.ROI_BOX_HEAD.NAME"] = "FastRCNNConvFCHead"
    cfg.merge_from_list([item for pair in opts.items() for item in pair])
    torch.manual_seed(121)
    images = ImageList(torch.rand(2, 20, 30), [(10, 10), (20, 30)])
    features = {"res4": torch.rand(2, 1024, 1, 2)}
    boxes = [[[2.0, 2, 2, 2, 30], [4, 4, 4, 4, 0]], [[1.5, 5.5, 1, 3, 0], [8.5, 4, 3, 2, -50]]]
    classes = torch.tensor([[2, 1], [1, 2]])
    targets = [
        Instances((15, 15), gt_boxes=RotatedBoxes(of_image), gt_classes=classes[index])
        for index, of_image in enumerate(boxes)
    ]
    shapes = {"res4": ShapeSpec(channels=1024, stride=16)}
    proposal_generator = build_proposal_generator(cfg, shapes)
    roi_heads = build_roi_heads(cfg, shapes)
    proposals, losses = proposal_generator(images, features, targets)
    losses.update(roi_heads(images, features, proposals, targets)[1])
    assert {name: loss.item() for name, loss in losses.items()} == pytest.approx(
        {
            "loss_cls": 4.365657806396484,
            "loss_box_reg": 0.0015851043863222003,
            "loss_rpn_cls": 0.2427729219198227,
            "loss_rpn_loc": 0.3646621108055115,
        },
        rel=1e-5,
    )


def test_rotated_boxes_are_encoded_and_decoded() -> None:
    low, spread = torch.tensor([10, 10, 20, 20, -200.0]), torch.tensor([5, 5, 5, 5, 400.0])
    source, target = (torch.rand(50, 5) * spread + low for _ in range(2))
    transform = Box2BoxTransformRotated((5, 5, 10, 10, 1))
    decoded = transform.apply_deltas(transform.get_deltas(source, target), source)
    torch.testing.assert_close(decoded[:, :4], target[:, :4], atol=1e-4, rtol=1e-4)
    turn = (decoded[:, 4] - target[:, 4] + 180) % 360 - 180
    torch.testing.assert_close(turn, torch.zeros(50), atol=1e-3, rtol=0)
    with pytest.raises(ValueError, match="one is empty"):
        transform.get_deltas(torch.zeros(1, 5), target[:1])


@pytest.mark.parametrize("by_size", [True, False])
def test_distances_to_the_sides_are_encoded_and_decoded(by_size: bool) -> None:
    source = torch.tensor([[0.0, 0, 10, 20], [5.0, 5, 9, 9]])
    target = torch.tensor([[-3.0, 1, 12, 17], [6.0, 4, 30, 9]])
    transform = Box2BoxTransformLinear(normalize_by_size=by_size)
    deltas = transform.get_deltas(source, target)
    expected = [0.8, 0.45, 0.7, 0.35] if by_size else [8.0, 9.0, 7.0, 7.0]
    assert deltas[0].tolist() == pytest.approx(expected)
    torch.testing.assert_close(transform.apply_deltas(deltas, source), target)


def test_pooling_upright_boxes_is_that_of_the_plain_pooler() -> None:
    features = [torch.randn(2, 4, 32, 32), torch.randn(2, 4, 16, 16)]
    boxes = torch.tensor([[8.0, 8, 40, 60], [0.0, 0, 120, 120]])
    center, size = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    rotated = RotatedBoxes(torch.cat([center, size, torch.zeros(2, 1)], dim=1))
    options = {"output_size": 7, "scales": [1 / 4, 1 / 8], "sampling_ratio": 2}
    options |= {"canonical_box_size": 64, "canonical_level": 3}
    plain = ROIPooler(**options, pooler_type="ROIAlignV2")
    turned = ROIPooler(**options, pooler_type="ROIAlignRotated")
    torch.testing.assert_close(
        turned(features, [rotated, rotated]),
        plain(features, [Boxes(boxes), Boxes(boxes)]),
        atol=1e-4,
        rtol=1e-4,
    )


def test_seeded_losses_are_those_that_detectron2_publishes() -> None:
    """The expected numbers are those of detectron2's own tests of these layers."""
    gt = torch.tensor([[1.0, 1, 3, 3], [2.0, 2, 6, 6]])
    source = torch.tensor([[0.8, 1.1, 3.2, 2.8], [2.3, 2.5, 7, 8]])
    proposal = Instances((10, 10), gt_boxes=Boxes(gt), gt_classes=torch.tensor([1, 2]))
    proposal.proposal_boxes = Boxes(source)
    torch.manual_seed(132)
    layers = FastRCNNOutputLayers(
        ShapeSpec(channels=8), box2box_transform=Box2BoxTransform((10, 10, 5, 5)), num_classes=5
    )
    losses = layers.losses(layers(torch.rand(2, 8)), [proposal])
    assert losses["loss_cls"].item() == pytest.approx(1.7951188087)
    assert losses["loss_box_reg"].item() == pytest.approx(4.0357131958)

    rotated = Instances((10, 10), gt_classes=torch.tensor([1, 2]))
    rotated.gt_boxes = RotatedBoxes([[2.0, 2, 2, 2, 0], [4.0, 4, 4, 4, 0]])
    rotated.proposal_boxes = RotatedBoxes([[2, 1.95, 2.4, 1.7, 0], [4.65, 5.25, 4.7, 5.5, 0]])
    torch.manual_seed(132)
    turned = RotatedFastRCNNOutputLayers(
        ShapeSpec(channels=8),
        box2box_transform=Box2BoxTransformRotated((10, 10, 5, 5, 1)),
        num_classes=5,
    )
    losses = turned.losses(turned(torch.rand(2, 8)), [rotated])
    assert losses["loss_cls"].item() == pytest.approx(1.7920907736)
    assert losses["loss_box_reg"].item() == pytest.approx(4.0410838127)
