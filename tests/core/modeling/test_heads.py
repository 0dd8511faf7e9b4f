"""Anchors, poolers, matchers and losses: wrong settings, empty input, and small known cases."""

import json
import math
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from d2seg.core.config import get_cfg
from d2seg.core.data import MetadataCatalog
from d2seg.core.layers import ShapeSpec
from d2seg.core.modeling import build_box_head, build_mask_head, build_rpn_head, matcher
from d2seg.core.modeling.anchor_generator import DefaultAnchorGenerator
from d2seg.core.modeling.backbone.blocks import BottleneckBlock
from d2seg.core.modeling.box_regression import Box2BoxTransform
from d2seg.core.modeling.losses import Losses, box_regression_loss, check_box_loss_type
from d2seg.core.modeling.matcher import Matcher
from d2seg.core.modeling.poolers import ROIPooler
from d2seg.core.modeling.postprocessing import detector_postprocess
from d2seg.core.modeling.roi_heads import Res5ROIHeads
from d2seg.core.modeling.roi_heads.fast_rcnn import (
    FastRCNNOutputLayers,
    classification_metrics,
    fast_rcnn_inference_single_image,
)
from d2seg.core.modeling.roi_heads.mask_head import MaskRCNNConvUpsampleHead, mask_rcnn_loss
from d2seg.core.runtime.events import EventStorage
from d2seg.core.structures import BitMasks, Boxes, Instances, pairwise_iou


def test_one_list_of_sizes_serves_all_levels() -> None:
    generator = DefaultAnchorGenerator(sizes=[[32, 64]], aspect_ratios=[[1.0]], strides=[4, 8])
    assert generator.num_anchors == [2, 2]
    anchors = generator([torch.zeros(1, 1, 2, 3), torch.zeros(1, 1, 1, 2)])
    assert [len(boxes) for boxes in anchors] == [12, 4]
    assert generator.state_dict() == {}


def test_wrong_anchor_settings_are_named() -> None:
    with pytest.raises(ValueError, match="SIZES has 3 lists, but there are 2 feature levels"):
        DefaultAnchorGenerator(sizes=[[1], [2], [3]], aspect_ratios=[[1.0]], strides=[4, 8])
    with pytest.raises(ValueError, match=r"OFFSET is 1.0, but must be in \[0, 1\)"):
        DefaultAnchorGenerator(sizes=[[1]], aspect_ratios=[[1.0]], strides=[4], offset=1.0)


class OwnMatcher(Matcher):
    pass


@pytest.mark.parametrize(("kind", "parts"), [(Matcher, [2] * 5), (OwnMatcher, [10])])
def test_a_matcher_of_another_class_is_given_all_ious(
    kind: type[Matcher], parts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matcher, "_PAIRS_AT_ONCE", (6, 6))
    corners = torch.rand(13, 2) * 50
    boxes = Boxes(torch.cat([corners, corners + 10 + 20 * torch.rand(13, 2)], dim=1))
    gt_boxes, anchors = boxes[:3], boxes[3:]
    asked: list[int] = []

    def iou_of(one: Boxes, other: Boxes) -> Tensor:
        asked.append(len(other))
        return pairwise_iou(one, other)

    options: Any = ([0.1, 0.3], [0, -1, 1], False)
    found = matcher.match_in_memory_bounds(kind(*options), iou_of, gt_boxes, anchors)
    expected = Matcher(*options)(pairwise_iou(gt_boxes, anchors))
    assert asked == parts
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.5], [0, 1, 1]), "IOU_LABELS has 3 entries, but 1 IOU_THRESHOLDS need 2"),
        (([0.7, 0.3], [0, -1, 1]), "must rise from above 0"),
        (([0.5], [0, 2]), "each must be -1, 0 or 1"),
    ],
)
def test_wrong_matcher_settings_are_named(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Matcher(*arguments)


def test_wrong_pooler_settings_and_input_are_named() -> None:
    with pytest.raises(
        ValueError, match="POOLER_TYPE is 'RoIAlign', but must be one of ROIAlignV2"
    ):
        ROIPooler(7, [1 / 4], 0, "RoIAlign")
    with pytest.raises(ValueError, match="powers of two and double"):
        ROIPooler(7, [1 / 4, 1 / 16], 0, "ROIAlignV2")
    pooler = ROIPooler(7, [1 / 4, 1 / 8], 0, "ROIAlignV2")
    levels = [torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 4, 4)]
    with pytest.raises(ValueError, match="2 levels, but got 1 features"):
        pooler(levels[:1], [])
    with pytest.raises(ValueError, match="features of 2 images, but boxes of 1"):
        pooler(levels, [Boxes(torch.zeros(0, 4))])
    assert pooler(levels, [Boxes(torch.zeros(0, 4))] * 2).shape == (0, 3, 7, 7)


