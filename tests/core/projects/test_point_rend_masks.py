"""PointRend as the mask head of a thin Mask R-CNN."""

from typing import Any

import pytest
import torch
from torch import Tensor

from d2seg.core.config import CfgNode
from d2seg.core.export.torchscript_patch import patch_builtin_len
from d2seg.core.layers import ShapeSpec
from d2seg.core.modeling import build_model
from d2seg.core.modeling.roi_heads.mask_head import mask_loss
from d2seg.core.projects.point_rend import PointRendMaskHead, add_pointrend_config
from d2seg.core.projects.point_rend.mask_head import calculate_uncertainty
from d2seg.core.projects.point_rend.point_features import (
    generate_regular_grid_point_coords,
    point_sample,
)
from d2seg.core.projects.point_rend.point_head import (
    POINT_HEAD_REGISTRY,
    StandardPointHead,
    roi_mask_point_loss,
)
from d2seg.core.structures import Boxes, Instances
from tests.core.modeling.thin import thin_config
from tests.reference.cases import ground_truth, picture

LEVELS = {"p2": ShapeSpec(channels=6, stride=4), "p3": ShapeSpec(channels=6, stride=8)}


def config(opts: dict[str, Any] | None = None) -> CfgNode:
    cfg = thin_config()
    add_pointrend_config(cfg)
    chosen = {
        "MODEL.ROI_MASK_HEAD.NAME": "PointRendMaskHead",
        "MODEL.ROI_MASK_HEAD.POOLER_TYPE": "",
        "MODEL.ROI_MASK_HEAD.POINT_HEAD_ON": True,
        "MODEL.ROI_MASK_HEAD.FC_DIM": 24,
        "MODEL.POINT_HEAD.NUM_CLASSES": 5,
        "MODEL.POINT_HEAD.FC_DIM": 12,
        **(opts or {}),
    }
    cfg.merge_from_list([item for pair in chosen.items() for item in pair])
    return cfg


def head(opts: dict[str, Any] | None = None) -> Any:
    torch.manual_seed(0)
    made = PointRendMaskHead(config(opts), LEVELS).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def inputs() -> tuple[dict[str, Tensor], list[Instances]]:
    features = {"p2": torch.randn(2, 6, 16, 24), "p3": torch.randn(2, 6, 8, 12)}
    first = Instances((64, 96), pred_boxes=Boxes([[4.0, 8, 60, 40], [50.0, 10, 90, 50]]))
    second = Instances((64, 96), pred_boxes=Boxes([[10.0, 2, 30, 62]]))
    first.pred_classes, second.pred_classes = torch.tensor([4, 0]), torch.tensor([2])
    return features, [first, second]


def test_names_and_shapes_are_those_of_the_published_checkpoints() -> None:
    cfg = config({"MODEL.ROI_HEADS.NUM_CLASSES": 80, "MODEL.POINT_HEAD.NUM_CLASSES": 80})
    cfg.merge_from_list(["MODEL.ROI_MASK_HEAD.CONV_DIM", 256, "MODEL.ROI_MASK_HEAD.FC_DIM", 1024])
    cfg.MODEL.POINT_HEAD.FC_DIM = 256
    made = PointRendMaskHead(cfg, {"p2": ShapeSpec(channels=256, stride=4)})
    shapes = {name: tuple(value.shape) for name, value in made.state_dict().items()}
    assert {name: shape for name, shape in shapes.items() if name.endswith("weight")} == {
        "coarse_head.reduce_spatial_dim_conv.weight": (256, 256, 2, 2),
        "coarse_head.fc1.weight": (1024, 12544),
        "coarse_head.fc2.weight": (1024, 1024),
        "coarse_head.prediction.weight": (3920, 1024),
        "point_head.fc1.weight": (256, 336, 1),
        "point_head.fc2.weight": (256, 336, 1),
        "point_head.fc3.weight": (256, 336, 1),
        "point_head.predictor.weight": (80, 336, 1),
    }
    assert {name.rsplit(".", 1)[1] for name in shapes} == {"weight", "bias"}


def test_uncertainty_is_that_of_the_own_class() -> None:
    logits = torch.tensor([[[1.0, -2.0], [0.5, 4.0]]])
    assert calculate_uncertainty(logits, torch.tensor([1])).tolist() == [[[-0.5, -4.0]]]
    assert calculate_uncertainty(logits[:, :1], torch.tensor([1])).tolist() == [[[-1.0, -2.0]]]


