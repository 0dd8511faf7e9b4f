"""From annotations to instances, and what belongs to that."""

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
import pytest
import torch
from PIL import Image

from d2seg.core.config import get_cfg
from d2seg.core.data import MetadataCatalog, detection_utils
from d2seg.core.data import transforms as T
from d2seg.core.structures import (
    BitMasks,
    Boxes,
    BoxMode,
    Instances,
    Keypoints,
    PolygonMasks,
    RotatedBoxes,
)

NAME = "detection_utils_test_set"
FLIP = T.TransformList([T.HFlipTransform(400)])
TRIANGLES = [
    [10.0, 10.0, 100.0, 100.0, 100.0, 10.0],
    [150.0, 150.0, 200.0, 150.0, 200.0, 200.0],
]


@pytest.fixture
def metadata() -> Iterator[Any]:
    metadata = MetadataCatalog.get(NAME)
    metadata.set(
        keypoint_names=["nose", "left_eye", "right_eye"],
        keypoint_flip_map=[("left_eye", "right_eye")],
    )
    yield metadata
    MetadataCatalog.pop(NAME)
    MetadataCatalog.pop(f"{NAME}_other", None)


def annotation(**changes: Any) -> dict[str, Any]:
    plain = {"bbox": [10, 10, 200, 300], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 3}
    return {**plain, **changes}


