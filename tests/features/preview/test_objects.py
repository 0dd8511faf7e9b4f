import base64
import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from d2seg.features.preview.objects import KeptObjects, object_vectors

DESCRIPTION: dict[str, Any] = {"image": {"network_size_hw": [40, 80]}, "class_names": ["cat"]}


def black() -> np.ndarray:
    return np.zeros((20, 20, 3), np.uint8)


def detections(scores: list[float], **more: Tensor) -> dict[str, Tensor]:
    number = len(scores)
    return {
        "instances.boxes": torch.tensor([[0.0, 0.0, 8.0, 8.0]]).repeat(number, 1),
        "instances.scores": torch.tensor(scores),
        "instances.classes": torch.zeros(number, dtype=torch.int64),
        "box_head": torch.ones(number, 4),
        **more,
    }


def decode(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_vectors_have_length_one_and_pooled_features_are_averaged() -> None:
    pooled = torch.zeros(2, 2, 2, 2)
    pooled[0, 0], pooled[0, 1, 0, 0] = 3.0, 16.0
    assert object_vectors(pooled).tolist() == [pytest.approx([0.6, 0.8]), [0.0, 0.0]]
    assert object_vectors(torch.tensor([[0.0, 2.0]]).double()).tolist() == [[0.0, 1.0]]
    assert object_vectors(torch.ones(3, 17, 3)).shape == (3, 51)
    assert object_vectors(torch.ones(0, 8, 7, 7)).shape == (0, 8)


def test_crops_come_from_the_original_image() -> None:
    """The network input is 40 x 80, the image 20 x 20: x is divided by 4, y by 2."""
    image = black()
    image[2:12, 10:15] = 250
    tensors = detections([0.9]) | {"instances.boxes": torch.tensor([[40.0, 4.0, 60.0, 24.0]])}
    objects = KeptObjects(5)
    objects.add((0, "a.png"), lambda: image, tensors, DESCRIPTION)
    crop = decode(objects.kept[0].crop_uri)
    assert crop.shape == (96, 48, 3)  # 10 x 5 pixels, enlarged
    assert crop[20:-20, 10:-10].min() > 240


def test_the_best_of_all_images_are_kept() -> None:
    objects = KeptObjects(3)
    for index, scores in enumerate(([0.5, 0.2], [0.9, 0.5, 0.1], [0.4, 0.3])):
        objects.add((index, f"{index}.png"), black, detections(scores), DESCRIPTION)
    found = [(item.image_name, round(item.rank, 2)) for item in objects.kept]
    assert found == [("1.png", 0.9), ("0.png", 0.5), ("1.png", 0.5)]
    assert objects.seen == 7


def test_the_image_is_looked_at_only_for_objects_that_are_kept() -> None:
    def never() -> np.ndarray:
        raise AssertionError("No crop is needed.")

    objects = KeptObjects(1)
    objects.add((0, "a.png"), never, detections([]), DESCRIPTION)
    objects.add((1, "b.png"), black, detections([0.9]), DESCRIPTION)
    objects.add((2, "c.png"), never, detections([0.8]), DESCRIPTION)
    assert [item.image_name for item in objects.kept] == ["b.png"]


def test_kept_vectors_do_not_hold_the_others_in_memory() -> None:
    objects = KeptObjects(1)
    objects.add((0, "a.png"), black, detections([0.9, 0.8, 0.7]), DESCRIPTION)
    assert objects.kept[0].vector.untyped_storage().nbytes() == 4 * 4


@pytest.mark.parametrize(
    ("names", "source"),
    [
        (["mask_pooler", "box_pooler", "box_head"], "box_head"),
        (["mask_pooler", "box_pooler"], "box_pooler"),
        (["roi_heads.box_head.fc1", "mask_pooler"], "mask_pooler"),
        (["instances.keypoints", "labels", "roi_heads.box_head.fc1"], "roi_heads.box_head.fc1"),
        (["backbone.p3"], ""),
    ],
)
def test_which_tensor_objects_are_compared_by(names: list[str], source: str) -> None:
    tensors = {"instances.boxes": torch.zeros(2, 4)}
    tensors |= {name: torch.ones(2, 3, 3, 3) for name in names}
    if "labels" in names:
        tensors["labels"] = torch.ones(2, 3, dtype=torch.int64)
    rows = ("roi_heads.box_head.fc1", "instances.keypoints", "labels")
    description = DESCRIPTION | {"tensors": {name: {"rows": "objects"} for name in rows}}
    objects = KeptObjects(5)
    objects.add((0, "a.png"), black, tensors, description)
    assert objects.source == source
    assert len(objects.kept) == (2 if source else 0)


def test_given_boxes_have_no_scores_and_perhaps_no_classes() -> None:
    tensors = {"instances.boxes": torch.tensor([[0.0, 0, 9, 9]]), "box_head": torch.ones(1, 3)}
    objects = KeptObjects(1)
    objects.add((0, "a.png"), black, tensors, DESCRIPTION)
    assert (objects.kept[0].score, objects.kept[0].class_name) == (None, "")
    tensors["instances.classes"] = torch.tensor([7])
    objects = KeptObjects(1)
    objects.add((0, "a.png"), black, tensors, DESCRIPTION)
    assert objects.kept[0].class_name == "class 7"
