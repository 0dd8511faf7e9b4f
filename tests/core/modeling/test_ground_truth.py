"""Annotations that cannot be trained on, each named in a sentence."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from d2seg.core.structures import Instances
from tests.core.modeling.thin import thin_architecture
from tests.reference.cases import ground_truth, picture, semantic_map

Breaking = Callable[[dict[str, Any]], None]


def unknown_class(inputs: dict[str, Any]) -> None:
    inputs["instances"].gt_classes[0] = 5


def box_of_nan(inputs: dict[str, Any]) -> None:
    inputs["instances"].gt_boxes.tensor[0, 2] = torch.nan


def no_boxes(inputs: dict[str, Any]) -> None:
    inputs["instances"] = Instances((70, 110), gt_classes=torch.tensor([1]))


def nothing_known(inputs: dict[str, Any]) -> None:
    inputs["instances"] = Instances((70, 110))


def more_keypoints(inputs: dict[str, Any]) -> None:
    many = ground_truth(1, 70, 110, 3, num_keypoints=7)
    inputs["instances"].gt_keypoints = many.gt_keypoints


def unknown_stuff(inputs: dict[str, Any]) -> None:
    inputs["sem_seg"][3, 4] = 99


def negative_stuff(inputs: dict[str, Any]) -> None:
    inputs["sem_seg"][3, 4] = -1


def smaller_map(inputs: dict[str, Any]) -> None:
    inputs["sem_seg"] = inputs["sem_seg"][:-1]


@pytest.mark.parametrize(
    ("family", "broken", "message"),
    [
        ("fpn", unknown_class, "class 5, but MODEL.ROI_HEADS.NUM_CLASSES is 5: classes count"),
        ("retinanet", unknown_class, "class 5, but MODEL.RETINANET.NUM_CLASSES is 5: classes"),
        ("fpn", box_of_nan, r"gt_boxes of image 0 of a batch hold \[.*nan.*\], which is not a box"),
        ("retinanet", box_of_nan, "gt_boxes of image 0"),
        ("fpn", no_boxes, "gt_boxes in the 'instances' of every image, .* one has gt_classes"),
        ("retinanet", nothing_known, "gt_boxes in the 'instances' .* one has nothing"),
        ("keypoints", more_keypoints, "with 7 keypoints, but .*NUM_KEYPOINTS is 4"),
        ("semantic", unknown_stuff, "class 99, but MODEL.SEM_SEG_HEAD.NUM_CLASSES is 9"),
        ("panoptic", negative_stuff, "class -1, but .*IGNORE_VALUE, 255, may be outside"),
        ("semantic", smaller_map, r"size of 'image', \(70, 110\); found \(69, 110\)"),
        ("panoptic", smaller_map, r"size of 'image', \(70, 110\); found \(69, 110\)"),
    ],
)
def test_what_cannot_be_trained_on_is_named(family: str, broken: Breaking, message: str) -> None:
    inputs = {
        "image": picture(1, 70, 110),
        "instances": ground_truth(1, 70, 110, 3, num_keypoints=4),
        "sem_seg": semantic_map(1, 70, 110),
    }
    model = thin_architecture(family).train()
    broken(inputs)
    with pytest.raises(ValueError, match=message):
        model([inputs])
