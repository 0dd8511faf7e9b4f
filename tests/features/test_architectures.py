"""The contract of every stage over every family of models."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from d2seg.core.modeling.roi_heads import Res5ROIHeads
from d2seg.features import FeatureExtractor
from d2seg.features.image_run import Features
from d2seg.features.stages import HEAD_STAGES, rows_of
from d2seg.features.store.object_rows import check_rows
from d2seg.framework import Boxes, Instances, build_model
from tests.core.modeling.test_fcos import fcos
from tests.core.modeling.test_rotated import ROTATED
from tests.core.modeling.test_vit import pyramid as vit_pyramid
from tests.core.modeling.thin import thin_architecture
from tests.core.projects.test_point_rend_masks import config as point_rend_config
from tests.features.calls import counting_calls
from tests.reference.cases import picture

BOXES = ["box_pooler", "box_head", "class_logits", "class_probs"]
MASKS = ["mask_pooler", "mask_head", "mask_logits"]
KEYPOINTS = ["keypoint_pooler", "keypoint_head", "keypoint_logits"]
REGIONS = ["proposals", "instances", *BOXES]
STAGES = {
    "fpn": ["res4", "backbone", "p3", *REGIONS, *MASKS],
    "c4": ["backbone", "res4", *REGIONS, *MASKS],
    "dc5": ["backbone", *REGIONS, *MASKS],
    "cascade": ["backbone", *REGIONS, *MASKS],
    "keypoints": ["backbone", *REGIONS, *MASKS, *KEYPOINTS],
    "panoptic": ["backbone", "sem_seg", *REGIONS, *MASKS],
    "deformable": ["backbone", *REGIONS, *MASKS],
    "retinanet": ["res5", "backbone", "instances", "box_pooler", "class_logits", "class_probs"],
    "semantic": ["res2", "backbone", "sem_seg"],
    "proposals": ["backbone", "proposals"],
}
WITH_BOX_HEAD = ["fpn", "c4", "dc5", "cascade", "keypoints", "panoptic", "deformable"]

SHAPES = {
    "fpn": {
        "res4": ([64, "h", "w"], 16),
        "p3": ([32, "h", "w"], 8),
        "backbone.p6": ([32, "h", "w"], 64),
        "proposals.boxes": (["P", 4], None),
        "proposals.logits": (["P"], None),
        "instances.boxes": (["N", 4], None),
        "instances.classes": (["N"], None),
        "instances.proposal_boxes": (["N", 4], None),
        "box_pooler": (["N", 32, 7, 7], None),
        "box_head": (["N", 64], None),
        "class_logits": (["N", 6], None),
        "class_probs": (["N", 6], None),
        "mask_pooler": (["N", 32, 14, 14], None),
        "mask_head": (["N", 1, 28, 28], None),
        "mask_logits": (["N", 5, 28, 28], None),
    },
    "c4": {
        "res4": ([64, "h", "w"], 16),
        "box_pooler": (["N", 64, 14, 14], None),
        "box_head": (["N", 128, 7, 7], None),
        "class_logits": (["N", 6], None),
        "mask_pooler": (["N", 64, 14, 14], None),
        "mask_head": (["N", 1, 14, 14], None),
    },
    "dc5": {"backbone.res5": ([128, "h", "w"], 16), "box_pooler": (["N", 128, 7, 7], None)},
    "cascade": {"box_head": (["N", 64], None), "class_probs": (["N", 6], None)},
    "keypoints": {
        "keypoint_pooler": (["N", 32, 14, 14], None),
        "keypoint_head": (["N", 4, 3], None),
        "keypoint_logits": (["N", 4, 56, 56], None),
    },
    "panoptic": {"sem_seg": ([9, "h", "w"], 1)},
    "retinanet": {
        "res5": ([128, "h", "w"], 32),
        "backbone.p7": ([32, "h", "w"], 128),
        "box_pooler": (["N", 32, 7, 7], None),
        "class_probs": (["N", 5], None),
    },
    "semantic": {"res2": ([16, "h", "w"], 4), "sem_seg": ([9, "h", "w"], 1)},
    "proposals": {"proposals.boxes": (["P", 4], None)},
}
"""Shapes and strides that follow from the configs of the thin models."""


@pytest.fixture(scope="module")
def images() -> list[Tensor]:
    return [picture(1, 96, 160), picture(2, 128, 70)]


def fits(declared: list[Any], tensor: Tensor) -> bool:
    sizes = zip(declared, tensor.shape, strict=True)
    return all(isinstance(one, str) or one == other for one, other in sizes)


@pytest.mark.parametrize("family", STAGES)
def test_every_stage_is_as_declared(family: str, images: list[Tensor]) -> None:
    extractor = FeatureExtractor(thin_architecture(family), STAGES[family])
    declared = extractor.describe()
    for name, (shape, stride) in SHAPES.get(family, {}).items():
        assert (declared[name]["shape"], declared[name].get("stride")) == (shape, stride), name
    for features in extractor.extract(images):
        assert features.keys() == declared.keys()
        for name, tensor in features.items():
            about = declared[name]
            assert fits(about["shape"], tensor), (name, about["shape"], tensor.shape)
            assert about["dtype"] == str(tensor.dtype).removeprefix("torch.")
            assert about["meaning"]
            if "stride" in about:  # the batch is padded to 128 x 160, of a RetinaNet to 128 x 256
                assert tensor.shape[-2] == -(-128 // about["stride"]), name
            if about.get("rows") == "objects":
                assert len(tensor) == len(features["instances.boxes"]) > 0, name
            if about.get("rows") == "proposals":
                assert len(tensor) == len(features["proposals.boxes"]) > 0, name


def assert_alike(features: Tensor, field: Tensor) -> None:
    """Compare with the model's, which computes the masks of the objects' classes alone.

    The features hold those of all classes, whose sums are rounded in another order.
    """
    torch.testing.assert_close(features, field, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", STAGES)
def test_objects_are_those_of_the_model(family: str, images: list[Tensor]) -> None:
    model = thin_architecture(family)
    if "instances" not in STAGES[family]:
        return
    with torch.no_grad():
        expected = model.inference([{"image": one} for one in images], do_postprocess=False)
    expected = expected[0] if family == "panoptic" else expected
    extracted = FeatureExtractor(model, STAGES[family]).extract(images)
    for features, instances in zip(extracted, expected, strict=True):
        assert torch.equal(features["instances.boxes"], instances.pred_boxes.tensor)
        assert torch.equal(features["instances.scores"], instances.scores)
        assert torch.equal(features["instances.classes"], instances.pred_classes)
        for name, field in {"mask_head": "pred_masks", "keypoint_head": "pred_keypoints"}.items():
            if name in features:
                assert_alike(features[name], instances.get(field))


@pytest.mark.parametrize("family", [*WITH_BOX_HEAD, "retinanet"])
def test_class_probabilities_hold_the_score(family: str, images: list[Tensor]) -> None:
    model = thin_architecture(family)
    for features in FeatureExtractor(model, ["class_probs", "class_logits"]).extract(images):
        classes = features["instances.classes"]
        chosen = features["class_probs"].gather(1, classes[:, None])[:, 0]
        assert torch.equal(chosen, features["instances.scores"])
        if family == "retinanet":
            expected = features["class_logits"].sigmoid()
        elif family == "cascade":  # the mean of three stages, of which the logits are the last
            assert torch.allclose(features["class_probs"].sum(dim=1), torch.ones(len(chosen)))
            continue
        else:
            expected = features["class_logits"].softmax(dim=1)
        assert torch.allclose(features["class_probs"], expected, atol=1e-6)


def may_run(module: str, stage: str) -> bool:
    """Tell whether a module of any architecture may be needed for a stage."""
    part, _, inner = module.partition(".")
    if part in ("", "backbone"):
        return True
    if stage == "sem_seg" or part == "sem_seg_head":
        return stage == "sem_seg" and part == "sem_seg_head"
    if stage == "proposals" or rows_of(stage) is None:
        return stage == "proposals" and part == "proposal_generator"
    kind, _, what = inner.partition(".")[0].partition("_")
    if kind not in HEAD_STAGES:  # what finds the objects
        return True
    return stage.startswith(kind) and (what == "pooler" or not stage.endswith("_pooler"))


@pytest.mark.parametrize("family", STAGES)
def test_what_a_stage_does_not_need_rests(family: str, images: list[Tensor]) -> None:
    model = thin_architecture(family)
    for stage in STAGES[family]:
        extractor = FeatureExtractor(model, [stage])
        with counting_calls(model) as calls:
            extractor.extract(images)
        assert [name for name in calls if not may_run(name, stage)] == [], stage


@pytest.mark.parametrize("family", STAGES)
def test_all_stages_take_no_more_calls_than_the_whole_model(
    family: str, images: list[Tensor]
) -> None:
    model = thin_architecture(family)
    extractor = FeatureExtractor(model, STAGES[family])
    extractor.extract([picture(1, 32, 40)])  # counts the calls inside the backbone, once
    with torch.no_grad(), counting_calls(model) as whole:
        model([{"image": one} for one in images])
    with counting_calls(model) as calls:
        extractor.extract(images)
    more = {name: number for name, number in calls.items() if number > whole[name]}
    assert more == {}


def recompute(model: Any, maps: dict[str, Tensor], boxes: list[Tensor]) -> dict[str, Tensor]:
    """Run the box head of a model on boxes, written out for every kind of heads."""
    heads = model.roi_heads
    levels = [maps[name] for name in heads.in_features]
    pooled = heads.box_pooler(levels, [Boxes(item) for item in boxes])
    network, predictor = heads.box_head, heads.box_predictor
    if isinstance(network, nn.ModuleList):
        network, predictor = network[-1], predictor[-1]
    headed = network(pooled)
    logits, _ = predictor(headed.mean(dim=(2, 3)) if headed.dim() == 4 else headed)
    return {"box_pooler": pooled, "box_head": headed, "class_logits": logits}


@pytest.mark.parametrize("family", WITH_BOX_HEAD)
def test_rows_are_those_of_the_detections(family: str, images: list[Tensor]) -> None:
    """Each row is what the box head gives for the region that the detection came from."""
    model = thin_architecture(family)
    extracted = FeatureExtractor(model, ["backbone", *BOXES, "mask_pooler"]).extract(images)
    with torch.no_grad():
        maps = model.backbone(model.preprocess_image([{"image": i} for i in images]).tensor)
        regions = [features["instances.proposal_boxes"] for features in extracted]
        expected = recompute(model, maps, regions)
        levels = [maps[name] for name in model.roi_heads.mask_in_features]
        final = [Boxes(features["instances.boxes"]) for features in extracted]
        expected["mask_pooler"] = model.roi_heads.mask_pooler(levels, final)
    for stage, tensor in expected.items():
        found = torch.cat([features[stage] for features in extracted])
        assert torch.allclose(found, tensor, atol=1e-4 * float(tensor.abs().max())), stage


@pytest.mark.parametrize("family", WITH_BOX_HEAD)
def test_the_final_boxes_can_be_pooled_instead(family: str, images: list[Tensor]) -> None:
    model = thin_architecture(family)
    extractor = FeatureExtractor(model, ["box_pooler", "box_head", "class_probs"], "detection")
    extracted = extractor.extract(images)
    boxes = [features["instances.boxes"] for features in extracted]
    given = FeatureExtractor(model, ["box_pooler", "box_head"]).extract(images, boxes)
    for found, expected in zip(extracted, given, strict=True):
        assert "instances.proposal_boxes" not in found
        for stage in ("box_pooler", "box_head"):
            assert torch.equal(found[stage], expected[stage])
        scores = found["class_probs"].gather(1, found["instances.classes"][:, None])[:, 0]
        assert torch.equal(scores, found["instances.scores"])


@pytest.mark.parametrize("family", [*WITH_BOX_HEAD, "retinanet"])
def test_given_boxes_get_rows_of_their_own(family: str, images: list[Tensor]) -> None:
    model = thin_architecture(family)
    boxes = [torch.tensor([[4.0, 5, 60, 70], [30, 20, 150, 90]]), torch.zeros(0, 4)]
    stages = [stage for stage in STAGES[family] if stage in (*BOXES, *MASKS, *KEYPOINTS)]
    if family == "retinanet":
        stages = ["box_pooler"]
    extracted = FeatureExtractor(model, stages).extract(images, boxes)
    for features, given in zip(extracted, boxes, strict=True):
        assert torch.equal(features["instances.boxes"], given)
        assert all(len(features[stage]) == len(given) for stage in stages)
    if family == "retinanet":
        return
    with torch.no_grad():
        maps = model.backbone(model.preprocess_image([{"image": i} for i in images]).tensor)
        expected = recompute(model, maps, boxes)
    for stage, tensor in expected.items():
        assert torch.allclose(extracted[0][stage], tensor, atol=1e-4 * float(tensor.abs().max()))
    assert extracted[0]["instances.classes"].max() < 5
    likeliest = extracted[0]["class_probs"][:, :-1].max(dim=1)
    assert torch.equal(extracted[0]["instances.scores"], likeliest.values)
    assert torch.equal(extracted[0]["instances.classes"], likeliest.indices)


@pytest.mark.parametrize("family", STAGES)
def test_features_backpropagate_to_the_image(family: str) -> None:
    image = picture(1, 96, 160).requires_grad_()
    model = thin_architecture(family)
    features = FeatureExtractor(model, STAGES[family]).extract([image], grad=True)[0]
    cut = ("proposals.", "instances.proposal_boxes", "instances.classes", "keypoint_head")
    for name, tensor in features.items():
        if name.startswith(cut):
            assert not tensor.requires_grad, name
        else:
            (gradient,) = torch.autograd.grad(tensor.sum(), image, retain_graph=True)
            assert gradient.abs().sum() > 0, name


def test_masks_of_given_boxes_are_of_the_given_classes(images: list[Tensor]) -> None:
    model = thin_architecture("keypoints")
    boxes = [torch.tensor([[4.0, 5, 60, 70], [30, 20, 150, 90]]), torch.tensor([[1.0, 1, 9, 30]])]
    classes = [torch.tensor([3, 1]), [4]]
    extractor = FeatureExtractor(model, ["mask_head", "keypoint_head"])
    extracted = extractor.extract(images, boxes, classes)
    wanted = [
        Instances((96, 160), pred_boxes=Boxes(boxes[0]), pred_classes=torch.tensor([3, 1])),
        Instances((128, 70), pred_boxes=Boxes(boxes[1]), pred_classes=torch.tensor([4])),
    ]
    inputs = [{"image": image} for image in images]
    with torch.no_grad():
        expected = model.inference(inputs, wanted, do_postprocess=False)
    for features, instances in zip(extracted, expected, strict=True):
        assert torch.equal(features["mask_head"], instances.pred_masks)
        assert torch.equal(features["keypoint_head"], instances.pred_keypoints)
        assert "instances.scores" not in features


def test_precomputed_proposals_come_with_the_images(images: list[Tensor]) -> None:
    model = thin_architecture("fpn", {"MODEL.PROPOSAL_GENERATOR.NAME": "PrecomputedProposals"})
    extractor = FeatureExtractor(model, ["proposals", "box_head"])
    boxes = torch.tensor([[4.0, 5, 60, 70], [30, 20, 150, 90]])
    proposals = Instances((96, 160), proposal_boxes=Boxes(boxes), objectness_logits=torch.ones(2))
    features = extractor.extract([{"image": images[0], "proposals": proposals}])[0]
    assert torch.equal(features["proposals.boxes"], boxes)
    known = {tuple(row) for row in boxes.tolist()}
    assert {tuple(row) for row in features["instances.proposal_boxes"].tolist()} <= known
    with pytest.raises(ValueError, match="PrecomputedProposals.* dict with 'proposals'"):
        extractor.extract(images)
    assert extractor.describe()["box_head"]["shape"] == ["N", 64]


def test_the_anchor_of_each_detection_is_its_own(images: list[Tensor]) -> None:
    """The logits of a RetinaNet come from the anchor whose decoded box is the detection's."""
    model = thin_architecture("retinanet_bn")
    stages = ["backbone", "class_logits"]
    features: Features = FeatureExtractor(model, stages).extract(images[:1])[0]
    with torch.no_grad():
        levels = [features[f"backbone.{name}"][None] for name in model.head_in_features]
        logits, deltas = model.head(levels)
        anchors = model.anchor_generator(levels)
    found = set()
    for level in range(len(levels)):
        rows = logits[level].view(-1, 5, *logits[level].shape[-2:]).permute(2, 3, 0, 1)
        shifts = deltas[level].view(-1, 4, *deltas[level].shape[-2:]).permute(2, 3, 0, 1)
        boxes = model.box2box_transform.apply_deltas(shifts.reshape(-1, 4), anchors[level].tensor)
        for row, box in zip(rows.reshape(-1, 5).tolist(), boxes.tolist(), strict=True):
            found.add((*(round(v, 3) for v in row), *(round(v, 2) for v in box)))
    assert len(features["class_logits"]) > 5
    for row, box in zip(
        features["class_logits"].tolist(), features["instances.boxes"].tolist(), strict=True
    ):
        assert (*(round(v, 3) for v in row), *(round(v, 2) for v in box)) in found


