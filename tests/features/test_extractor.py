from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from d2seg.assets import DEMO_IMAGES
from d2seg.features import FeatureExtractor
from d2seg.framework import CfgNode, ImageList, build_model
from d2seg.images import find_images, load_image, prepare_image

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


@contextmanager
def counting_calls(model: nn.Module) -> Iterator[Counter[str]]:
    """Count how often each part of the model runs."""
    calls: Counter[str] = Counter()
    handles = [
        module.register_forward_hook(lambda *_, name=name: calls.update([name]))
        for name, module in model.named_modules()
    ]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


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


def test_rows_of_the_box_stages_belong_to_the_detections(
    model: nn.Module, inputs: list[dict[str, Any]]
) -> None:
    """The box head, given a detection's own features, finds an object there again."""
    features = FeatureExtractor(model, ["box_head"]).extract(inputs[:1])[0]
    with torch.no_grad():
        logits = model.roi_heads.box_predictor.cls_score(features["box_head"])
    confident = features["instances.scores"] > 0.9
    assert confident.sum() > 5
    assert (logits.softmax(dim=1)[confident, 0] > 0.5).all()


@pytest.mark.parametrize(
    ("stages", "runs", "rests"),
    [
        (["backbone.p3"], {"backbone": 1}, ["proposal_generator", "roi_heads"]),
        (["proposals"], {"backbone": 1, "proposal_generator": 1}, ["roi_heads"]),
        (
            [*EVERYTHING],
            {"backbone": 1, "proposal_generator": 1, "roi_heads": 1, "roi_heads.mask_head": 1},
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
    with counting_calls(model) as calls:
        FeatureExtractor(model, stages).extract(inputs)
    assert {name: calls[name] for name in runs} == runs
    assert not [name for name in calls if name.startswith(tuple(rests))]


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
    described = extractor.describe(features)
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


def test_wrong_arguments_are_named(model: nn.Module) -> None:
    with pytest.raises(TypeError, match="list of names, got the string 'backbone'"):
        FeatureExtractor(model, "backbone")
    with pytest.raises(ValueError, match="No stage was given; this model has: backbone"):
        FeatureExtractor(model, [])
    with pytest.raises(TypeError, match="come from a GeneralizedRCNN .* got Linear"):
        FeatureExtractor(nn.Linear(1, 1), ["backbone"])
    extractor = FeatureExtractor(model, ["backbone"])
    with pytest.raises(TypeError, match="tensor or a dict with one under 'image', got dict"):
        extractor.extract([{"picture": Tensor()}])
    with pytest.raises(ValueError, match=r"shape \(C, H, W\), got \(8, 9\)"):
        extractor.extract([torch.zeros(8, 9)])
