"""Names and class order of Caffe2 checkpoints, and matching names by their longest suffix."""

import logging

import pytest
import torch

from d2seg.core.checkpoint.c2_model_loading import (
    align_and_update_state_dicts,
    convert_basic_c2_names,
    convert_c2_detectron_names,
)

BACKBONE = {
    "conv1_w": "stem.conv1.weight",
    "conv1_b": "stem.conv1.bias",
    "conv1_gn_s": "stem.conv1.norm.weight",
    "res_conv1_bn_s": "stem.conv1.norm.weight",
    "res_conv1_bn_riv": "stem.conv1.norm.running_var",
    "res2_0_branch1_w": "res2.0.shortcut.weight",
    "res2_0_branch1_bn_b": "res2.0.shortcut.norm.bias",
    "res2_0_branch2a_w": "res2.0.conv1.weight",
    "res3_1_branch2b_bn_s": "res3.1.conv2.norm.weight",
    "res4_22_branch2c_bn_rm": "res4.22.conv3.norm.running_mean",
    "res5_2_branch2c_gn_b": "res5.2.conv3.norm.bias",
    "res2_0_branch2a_bn_running_mean": "res2.0.conv1.norm.running_mean",
    "res2_0_branch2a_bn_running_var": "res2.0.conv1.norm.running_var",
    "res2_0_branch2a_bn_gamma": "res2.0.conv1.norm.weight",
    "res2_0_branch2a_bn_beta": "res2.0.conv1.norm.bias",
    "pred_w": "linear.weight",
    "fc1000_b": "fc1000.bias",
}

DETECTOR = {
    "conv_rpn_w": "proposal_generator.rpn_head.conv.weight",
    "conv_rpn_fpn2_b": "proposal_generator.rpn_head.conv.bias",
    "rpn_cls_logits_fpn2_w": "proposal_generator.rpn_head.objectness_logits.weight",
    "rpn_cls_logits_b": "proposal_generator.rpn_head.objectness_logits.bias",
    "rpn_bbox_pred_fpn2_w": "proposal_generator.rpn_head.anchor_deltas.weight",
    "fc6_w": "box_head.fc1.weight",
    "fc7_b": "box_head.fc2.bias",
    "head_conv1_w": "box_head.conv1.weight",
    "head_conv2_gn_s": "box_head.conv2.norm.weight",
    "fpn_inner_res5_2_sum_w": "fpn_lateral5.weight",
    "fpn_inner_res2_2_sum_lateral_b": "fpn_lateral2.bias",
    "fpn_inner_res4_22_sum_lateral_gn_s": "fpn_lateral4.norm.weight",
    "fpn_res3_3_sum_w": "fpn_output3.weight",
    "fpn_res3_3_sum_gn_b": "fpn_output3.norm.bias",
    "_[mask]_fcn1_w": "mask_head.mask_fcn1.weight",
    "_mask_fcn4_b": "mask_head.mask_fcn4.bias",
    "_[mask]_fcn2_gn_s": "mask_head.mask_fcn2.norm.weight",
    "conv5_mask_w": "mask_head.deconv.weight",
    "conv_fcn8_b": "roi_heads.keypoint_head.conv_fcn8.bias",
    "kps_score_lowres_w": "roi_heads.keypoint_head.score_lowres.weight",
    "kps_score_w": "roi_heads.keypoint_head.score.weight",
}


def test_backbone_names() -> None:
    assert convert_basic_c2_names(BACKBONE) == list(BACKBONE.values())


@pytest.mark.parametrize("name", DETECTOR)
def test_detector_names(name: str) -> None:
    weight = torch.arange(3.0)
    converted, originals = convert_c2_detectron_names({name: weight})
    assert list(converted) == [DETECTOR[name]]
    assert originals == {DETECTOR[name]: name}
    assert converted[DETECTOR[name]] is weight


def test_background_moves_last_or_is_dropped() -> None:
    rows = torch.arange(12.0).reshape(12, 1)
    weights = {
        "bbox_pred_w": rows,
        "cls_score_w": rows[:3],
        "cls_score_b": rows[:3, 0],
        "mask_fcn_logits_b": rows[:3, 0],
    }
    converted, _ = convert_c2_detectron_names(weights)
    assert converted["bbox_pred.weight"].flatten().tolist() == [4, 5, 6, 7, 8, 9, 10, 11]
    assert converted["cls_score.weight"].tolist() == [[1], [2], [0]]
    assert converted["cls_score.bias"].tolist() == [1, 2, 0]
    assert converted["mask_head.predictor.bias"].tolist() == [1, 2]


def test_two_names_for_one_weight() -> None:
    weight = torch.zeros(1)
    with pytest.raises(ValueError, match=r"'conv1_bn_s' and 'res_conv1_bn_s' both stand for"):
        convert_c2_detectron_names({"conv1_bn_s": weight, "res_conv1_bn_s": weight})


def test_the_longest_suffix_wins() -> None:
    model = {f"backbone.{n}.weight": torch.zeros(1) for n in ("conv1", "res2.conv1", "my_conv1")}
    checkpoint = {"conv1.weight": torch.tensor([1.0]), "res2.conv1.weight": torch.tensor([2.0])}
    matched = align_and_update_state_dicts(model, checkpoint, c2_conversion=False)
    assert {key: value.item() for key, value in matched.items()} == {
        "backbone.conv1.weight": 1.0,
        "backbone.res2.conv1.weight": 2.0,
    }
    assert model["backbone.conv1.weight"].item() == 0.0


def test_an_ambiguous_suffix_names_both_places() -> None:
    model = {"a.conv.weight": torch.zeros(1), "b.conv.weight": torch.zeros(1)}
    message = (
        "'conv.weight' of the checkpoint is ambiguous: it matches both 'a.conv.weight' and 'b."
    )
    with pytest.raises(ValueError, match=message):
        align_and_update_state_dicts(model, {"conv.weight": torch.ones(1)}, c2_conversion=False)


def test_another_shape_is_skipped_with_both_shapes(caplog: pytest.LogCaptureFixture) -> None:
    model = {"a.conv.weight": torch.zeros(2, 3), "b.conv.weight": torch.zeros(4)}
    with caplog.at_level(logging.WARNING):
        matched = align_and_update_state_dicts(model, {"conv_w": torch.ones(4)})
    assert list(matched) == ["b.conv.weight"]
    assert "'conv_w' is not loaded: its shape is (4,) in the checkpoint" in caplog.text
    assert "'a.conv.weight' in the model is (2, 3)" in caplog.text


def test_what_matches_nothing_keeps_its_name() -> None:
    matched = align_and_update_state_dicts({"a": torch.zeros(1)}, {"fc_w": torch.ones(1)})
    assert list(matched) == ["fc.weight"]
