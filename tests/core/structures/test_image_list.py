"""ImageList: padding to a common size."""

import pytest
import torch

from d2seg.core.structures import ImageList


def test_padding_is_at_the_right_and_the_bottom() -> None:
    images = ImageList.from_tensors([torch.ones(3, 4, 7), torch.ones(3, 6, 5)], pad_value=9.0)
    assert images.tensor.shape == (2, 3, 6, 7)
    assert images.image_sizes == [(4, 7), (6, 5)]
    assert images.tensor[0, :, 4:].eq(9).all() and images.tensor[1, :, :, 5:].eq(9).all()
    assert images[0].shape == (3, 4, 7) and images[0].eq(1).all()
    assert len(images) == 2


def test_one_image_is_padded_too() -> None:
    assert ImageList.from_tensors([torch.ones(3, 4, 7)], 4).tensor.shape == (1, 3, 4, 8)


def test_maps_without_channels() -> None:
    images = ImageList.from_tensors([torch.ones(4, 7), torch.ones(6, 5)])
    assert images.tensor.shape == (2, 6, 7)
    assert images[1].shape == (6, 5)


@pytest.mark.parametrize(
    ("divisibility", "constraints", "expected"),
    [
        (32, None, (800, 1344)),
        (32, {"size_divisibility": 0}, (800, 1333)),
        (0, {"square_size": 1400}, (1400, 1400)),
        (0, {"square_size": 1400, "size_divisibility": 64}, (1408, 1408)),
    ],
)
def test_constraints(
    divisibility: int, constraints: dict[str, int] | None, expected: tuple[int, int]
) -> None:
    image = torch.zeros(1, 800, 1333)
    images = ImageList.from_tensors([image], divisibility, padding_constraints=constraints)
    assert images.tensor.shape[-2:] == expected


def test_types_are_kept_and_to_moves() -> None:
    images = ImageList.from_tensors([torch.zeros(2, 3, dtype=torch.uint8)])
    assert images.tensor.dtype == torch.uint8
    assert images.to(dtype=torch.float64).tensor.dtype == torch.float64
    assert images.device == torch.device("cpu")


def test_what_cannot_be_stacked() -> None:
    with pytest.raises(ValueError, match="found none"):
        ImageList.from_tensors([])
    with pytest.raises(ValueError, match=r"image 1 is \[1, 4, 4\]"):
        ImageList.from_tensors([torch.zeros(3, 4, 4), torch.zeros(1, 4, 4)])
    with pytest.raises(ValueError, match="does not fit the square of 64"):
        ImageList.from_tensors([torch.zeros(3, 65, 4)], padding_constraints={"square_size": 64})