def test_empty_source_boxes_have_no_deltas() -> None:
    transform = Box2BoxTransform([1.0] * 4)
    with pytest.raises(ValueError, match="one is empty"):
        transform.get_deltas(torch.tensor([[1.0, 1, 1, 2]]), torch.tensor([[1.0, 1, 2, 2]]))


@pytest.mark.parametrize("loss_type", ["smooth_l1", "giou", "diou", "ciou"])
def test_box_losses_are_zero_for_equal_boxes_and_grow(loss_type: str) -> None:
    boxes = torch.tensor([[10.0, 20, 30, 60], [0, 0, 5, 9]])
    zero = torch.zeros(2, 4)
    same = box_regression_loss(zero, boxes, zero, boxes, loss_type, 0.0)
    moved = box_regression_loss(zero + 0.1, boxes + 1, zero, boxes, loss_type, 0.0)
    far = box_regression_loss(zero + 0.3, boxes + 3, zero, boxes, loss_type, 0.0)
    assert same.item() == pytest.approx(0, abs=1e-5)
    assert 0.01 < moved.item() < far.item()


def test_an_unknown_box_loss_is_named() -> None:
    with pytest.raises(
        ValueError, match="BBOX_REG_LOSS_TYPE is 'iou', but must be one of smooth_l1, giou"
    ):
        check_box_loss_type("MODEL.RPN.BBOX_REG_LOSS_TYPE", "iou")


def test_losses_carry_metrics_and_publish_them_only_under_a_storage() -> None:
    losses = Losses({"a": torch.tensor(2.0)}, {"m": 3.0})
    losses.publish()  # no storage, no error
    losses.add(Losses({"b": torch.tensor(1.0)}, {"n": torch.tensor(4)}))
    losses.add({"c": torch.tensor(5.0)})  # a head of the user's returns a plain dict
    weighted = losses.weighted({"a": 10.0})
    assert {k: v.item() for k, v in weighted.items()} == {"a": 20.0, "b": 1.0, "c": 5.0}
    with EventStorage() as storage:
        Losses(weighted).publish()  # a copy keeps the metrics
        assert {k: v[0] for k, v in storage.latest().items()} == {"m": 3.0, "n": 4.0}


def test_classification_metrics_by_hand() -> None:
    logits = torch.eye(3)[[0, 1, 2, 2, 1]]  # predicted; 2 is background
    metrics = classification_metrics(logits, torch.tensor([0, 0, 1, 2, 2]), 2)
    assert {k.split("/")[1]: round(v.item(), 4) for k, v in metrics.items()} == {
        "cls_accuracy": 0.4,
        "fg_cls_accuracy": 0.3333,
        "false_negative": 0.3333,
    }


def predictor(**changes: Any) -> FastRCNNOutputLayers:
    return FastRCNNOutputLayers(
        ShapeSpec(channels=5),
        box2box_transform=Box2BoxTransform([1.0] * 4),
        num_classes=3,
        **changes,
    )


@pytest.mark.parametrize("use_sigmoid_ce", [False, True])
@pytest.mark.parametrize("cls_agnostic_bbox_reg", [False, True])
def test_losses_and_detections_without_any_region(
    use_sigmoid_ce: bool, cls_agnostic_bbox_reg: bool
) -> None:
    layers = predictor(use_sigmoid_ce=use_sigmoid_ce, cls_agnostic_bbox_reg=cls_agnostic_bbox_reg)
    predictions = layers(torch.zeros(0, 5))
    nothing = Instances(
        (40, 60),
        proposal_boxes=Boxes(torch.zeros(0, 4)),
        gt_classes=torch.zeros(0, dtype=torch.int64),
    )
    losses = layers.losses(predictions, [nothing])
    sum(losses.values()).backward()
    assert {k: v.item() for k, v in losses.items()} == {"loss_cls": 0.0, "loss_box_reg": 0.0}
    (found,), (rows,) = layers.inference(predictions, [nothing])
    assert len(found) == len(rows) == 0


