"""Outputs are read by the names and shapes of the description, not by their places."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from d2seg.export.description import TensorSchema, describe
from d2seg.predict.file_backend import FileBackend
from d2seg.predict.images import NetworkInput, as_it_is
from tests.export.models import thin_config

VALUES: dict[str, Tensor] = {
    "boxes": torch.tensor([[2.0, 1.0, 6.0, 3.0], [0.0, 0.0, 8.0, 4.0]]),
    "classes": torch.tensor([1, 0]),
    "scores": torch.tensor([0.75, 0.5]),
    "image_size": torch.tensor([4, 8]),
    "keypoints": torch.tensor([[[3.0, 2.0, 0.5]], [[8.0, 4.0, 0.25]]]),
    "masks": torch.ones(2, 1, 28, 28),
}
IMAGE = NetworkInput(torch.zeros(3, 4, 8), (8, 24))
"""Twice as high and three times as wide as what the network sees."""


def backend(*names: str, **values: Tensor) -> FileBackend:
    shapes: dict[str, list[int | str]] = {"masks": ["N", 1, 28, 28]}
    if values:
        shapes["masks"] = ["N", "H", "W"]
    schemas = [TensorSchema(name, shapes.get(name, ["N"]), "", "") for name in names]
    description = replace(describe(thin_config(), "ptl", True, "RGB"), outputs=schemas)
    outputs = tuple((VALUES | values)[name] for name in names)
    return FileBackend(lambda image: outputs, description, torch.device("cpu"), as_it_is)


def run(*names: str, **values: Tensor) -> Any:
    return backend(*names, **values).run([IMAGE])[0]


@pytest.mark.parametrize(
    "names",
    [
        ("boxes", "classes", "masks", "scores", "image_size"),
        ("scores", "masks", "image_size", "classes", "boxes"),
    ],
)
def test_outputs_may_come_in_any_order(names: tuple[str, ...]) -> None:
    found = run(*names)
    assert found.boxes.tolist() == [[6.0, 2.0, 18.0, 6.0], [0.0, 0.0, 24.0, 8.0]]
    assert (found.scores.tolist(), found.classes.tolist()) == ([0.75, 0.5], [1, 0])
    assert found.masks().sum((1, 2)).tolist() == [48, 192]
    assert found.keypoints is None


def test_a_detector_has_boxes_only() -> None:
    found = run("boxes", "classes", "scores", "image_size")
    assert len(found) == 2
    assert not found.has_masks
    assert found.keypoints is None


def test_keypoints_are_scaled_by_width_and_height() -> None:
    found = run("boxes", "classes", "keypoints", "scores", "image_size")
    assert found.keypoints.tolist() == [[[9.0, 4.0, 0.5]], [[24.0, 8.0, 0.25]]]


def test_masks_of_the_input_become_masks_of_the_image() -> None:
    pixels = torch.zeros(2, 4, 8, dtype=torch.bool)
    pixels[0, 1:3, :] = True
    pixels[1, :, 2:6] = True
    found = run("boxes", "classes", "masks", "scores", "image_size", masks=pixels)
    expected = torch.zeros(2, 8, 24, dtype=torch.bool)
    expected[0, 2:6, :] = True
    expected[1, :, 6:18] = True
    assert torch.equal(found.masks(), expected)
    with pytest.raises(ValueError, match="this model gives finished masks"):
        found.masks(0.3)


def test_other_outputs_are_left_alone() -> None:
    assert len(run("boxes", "classes", "scores", "image_size", "count", count=torch.tensor(2))) == 2
