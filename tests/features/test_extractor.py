from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from d2seg.assets import DEMO_IMAGES
from d2seg.features import FeatureExtractor
from d2seg.framework import Boxes, CfgNode, ImageList, build_model
from d2seg.images import find_images, load_image, prepare_image
from tests.features.calls import counting_calls

EVERYTHING = (
    "backbone",
    "proposals",
    "instances",
    "box_pooler",
    "box_head",
    "mask_pooler",
    "mask_head",
)


@pytest.fixture(scope="module")
def inputs(cfg: CfgNode) -> list[dict[str, Any]]:
    """Two images of which neither is square, the second smaller."""
    images = [load_image(path, "BGR") for path in find_images([DEMO_IMAGES])[:2]]
    inputs = [prepare_image(image, cfg) for image in images]
    inputs[0]["image"] = inputs[0]["image"][:, :160]
    inputs[1]["image"] = inputs[1]["image"][:, :130, :200]
    return inputs


def test_the_partial_execution_recipe_runs_as_written(
    model: nn.Module, inputs: list[dict[str, Any]]
) -> None:
    tensors = [(item["image"] - model.pixel_mean) / model.pixel_std for item in inputs]
    extracted = FeatureExtractor(model, ["mask_pooler"]).extract(inputs)

    with torch.no_grad():
        images = ImageList.from_tensors(tensors, model.backbone.size_divisibility)
        features = model.backbone(images.tensor)
        proposals, _ = model.proposal_generator(images, features)
        instances, _ = model.roi_heads(images, features, proposals)
        mask_features = [features[f] for f in model.roi_heads.in_features]
        mask_features = model.roi_heads.mask_pooler(
            mask_features, [x.pred_boxes for x in instances]
        )

    assert torch.equal(mask_features, torch.cat([item["mask_pooler"] for item in extracted]))
    assert [len(x) for x in instances] == [len(item["instances.boxes"]) for item in extracted]
    assert min(len(x) for x in instances) > 5


def test_tensors_have_the_documented_shapes(
    model: nn.Module, inputs: list[dict[str, Any]], cfg: CfgNode
) -> None:
    first, second = FeatureExtractor(model, EVERYTHING).extract(inputs)
    for features in (first, second):
        number = len(features["instances.boxes"])
        # The batch is padded to 160 x 256, a multiple of 32 in both directions.
        assert features["backbone.p2"].shape == (64, 40, 64)
        assert features["backbone.p6"].shape == (64, 3, 4)
        assert features["proposals.boxes"].shape == (len(features["proposals.logits"]), 4)
        assert features["instances.scores"].shape == (number,)
        assert features["instances.classes"].dtype == torch.int64
        assert features["box_pooler"].shape == (number, 64, 7, 7)
        assert features["box_head"].shape == (number, 256)
        assert features["mask_pooler"].shape == (number, 64, 14, 14)
        assert features["mask_head"].shape == (number, 1, 28, 28)
        assert not any(tensor.requires_grad for tensor in features.values())
    assert second["instances.boxes"][:, 2].max() <= 200
    assert second["instances.boxes"][:, 3].max() <= 130


def test_instances_are_those_of_the_model(model: nn.Module, inputs: list[dict[str, Any]]) -> None:
    extracted = FeatureExtractor(model, ["instances", "mask_head"]).extract(inputs)
    with torch.no_grad():
        expected = model.inference(inputs, do_postprocess=False)
    for features, instances in zip(extracted, expected, strict=True):
        assert torch.equal(features["instances.boxes"], instances.pred_boxes.tensor)
        assert torch.equal(features["instances.scores"], instances.scores)
        assert torch.equal(features["mask_head"], instances.pred_masks)


HEADS = "roi_heads."
ONCE = {"backbone": 1, "proposal_generator": 1, "roi_heads.box_head": 1}


