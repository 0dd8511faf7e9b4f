"""FCOS: its head, its labels, its losses, and what it detects."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torchvision
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

from d2seg.core.layers import ShapeSpec
from d2seg.core.modeling import FCOS, build_backbone
from d2seg.core.modeling.meta_arch.fcos import FCOSHead
from d2seg.core.runtime.events import EventStorage
from d2seg.core.structures import Boxes, ImageList, Instances
from d2seg.core.utils.testing import get_model_no_weights
from tests.core.modeling.thin import ARCHITECTURES, thin_config
from tests.reference.cases import ground_truth, picture

K = 5
LEVELS = {"p3": 8, "p4": 16, "p5": 32, "p6": 64, "p7": 128}


def fcos(**changes: Any) -> FCOS:
    torch.manual_seed(0)
    head = FCOSHead(
        input_shape=[ShapeSpec(channels=64)] * 5, num_classes=K, conv_dims=[64], norm="GN"
    )
    arguments = {
        "backbone": build_backbone(
            thin_config(ARCHITECTURES["retinanet"] | {"MODEL.FPN.OUT_CHANNELS": 64})
        ),
        "head": head,
        "num_classes": K,
        "pixel_mean": [100.0, 110.0, 120.0],
        "pixel_std": [60.0, 60.0, 60.0],
    }
    return FCOS(**(arguments | changes))


def objects(boxes: list[list[float]], classes: list[int]) -> Instances:
    return Instances(
        (128, 256),
        gt_boxes=Boxes(torch.tensor(boxes).reshape(-1, 4)),
        gt_classes=torch.tensor(classes, dtype=torch.int64),
    )


def pyramid(model: FCOS) -> list[torch.Tensor]:
    return [torch.zeros(1, 64, math.ceil(128 / s), math.ceil(256 / s)) for s in LEVELS.values()]


def test_the_head_has_three_answers_for_every_cell() -> None:
    head = fcos().head
    logits, deltas, central = head([torch.rand(2, 64, 6, 8 - level) for level in range(5)])
    assert [tuple(x.shape) for x in logits] == [(2, K, 6, 8 - level) for level in range(5)]
    assert [tuple(x.shape) for x in deltas] == [(2, 4, 6, 8 - level) for level in range(5)]
    assert [tuple(x.shape) for x in central] == [(2, 1, 6, 8 - level) for level in range(5)]
    names = {name.split(".")[0] for name in head.state_dict()}
    assert names == {"cls_subnet", "bbox_subnet", "cls_score", "bbox_pred", "ctrness"}
    assert head.state_dict()["ctrness.weight"].shape == (1, 64, 3, 3)
    with pytest.raises(TypeError, match="num_anchors"):
        FCOSHead(input_shape=[ShapeSpec(channels=8)], conv_dims=[8], num_classes=K, num_anchors=2)


def test_objects_go_to_the_level_of_their_size() -> None:
    model = fcos()
    anchors = model.anchor_generator(pyramid(model))
    small, large = [100.0, 40, 130, 60], [0.0, 0, 256, 128]
    labels, boxes = model.label_anchors(anchors, [objects([small, large], [3, 1])])
    counts = [len(one) for one in anchors]
    by_level = labels[0].split(counts)
    assert [sorted(set(level.tolist()) - {K}) for level in by_level] == [[3], [], [1], [], []]
    assert boxes[0][labels[0] == 3].unique(dim=0).tolist() == [small]
    # p3 has its points at 4, 12, 20...; those within 12 of the middle (115, 50) count.
    points = anchors[0].get_centers()[by_level[0] == 3]
    assert points.min(dim=0).values.tolist() == [108.0, 44.0]
    assert points.max(dim=0).values.tolist() == [124.0, 52.0]
    assert not boxes[0][labels[0] == K].any()


def test_labels_are_those_of_torchvision() -> None:
    model = fcos()
    anchors = model.anchor_generator(pyramid(model))
    # Whole pixels, so that sides are at exactly the distances where one level ends.
    corners = torch.randint(0, 96, (12, 2), generator=torch.Generator().manual_seed(0))
    extents = torch.randint(4, 128, (12, 2), generator=torch.Generator().manual_seed(1))
    boxes = torch.cat([corners, corners + extents], dim=1).float()
    gt = objects(boxes.tolist(), [row % K for row in range(12)])
    head = SimpleNamespace(compute_loss=lambda targets, outputs, anchors, rows: {"rows": rows[0]})
    rows = torchvision.models.detection.FCOS.compute_loss(
        SimpleNamespace(center_sampling_radius=1.5, head=head),
        [{"boxes": boxes}],
        {},
        [Boxes.cat(anchors).tensor],
        [len(one) for one in anchors],
    )["rows"]
    labels, matched = model.label_anchors(anchors, [gt])
    found = rows >= 0
    assert found.sum() > 20
    assert torch.equal(labels[0] != K, found)
    assert torch.equal(matched[0][found], boxes[rows[found]])


def test_losses_are_those_of_the_paper() -> None:
    model = fcos()
    features = pyramid(model)
    images = ImageList(torch.zeros(1, 3, 128, 256), [(128, 256)])
    gt = objects([[100.0, 40, 130, 60]], [3])
    predictions = tuple([torch.randn_like(m) for m in maps] for maps in model.head(features))
    losses = model.forward_training(images, features, predictions, [gt])

    anchors = model.anchor_generator(features)
    labels = model.label_anchors(anchors, [gt])[0][0]
    flat = [torch.cat([m[0].flatten(1) for m in maps], dim=1).T for maps in predictions]
    places = (labels != K).nonzero()[:, 0].tolist()
    target = torch.zeros(len(labels), K)
    target[places, 3] = 1.0
    distance = central = torch.zeros(())
    squares = Boxes.cat(anchors).tensor
    for place in places:
        stride = squares[place, 2] - squares[place, 0]
        x, y = (squares[place, :2] + squares[place, 2:]).tolist()
        x, y = x / 2, y / 2
        left, top, right, bottom = (flat[1][place].clamp(min=0) * stride).unbind()
        box = torch.stack([x - left, y - top, x + right, y + bottom])
        distance = distance + generalized_box_iou_loss(box[None], gt.gt_boxes.tensor).sum()
        nearness = (
            min(x - 100, 130 - x)
            / max(x - 100, 130 - x)
            * min(y - 40, 60 - y)
            / max(y - 40, 60 - y)
        )
        central = central + torch.nn.functional.binary_cross_entropy_with_logits(
            flat[2][place, 0], torch.tensor(math.sqrt(nearness))
        )
    normalizer = 0.9 * 300 + 0.1 * len(places)
    expected = {
        "loss_fcos_cls": sigmoid_focal_loss(flat[0], target, 0.25, 2.0, reduction="sum"),
        "loss_fcos_loc": distance,
        "loss_fcos_ctr": central,
    }
    assert list(losses) == list(expected)
    assert model.loss_normalizer == pytest.approx(normalizer)
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value / normalizer, rtol=1e-4, atol=1e-6)


def test_every_parameter_learns_and_images_without_objects_count() -> None:
    model = fcos().train()
    nothing = Instances((70, 110), gt_boxes=Boxes(torch.zeros(0, 4)))
    nothing.gt_classes = torch.zeros(0, dtype=torch.int64)
    empty = {"image": picture(1, 70, 110), "instances": nothing}
    with EventStorage() as storage:
        alone = model([empty])
        assert storage.latest()["num_pos_anchors"][0] == 0
    assert alone["loss_fcos_loc"].item() == alone["loss_fcos_ctr"].item() == 0.0
    assert alone["loss_fcos_cls"].item() > 0
    both = model([empty, {"image": picture(2, 90, 60), "instances": ground_truth(2, 90, 60, K)}])
    sum(both.values()).backward()
    still = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert still == []
    assert all(torch.isfinite(loss) for loss in both.values())


def test_the_score_is_the_geometric_mean_of_class_and_centerness() -> None:
    model = fcos(test_score_thresh=0.3).eval()
    features = pyramid(model)
    images = ImageList(torch.zeros(1, 3, 128, 256), [(128, 256)])
    logits, deltas, central = model.head(features)
    logits = [torch.full_like(level, -20.0) for level in logits]
    deltas = [torch.full_like(level, 2.0) for level in deltas]
    central = [torch.zeros_like(level) for level in central]
    logits[1][0, 3, 2, 5] = 2.0  # of p4: the point (88, 40)
    logits[0][0, 1, 0, 0] = -2.0  # scores sqrt(0.119 * 0.5), below the threshold
    found = model.forward_inference(images, features, (logits, deltas, central))[0]
    assert found.pred_classes.tolist() == [3]
    assert found.scores.tolist() == pytest.approx([math.sqrt(1 / (1 + math.exp(-2)) * 0.5)])
    assert found.pred_boxes.tensor.tolist() == [[88.0 - 32, 40 - 32, 88 + 32, 40 + 32]]


def test_batches_and_limits() -> None:
    model = fcos(test_score_thresh=0.005, max_detections_per_image=7).eval()
    torch.nn.init.ones_(model.head.bbox_pred.bias)  # boxes of two strides
    inputs = [
        {"image": picture(1, 64, 128), "height": 128, "width": 256},
        {"image": picture(2, 64, 128)},
    ]
    with torch.no_grad():
        together = model(inputs)
        alone = [model([one])[0] for one in inputs]
    for one, other, size_hw in zip(together, alone, [(128, 256), (64, 128)], strict=True):
        found = one["instances"]
        assert found.image_size == size_hw
        assert len(found) == 7
        assert (found.scores.diff() <= 0).all()
        torch.testing.assert_close(
            found.pred_boxes.tensor, other["instances"].pred_boxes.tensor, rtol=0, atol=1e-2
        )


def test_it_learns_one_image() -> None:
    model = fcos().train()
    inputs = [{"image": picture(2, 90, 60), "instances": ground_truth(2, 90, 60, K)}]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    totals = []
    for _ in range(25):
        loss = sum(model(inputs).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        totals.append(loss.item() * model.loss_normalizer)
    assert sum(totals[-3:]) < 0.5 * sum(totals[:3])


def test_the_published_config() -> None:
    model = get_model_no_weights("COCO-Detection/fcos_R_50_FPN_1x.py")
    assert isinstance(model, FCOS)
    count = sum(parameter.numel() for parameter in model.parameters())
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    convs = 4 * 2 * (256 * 256 * 9 + 3 * 256)  # two towers, with a group norm after each
    answers = (80 + 4 + 1) * (256 * 9 + 1)
    assert sum(p.numel() for p in model.head.parameters()) == convs + answers
    assert count > frozen > 200_000
    assert model.head_in_features == ["p3", "p4", "p5", "p6", "p7"]
    names = set(model.state_dict())
    assert {"head.cls_subnet.10.weight", "backbone.top_block.p7.bias", "head.ctrness.bias"} <= names
