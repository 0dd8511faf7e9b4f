"""Whole models against what detectron2 recorded, point by point."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

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
    recorded = cases.load_case(name)["inference"]
    model = cases.case_model(name)
    size = (recorded["output_height"], recorded["output_width"])
    inputs = [
        {
            "image": cases.picture(recorded["seed"], recorded["height"], recorded["width"]),
            "height": size[0],
            "width": size[1],
        }
    ]
    images = model.preprocess_image(inputs)
    features = model.backbone(images.tensor)
    assert features.keys() == recorded["features"].keys()
    differences = []
    for level, tensor in recorded["features"].items():
        differences += compare.compare_tensor(level, tensor, features[level].numpy())
        record_property(level, worst(tensor, features[level]))

    proposals, _ = model.proposal_generator(images, features)
    differences += compare.compare_detections(
        "proposals",
        recorded["proposals"],
        proposals[0].proposal_boxes.tensor.numpy(),
        proposals[0].objectness_logits.numpy(),
    )

    (raw,), _ = model.roi_heads(images, features, proposals)
    differences += detection_differences("roi_heads", recorded["roi_heads"], raw)
    if "mask_pooler" in recorded:
        order = rows_as_recorded(recorded["roi_heads"], raw)
        levels = [features[level] for level in model.roi_heads.in_features]
        pooled = model.roi_heads.mask_pooler(levels, [raw.pred_boxes])[order]
        probabilities = raw.pred_masks[order]
        for what, tensor, ours in (
            ("mask_pooler", recorded["mask_pooler"], pooled),
            ("mask_probabilities", recorded["roi_heads"]["mask_probabilities"], probabilities),
        ):
            differences += compare.compare_tensor(what, tensor, ours.numpy())
            record_property(what, worst(tensor, ours))

    final = model(inputs)[0]["instances"]
    assert final.image_size == size
    differences += detection_differences("instances", recorded["instances"], final)
    order = rows_as_recorded(recorded["instances"], final)
    offset = final.pred_boxes.tensor[order] - torch.tensor(recorded["instances"]["boxes"])
    score = final.scores[order] - torch.tensor(recorded["instances"]["scores"])
    record_property("boxes", f"{offset.abs().max():.1e} px, scores {score.abs().max():.1e}")
    if "mask_areas" in recorded["instances"]:
        areas = final.pred_masks[order].flatten(1).sum(dim=1)
        recorded_areas = torch.tensor(recorded["instances"]["mask_areas"])
        changed = (areas - recorded_areas).abs()
        record_property("mask_areas", f"{changed.max().item()} px")
        # Pixels whose probability is 0.5 but for rounding: a few, more in a mask of many pixels.
        assert bool((changed <= 2 + 1e-3 * recorded_areas).all())
    assert differences == []


def detection_differences(name: str, recorded: dict[str, Any], ours: Instances) -> list[str]:
    return compare.compare_detections(
        name,
        recorded,
        ours.pred_boxes.tensor.numpy(),
        ours.scores.numpy(),
        ours.pred_classes.numpy(),
    )


def test_training_step(name: str, record_property: Record) -> None:
    recorded = cases.load_case(name)["training"]
    where = recorded["seed"], recorded["height"], recorded["width"]
    model = cases.case_model(name, recorded["opts"]).train()
    targets = cases.ground_truth(*where, min(3, model.roi_heads.num_classes))
    losses = model([{"image": cases.picture(*where), "instances": targets}])
    sum(losses.values()).backward()

    values = {key: loss.item() for key, loss in losses.items()}
    norms = {
        key: parameter.grad.norm().item()
        for key, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    relative = [abs(values[k] / want - 1) for k, want in recorded["losses"].items()]
    record_property("losses", f"relative {max(relative):.1e}")
    relative = [abs(norms[k] / want - 1) for k, want in recorded["gradient_norms"].items()]
    record_property("gradient_norms", f"{len(relative)} of them, relative {max(relative):.1e}")
    assert compare.compare_losses(recorded, values, norms) == []


@torch.no_grad()
def test_a_batch_of_different_sizes_equals_one_by_one() -> None:
    model = cases.case_model("COCO-InstanceSegmentation__mask_rcnn_R_50_FPN_3x")
    inputs = [{"image": cases.picture(seed, *hw)} for seed, hw in ((1, (96, 160)), (2, (130, 70)))]
    together = model(inputs)
    for one, joint in zip(inputs, together, strict=True):
        # Alone on the canvas of the batch: the zeros beside an image reach its border.
        alone = model([one, {"image": torch.zeros(3, 130, 160)}])[0]["instances"]
        record = {
            "boxes": alone.pred_boxes.tensor.tolist(),
            "scores": alone.scores.tolist(),
            "classes": alone.pred_classes.tolist(),
        }
        assert len(alone) > 0
        assert detection_differences("batch", record, joint["instances"]) == []
        assert np.shape(joint["instances"].pred_masks)[1:] == one["image"].shape[1:]