def test_refining_all_points_is_predicting_them() -> None:
    features, instances = inputs()
    made = head({"MODEL.POINT_HEAD.SUBDIVISION_NUM_POINTS": 56**2})
    made.subdivision_steps = 3
    with torch.no_grad():
        masks = torch.cat([one.pred_masks for one in made(features, instances)])
        boxes = [one.pred_boxes for one in instances]
        coarse = made.coarse_logits(features, boxes)
        grid = generate_regular_grid_point_coords(3, 56, "cpu")
        direct = made.point_logits(features, boxes, coarse, grid)
    own = direct[torch.arange(3), torch.tensor([4, 0, 2])].view(3, 1, 56, 56)
    torch.testing.assert_close(masks, own.sigmoid())


def test_subdivision_refines_the_uncertain_points_and_keeps_the_others() -> None:
    features, instances = inputs()
    made = head({"MODEL.POINT_HEAD.SUBDIVISION_NUM_POINTS": 196})
    made.subdivision_steps = 2  # 14, then once to 28
    boxes, classes = [one.pred_boxes for one in instances], torch.tensor([4, 0, 2])
    with torch.no_grad():
        coarse = made.coarse_logits(features, boxes)
        found = made.subdivide(features, boxes, classes, coarse)
        made.subdivision_steps = 1
        before = made.subdivide(features, boxes, classes, coarse)
        fine = generate_regular_grid_point_coords(3, 28, "cpu")
        direct = made.point_logits(features, boxes, coarse, fine)
    assert before.shape == (3, 1, 14, 14)
    enlarged = torch.nn.functional.interpolate(before, scale_factor=2, mode="bilinear")
    for index in range(3):
        plain, changed = enlarged[index].flatten(), found[index].flatten()
        chosen = plain.abs() <= plain.abs().sort()[0][195]
        own = direct[index, classes[index]]
        torch.testing.assert_close(changed, torch.where(chosen, own, plain))


def test_masks_have_the_size_of_the_published_models() -> None:
    features, instances = inputs()
    found = head()(features, instances)
    assert [tuple(one.pred_masks.shape) for one in found] == [(2, 1, 224, 224), (1, 1, 224, 224)]
    none = [one[torch.tensor([], dtype=torch.int64)] for one in instances]
    assert [len(one.pred_masks) for one in head()(features, none)] == [0, 0]
    coarse = head({"MODEL.ROI_MASK_HEAD.POINT_HEAD_ON": False})(features, instances)
    assert coarse[1].pred_masks.shape == (1, 1, 7, 7)
    agnostic = head({"MODEL.POINT_HEAD.CLS_AGNOSTIC_MASK": True})
    assert agnostic(features, instances)[1].pred_masks.shape == (1, 1, 224, 224)


