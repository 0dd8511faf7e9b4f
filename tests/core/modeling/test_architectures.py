"""Every family of models, thin: what they give back, batches, training, and bad configs."""

from typing import Any

import numpy as np
import pytest
import torch

from d2seg.core.modeling import build_model
from d2seg.core.runtime.events import EventStorage
from d2seg.core.structures import ImageList, Instances
from tests.core.modeling.thin import ARCHITECTURES, thin_architecture, thin_config
from tests.reference import compare
from tests.reference.cases import ground_truth, picture, semantic_map

RECIPE = ["fpn", "c4", "dc5", "cascade", "keypoints", "panoptic", "deformable"]
SIZES = ((1, (96, 160)), (2, (130, 70)))


@pytest.fixture(params=ARCHITECTURES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@torch.no_grad()
def test_a_batch_of_different_sizes_equals_one_by_one(name: str) -> None:
    model = thin_architecture(name)
    inputs = [{"image": picture(seed, *size_hw)} for seed, size_hw in SIZES]
    together = model(inputs)
    for one, joint in zip(inputs, together, strict=True):
        # Alone on the canvas of the batch: the zeros beside an image reach its border.
        alone = model([one, {"image": torch.zeros(3, 130, 160)}])[0]
        assert alone.keys() == joint.keys()
        for key in ("instances", "proposals"):
            if key in alone:
                assert_same_objects(alone[key], joint[key])
        if "sem_seg" in alone:
            assert joint["sem_seg"].shape[1:] == one["image"].shape[1:]
            torch.testing.assert_close(alone["sem_seg"], joint["sem_seg"], atol=1e-3, rtol=1e-3)


def assert_same_objects(alone: Instances, joint: Instances) -> None:
    boxes = "pred_boxes" if alone.has("pred_boxes") else "proposal_boxes"
    scores = "scores" if alone.has("scores") else "objectness_logits"
    assert len(alone) > 0
    assert alone.get_fields().keys() == joint.get_fields().keys()
    record = {
        "boxes": alone.get(boxes).tensor.tolist(),
        "scores": alone.get(scores).tolist(),
    }
    ours = (joint.get(boxes).tensor.numpy(), joint.get(scores).numpy())
    assert compare.compare_detections("batch", record, *ours) == []


def test_training_gives_finite_losses_and_gradients_everywhere(name: str) -> None:
    model = thin_architecture(name).train()
    inputs = []
    for seed, size_hw in SIZES:
        targets = ground_truth(seed, *size_hw, 3)
        targets.gt_keypoints = ground_truth(seed, *size_hw, 3, num_keypoints=4).gt_keypoints
        semantic = semantic_map(seed, *size_hw)
        image = picture(seed, *size_hw)
        inputs.append({"image": image, "instances": targets, "sem_seg": semantic})
    torch.manual_seed(0)
    with EventStorage() as storage:
        losses = model(inputs)
    assert all(loss.ndim == 0 and torch.isfinite(loss) for loss in losses.values())
    assert name == "semantic" or storage.latest()
    sum(losses.values()).backward()
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, key
            assert torch.isfinite(parameter.grad).all(), key


def test_images_without_objects_can_be_trained_on(name: str) -> None:
    model = thin_architecture(name).train()
    targets = ground_truth(1, 140, 260, 3, num_keypoints=4)[:0]
    inputs = {
        "image": picture(1, 140, 260),
        "instances": targets,
        "sem_seg": torch.zeros(140, 260, dtype=torch.int64),
    }
    losses = model([inputs])
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()


@pytest.mark.parametrize("family", RECIPE)
@torch.no_grad()
def test_partial_execution_as_written_in_many_scripts(family: str) -> None:
    model = thin_architecture(family)
    sized = [picture(seed, *size_hw) for seed, size_hw in SIZES]
    images = ImageList.from_tensors(sized, model.backbone.size_divisibility)
    features = model.backbone(images.tensor)
    proposals, _ = model.proposal_generator(images, features)
    instances, _ = model.roi_heads(images, features, proposals)
    mask_features = [features[f] for f in model.roi_heads.in_features]
    mask_features = model.roi_heads.mask_pooler(mask_features, [x.pred_boxes for x in instances])
    count = sum(len(one) for one in instances)
    assert count > 0
    assert mask_features.shape[0] == count
    assert mask_features.shape[2:] == (14, 14)
    assert torch.isfinite(mask_features).all()


@torch.no_grad()
def test_heads_of_c4_answer_to_the_names_of_the_others() -> None:
    heads = thin_architecture("c4").roi_heads
    assert heads.box_in_features == heads.mask_in_features == heads.in_features == ["res4"]
    assert heads.box_pooler is heads.mask_pooler is heads.pooler
    assert heads.box_head is heads.res5


@pytest.mark.parametrize("family", ["fpn", "c4", "cascade", "keypoints"])
@torch.no_grad()
def test_given_boxes_get_masks_and_keypoints(family: str) -> None:
    model = thin_architecture(family)
    image = [{"image": picture(1, 70, 110)}]
    (found,) = model.inference(image, do_postprocess=False)
    given = Instances((70, 110), pred_boxes=found.pred_boxes, pred_classes=found.pred_classes)
    (again,) = model.inference(image, detected_instances=[given], do_postprocess=False)
    torch.testing.assert_close(again.pred_masks, found.pred_masks)
    if found.has("pred_keypoints"):
        torch.testing.assert_close(again.pred_keypoints, found.pred_keypoints)


@torch.no_grad()
def test_keypoints_follow_the_size_of_the_output() -> None:
    model = thin_architecture("keypoints")
    image = picture(1, 70, 110)
    (plain,) = model([{"image": image}])
    (scaled,) = model([{"image": image, "height": 140, "width": 330}])
    expected = plain["instances"].pred_keypoints * torch.tensor([3.0, 2.0, 1.0])
    torch.testing.assert_close(scaled["instances"].pred_keypoints, expected)


@torch.no_grad()
def test_panoptic_segments_cover_each_pixel_at_most_once() -> None:
    opts = {"MODEL.PANOPTIC_FPN.COMBINE.STUFF_AREA_LIMIT": 50}
    output = thin_architecture("panoptic", opts)([{"image": picture(1, 70, 110)}])[0]
    segments, infos = output["panoptic_seg"]
    assert segments.shape == (70, 110)
    assert [one["id"] for one in infos] == list(range(1, len(infos) + 1))
    assert set(segments.unique().tolist()) <= set(range(len(infos) + 1))
    for one in infos:
        if one["isthing"]:
            mask = output["instances"].pred_masks[one["instance_id"]]
            assert bool((mask | (segments != one["id"])).all())
        else:
            assert one["area"] == int((segments == one["id"]).sum()) >= 50
    loose = thin_architecture("panoptic", {"MODEL.PANOPTIC_FPN.COMBINE.ENABLED": False})
    assert "panoptic_seg" not in loose([{"image": picture(1, 70, 110)}])[0]


def test_a_panoptic_model_takes_given_proposals() -> None:
    model = thin_architecture("panoptic", {"MODEL.PROPOSAL_GENERATOR.NAME": "PrecomputedProposals"})
    targets = ground_truth(1, 96, 160, 3)
    given = Instances((96, 160), proposal_boxes=targets.gt_boxes)
    given.objectness_logits = torch.ones(len(given))
    inputs = [{"image": picture(1, 96, 160), "instances": targets, "proposals": given}]
    inputs[0]["sem_seg"] = semantic_map(1, 96, 160)
    losses = model.train()(inputs)
    assert set(losses) == {"loss_sem_seg", "loss_cls", "loss_box_reg", "loss_mask"}
    with torch.no_grad():
        (found,) = model.eval()(inputs)
    assert set(found) == {"sem_seg", "instances", "panoptic_seg"}
    with pytest.raises(ValueError, match="every input needs 'proposals'"):
        model([{"image": picture(1, 96, 160)}])


def test_the_normalizer_of_retinanet_is_a_running_mean() -> None:
    model = thin_architecture("retinanet").train()
    inputs = [{"image": picture(1, 96, 160), "instances": ground_truth(1, 96, 160, 3)}]
    with EventStorage() as storage:
        model(inputs)
    positive = storage.latest()["num_pos_anchors"][0]
    assert positive > 0
    assert model.loss_normalizer == pytest.approx(90 + 0.1 * positive)


def test_cascade_gradients_are_a_mean_over_the_stages() -> None:
    heads = thin_architecture("cascade").roi_heads.eval()
    size_hw = (96, 160)
    shapes = {"p2": 4, "p3": 8, "p4": 16, "p5": 32}
    features = {
        level: torch.randn(1, 32, size_hw[0] // stride, size_hw[1] // stride, requires_grad=True)
        for level, stride in shapes.items()
    }
    proposals = [Instances(size_hw, proposal_boxes=ground_truth(1, *size_hw, 3).gt_boxes)]
    heads._run_stage(features, proposals, 0)[0].sum().backward()
    scaled = {level: feature.grad.clone() for level, feature in features.items()}
    for feature in features.values():
        feature.grad = None
    pooled = heads.box_pooler(list(features.values()), [proposals[0].proposal_boxes])
    heads.box_predictor[0](heads.box_head[0](pooled))[0].sum().backward()
    for level, feature in features.items():
        torch.testing.assert_close(scaled[level], feature.grad / 3)


@pytest.mark.parametrize(
    ("family", "opts", "message"),
    [
        ("keypoints", {"MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS": 0}, "NUM_KEYPOINTS is 0, but"),
        ("c4", {"MODEL.KEYPOINT_ON": True}, "'Res5ROIHeads' has no keypoint head"),
        (
            "c4",
            {
                "MODEL.RESNETS.DEPTH": 50,
                "MODEL.RESNETS.DEFORM_ON_PER_STAGE": [False, False, False, True],
            },
            "asks for a deformable res5",
        ),
        ("c4", {"MODEL.ROI_HEADS.IN_FEATURES": ["res3", "res4"]}, "pools from one feature level"),
        ("cascade", {"MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": False}, "hands one box of each"),
        ("cascade", {"MODEL.ROI_BOX_CASCADE_HEAD.IOUS": (0.5, 0.6)}, "2 stages, but .* 3"),
        ("cascade", {"MODEL.ROI_HEADS.IOU_THRESHOLDS": [0.6]}, "IOUS begins with 0.5, but"),
        ("retinanet", {"MODEL.MASK_ON": True}, "'RetinaNet' detects boxes only"),
        ("retinanet", {"MODEL.RETINANET.IN_FEATURES": ["p2", "p3"]}, "names 'p2', .* only p3, p4"),
        ("panoptic", {"MODEL.MASK_ON": False}, "puts object masks and stuff together"),
        ("semantic", {"MODEL.SEM_SEG_HEAD.IN_FEATURES": ["res2"]}, "names 'res2', .* only p2"),
        ("semantic", {"MODEL.SEM_SEG_HEAD.COMMON_STRIDE": 8}, "'p2' has stride 4"),
        (
            "proposals",
            {"MODEL.PROPOSAL_GENERATOR.NAME": "PrecomputedProposals"},
            "cannot be 'PrecomputedProposals'",
        ),
        ("fpn", {"MODEL.ROI_MASK_HEAD.NUM_CONV": -1}, "ROI_MASK_HEAD.NUM_CONV is below 0"),
        ("fpn", {"MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 0}, "POOLER_RESOLUTION .* is 0, but"),
        ("c4", {"MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": -7}, "POOLER_RESOLUTION .* is -7, but"),
        ("retinanet", {"MODEL.RETINANET.NUM_CLASSES": 0}, "RETINANET.NUM_CLASSES is 0, but"),
        ("semantic", {"MODEL.SEM_SEG_HEAD.NUM_CLASSES": 0}, "SEM_SEG_HEAD.NUM_CLASSES is 0, but"),
        ("fpn", {"MODEL.RPN.BBOX_REG_WEIGHTS": (1.0,) * 5}, "RPN.BBOX_REG_WEIGHTS has 5 values"),
        (
            "fpn",
            {"MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": (1.0,) * 3},
            "ROI_BOX_HEAD.BBOX_REG_WEIGHTS has 3 values, but the boxes here have 4",
        ),
        (
            "retinanet",
            {"MODEL.RETINANET.BBOX_REG_WEIGHTS": (1.0,) * 5},
            "RETINANET.BBOX_REG_WEIGHTS has 5 values",
        ),
        ("fpn", {"MODEL.RPN.IN_FEATURES": ["res4"]}, "MODEL.RPN.IN_FEATURES names 'res4'"),
        ("fpn", {"MODEL.ROI_MASK_HEAD.NAME": ""}, "MODEL.MASK_ON is True, but .* is empty"),
        ("fpn", {"MODEL.ROI_HEADS.NUM_CLASSES": 0}, "NUM_CLASSES is 0, but must be at least 1"),
    ],
)
def test_what_cannot_work_together_is_said_at_once(
    family: str, opts: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        thin_architecture(family, opts)


def test_training_a_mask_head_without_masks_names_the_key() -> None:
    model = thin_architecture("fpn").train()
    targets = ground_truth(1, 70, 110, 3)
    targets.remove("gt_masks")
    with pytest.raises(ValueError, match="needs gt_masks .* or set MODEL.MASK_ON False"):
        model([{"image": picture(1, 70, 110), "instances": targets}])


def test_a_pyramid_refuses_sizes_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match=r"multiples of 32, but the input is 100x96.*ImageList"):
        build_model(thin_config()).backbone(torch.zeros(1, 3, 100, 96))


def test_masks_of_a_c4_model_are_those_of_its_boxes() -> None:
    with torch.no_grad():
        found = thin_architecture("c4")([{"image": picture(1, 70, 110)}])[0]["instances"]
    boxes = found.pred_boxes.tensor.numpy()
    for mask, box in zip(found.pred_masks.numpy(), boxes, strict=True):
        rows, columns = np.nonzero(mask)
        if len(rows):
            assert rows.min() >= np.floor(box[1]) - 1
            assert columns.max() <= np.ceil(box[2])