def left_half(height: int = 300, width: int = 400) -> dict[str, Any]:
    mask = np.zeros((height, width), np.uint8, order="F")
    mask[:, : width // 2] = 1
    return mask_util.encode(mask)


def test_boxes_and_polygons_are_flipped() -> None:
    given = annotation(segmentation=[list(polygon) for polygon in TRIANGLES])
    flipped = detection_utils.transform_instance_annotations(given, FLIP, (400, 400))
    assert flipped is given
    assert flipped["bbox"].tolist() == [200, 10, 390, 300]
    assert flipped["segmentation"][0].tolist() == [390, 10, 300, 100, 300, 10]
    instances = detection_utils.annotations_to_instances([flipped, flipped], (400, 400))
    assert instances.gt_boxes.tensor.tolist() == [[200, 10, 390, 300]] * 2
    assert instances.gt_classes.tolist() == [3, 3]
    assert isinstance(instances.gt_masks, PolygonMasks)
    as_bits = detection_utils.annotations_to_instances([flipped], (400, 400), "bitmask").gt_masks
    assert as_bits.area().item() == pytest.approx(instances.gt_masks[0].area().item(), rel=0.03)


def test_boxes_end_at_the_border_of_the_image() -> None:
    crop = [T.CropTransform(300, 20, 30, 40)]
    given = annotation(bbox=[290, 10, 500, 50], bbox_mode=BoxMode.XYWH_ABS)
    cut = detection_utils.transform_instance_annotations(given, crop, (40, 30))
    assert cut["bbox"].tolist() == [0, 0, 30, 40] and cut["bbox_mode"] == BoxMode.XYXY_ABS


def test_an_rle_becomes_a_bitmap() -> None:
    flipped = detection_utils.transform_instance_annotations(
        annotation(segmentation=left_half()), FLIP, (300, 400)
    )
    assert flipped["segmentation"].tolist() == ([[0] * 200 + [1] * 200] * 300)
    instances = detection_utils.annotations_to_instances([flipped], (300, 400), "bitmask")
    assert isinstance(instances.gt_masks, BitMasks)
    assert instances.gt_masks.get_bounding_boxes().tensor.tolist() == [[200, 0, 400, 300]]
    untransformed = annotation(segmentation=left_half())
    direct = detection_utils.annotations_to_instances([untransformed], (300, 400), "bitmask")
    assert direct.gt_masks.area().tolist() == [300 * 200]


def test_padding_is_no_part_of_an_rle() -> None:
    padding = [T.PadTransform(0, 0, 50, 20, 400, 300, 128, seg_pad_value=255)]
    padded = detection_utils.transform_instance_annotations(
        annotation(segmentation=left_half()), padding, (320, 450)
    )
    expected = np.zeros((320, 450), dtype=np.uint8)
    expected[:300, :200] = 1
    assert padded["segmentation"].dtype == np.uint8
    assert np.array_equal(padded["segmentation"], expected)


def test_polygons_are_cut_with_their_image() -> None:
    pytest.importorskip("shapely", reason="fvcore cuts polygons with shapely")
    cut = detection_utils.transform_instance_annotations(
        annotation(segmentation=TRIANGLES), [T.CropTransform(50, 0, 100, 80)], (80, 100)
    )
    (polygon,) = detection_utils.annotations_to_instances([cut], (80, 100)).gt_masks.polygons[0]
    corners = {tuple(point) for point in polygon.reshape(-1, 2).tolist()}
    assert corners == {(0.0, 10.0), (0.0, 50.0), (30.0, 80.0), (50.0, 80.0), (50.0, 10.0)}


def test_a_missing_shapely_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shapely.geometry", None)
    with pytest.raises(ModuleNotFoundError, match="pip install shapely"):
        detection_utils.transform_instance_annotations(
            annotation(segmentation=TRIANGLES), [T.CropTransform(50, 0, 100, 80)], (80, 100)
        )


def test_masks_that_cannot_be_used() -> None:
    def transform(segmentation: Any) -> None:
        detection_utils.transform_instance_annotations(
            annotation(segmentation=segmentation), FLIP, (400, 300)
        )

    with pytest.raises(ValueError, match="list of polygons .* or an RLE.*found a str"):
        transform("mask.png")
    with pytest.raises(ValueError, match=r"size \(300, 400\) became.*image became \(400, 300\)"):
        transform(left_half())
    with pytest.raises(ValueError, match="Set INPUT.MASK_FORMAT to bitmask"):
        detection_utils.annotations_to_instances([annotation(segmentation=left_half())], (300, 400))
    with pytest.raises(ValueError, match="'polygon' or 'bitmask'; found 'rle'"):
        detection_utils.annotations_to_instances(
            [annotation(segmentation=TRIANGLES)], (300, 400), "rle"
        )
    with pytest.raises(ValueError, match=r"bitmap \(H, W\); found a ndarray of shape \(4,\)"):
        detection_utils.annotations_to_instances(
            [annotation(segmentation=np.zeros(4))], (300, 400), "bitmask"
        )


def test_no_annotations() -> None:
    instances = detection_utils.annotations_to_instances([], (40, 50))
    assert len(instances) == 0 and instances.image_size == (40, 50)
    assert instances.gt_boxes.tensor.shape == (0, 4)
    assert instances.gt_classes.dtype == torch.int64
    rotated = detection_utils.annotations_to_instances_rotated([], (40, 50))
    assert rotated.gt_boxes.tensor.shape == (0, 5)


def test_rotated_annotations() -> None:
    annotations = [{"bbox": [20, 10, 8, 4, 30], "category_id": 1}]
    instances = detection_utils.annotations_to_instances_rotated(annotations, (40, 50))
    assert isinstance(instances.gt_boxes, RotatedBoxes)
    assert instances.gt_boxes.tensor.tolist() == [[20, 10, 8, 4, 30]]
    assert instances.gt_classes.tolist() == [1]


@pytest.mark.usefixtures("metadata")
def test_flipped_keypoints_change_sides() -> None:
    indices = detection_utils.create_keypoint_hflip_indices([NAME])
    assert indices == detection_utils.create_keypoint_hflip_indices(NAME) == [0, 2, 1]
    points = [[10, 20, 2], [30, 40, 1], [50, 60, 2]]
    flipped = detection_utils.transform_instance_annotations(
        annotation(keypoints=points), FLIP, (400, 400), keypoint_hflip_indices=np.array(indices)
    )
    assert flipped["keypoints"].tolist() == [[390, 20, 2], [350, 60, 2], [370, 40, 1]]
    instances = detection_utils.annotations_to_instances([flipped], (400, 400))
    assert isinstance(instances.gt_keypoints, Keypoints)
    twice = T.TransformList([T.HFlipTransform(400), T.HFlipTransform(400)])
    back = detection_utils.transform_keypoint_annotations(points, twice, (400, 400))
    assert back.tolist() == points


def test_keypoints_that_leave_the_image_are_cleared() -> None:
    crop = [T.CropTransform(300, 300, 10, 10)]
    points = np.array([305, 310, 2, 299, 305, 2, 304, 304, 0])
    moved = detection_utils.transform_keypoint_annotations(points, crop, (10, 10))
    assert moved.tolist() == [[5, 10, 2], [0, 0, 0], [0, 0, 0]]
    for indices, message in ((None, "without keypoint_hflip_indices"), ([0, 1], "has 3 .* for 2")):
        with pytest.raises(ValueError, match=message):
            detection_utils.transform_keypoint_annotations(points, FLIP, (10, 10), indices)


def test_metadata_has_to_agree(metadata: Any) -> None:
    other = MetadataCatalog.get(f"{NAME}_other")
    with pytest.raises(ValueError, match="need the same 'keypoint_names'.*_other' has None"):
        detection_utils.create_keypoint_hflip_indices([NAME, other.name])
    other.keypoint_names = list(metadata.keypoint_names)
    detection_utils.check_metadata_consistency("keypoint_names", [NAME, other.name])
    with pytest.raises(ValueError, match="At least one data set name"):
        detection_utils.check_metadata_consistency("keypoint_names", [])


def test_proposals_follow_their_image() -> None:
    image = {
        "proposal_boxes": np.array(
            [[10, 10, 20, 30], [500, 0, 50, 50], [0, 0, 2, 50], [0, 5, 9, 9]]
        ),
        "proposal_bbox_mode": BoxMode.XYWH_ABS,
        "proposal_objectness_logits": np.array([3.0, 2.0, 1.0, 0.0]),
    }
    detection_utils.transform_proposals(image, (400, 400), FLIP, proposal_topk=2, min_box_size=3)
    assert list(image) == ["proposals"]
    proposals = image["proposals"]
    assert isinstance(proposals, Instances)
    assert proposals.proposal_boxes.tensor.tolist() == [[370, 10, 390, 40], [391, 5, 400, 14]]
    assert proposals.objectness_logits.tolist() == [3.0, 0.0]
    detection_utils.transform_proposals({}, (400, 400), FLIP, proposal_topk=2)


def test_objects_without_box_or_mask_are_dropped() -> None:
    boxes = Boxes([[0, 0, 5, 5], [3, 3, 3, 9], [0, 0, 4, 4]])
    masks = BitMasks(torch.ones(3, 6, 6))
    masks.tensor[2] = False
    instances = Instances((6, 6), gt_boxes=boxes, gt_masks=masks)
    both, kept = detection_utils.filter_empty_instances(instances, return_mask=True)
    assert kept.tolist() == [True, False, False] and len(both) == 1
    assert len(detection_utils.filter_empty_instances(instances, by_mask=False)) == 2
    assert len(detection_utils.filter_empty_instances(instances, by_box=False)) == 2
    assert len(detection_utils.filter_empty_instances(instances, box_threshold=4.5)) == 1
    with pytest.raises(ValueError, match="both are False"):
        detection_utils.filter_empty_instances(instances, by_box=False, by_mask=False)


def test_a_crop_holds_the_centre_of_an_object() -> None:
    np.random.seed(0)
    instance = {"bbox": [10, 20, 90, 180], "bbox_mode": BoxMode.XYWH_ABS}
    for _ in range(100):
        crop = detection_utils.gen_crop_transform_with_instance((10, 25), (150, 130), instance)
        assert (crop.w, crop.h) == (25, 10)
        assert 0 <= crop.x0 <= 55 <= crop.x0 + crop.w <= 130
        assert 0 <= crop.y0 <= 110 <= crop.y0 + crop.h <= 150
    whole = detection_utils.gen_crop_transform_with_instance((999, 999), (150, 130), instance)
    assert (whole.x0, whole.y0, whole.w, whole.h) == (0, 0, 130, 150)
    with pytest.raises(AssertionError, match="y 110.0 and x 55.0, is outside of the image"):
        detection_utils.gen_crop_transform_with_instance((10, 10), (15, 130), instance)


def test_sizes_are_compared_and_filled_in() -> None:
    image: dict[str, Any] = {"file_name": "a.png"}
    detection_utils.check_image_size(image, np.zeros((20, 30, 3)))
    assert (image["width"], image["height"]) == (30, 20)
    with pytest.raises(
        detection_utils.SizeMismatchError, match="'a.png' is 20 x 30 .* for 30 x 20"
    ):
        detection_utils.check_image_size(image, np.zeros((30, 20, 3)))


def test_pillow_images_become_arrays() -> None:
    red = Image.new("RGB", (3, 2), "red")
    assert detection_utils.convert_PIL_to_numpy(red, "BGR")[0, 0].tolist() == [0, 0, 255]
    assert detection_utils.convert_PIL_to_numpy(red.convert("P"), None).shape == (2, 3)
    with pytest.raises(ValueError, match="'HSV' is unknown"):
        detection_utils.convert_PIL_to_numpy(red, "HSV")


def test_policies_of_a_config() -> None:
    cfg = get_cfg()
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING = (100, 200), "range"
    cfg.INPUT.RANDOM_FLIP = "vertical"
    resize, flip = detection_utils.build_augmentation(cfg, is_train=True)
    assert isinstance(resize, T.ResizeShortestEdge) and isinstance(flip, T.RandomFlip)
    assert (resize.short_edge_length, resize.max_size, resize.is_range) == ((100, 200), 1333, True)
    assert flip.vertical and not flip.horizontal
    (resize,) = detection_utils.build_augmentation(cfg, is_train=False)
    assert (resize.short_edge_length, resize.max_size) == ((800, 800), 1333)
    cfg.INPUT.RANDOM_FLIP = "diagonal"
    with pytest.raises(ValueError, match="horizontal, vertical or none; found 'diagonal'"):
        detection_utils.build_augmentation(cfg, is_train=True)
    cfg.INPUT.RANDOM_FLIP = "none"
    assert len(detection_utils.build_transform_gen(cfg, is_train=True)) == 1


def test_masks_of_one_image_are_all_of_its_size() -> None:
    drawn = {"bbox": [0, 0, 2, 2], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0}
    polygon = {**drawn, "segmentation": [[1.0, 1.0, 6.0, 1.0, 6.0, 3.0, 1.0, 3.0]]}
    bitmap = np.zeros((5, 8), np.uint8)
    bitmap[1:3, 1:6] = 7
    mixed = [polygon, {**drawn, "segmentation": bitmap}]
    masks = detection_utils.annotations_to_instances(mixed, (5, 8), "bitmask").gt_masks.tensor
    assert masks.dtype == torch.bool
    assert masks[0].tolist() == masks[1].tolist() == (bitmap > 0).tolist()
    with pytest.raises(ValueError, match=r"A mask of size \(4, 8\) is on an image of \(5, 8\)"):
        detection_utils.annotations_to_instances(
            [{**drawn, "segmentation": bitmap[1:]}], (5, 8), "bitmask"
        )
