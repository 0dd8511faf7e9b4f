"""Several views of an image: how they are made, and how what is found in them is put together."""

from typing import Any

import numpy as np
import pytest
import torch
from fvcore.transforms.transform import HFlipTransform, TransformList, VFlipTransform
from torch import Tensor

from d2seg.assets import DEMO_CONFIG_FILE, DEMO_IMAGES
from d2seg.core.config import get_cfg
from d2seg.core.data.detection_utils import read_image
from d2seg.core.data.transforms import ResizeShortestEdge, ResizeTransform
from d2seg.core.engine import DefaultPredictor
from d2seg.core.modeling import DatasetMapperTTA, GeneralizedRCNNWithTTA, build_model
from d2seg.core.modeling.views import merge_views
from d2seg.core.structures import Boxes, Instances, pairwise_iou
from tests.core.modeling.thin import ARCHITECTURES, thin_architecture, thin_config
from tests.reference.cases import picture

SAME_SIZE: dict[str, Any] = {
    "TEST.AUG.MIN_SIZES": [70],
    "TEST.AUG.MAX_SIZE": 1000,
    "TEST.AUG.FLIP": False,
}


def views(opts: dict[str, Any], **entry: Any) -> list[dict[str, Any]]:
    return DatasetMapperTTA(thin_config(opts))(entry)


def photo(height: int = 70, width: int = 110) -> Tensor:
    return picture(1, height, width).to(torch.uint8)


def test_views_are_every_size_and_its_mirror_image() -> None:
    opts = {"TEST.AUG.MIN_SIZES": [35, 140, 70], "TEST.AUG.MAX_SIZE": 165}
    made = views(opts, image=photo(), image_id=7)
    sizes = [tuple(view["image"].shape) for view in made]
    expected = [(3, 35, 55), (3, 105, 165), (3, 70, 110)]
    assert sizes == [size for size in expected for _ in range(2)]
    assert {view["image"].dtype for view in made} == {torch.uint8}
    assert {view["image_id"] for view in made} == {7}
    for upright, mirrored in zip(made[::2], made[1::2], strict=True):
        assert torch.equal(mirrored["image"], upright["image"].flip(2))
    assert torch.equal(made[4]["image"], photo())


def test_transforms_lead_from_the_original_image() -> None:
    entry = {"image": photo(), "height": 140, "width": 330}
    upright, mirrored = views({"TEST.AUG.MIN_SIZES": [35]}, **entry)
    box = np.array([[30.0, 20, 60, 100]])  # of 330 x 140; the views are 55 x 35
    assert upright["transforms"].apply_box(box).tolist() == [[5.0, 5, 10, 25]]
    assert mirrored["transforms"].apply_box(box).tolist() == [[45.0, 5, 50, 25]]
    back = mirrored["transforms"].inverse().apply_box(np.array([[45.0, 5, 50, 25]]))
    np.testing.assert_allclose(back, box)
    assert set(entry) == {"image", "height", "width"}