@pytest.mark.parametrize(
    ("stages", "runs", "rests"),
    [
        (["res2"], {"backbone.bottom_up.res2": 1}, ["backbone.bottom_up.res3", "proposal", HEADS]),
        (
            ["backbone.bottom_up.res3.0.conv2:input", "res2"],
            {"backbone.bottom_up.res3.0.conv1": 1},
            ["backbone.bottom_up.res3.0.conv2", "backbone.fpn", "proposal", HEADS],
        ),
        (["res2", "p3"], {"backbone": 1, "backbone.bottom_up": 1}, ["proposal", HEADS]),
        (["backbone.p3"], {"backbone": 1}, ["proposal_generator", HEADS]),
        (["proposals"], {"backbone": 1, "proposal_generator": 1}, [HEADS]),
        (["proposal_generator.rpn_head.conv"], {"proposal_generator.rpn_head": 1}, [HEADS]),
        (["instances"], ONCE, ["roi_heads.mask"]),
        (["box_pooler", "box_head", "class_probs"], ONCE, ["roi_heads.mask"]),
        (["roi_heads.box_head.fc1"], ONCE, ["roi_heads.mask"]),
        (["mask_pooler"], {**ONCE, "roi_heads.mask_pooler": 1}, ["roi_heads.mask_head"]),
        (
            [*EVERYTHING, "res4", "mask_logits", "roi_heads.mask_head.mask_fcn1"],
            {**ONCE, "roi_heads.mask_pooler": 1, "roi_heads.mask_head": 1},
            [],
        ),
    ],
)
def test_the_model_runs_only_as_deep_as_needed(
    model: nn.Module,
    inputs: list[dict[str, Any]],
    stages: list[str],
    runs: dict[str, int],
    rests: list[str],
) -> None:
    extractor = FeatureExtractor(model, stages)
    extractor.extract(inputs[:1])  # counts the calls inside the backbone, once
    with counting_calls(model) as calls:
        extractor.extract(inputs)
    assert {name: calls[name] for name in runs} == runs
    assert not [name for name in calls if name.startswith(tuple(rests))]
    shared = ("proposal_generator.rpn_head.", "proposal_generator.anchor")  # once for each level
    repeated = [name for name, number in calls.items() if number > 1]
    assert all(name.startswith(shared) for name in repeated), repeated


@pytest.mark.parametrize(
    ("stages", "runs", "rests"),
    [
        (["box_pooler"], {"backbone": 1, "roi_heads.box_pooler": 1}, ["roi_heads.box_head"]),
        (["box_head"], {"roi_heads.box_head": 1}, ["roi_heads.box_predictor", "roi_heads.mask"]),
        (["class_probs"], {"roi_heads.box_predictor": 1}, ["roi_heads.mask"]),
        (["mask_pooler"], {"roi_heads.mask_pooler": 1}, ["roi_heads.box", "roi_heads.mask_head"]),
        (["mask_head"], {"roi_heads.box_predictor": 1, "roi_heads.mask_head": 1}, []),
    ],
)
def test_given_boxes_need_no_proposals_and_no_deeper_head(
    model: nn.Module,
    inputs: list[dict[str, Any]],
    stages: list[str],
    runs: dict[str, int],
    rests: list[str],
) -> None:
    extractor = FeatureExtractor(model, stages)
    boxes = [[[10, 20, 60, 70]], [[5, 5, 30, 40], [0, 0, 200, 130]]]
    with counting_calls(model) as calls:
        extractor.extract(inputs, boxes)
    assert {name: calls[name] for name in runs} == runs
    rests = [*rests, "proposal_generator"]
    assert not [name for name in calls if name.startswith(tuple(rests))]
    assert max(calls.values()) == 1


def test_the_path_of_a_module_is_a_stage(model: nn.Module, inputs: list[dict[str, Any]]) -> None:
    first, last = "roi_heads.box_head.fc1", "roi_heads.box_head.fc2:input"
    conv = "proposal_generator.rpn_head.objectness_logits"
    mask = "roi_heads.mask_head.predictor"
    stages = ["box_head", first, last, conv, mask, "mask_logits", "backbone.fpn_lateral3", "res3"]
    extracted = FeatureExtractor(model, stages).extract(inputs)
    heads = model.roi_heads
    for features in extracted:
        assert torch.equal(features[first].relu(), features[last])
        again = heads.box_head.fc2(features[last]).relu()
        assert torch.allclose(again, features["box_head"], atol=1e-4)
        assert torch.equal(features[mask], features["mask_logits"])
        assert [features[f"{conv}.{level}"].shape[0] for level in range(5)] == [3] * 5
        lateral = model.backbone.fpn_lateral3(features["res3"][None])[0]
        assert torch.allclose(lateral, features["backbone.fpn_lateral3"], atol=1e-4)
    assert len(extracted[0][first]) == len(extracted[0]["instances.scores"])


def test_modules_out_of_reach_are_named(model: nn.Module, inputs: list[dict[str, Any]]) -> None:
    model.other = nn.Linear(1, 1)
    try:
        with pytest.raises(ValueError, match="'other' is not inside backbone, .*use d2seg"):
            FeatureExtractor(model, ["other"])
    finally:
        del model.other
    with pytest.raises(ValueError, match="'proposal_generator' handles no tensors but tuple"):
        FeatureExtractor(model, ["proposal_generator"]).extract(inputs)
    flat = FeatureExtractor(model, ["proposal_generator.anchor_generator.cell_anchors"])
    with pytest.raises(ValueError, match="cell_anchors. is not called"):
        flat.extract(inputs)