def test_sigmoid_classes_are_independent_and_background_is_not_trained() -> None:
    layers = predictor(use_sigmoid_ce=True)
    logits = torch.tensor([[1.0, -2.0, 0.5, 9.0]])
    proposal = Instances(
        (40, 60), proposal_boxes=Boxes([[1.0, 2, 9, 8]]), gt_classes=torch.tensor([3])
    )
    loss = layers.losses((logits, torch.zeros(1, 12)), [proposal])["loss_cls"]
    torch.testing.assert_close(loss, torch.nn.functional.softplus(logits[0, :3]).sum())
    torch.testing.assert_close(
        layers.predict_probs((logits, None), [proposal])[0], logits.sigmoid()
    )


def test_federated_loss_trains_the_classes_of_the_batch_and_drawn_ones() -> None:
    weights = torch.tensor([0.0, 0.0, 1.0])  # only class 2 can be drawn
    layers = predictor(
        use_sigmoid_ce=True,
        use_fed_loss=True,
        get_fed_loss_cls_weights=lambda: weights,
        fed_loss_num_classes=2,
    )
    logits = torch.tensor([[1.0, -2.0, 0.5, 9.0]])
    proposal = Instances(
        (40, 60), proposal_boxes=Boxes([[1.0, 2, 9, 8]]), gt_classes=torch.tensor([0])
    )
    loss = layers.losses((logits, torch.zeros(1, 12)), [proposal])["loss_cls"]
    # Class 0 is there, class 2 is drawn, class 1 is not trained.
    torch.testing.assert_close(loss, torch.nn.functional.softplus(torch.tensor([-1.0, 0.5])).sum())


def test_federated_classes_are_distinct_and_as_many_as_asked_for() -> None:
    present = torch.tensor([7, 3, 3, 20])
    chosen = FastRCNNOutputLayers.get_fed_loss_classes(present, 10, 20, None)
    assert len(chosen) == len(set(chosen.tolist())) == 10
    assert {3, 7, 20} <= set(chosen.tolist())
    everything = FastRCNNOutputLayers.get_fed_loss_classes(present, 50, 20, None)
    assert sorted(everything.tolist()) == list(range(21))


def test_detections_of_one_image_by_hand() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 11], [50, 30, 70, 50]])
    probs = torch.tensor([[0.6, 0.1, 0.3], [0.7, 0.2, 0.1], [0.1, 0.8, 0.1]])
    found, rows = fast_rcnn_inference_single_image(boxes, probs, (40, 60), 0.15, 0.5, 2)
    assert rows.tolist() == [2, 1]
    assert found.pred_classes.tolist() == [1, 0]
    assert found.scores.tolist() == pytest.approx([0.8, 0.7])
    assert found.pred_boxes.tensor.tolist() == [[50, 30, 60, 40], [0, 0, 10, 11]]
    everything, rows = fast_rcnn_inference_single_image(boxes, probs, (40, 60), 0.15, 0.5, -1)
    assert rows.tolist() == [2, 1, 1]
    assert everything.pred_classes.tolist() == [1, 0, 1]


def masks_to_learn() -> Instances:
    square = torch.zeros(2, 20, 30, dtype=torch.bool)
    square[:, 4:8, 6:14] = True
    boxes = Boxes([[6.0, 4, 14, 8], [6.0, 4, 22, 12]])  # the mask; and four times its area
    regions = Instances((20, 30), proposal_boxes=boxes, gt_classes=torch.tensor([2, 0]))
    regions.gt_masks = BitMasks(square)
    return regions


def test_the_mask_loss_is_that_of_each_regions_class() -> None:
    logits = torch.zeros(2, 3, 4, 4)
    logits[0, 2] = 1.0  # all foreground, which is right
    logits[0, :2] = 50.0  # other classes do not count
    loss = mask_rcnn_loss(logits, [masks_to_learn()])
    right = torch.nn.functional.softplus(torch.tensor(-1.0))
    torch.testing.assert_close(loss, (right + math.log(2)) / 2)
    logits[1, 0] = -1.0  # a quarter is foreground
    wrong = torch.nn.functional.softplus(torch.tensor(1.0))
    loss = mask_rcnn_loss(logits, [masks_to_learn()])
    torch.testing.assert_close(loss, (right + right * 3 / 4 + wrong / 4) / 2)


def test_the_mask_loss_of_no_regions_is_zero_with_a_gradient() -> None:
    logits = torch.zeros(0, 3, 4, 4, requires_grad=True)
    loss = mask_rcnn_loss(logits, [masks_to_learn()[:0]])
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None


