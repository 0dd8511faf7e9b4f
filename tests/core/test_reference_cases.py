"""Whole models against what detectron2 recorded, point by point."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from d2seg.core.config import CfgNode
from d2seg.core.engine import DefaultPredictor
from d2seg.core.structures import Instances
from tests.reference import cases, compare

Record = Callable[[str, object], None]


@pytest.fixture(params=cases.CASES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def rows_as_recorded(recorded: dict[str, Any], detections: Instances) -> Tensor:
    """Tell which of our detections is which recorded one: (N,) int64.

    Two scores that differ by 2e-6 swap places with the number of threads, so tensors with a row for
    each detection are compared after matching, as the detections themselves are.
    """
    boxes = torch.tensor(recorded["boxes"])
    distance = (boxes[:, None] - detections.pred_boxes.tensor).abs().amax(dim=2)
    same_class = torch.tensor(recorded["classes"])[:, None] == detections.pred_classes
    return torch.where(same_class, distance, torch.inf).argmin(dim=1)


def worst(recorded: dict[str, Any], produced: Tensor) -> str:
    """Describe the largest deviation of a tensor from its samples."""
    positions = compare.sample_positions(len(recorded["samples"]), produced.numel())
    difference = produced.reshape(-1)[torch.from_numpy(positions)] - torch.tensor(
        recorded["samples"]
    )
    return f"{difference.abs().max() / recorded['std']:.1e} standard deviations"


def test_state_dict_has_the_names_and_shapes(name: str, record_property: Record) -> None:
    recorded = {
        key: shape
        for key, shape in cases.load_case(name)["state_dict"].items()
        if "cell_anchors" not in key and "pixel_" not in key
    }
    model = cases.case_model(name)
    assert {key: list(value.shape) for key, value in model.state_dict().items()} == recorded
    record_property("state_dict", f"{len(recorded)} names and shapes equal")


@torch.no_grad()
def test_inference(name: str, record_property: Record) -> None:
    assert inference_differences(name, cases.case_model(name), record_property) == []


FPN = "COCO-InstanceSegmentation__mask_rcnn_R_50_FPN_3x"


@torch.no_grad()
@pytest.mark.parametrize("name", [FPN, "COCO-PanopticSegmentation__panoptic_fpn_R_50_1x"])
@pytest.mark.parametrize("options", [{"FUSE": False}, {"COMPILE": "eager"}], ids=str)
def test_inference_with_options(
    name: str, options: dict[str, Any], record_property: Record
) -> None:
    cfg = cases.case_config(name, ["MODEL.WEIGHTS", ""])
    cfg.MODEL.INFERENCE = CfgNode(options)
    model: Any = DefaultPredictor(cfg).model  # which compiles the backbone, if asked
    cases.fill_deterministic(model, pixel_std_is_one=all(std == 1 for std in cfg.MODEL.PIXEL_STD))
    with model.inference_options.applied(model.device):  # for the parts, which run alone
        assert inference_differences(name, model, record_property) == []


def inference_differences(name: str, model: Any, record_property: Record) -> list[str]:
    """Compare what a model predicts, and its parts give, with what was recorded of a case."""
    recorded = cases.load_case(name)["inference"]
    where = recorded["seed"], recorded["height"], recorded["width"]
    size = (recorded["output_height"], recorded["output_width"])
    inputs = [{"image": cases.picture(*where), "height": size[0], "width": size[1]}]
    if getattr(model, "proposal_generator", None) is None:
        inputs[0]["proposals"] = cases.given_proposals(*where)
    differences = stage_differences(model, inputs, recorded, record_property)
    final = model(inputs)[0]
    if "instances" in recorded:
        assert final["instances"].image_size == size
        differences += detection_differences("instances", recorded["instances"], final["instances"])
        differences += row_differences("instances", recorded["instances"], final["instances"])
        record_property("boxes", worst_row(recorded["instances"], final["instances"]))
    if "final_proposals" in recorded:
        differences += compare.compare_detections(
            "final_proposals",
            recorded["final_proposals"],
            final["proposals"].proposal_boxes.tensor.numpy(),
            final["proposals"].objectness_logits.numpy(),
        )
    if "sem_seg" in recorded:
        differences += compare.compare_tensor(
            "sem_seg", recorded["sem_seg"], final["sem_seg"].numpy()
        )
        record_property("sem_seg", worst(recorded["sem_seg"], final["sem_seg"]))
        counts = final["sem_seg"].argmax(dim=0).flatten().bincount(minlength=54)
        changed = (counts - torch.tensor(recorded["sem_seg_argmax_histogram"])).abs().sum()
        # Pixels where two classes are equal but for rounding.
        assert changed <= 1e-3 * counts.sum()
    if "panoptic" in recorded:
        differences += panoptic_differences(recorded["panoptic"], *final["panoptic_seg"])
    return differences


def stage_differences(
    model: Any, inputs: list[dict[str, Any]], recorded: dict[str, Any], record: Record
) -> list[str]:
    """Run the model part by part and compare what comes out of each."""
    images = model.preprocess_image(inputs)
    features = model.backbone(images.tensor)
    differences = []
    for level, tensor in recorded.get("features", {}).items():
        differences += compare.compare_tensor(level, tensor, features[level].numpy())
        record(level, worst(tensor, features[level]))
    if "features" in recorded:
        assert features.keys() == recorded["features"].keys()
    if "proposals" not in recorded:
        return differences

    proposals = [one["proposals"] for one in inputs if "proposals" in one]
    if model.proposal_generator is not None:
        proposals, _ = model.proposal_generator(images, features)
    differences += compare.compare_detections(
        "proposals",
        recorded["proposals"],
        proposals[0].proposal_boxes.tensor.numpy(),
        proposals[0].objectness_logits.numpy(),
    )
    if "roi_heads" not in recorded:
        return differences

    (raw,), _ = model.roi_heads(images, features, proposals)
    differences += detection_differences("roi_heads", recorded["roi_heads"], raw)
    differences += row_differences("roi_heads", recorded["roi_heads"], raw)
    order = rows_as_recorded(recorded["roi_heads"], raw)
    if "mask_pooler" in recorded:
        levels = [features[level] for level in model.roi_heads.in_features]
        pooled = model.roi_heads.mask_pooler(levels, [raw.pred_boxes])[order]
        differences += compare.compare_tensor(
            "mask_pooler", recorded["mask_pooler"], pooled.numpy()
        )
        record("mask_pooler", worst(recorded["mask_pooler"], pooled))
    if "mask_probabilities" in recorded["roi_heads"]:
        tensor = recorded["roi_heads"]["mask_probabilities"]
        differences += compare.compare_tensor("masks", tensor, raw.pred_masks[order].numpy())
        record("mask_probabilities", worst(tensor, raw.pred_masks[order]))
    return differences


def detection_differences(name: str, recorded: dict[str, Any], ours: Instances) -> list[str]:
    return compare.compare_detections(
        name,
        recorded,
        ours.pred_boxes.tensor.numpy(),
        ours.scores.numpy(),
        ours.pred_classes.numpy(),
    )


def row_differences(name: str, recorded: dict[str, Any], ours: Instances) -> list[str]:
    """Compare the areas of pasted masks, and the keypoints of the first detections."""
    order = rows_as_recorded(recorded, ours)
    differences = []
    if "mask_areas" in recorded:
        areas = ours.pred_masks[order].flatten(1).sum(dim=1)
        expected = torch.tensor(recorded["mask_areas"])
        # Pixels whose probability is 0.5 but for rounding: a few, more in a mask of many pixels.
        wrong = ((areas - expected).abs() > 2 + 1e-3 * expected).sum()
        if wrong:
            differences.append(f"{name}: the areas of {wrong} masks differ")
    if "keypoints_first8" in recorded:
        expected = torch.tensor(recorded["keypoints_first8"])
        distance = (ours.pred_keypoints[order[: len(expected)]] - expected).abs()
        # A keypoint is a pixel of the box: where two are equal but for rounding it may jump.
        agree = (distance[..., :2] <= compare.BOX_ATOL).all(dim=2)
        agree &= distance[..., 2] <= 2e-2 * expected[..., 2].abs().clamp(min=1e-2)
        if agree.float().mean() < compare.MATCHED:
            differences.append(f"{name}: {(~agree).sum()} of {agree.numel()} keypoints differ")
    return differences


def panoptic_differences(
    recorded: dict[str, Any], segments: Tensor, infos: list[dict[str, Any]]
) -> list[str]:
    """Compare segments one by one: kind, class, and area within rounding."""
    differences = []
    for want, got in zip(recorded["segments_info"], infos, strict=True):
        keys = ("id", "isthing", "category_id")
        if any(want[key] != got[key] for key in keys):
            differences.append(f"panoptic: segment {got}, recorded {want}")
    areas = segments.flatten().bincount(minlength=len(recorded["areas"]))
    changed = (areas - torch.tensor(recorded["areas"])).abs()
    if not bool((changed <= 2 + 1e-3 * areas).all()):
        differences.append(f"panoptic: areas {areas.tolist()}, recorded {recorded['areas']}")
    return differences


def worst_row(recorded: dict[str, Any], ours: Instances) -> str:
    """Describe the largest deviation of boxes and scores from the recorded ones."""
    order = rows_as_recorded(recorded, ours)
    offset = ours.pred_boxes.tensor[order] - torch.tensor(recorded["boxes"])
    score = ours.scores[order] - torch.tensor(recorded["scores"])
    return f"{offset.abs().max():.1e} px, scores {score.abs().max():.1e}"


@pytest.mark.parametrize("name", [name for name in cases.CASES if cases.is_trained(name)])
def test_training_step(name: str, record_property: Record) -> None:
    recorded = cases.load_case(name)["training"]
    where = recorded["seed"], recorded["height"], recorded["width"]
    cfg = cases.case_config(name, recorded["opts"])
    model = cases.case_model(name, recorded["opts"]).train()
    num_keypoints = cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS if cfg.MODEL.KEYPOINT_ON else 0
    num_classes = cfg.MODEL.ROI_HEADS.NUM_CLASSES
    inputs = {
        "image": cases.picture(*where),
        "instances": cases.ground_truth(*where, min(3, num_classes), num_keypoints),
        "sem_seg": cases.semantic_map(*where),
    }
    if getattr(model, "proposal_generator", None) is None:
        inputs["proposals"] = cases.given_proposals(*where, shift=2.0)
    losses = model([inputs])
    sum(losses.values()).backward()

    values = {key: loss.item() for key, loss in losses.items()}
    norms = {
        key: parameter.grad.norm().item()
        for key, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    relative = [abs(values[k] / want - 1) for k, want in recorded["losses"].items() if want]
    record_property("losses", f"relative {max(relative):.1e}")
    relative = [abs(norms[k] / want - 1) for k, want in recorded["gradient_norms"].items() if want]
    record_property("gradient_norms", f"{len(relative)} of them, relative {max(relative):.1e}")
    assert compare.compare_losses(recorded, values, norms) == []


@torch.no_grad()
def test_a_batch_of_different_sizes_equals_one_by_one() -> None:
    model = cases.case_model(FPN)
    inputs = [{"image": cases.picture(seed, *hw)} for seed, hw in ((1, (96, 160)), (2, (130, 70)))]
    together = model(inputs)
    for one, joint in zip(inputs, together, strict=True):
        # Alone on the canvas of the batch: the zeros beside an image reach its border.
        alone = model([one, {"image": torch.zeros(3, 130, 160)}])[0]["instances"]
        assert_same_detections(alone, joint["instances"], one["image"])


@torch.no_grad()
def test_a_batch_of_one_padded_size_equals_each_image_alone() -> None:
    model = cases.case_model(FPN)
    inputs = [{"image": cases.picture(seed, *hw)} for seed, hw in ((1, (96, 160)), (2, (70, 130)))]
    canvases = {model.preprocess_image([one]).tensor.shape for one in inputs}
    assert canvases == {(1, 3, 96, 160)}
    alone = [model([one])[0]["instances"] for one in inputs]
    for one, single, joint in zip(inputs, alone, model(inputs), strict=True):
        assert_same_detections(single, joint["instances"], one["image"])


def assert_same_detections(alone: Instances, joint: Instances, image: Tensor) -> None:
    record = {
        "boxes": alone.pred_boxes.tensor.tolist(),
        "scores": alone.scores.tolist(),
        "classes": alone.pred_classes.tolist(),
    }
    assert len(alone) > 0
    assert detection_differences("batch", record, joint) == []
    assert np.shape(joint.pred_masks)[1:] == image.shape[1:]