def test_gradients_reach_weights_and_images(model: nn.Module, inputs: list[dict[str, Any]]) -> None:
    stages = ["backbone.p3", "box_head", "class_logits", "mask_logits", "roi_heads.box_head.fc1"]
    image = inputs[0]["image"].clone().requires_grad_()
    plain = FeatureExtractor(model, stages).extract([image])[0]
    assert not any(tensor.requires_grad for tensor in plain.values())
    features = FeatureExtractor(model, stages).extract([image], grad=True)[0]
    for stage in stages:
        assert torch.allclose(features[stage], plain[stage], atol=1e-4)
        (gradient,) = torch.autograd.grad(features[stage].sum(), image, retain_graph=True)
        assert gradient.abs().sum() > 0, stage
    weight = model.roi_heads.box_head.fc1.weight
    (gradient,) = torch.autograd.grad(features["box_head"].sum(), weight)
    assert gradient.abs().sum() > 0
    assert torch.is_grad_enabled()


def test_a_model_may_be_wrapped(model: nn.Module, inputs: list[dict[str, Any]]) -> None:
    wrapped = FeatureExtractor(nn.DataParallel(model), ["backbone.p3"]).extract(inputs[:1])[0]
    plain = FeatureExtractor(model, ["backbone.p3"]).extract(inputs[:1])[0]
    assert torch.equal(wrapped["backbone.p3"], plain["backbone.p3"])