@pytest.mark.parametrize("num_regions", [0, 2])
@pytest.mark.parametrize("agnostic", [False, True])
def test_masks_are_trained_by_the_one_class_that_counts(num_regions: int, agnostic: bool) -> None:
    torch.manual_seed(0)
    head = MaskRCNNConvUpsampleHead(
        ShapeSpec(channels=8), num_classes=1 if agnostic else 3, conv_dims=[8, 6]
    )
    regions = masks_to_learn()[:num_regions]
    pooled = torch.randn(num_regions, 8, 7, 7, requires_grad=True)
    inputs = [pooled, *head.parameters()]

    def gradients(loss: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(loss, inputs)

    expected = mask_rcnn_loss(head.layers(pooled), [regions])
    found = head(pooled, [regions])["loss_mask"]
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients(found), gradients(expected))
    logits = head.layers_of_classes(pooled, [regions])
    assert logits.shape == (num_regions, 1, 14, 14)
    with torch.autocast("cpu", torch.bfloat16):
        half = head(pooled, [regions])["loss_mask"]
    assert half.isfinite()
    # Two convolutions in numbers of 8 bits, whose steps are 1/256 to 1/128 of a value.
    torch.testing.assert_close(half.float(), expected, rtol=0.02, atol=0)


def federated_layers(name: str, num_classes: int = 2) -> FastRCNNOutputLayers:
    cfg = get_cfg()
    cfg.merge_from_list(
        ["MODEL.ROI_BOX_HEAD.USE_FED_LOSS", True, "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE", True]
        + ["MODEL.ROI_HEADS.NUM_CLASSES", num_classes, "DATASETS.TRAIN", (name,)]
    )
    return FastRCNNOutputLayers(cfg, ShapeSpec(channels=5))


def federated_loss(layers: FastRCNNOutputLayers) -> torch.Tensor:
    logits = torch.zeros(1, layers.num_classes + 1)
    return layers.sigmoid_cross_entropy_loss(logits, torch.tensor([0]))


@pytest.fixture
def federated_set() -> Iterator[str]:
    yield "federated_test_set"
    MetadataCatalog.remove("federated_test_set")


COUNTS = [{"id": 2, "image_count": 9}, {"id": 1, "image_count": 100}]


def test_federated_weights_come_from_the_counts_of_the_training_set(federated_set: str) -> None:
    layers = federated_layers(federated_set)  # the data set is not loaded yet
    assert layers.state_dict()["fed_loss_cls_weights"].tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="'class_image_count' in the metadata of .*federated_test"):
        federated_loss(layers)
    MetadataCatalog.get(federated_set).class_image_count = COUNTS
    assert torch.isfinite(federated_loss(layers))
    assert layers.fed_loss_cls_weights.tolist() == [10.0, 3.0]
    with pytest.raises(ValueError, match=r"weights of shape \(2,\) for 5 classes; MODEL.ROI_HEADS"):
        federated_loss(federated_layers(federated_set, num_classes=5))


def test_federated_weights_are_read_from_the_annotation_file(
    federated_set: str, tmp_path: Path
) -> None:
    (tmp_path / "lvis.json").write_text(json.dumps({"categories": COUNTS}))
    MetadataCatalog.get(federated_set).json_file = str(tmp_path / "lvis.json")
    layers = federated_layers(federated_set)
    federated_loss(layers)
    assert layers.fed_loss_cls_weights.tolist() == [10.0, 3.0]
    assert MetadataCatalog.get(federated_set).class_image_count == COUNTS[::-1]


def test_an_annotation_file_without_counts_does_not_help(
    federated_set: str, tmp_path: Path
) -> None:
    (tmp_path / "coco.json").write_text(json.dumps({"categories": [{"id": 1}, {"id": 2}]}))
    MetadataCatalog.get(federated_set).json_file = str(tmp_path / "coco.json")
    with pytest.raises(ValueError, match="'image_count' of every category in its annotation file"):
        federated_loss(federated_layers(federated_set))


def test_federated_weights_of_a_checkpoint_are_kept() -> None:
    layers = federated_layers("a_set_nobody_knows")
    state = layers.state_dict() | {"fed_loss_cls_weights": torch.tensor([4.0, 0.0])}
    layers.load_state_dict(state)
    federated_loss(pickle.loads(pickle.dumps(layers)))
    assert layers.fed_loss_cls_weights.tolist() == [4.0, 0.0]