@pytest.mark.filterwarnings("ignore")
def test_a_trace_holds_for_other_sizes_and_counts() -> None:
    made = head()

    class Wrapped(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = made

        def forward(self, p2: Tensor, p3: Tensor, boxes: Tensor) -> Tensor:
            one = Instances((p2.shape[2] * 4, p2.shape[3] * 4))
            one.pred_boxes = Boxes(boxes)
            one.pred_classes = torch.zeros(boxes.shape[0], dtype=torch.int64)
            return self.head({"p2": p2, "p3": p3}, [one])[0].pred_masks

    def arguments(height: int, width: int, count: int) -> tuple[Tensor, ...]:
        low = torch.rand(count, 2) * 20
        boxes = torch.cat([low, low + 5 + torch.rand(count, 2) * 20], dim=1)
        return (torch.rand(1, 6, height, width), torch.rand(1, 6, height // 2, width // 2), boxes)

    model = Wrapped().eval()
    with torch.no_grad(), patch_builtin_len():
        traced = torch.jit.trace(model, arguments(20, 28, 3))
        other = arguments(12, 16, 5)
        torch.testing.assert_close(traced(*other), model(*other))


def test_a_model_trains_and_detects() -> None:
    cfg = config()
    torch.manual_seed(0)
    model = build_model(cfg).train()
    targets = ground_truth(1, 96, 160, 3)
    losses = model([{"image": picture(1, 96, 160), "instances": targets}])
    assert {"loss_mask", "loss_mask_point"} <= losses.keys()
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    for name, parameter in model.roi_heads.mask_head.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    model.eval()
    model.roi_heads.box_predictor.test_score_thresh = 0.0
    with torch.no_grad():
        (found,) = model([{"image": picture(1, 96, 160), "height": 50, "width": 80}])
    assert found["instances"].pred_masks.shape[1:] == (50, 80)
    assert len(found["instances"]) > 0


def test_images_without_objects_give_losses_of_zero() -> None:
    features, _ = inputs()
    made = head().train()
    none = Instances((64, 96), proposal_boxes=Boxes([]), gt_classes=torch.zeros(0).long())
    losses = made(features, [none, none])
    sum(losses.values()).backward()
    assert {name: loss.item() for name, loss in losses.items()} == {
        "loss_mask": 0.0,
        "loss_mask_point": 0.0,
    }


def test_losses_are_those_of_the_coarse_mask_and_of_the_points() -> None:
    made = head().train()
    first = {name: level[:1] for name, level in inputs()[0].items()}
    truth = ground_truth(1, 64, 96, 5)
    truth.proposal_boxes = truth.gt_boxes
    losses = made(first, [truth])
    coarse = made.coarse_logits(first, [truth.gt_boxes])
    torch.testing.assert_close(losses["loss_mask"], mask_loss(coarse, [truth])["loss_mask"])
    assert 0 <= losses.metrics["point/accuracy"] <= 1


def test_the_point_loss_by_hand() -> None:
    logits = torch.tensor([[[9.0, 9.0, 9.0], [0.0, 2.0, -3.0]]])
    truth = Instances((4, 4), gt_classes=torch.tensor([1]))
    labels = torch.tensor([[1.0, 0.0, -1.0]])  # the last is not known
    expected = (torch.tensor(2.0).log() + torch.tensor(2.0).exp().add(1).log()) / 3
    torch.testing.assert_close(roi_mask_point_loss(logits, [truth], labels), expected)


def test_the_coarse_prediction_may_enter_the_first_layer_alone() -> None:
    made = StandardPointHead(
        ShapeSpec(channels=4), num_classes=3, fc_dim=8, num_fc=2, coarse_pred_each_layer=False
    )
    assert made.fc2.weight.shape == (8, 8, 1)
    assert made(torch.randn(2, 4, 7), torch.randn(2, 3, 7)).shape == (2, 3, 7)
    assert POINT_HEAD_REGISTRY.get("StandardPointHead") is StandardPointHead
    reference = torch.cat([torch.ones(1, 4, 1), torch.zeros(1, 3, 1)], dim=1)
    hidden = made.fc2(made.fc1(reference).relu()).relu()
    torch.testing.assert_close(
        made(torch.ones(1, 4, 1), torch.zeros(1, 3, 1)), made.predictor(hidden)
    )


def test_points_are_sampled_from_the_coarse_prediction_inside_its_box() -> None:
    coarse = torch.arange(49.0).view(1, 1, 7, 7)
    assert point_sample(coarse, torch.tensor([[[0.5, 0.5]]])).item() == 24.0


def test_older_configs_and_weights_are_taken() -> None:
    new = build_model(config())
    cfg = config({"MODEL.ROI_HEADS.NAME": "PointRendROIHeads"})
    cfg.MODEL.ROI_MASK_HEAD.NAME = "CoarseMaskHead"
    cfg.MODEL.ROI_MASK_HEAD.POOLER_TYPE = "ROIAlignV2"
    older = build_model(cfg)
    weights = {}
    for name, value in new.state_dict().items():
        former = name.replace("mask_head.coarse_head.fc", "mask_coarse_head.coarse_mask_fc")
        former = former.replace("mask_head.coarse_head.", "mask_coarse_head.")
        weights[former.replace("mask_head.point_head.", "mask_point_head.")] = value
    assert older.load_state_dict(weights) == older.load_state_dict(new.state_dict())
    for name, value in older.state_dict().items():
        assert torch.equal(value, new.state_dict()[name]), name


def test_configs_that_cannot_work_are_named() -> None:
    with pytest.raises(ValueError, match="POOLER_TYPE is 'ROIAlignV2'; set it to ''"):
        build_model(config({"MODEL.ROI_MASK_HEAD.POOLER_TYPE": "ROIAlignV2"}))
    with pytest.raises(ValueError, match="MODEL.POINT_HEAD.NUM_CLASSES is 80, but must be"):
        build_model(config({"MODEL.POINT_HEAD.NUM_CLASSES": 80}))
    with pytest.raises(ValueError, match="MODEL.POINT_HEAD.IN_FEATURES names 'res2'"):
        build_model(config({"MODEL.POINT_HEAD.IN_FEATURES": ("res2",)}))
