"""Structures in compiled and in traced code."""

import pytest
import torch
from torch import Tensor

from d2seg.core.structures import Boxes, ImageList, RotatedBoxes

UPRIGHT = torch.tensor([[1.0, 2.0, 9.0, 8.0], [-3.0, 0.0, 4.0, 30.0]])
ROTATED = torch.tensor([[5.0, 6.0, 8.0, 4.0, 0.5], [5.0, 6.0, 8.0, 4.0, 400.0]])


def ask_boxes(values: Tensor) -> tuple[Boxes, Tensor, Tensor, Tensor, Tensor]:
    boxes = Boxes(values)
    inside = boxes.inside_box((20, 10))
    boxes.clip((20, 10))
    boxes.scale(2.0, 3.0)
    chosen = boxes[boxes.nonempty()].to(boxes.device).clone()
    return chosen.cat([chosen, boxes]), boxes.area(), boxes.get_centers(), inside, chosen.tensor


def ask_rotated(values: Tensor) -> tuple[RotatedBoxes, Tensor, Tensor, Tensor, Tensor]:
    boxes = RotatedBoxes(values)
    inside = boxes.inside_box((20, 10))
    boxes.clip((7, 8))
    boxes.scale(2.0, 3.0)
    chosen = boxes[boxes.nonempty()].clone()
    return chosen.cat([chosen, boxes]), boxes.area(), boxes.get_centers(), inside, chosen.tensor


@pytest.mark.parametrize(("ask", "values"), [(ask_boxes, UPRIGHT), (ask_rotated, ROTATED)])
def test_compiled_boxes_answer_alike(ask, values: Tensor) -> None:  # type: ignore[no-untyped-def]
    expected = ask(values.clone())
    found = torch.jit.script(ask)(values.clone())
    assert type(found[0]) is type(expected[0])
    assert torch.equal(found[0].tensor, expected[0].tensor)
    assert all(torch.equal(a, b) for a, b in zip(found[1:], expected[1:], strict=True))


def pad(images: list[Tensor]) -> ImageList:
    return ImageList.from_tensors(images, 8, 7.0, {"square_size": 24})


def test_compiled_padding_is_the_same() -> None:
    images = [torch.rand(2, 5, 9), torch.rand(2, 11, 4)]
    expected, found = pad(images), torch.jit.script(pad)(images)
    assert torch.equal(found.tensor, expected.tensor)
    assert found.image_sizes == expected.image_sizes
    assert torch.equal(found[1], images[1])


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_trace_of_padding_holds_for_other_sizes() -> None:
    def padded(images: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        batch = ImageList.from_tensors(images, 4, 7.0)
        return batch.tensor, batch.image_sizes[0], batch.image_sizes[1]  # type: ignore[return-value]

    traced = torch.jit.trace(padded, ([torch.rand(3, 8, 8), torch.rand(3, 5, 7)],))
    images = [torch.rand(3, 6, 13), torch.rand(3, 9, 2)]
    batch, first, second = traced(images)
    expected = ImageList.from_tensors(images, 4, 7.0)
    assert torch.equal(batch, expected.tensor)
    assert [first.tolist(), second.tolist()] == [[6, 13], [9, 2]]