def test_the_points_of_fcos_are_found_by_their_boxes(images: list[Tensor]) -> None:
    """Its scores are no class probabilities, so that they name no point."""
    model = fcos(test_score_thresh=0.0).eval()
    for parameter in model.head.parameters():
        nn.init.normal_(parameter, std=0.1)
    features = FeatureExtractor(model, ["backbone", "class_probs"]).extract(images[:1])[0]
    with torch.no_grad():
        levels = [features[f"backbone.{name}"][None] for name in model.head_in_features]
        central = [level[0, 0].sigmoid() for level in model.head(levels)[2]]
        deltas = [level[0].flatten(1).T for level in model.head(levels)[1]]
    squares = torch.cat([one.tensor for one in model.anchor_generator(levels)])
    boxes = model.box2box_transform.apply_deltas(torch.cat(deltas), squares)
    nearest = torch.cdist(features["instances.boxes"], boxes, p=1).argmin(dim=1)
    centerness = torch.cat([level.flatten() for level in central])[nearest]
    chosen = features["class_probs"].gather(1, features["instances.classes"][:, None])[:, 0]
    expected = (chosen * centerness).sqrt()
    assert torch.allclose(features["instances.scores"], expected, atol=1e-5)


def test_given_boxes_have_no_anchors(images: list[Tensor]) -> None:
    extractor = FeatureExtractor(thin_architecture("retinanet"), ["box_pooler", "class_probs"])
    with pytest.raises(ValueError, match="are of anchors in this model, so given boxes have none"):
        extractor.extract(images, [[[4, 5, 60, 70]], []])


