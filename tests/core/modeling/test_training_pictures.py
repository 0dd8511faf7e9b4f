"""The pictures that VIS_PERIOD asks for."""

from typing import Any

import pytest
import torch

from d2seg.core.modeling import training_pictures
from d2seg.core.runtime.events import EventStorage
from d2seg.core.structures import Boxes, Instances, RotatedBoxes
from tests.core.modeling.thin import thin_architecture
from tests.reference.cases import ground_truth, picture, semantic_map

RED = [255, 64, 64]


def drawn(boxes: Any, image: torch.Tensor, input_format: str) -> torch.Tensor:
    one = {"image": image, "instances": Instances((20, 30), gt_boxes=Boxes(torch.zeros(0, 4)))}
    with EventStorage() as storage:
        training_pictures.put_boxes("name", one, input_format, boxes)
        ((name, pixels, iteration),) = storage._images
    assert (name, iteration) == ("name", 0)
    assert pixels.shape == (3, 20, 60)
    assert pixels.dtype == torch.uint8
    return pixels


def test_boxes_found_are_drawn_on_the_right() -> None:
    image = torch.zeros(3, 20, 30)
    image[0] = 200.0  # blue
    pixels = drawn(Boxes([[5.0, 4, 25, 15]]), image, "BGR")
    assert pixels[:, 10, 3].tolist() == pixels[:, 10, 45].tolist() == [0, 0, 200]
    for row, column in ((4, 40), (15, 40), (10, 35), (10, 55)):
        assert pixels[:, row, column].tolist() == RED
        assert pixels[:, row, column - 30].tolist() == [0, 0, 200]


def test_rotated_boxes_and_grey_images_are_drawn() -> None:
    pixels = drawn(RotatedBoxes([[15.0, 10, 14, 4, 90]]), torch.full((1, 20, 30), 70.0), "L")
    assert pixels[:, 10, 30 + 13].tolist() == RED  # the long side stands upright
    assert pixels[:, 10, 30 + 8].tolist() == [70, 70, 70]


@pytest.mark.parametrize("family", ["fpn", "panoptic", "retinanet"])
def test_a_picture_is_recorded_every_so_many_iterations(family: str) -> None:
    model = thin_architecture(family, {"VIS_PERIOD": 2}).train()
    inputs = {"image": picture(1, 70, 110), "instances": ground_truth(1, 70, 110, 3)}
    inputs["sem_seg"] = semantic_map(1, 70, 110)
    with EventStorage(1) as storage:
        for _ in range(2):
            model([inputs])
            storage.step()
    ((name, pixels, iteration),) = storage._images
    assert iteration == 2
    assert name.startswith("Left: GT bounding boxes;  Right: Predicted ")
    assert pixels.shape == (3, 70, 220)
    assert bool((pixels[:, :, :110].permute(1, 2, 0) == torch.tensor(RED)).all(dim=2).any())
    model([inputs])  # no storage, no picture


def test_nothing_is_drawn_by_default() -> None:
    model = thin_architecture("fpn").train()
    with EventStorage() as storage:
        model([{"image": picture(1, 70, 110), "instances": ground_truth(1, 70, 110, 3)}])
    assert storage._images == []