def test_the_federated_loss_needs_independent_classes() -> None:
    with pytest.raises(ValueError, match="set MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE to True"):
        predictor(use_fed_loss=True)


@pytest.mark.parametrize(("depth", "dilation"), [(18, 1), (50, 1), (50, 2)])
def test_res5_of_regions_is_three_bottleneck_blocks_of_stride_two(
    depth: int, dilation: int
) -> None:
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.RESNETS.DEPTH", depth, "MODEL.RESNETS.RES5_DILATION", dilation])
    cfg.merge_from_list(["MODEL.RESNETS.RES2_OUT_CHANNELS", 8, "MODEL.RESNETS.WIDTH_PER_GROUP", 4])
    heads = Res5ROIHeads(cfg, {"res4": ShapeSpec(channels=32, stride=16)})
    assert [type(block) for block in heads.res5] == [BottleneckBlock] * 3
    assert [block.stride for block in heads.res5] == [2, 1, 1]
    assert {block.conv2.dilation for block in heads.res5} == {(1, 1)}
    assert [block.conv2.out_channels for block in heads.res5] == [32] * 3
    features = heads._shared_roi_transform([torch.zeros(1, 32, 6, 9)], [Boxes([[0.0, 0, 90, 50]])])
    assert features.shape == (1, 64, 7, 7)


def test_a_project_may_build_another_res5() -> None:
    class Plain(Res5ROIHeads):
        @classmethod
        def _build_res5_block(cls, cfg: Any) -> tuple[torch.nn.Module, int]:
            return torch.nn.Conv2d(32, 48, 1), 48

    heads = Plain(get_cfg(), {"res4": ShapeSpec(channels=32, stride=16)})
    assert isinstance(heads.res5, torch.nn.Conv2d)
    assert heads.box_predictor.cls_score.in_features == 48


def test_unknown_heads_are_refused() -> None:
    cfg = get_cfg()
    cfg.MODEL.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHed"
    with pytest.raises(KeyError, match="did you mean 'FastRCNNConvFCHead'"):
        build_box_head(cfg, ShapeSpec(8, 7, 7))
    with pytest.raises(ValueError, match="NUM_CONV 0 and NUM_FC 0"):
        cfg.MODEL.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
        build_box_head(cfg, ShapeSpec(8, 7, 7))


def test_several_rpn_convolutions_are_named_as_in_detectron2() -> None:
    cfg = get_cfg()
    cfg.MODEL.RPN.CONV_DIMS = [-1, 16]
    names = build_rpn_head(cfg, [ShapeSpec(channels=8, stride=16)]).state_dict().keys()
    assert {"conv.conv0.weight", "conv.conv1.weight", "anchor_deltas.bias"} <= names


def test_heads_with_norm_have_no_bias_in_their_convolutions() -> None:
    cfg = get_cfg()
    cfg.MODEL.ROI_MASK_HEAD.NAME = "MaskRCNNConvUpsampleHead"
    cfg.MODEL.ROI_MASK_HEAD.NUM_CONV = 2
    cfg.MODEL.ROI_MASK_HEAD.NORM = "GN"
    names = build_mask_head(cfg, ShapeSpec(8, 14, 14)).state_dict().keys()
    assert "mask_fcn1.norm.weight" in names
    assert "mask_fcn1.bias" not in names


def test_postprocessing_scales_each_axis_and_drops_what_becomes_empty() -> None:
    found = Instances(
        (50, 100),
        pred_boxes=Boxes([[10.0, 10, 20, 20], [100.0, 10, 130, 20]]),
        scores=torch.tensor([0.9, 0.8]),
        pred_masks=torch.ones(2, 1, 28, 28),
    )
    output = detector_postprocess(found, 200, 300)
    assert output.image_size == (200, 300)
    assert output.pred_boxes.tensor.tolist() == [[30.0, 40.0, 60.0, 80.0]]
    assert output.pred_masks.shape == (1, 200, 300)
    assert output.pred_masks.sum() == 30 * 40
    assert found.pred_boxes.tensor[0].tolist() == [10.0, 10.0, 20.0, 20.0]
    assert found.pred_masks.shape == (2, 1, 28, 28)


def test_postprocessing_without_boxes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"need 'pred_boxes' or 'proposal_boxes'.*\['scores'\]"):
        detector_postprocess(Instances((5, 9), scores=torch.zeros(1)), 10, 18)