def test_a_view_is_what_the_resizing_of_images_gives() -> None:
    pixels = photo().permute(1, 2, 0).numpy()
    (view,) = views({"TEST.AUG.MIN_SIZES": [50], "TEST.AUG.FLIP": False}, image=photo())
    expected = ResizeShortestEdge(50).get_transform(pixels).apply_image(pixels)
    assert np.array_equal(view["image"].permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize(("sizes", "limit"), [([], 100), ([0], 100), ([50], 0)])
def test_sizes_that_are_none_are_refused(sizes: list[int], limit: int) -> None:
    with pytest.raises(ValueError, match=r"MIN_SIZES needs at least one size.*above 0; found"):
        DatasetMapperTTA(sizes, limit, False)


@pytest.mark.parametrize("name", ["fpn", "c4", "dc5", "cascade"])
@pytest.mark.parametrize("size_hw", [(70, 110), (140, 330)])
def test_one_view_of_the_same_size_is_the_model_itself(name: str, size_hw: tuple[int, int]) -> None:
    model = thin_architecture(name)
    inputs = [
        {"image": picture(seed, 70, 110), "height": size_hw[0], "width": size_hw[1]}
        for seed in (1, 2)
    ]
    with_tta = GeneralizedRCNNWithTTA(thin_config(SAME_SIZE | ARCHITECTURES[name]), model)
    with torch.no_grad():
        plain = model(inputs)
    for found, expected in zip(with_tta(inputs), plain, strict=True):
        one, other = found["instances"], expected["instances"]
        assert len(one) == len(other) > 0
        assert torch.equal(one.pred_classes, other.pred_classes)
        torch.testing.assert_close(one.scores, other.scores)
        torch.testing.assert_close(
            one.pred_boxes.tensor, other.pred_boxes.tensor, rtol=0, atol=1e-2
        )
        # A pixel on the edge of a mask may fall to either side.
        assert (one.pred_masks != other.pred_masks).float().mean() < 1e-4
    assert model.roi_heads.mask_on


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_the_batch_size_changes_nothing(batch_size: int) -> None:
    cfg = thin_config({"TEST.AUG.MIN_SIZES": [58, 60], "TEST.AUG.MAX_SIZE": 200})
    model = thin_architecture("fpn")
    calls: list[int] = []
    model.backbone.register_forward_hook(lambda _, args, __: calls.append(len(args[0])))
    inputs = [{"image": photo()}]
    found = GeneralizedRCNNWithTTA(cfg, model, batch_size=batch_size)(inputs)[0]["instances"]
    expected = GeneralizedRCNNWithTTA(cfg, model, batch_size=2)(inputs)[0]["instances"]
    assert max(calls[: len(calls) // 2]) == min(batch_size, 4)
    torch.testing.assert_close(found.scores, expected.scores, rtol=0, atol=1e-4)
    torch.testing.assert_close(
        found.pred_boxes.tensor, expected.pred_boxes.tensor, rtol=0, atol=0.05
    )


def demo_predictor(min_sizes: list[int]) -> DefaultPredictor:
    cfg = get_cfg()
    cfg.merge_from_file(str(DEMO_CONFIG_FILE))
    cfg.TEST.AUG.MIN_SIZES = min_sizes
    return DefaultPredictor(cfg)


def demo_image() -> np.ndarray:
    return read_image(DEMO_IMAGES / "2cfa857e63be1b41.png", "BGR")


def test_a_mirrored_image_gives_mirrored_results() -> None:
    predictor = demo_predictor([192, 256])
    with_tta = GeneralizedRCNNWithTTA(predictor.cfg, predictor.model)
    image = torch.from_numpy(demo_image()[:224, :192].transpose(2, 0, 1).copy())
    found = with_tta([{"image": image}])[0]["instances"]
    mirrored = with_tta([{"image": image.flip(2)}])[0]["instances"]
    assert len(found) == len(mirrored) > 5
    torch.testing.assert_close(found.scores, mirrored.scores, rtol=0, atol=1e-4)
    flipped = HFlipTransform(192).apply_box(mirrored.pred_boxes.tensor.numpy())
    torch.testing.assert_close(
        found.pred_boxes.tensor, torch.from_numpy(flipped), rtol=0, atol=0.01
    )
    assert (found.pred_masks != mirrored.pred_masks.flip(2)).float().mean() < 1e-4


def detections(size_hw: tuple[int, int], boxes: list[list[float]], scores: list[float]) -> Any:
    return Instances(
        size_hw,
        pred_boxes=Boxes(boxes),
        scores=torch.tensor(scores),
        pred_classes=torch.arange(len(boxes)) // 2,
    )


def test_duplicates_of_other_views_are_dropped() -> None:
    double = ResizeTransform(40, 60, 80, 120)
    mirrored = TransformList([double, HFlipTransform(120)])
    first = detections((80, 120), [[20, 20, 60, 60], [100, 60, 140, 90]], [0.8, 0.3])
    second = detections((80, 120), [[60, 20, 100, 62], [0, 0, 20, 10]], [0.9, 0.4])
    merged = merge_views([first, second], [double, mirrored], (40, 60), 0.5, 10)
    # The second view's best is the first one's best; the last of the first is clipped.
    assert merged.scores.tolist() == pytest.approx([0.9, 0.4, 0.3])
    expected = torch.tensor([[10.0, 10, 30, 31], [50, 0, 60, 5], [50, 30, 60, 40]])
    torch.testing.assert_close(merged.pred_boxes.tensor, expected)
    assert len(merge_views([first, second], [double, mirrored], (40, 60), 0.5, 2)) == 2
    assert len(merge_views([first, second], [double, mirrored], (40, 60), 0.99, -1)) == 4


def test_nothing_found_is_nothing_merged() -> None:
    model = thin_architecture("fpn", {"MODEL.ROI_HEADS.SCORE_THRESH_TEST": 1.0})
    with_tta = GeneralizedRCNNWithTTA(thin_config(SAME_SIZE), model)
    found = with_tta([{"image": photo(), "height": 35, "width": 55}])[0]["instances"]
    assert found.pred_boxes.tensor.shape == (0, 4)
    assert found.pred_masks.shape == (0, 35, 55)


@pytest.mark.parametrize(
    ("flip", "axis"), [(HFlipTransform(110), 2), (VFlipTransform(70), 1)], ids=["left", "top"]
)
def test_flips_of_another_mapper_are_undone(flip: Any, axis: int) -> None:
    def only_flipped(one: dict[str, Any]) -> list[dict[str, Any]]:
        return [{**one, "image": one["image"].flip(axis), "transforms": TransformList([flip])}]

    model = thin_architecture("fpn")
    cfg = thin_config(SAME_SIZE)
    found = GeneralizedRCNNWithTTA(cfg, model, only_flipped)([{"image": photo()}])[0]["instances"]
    plain = GeneralizedRCNNWithTTA(cfg, model)([{"image": photo().flip(axis)}])[0]["instances"]
    assert len(found) == len(plain) > 0
    different = found.pred_masks != plain.pred_masks.flip(axis)
    assert different.float().mean() < 1e-4


def test_boxes_alone_and_images_from_files() -> None:
    opts = {**SAME_SIZE, "MODEL.MASK_ON": False, "INPUT.FORMAT": "RGB"}
    with_tta = GeneralizedRCNNWithTTA(thin_config(opts), thin_architecture("fpn", opts))
    path = sorted(DEMO_IMAGES.glob("*.png"))[0]
    pixels = torch.from_numpy(read_image(path, "RGB").transpose(2, 0, 1).copy())
    of_file = with_tta([{"file_name": str(path)}])[0]["instances"]
    of_pixels = with_tta([{"image": pixels}])[0]["instances"]
    assert not of_file.has("pred_masks")
    assert torch.equal(of_file.pred_boxes.tensor, of_pixels.pred_boxes.tensor)
    with pytest.raises(ValueError, match=r"needs 'image' or 'file_name'; found \['height'\]"):
        with_tta([{"height": 5}])


def test_the_demo_model_finds_nearly_the_same_in_mirror_images() -> None:
    predictor = demo_predictor([256])
    pixels = demo_image()
    plain = predictor(pixels)["instances"]
    image = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
    found = GeneralizedRCNNWithTTA(predictor.cfg, predictor.model)([{"image": image}])[0][
        "instances"
    ]
    sure, expected = found[found.scores > 0.7], plain[plain.scores > 0.7]
    assert len(expected) > 5
    assert len(sure) == pytest.approx(len(expected), abs=1)
    iou = pairwise_iou(expected.pred_boxes, found.pred_boxes)
    best, rows = iou.max(dim=1)
    assert best.min() > 0.8
    both = (expected.pred_masks & found.pred_masks[rows]).sum(dim=(1, 2))
    either = (expected.pred_masks | found.pred_masks[rows]).sum(dim=(1, 2))
    assert (both / either).min() > 0.8
    assert (both / either).mean() > 0.9


@pytest.mark.parametrize(
    ("name", "opts", "error", "message"),
    [
        ("keypoints", {}, ValueError, "does not support keypoints; set MODEL.KEYPOINT_ON"),
        ("retinanet", {}, TypeError, "for GeneralizedRCNN models, but this is a RetinaNet"),
        ("panoptic", {}, TypeError, "for GeneralizedRCNN models, but this is a PanopticFPN"),
        (
            "fpn",
            {"MODEL.PROPOSAL_GENERATOR.NAME": "PrecomputedProposals"},
            ValueError,
            "does not support precomputed proposals",
        ),
    ],
)
def test_models_whose_results_cannot_be_merged_are_refused(
    name: str, opts: dict[str, Any], error: type[Exception], message: str
) -> None:
    cfg = thin_config({**SAME_SIZE, **ARCHITECTURES[name], **opts})
    with pytest.raises(error, match=message):
        GeneralizedRCNNWithTTA(cfg, build_model(cfg))


def test_a_batch_holds_at_least_one_view() -> None:
    with pytest.raises(ValueError, match="batch_size must be at least 1, but is 0"):
        GeneralizedRCNNWithTTA(thin_config(), thin_architecture("fpn"), batch_size=0)
