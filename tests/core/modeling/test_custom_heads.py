"""Heads of projects, written for detectron2: its signatures, and plain dicts of losses."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from d2seg.core.modeling import ROI_HEADS_REGISTRY
from d2seg.core.modeling.box_regression import Box2BoxTransform
from d2seg.core.modeling.losses import Losses
from d2seg.core.modeling.meta_arch import DenseDetector
from d2seg.core.modeling.roi_heads import FastRCNNOutputLayers, StandardROIHeads
from d2seg.core.structures import Boxes, Instances
from tests.core.modeling.thin import thin_architecture
from tests.reference.cases import ground_truth, picture, semantic_map


class ProjectHeads(StandardROIHeads):
    """Overrides each step with the arguments that detectron2 gives it."""

    def _forward_box(self, features: dict[str, Tensor], proposals: list[Instances]) -> Any:
        result = super()._forward_box(features, proposals)
        return self._doubled(result)

    def _forward_mask(self, features: dict[str, Tensor], instances: list[Instances]) -> Any:
        return self._doubled(super()._forward_mask(features, instances))

    def _forward_keypoint(self, features: dict[str, Tensor], instances: list[Instances]) -> Any:
        return self._doubled(super()._forward_keypoint(features, instances))

    def _doubled(self, result: Any) -> Any:
        if not self.training:
            return result
        return {name: 2 * loss for name, loss in result.items()}


@pytest.fixture
def project_heads() -> Iterator[str]:
    ROI_HEADS_REGISTRY.register(ProjectHeads)
    yield "ProjectHeads"
    del ROI_HEADS_REGISTRY._obj_map["ProjectHeads"]


def one_input() -> list[dict[str, Any]]:
    targets = ground_truth(1, 96, 160, 3, num_keypoints=4)
    return [{"image": picture(1, 96, 160), "instances": targets}]


def trained(name: str, opts: dict[str, Any] | None = None) -> dict[str, Tensor]:
    model = thin_architecture(name, opts).train()
    torch.manual_seed(0)
    return dict(model(one_input()))


def test_steps_with_the_signatures_of_detectron2_train_and_detect(project_heads: str) -> None:
    plain = trained("keypoints")
    own = trained("keypoints", {"MODEL.ROI_HEADS.NAME": project_heads})
    sum(own.values()).backward()
    assert own.keys() == plain.keys()
    for name, loss in own.items():
        factor = 1 if "rpn" in name else 2
        torch.testing.assert_close(loss, factor * plain[name])
    model = thin_architecture("keypoints", {"MODEL.ROI_HEADS.NAME": project_heads})
    with torch.no_grad():
        (found,) = model([{"image": picture(1, 96, 160)}])
    assert found["instances"].has("pred_keypoints")


def as_plain_dict(function: Any) -> Any:
    """Make a module's losses what those of detectron2 are."""

    def losses_as_dict(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if isinstance(result, Losses):
            return dict(result)
        return tuple(dict(one) if isinstance(one, Losses) else one for one in result)

    return losses_as_dict


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("panoptic", ["roi_heads.forward", "sem_seg_head.forward", "proposal_generator.forward"]),
        ("cascade", [f"roi_heads.box_predictor.{stage}.losses" for stage in range(3)]),
        ("fpn", ["roi_heads.box_predictor.losses", "roi_heads.mask_head.forward"]),
        ("c4", ["roi_heads.box_predictor.losses", "roi_heads.mask_head.forward"]),
        ("proposals", ["proposal_generator.forward"]),
        ("retinanet", ["forward_training"]),
    ],
)
def test_modules_may_return_plain_dicts_of_losses(name: str, plain: list[str]) -> None:
    (inputs,) = one_input()
    inputs["sem_seg"] = semantic_map(1, 96, 160)
    expected = thin_architecture(name).train()
    model = thin_architecture(name).train()
    for path in plain:
        module, method = path.rpartition(".")[::2]
        owner = model.get_submodule(module)
        setattr(owner, method, as_plain_dict(getattr(owner, method)))
    torch.manual_seed(0)
    want = expected([inputs])
    torch.manual_seed(0)
    got = model([inputs])
    assert got.keys() == want.keys()
    for key, loss in want.items():
        torch.testing.assert_close(got[key], loss)