def test_boxes_of_all_kinds_are_taken(model: nn.Module, inputs: list[dict[str, Any]]) -> None:
    extractor = FeatureExtractor(model, ["box_pooler"])
    boxes = [[10.0, 20, 60, 70], [30, 30, 45, 52]]
    kinds = [boxes, torch.tensor(boxes, dtype=torch.float64), np.array(boxes), Boxes(boxes)]
    results = [extractor.extract(inputs[:1], [kind])[0]["box_pooler"] for kind in kinds]
    assert all(torch.equal(result, results[0]) for result in results[1:])


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[[0, 0, 5, 5]]], r"boxes has 1 entries for 2 image\(s\)"),
        ([[], [[0, 0, 5]]], r"boxes of image 1 must have shape \(N, 4\), .* found \(1, 3\)"),
        ([[], [[0, 0, 5, 5], [9, 3, 2, 8]]], r"Box 1 of image 1, \(9, 3, 2, 8\), has no area"),
        ([[[300, 0, 310, 5]], []], "Box 0 of image 0, .* lies outside its image of 256 x 160"),
        ([[[0, 0, float("nan"), 5]], []], "Box 0 of image 0, .* is not finite"),
        ([None, []], r"boxes of image 0 must be numbers of shape \(N, 4\)"),
    ],
)
def test_impossible_boxes_are_named(
    model: nn.Module, inputs: list[dict[str, Any]], boxes: list[Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        FeatureExtractor(model, ["box_pooler"]).extract(inputs, boxes)


def test_classes_go_with_boxes(model: nn.Module, inputs: list[dict[str, Any]]) -> None:
    extractor = FeatureExtractor(model, ["mask_head"])
    with pytest.raises(ValueError, match="classes were given without boxes"):
        extractor.extract(inputs, classes=[[0], [0]])
    with pytest.raises(ValueError, match=r"classes has \[1, 1\] entries for the \[1, 0\] boxes"):
        extractor.extract(inputs, [[[0, 0, 9, 9]], []], [[0], [0]])
    with pytest.raises(ValueError, match="Class 0 of image 1 is -1, .* has the classes 0 to 0"):
        extractor.extract(inputs, [[], [[0, 0, 9, 9]]], [[], [-1]])
    with pytest.raises(ValueError, match=r"whole numbers \(N,\), found torch.float"):
        extractor.extract(inputs, [[[0, 0, 9, 9]], []], [[0.7], []])


def test_heads_that_select_for_themselves_are_named(
    model: nn.Module, inputs: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = type(model.roi_heads).inference

    def only_the_best(heads: Any, features: Any, proposals: Any) -> Any:
        return [found[:1] for found in forward(heads, features, proposals)]

    monkeypatch.setattr(type(model.roi_heads), "inference", only_the_best)
    assert len(FeatureExtractor(model, ["mask_pooler"]).extract(inputs)[0]["mask_pooler"]) == 1
    with pytest.raises(ValueError, match="not those that its box_predictor selects.* give boxes="):
        FeatureExtractor(model, ["box_head"]).extract(inputs)


def test_one_level_of_the_backbone(model: nn.Module, inputs: list[dict[str, Any]]) -> None:
    only = FeatureExtractor(model, ["backbone.p3"]).extract(inputs[:1])[0]
    everything = FeatureExtractor(model, ["backbone"]).extract(inputs[:1])[0]
    assert list(only) == ["backbone.p3"]
    assert torch.equal(only["backbone.p3"], everything["backbone.p3"])
    assert list(everything) == [f"backbone.p{level}" for level in range(2, 7)]


def test_tensors_and_dicts_are_both_inputs(model: nn.Module, inputs: list[dict[str, Any]]) -> None:
    extractor = FeatureExtractor(model, ["backbone.p4"])
    from_dict = extractor.extract(inputs[:1])[0]
    from_tensor = extractor.extract([inputs[0]["image"]])[0]
    assert torch.equal(from_dict["backbone.p4"], from_tensor["backbone.p4"])
    assert extractor.extract([]) == []


def test_an_image_without_objects_gives_empty_rows(model: nn.Module) -> None:
    black = torch.zeros(3, 64, 96)
    features = FeatureExtractor(model, EVERYTHING).extract([black])[0]
    assert features["instances.boxes"].shape == (0, 4)
    assert features["mask_pooler"].shape == (0, 64, 14, 14)
    assert features["box_head"].shape == (0, 256)
    assert features["mask_head"].shape == (0, 1, 28, 28)


def test_training_flags_come_back_one_by_one(
    model: nn.Module, inputs: list[dict[str, Any]]
) -> None:
    model.train()
    model.backbone.eval()  # as someone does who trains the heads only
    before = {name: module.training for name, module in model.named_modules()}
    running_mean = model.backbone.fpn_lateral2.norm.running_mean.clone()
    FeatureExtractor(model, ["mask_pooler"]).extract(inputs[:1])
    assert {name: module.training for name, module in model.named_modules()} == before
    assert torch.equal(model.backbone.fpn_lateral2.norm.running_mean, running_mean)
    with pytest.raises(ValueError, match="shape"):
        FeatureExtractor(model, ["proposals"]).extract([torch.zeros(1, 3, 8, 8)])
    assert model.training


def test_descriptions_say_what_a_tensor_is(model: nn.Module, inputs: list[dict[str, Any]]) -> None:
    extractor = FeatureExtractor(model, EVERYTHING)
    features = extractor.extract(inputs[:1])[0]
    described = extractor.describe()
    assert described.keys() == features.keys()
    assert described["backbone.p3"]["stride"] == 8
    assert "XYXY" in described["proposals.boxes"]["meaning"]
    assert "stride" not in described["mask_pooler"]
    assert all(item["meaning"] for item in described.values())


@pytest.mark.parametrize(
    ("stage", "hint"),
    [("mask_poler", "mask_pooler"), ("backbone.p7", "backbone.p2"), ("proposal", "proposals")],
)
def test_an_unknown_stage_names_the_nearest(model: nn.Module, stage: str, hint: str) -> None:
    with pytest.raises(ValueError, match=rf"Unknown stage '{stage}'\. Did you mean .*{hint}"):
        FeatureExtractor(model, [stage])


def test_a_stage_the_model_lacks_is_unknown(cfg: CfgNode) -> None:
    without_masks = cfg.clone()
    without_masks.MODEL.MASK_ON = False
    model = build_model(without_masks)
    with pytest.raises(ValueError, match="Unknown stage 'mask_pooler'.* This model has: backbone"):
        FeatureExtractor(model, ["mask_pooler"])


def test_a_head_that_is_switched_off_has_no_stages(
    model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model.roi_heads, "mask_on", False)
    with pytest.raises(ValueError, match="Unknown stage 'mask_head'"):
        FeatureExtractor(model, ["mask_head"])


def test_wrong_arguments_are_named(model: nn.Module) -> None:
    with pytest.raises(TypeError, match="list of names, got the string 'backbone'"):
        FeatureExtractor(model, "backbone")
    with pytest.raises(TypeError, match=r"list of names, got \[3\]"):
        FeatureExtractor(model, [3])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="No stage was given; this model has: backbone"):
        FeatureExtractor(model, [])
    with pytest.raises(TypeError, match="come from a model of d2seg .* got Linear"):
        FeatureExtractor(nn.Linear(1, 1), ["backbone"])
    extractor = FeatureExtractor(model, ["backbone"])
    with pytest.raises(TypeError, match="tensor or a dict with one under 'image', got dict"):
        extractor.extract([{"picture": Tensor()}])
    with pytest.raises(ValueError, match=r"shape \(C, H, W\), got \(8, 9\)"):
        extractor.extract([torch.zeros(8, 9)])
    with pytest.raises(ValueError, match=r"shape \(C, H, W\), got \(3, 0, 9\)"):
        extractor.extract([torch.zeros(3, 0, 9)])


def test_a_path_is_captured_also_where_a_stage_needs_it_first(
    model: nn.Module, inputs: list[dict[str, Any]]
) -> None:
    path = "roi_heads.box_pooler"
    boxes = [[[10.0, 20, 60, 70], [30, 30, 45, 52]], []]
    for features in FeatureExtractor(model, ["box_pooler", path]).extract(inputs, boxes):
        assert torch.equal(features[path], features["box_pooler"])