def test_class_scores_survive_inference_in_place(
    images: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = thin_architecture("retinanet")
    expected = FeatureExtractor(model, ["class_logits"]).extract(images)
    forward = model.forward_inference

    def destroying(batch: Any, levels: Any, predictions: Any) -> Any:
        found = forward(batch, levels, predictions)
        for level in (*predictions[0], *predictions[1]):
            level.zero_()
        return found

    monkeypatch.setattr(model, "forward_inference", destroying)
    for found, wanted in zip(
        FeatureExtractor(model, ["class_logits"]).extract(images), expected, strict=True
    ):
        assert torch.equal(found["class_logits"], wanted["class_logits"])


def test_detections_that_are_no_anchors_boxes_are_named(
    images: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = thin_architecture("retinanet")
    forward = model.forward_inference

    def moved(*args: Any) -> Any:
        found = forward(*args)
        for one in found:
            one.pred_boxes.tensor += 3
        return found

    monkeypatch.setattr(model, "forward_inference", moved)
    with pytest.raises(ValueError, match="not the boxes that its head predicts"):
        FeatureExtractor(model, ["class_logits"]).extract(images)


def test_rotated_boxes_are_described_and_not_taken(images: list[Tensor]) -> None:
    extractor = FeatureExtractor(thin_architecture("fpn", ROTATED), ["proposals", "box_head"])
    described = extractor.describe()
    for name in ("proposals.boxes", "instances.boxes", "instances.proposal_boxes"):
        assert described[name]["shape"][1] == 5
        assert "degrees" in described[name]["meaning"]
    for features in extractor.extract(images):
        assert len(features["box_head"]) == len(features["instances.boxes"]) > 0
    with pytest.raises(ValueError, match="judges rotated boxes"):
        extractor.extract(images, [[[4, 5, 60, 70]], []])
    with pytest.raises(ValueError, match="Parquet has no columns for rotated boxes"):
        check_rows(FeatureExtractor(extractor.model, ["box_head"]).describe())


def test_point_rend_has_masks_without_a_pooler(images: list[Tensor]) -> None:
    model = build_model(point_rend_config()).eval()
    path = "roi_heads.mask_head.coarse_head"
    extractor = FeatureExtractor(model, ["mask_head", path])
    assert not {"mask_pooler", "mask_logits"} & set(extractor.available_stages)
    boxes = [[[4.0, 5, 60, 70], [30, 20, 150, 90]], []]
    first, second = extractor.extract(images, boxes)
    assert first["mask_head"].shape == (2, 1, 224, 224)
    assert first[path].shape == (2, 5, 7, 7)
    assert second["mask_head"].shape == (0, 1, 224, 224)


def test_what_has_channels_last_is_no_map() -> None:
    model = thin_architecture("fpn")
    model.backbone = vit_pyramid().eval()
    described = FeatureExtractor(model, ["backbone.net.blocks.0", "p3"]).describe()
    assert "stride" not in described["backbone.net.blocks.0"]
    assert described["p3"]["shape"] == [24, "h", "w"]


@pytest.mark.parametrize("family", ["semantic", "proposals"])
def test_models_that_normalise_in_forward_alone(family: str, images: list[Tensor]) -> None:
    """As SemanticSegmentor and ProposalNetwork of detectron2 do."""
    model = thin_architecture(family)
    expected = FeatureExtractor(model, STAGES[family]).extract(images)
    bare = SimpleModel(model)
    assert not hasattr(bare, "preprocess_image")
    for found, wanted in zip(
        FeatureExtractor(bare, STAGES[family]).extract(images), expected, strict=True
    ):
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)


class SimpleModel(nn.Module):
    """The public attributes that another model has, and no method."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        for name, part in model.named_children():
            self.add_module(name, part)
        self.pixel_mean, self.pixel_std = model.pixel_mean, model.pixel_std


class BareRes5Heads(Res5ROIHeads):
    """Heads of a C4 model as detectron2 has them: without the names that d2seg.core adds."""

    ADDED = ("box_pooler", "mask_pooler", "box_head", "box_in_features", "mask_in_features")

    def __getattribute__(self, name: str) -> Any:
        if name in BareRes5Heads.ADDED:
            raise AttributeError(name)
        return super().__getattribute__(name)


def test_a_c4_model_needs_only_the_names_of_detectron2(images: list[Tensor]) -> None:
    stages = [*REGIONS, *MASKS, "roi_heads.res5.0.conv1"]
    expected = FeatureExtractor(thin_architecture("c4"), stages).extract(images)
    model = thin_architecture("c4")
    model.roi_heads.__class__ = BareRes5Heads
    assert not hasattr(model.roi_heads, "box_pooler")
    for found, wanted in zip(
        FeatureExtractor(model, stages).extract(images), expected, strict=True
    ):
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)