def test_a_project_may_override_the_losses_of_retinanet() -> None:
    model = thin_architecture("retinanet").train()
    original, seen = model.losses, {}

    def losses(anchors: Any, pred_logits: Any, gt_labels: Any, deltas: Any, gt_boxes: Any) -> Any:
        seen.update(anchors=anchors, logits=pred_logits, deltas=deltas)
        seen.update(labels=gt_labels, boxes=gt_boxes)
        return {name: 3 * loss for name, loss in original(*seen_in_order(seen)).items()}

    expected = trained("retinanet")
    model.losses = losses
    got = model(one_input())
    torch.testing.assert_close(got["loss_cls"], 3 * expected["loss_cls"])
    counts = [len(boxes) for boxes in seen["anchors"]]
    assert len(counts) == 5
    assert [one.shape for one in seen["logits"]] == [(1, count, 5) for count in counts]
    assert [one.shape for one in seen["deltas"]] == [(1, count, 4) for count in counts]
    assert [one.shape for one in seen["labels"]] == [(sum(counts),)]
    assert [one.shape for one in seen["boxes"]] == [(sum(counts), 4)]


def seen_in_order(seen: dict[str, Any]) -> list[Any]:
    return [seen[name] for name in ("anchors", "logits", "labels", "deltas", "boxes")]


class OwnLosses(FastRCNNOutputLayers):
    """Overrides the losses of one kind, as projects do."""

    def box_reg_loss(
        self, proposal_boxes: Tensor, gt_boxes: Tensor, pred_deltas: Tensor, gt_classes: Tensor
    ) -> Tensor:
        assert proposal_boxes.shape == gt_boxes.shape == (3, 4)
        assert gt_classes.tolist() == [2, 3, 0]
        assert gt_boxes[2].tolist() == [5.0, 5.0, 9.0, 9.0]
        return pred_deltas.sum() * 0 + 7.0

    def sigmoid_cross_entropy_loss(self, pred_class_logits: Tensor, gt_classes: Tensor) -> Tensor:
        return pred_class_logits.sum() * 0 + float(gt_classes.sum())


def test_overridden_losses_of_the_predictor_are_used() -> None:
    layers = OwnLosses(
        6,
        box2box_transform=Box2BoxTransform([1.0] * 4),
        num_classes=3,
        use_sigmoid_ce=True,
        loss_weight=2.0,
    )
    boxes = Boxes([[0.0, 0, 9, 9], [1.0, 1, 5, 5]])
    with_objects = Instances((20, 30), proposal_boxes=boxes, gt_classes=torch.tensor([2, 3]))
    with_objects.gt_boxes = boxes
    other = Instances((20, 30), proposal_boxes=Boxes([[5.0, 5, 8, 8]]))
    other.gt_classes = torch.tensor([0])
    other.gt_boxes = Boxes([[5.0, 5, 9, 9]])
    losses = layers.losses(layers(torch.zeros(3, 6)), [with_objects, other])
    assert {name: loss.item() for name, loss in losses.items()} == {
        "loss_cls": 10.0,
        "loss_box_reg": 14.0,
    }
    assert layers.loss_weight == {"loss_cls": 2.0, "loss_box_reg": 2.0}


def test_a_dense_detector_takes_backbone_head_and_levels_by_position() -> None:
    built = thin_architecture("retinanet")
    normal: dict[str, Any] = {"pixel_mean": [1.0, 2.0, 3.0], "pixel_std": [1.0, 1.0, 1.0]}
    detector = DenseDetector(built.backbone, built.head, ["p4", "p3"], **normal)
    assert detector.backbone is built.backbone
    assert detector.head is built.head
    assert detector.head_in_features == ["p3", "p4"]
