"""Images of different sizes in one padded tensor."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


class ImageList:
    """A batch of images of different sizes, padded at the right and the bottom.

    Attributes:
        tensor: (N, H, W) or (N, C, H, W); H and W are those of the largest image, rounded up.
        image_sizes: Height and width of each image before padding.
    """

    def __init__(self, tensor: Tensor, image_sizes: list[tuple[int, int]]) -> None:
        """Hold an already padded batch."""
        self.tensor = tensor
        self.image_sizes = image_sizes

    @staticmethod
    def from_tensors(
        tensors: Sequence[Tensor],
        size_divisibility: int = 0,
        pad_value: float = 0.0,
        padding_constraints: Mapping[str, int] | None = None,
    ) -> "ImageList":
        """Pad images to a common size and stack them.

        Args:
            tensors: Images (H_i, W_i) or (C, H_i, W_i), all of one type and device.
            size_divisibility: The common height and width become multiples of this (0, 1: as is).
            pad_value: What the padding is filled with.
            padding_constraints: ``size_divisibility`` takes the place of the argument above;
                ``square_size``, when positive, is the height and width to pad to.

        Raises:
            ValueError: No image, images that differ in more than height and width, or an image
                that is larger than ``square_size``.
        """
        _require_stackable(tensors)
        constraints = padding_constraints or {}
        sizes_hw = [(int(image.shape[-2]), int(image.shape[-1])) for image in tensors]
        divisor = constraints.get("size_divisibility", size_divisibility)
        height, width = _common_size(sizes_hw, constraints.get("square_size", 0), divisor)
        leading = tensors[0].shape[:-2]
        batch = tensors[0].new_full((len(tensors), *leading, height, width), pad_value)
        for padded, image in zip(batch, tensors, strict=True):
            padded[..., : image.shape[-2], : image.shape[-1]] = image
        return ImageList(batch, sizes_hw)

    @property
    def device(self) -> torch.device:
        """Where the batch is."""
        return self.tensor.device

    def to(self, *args: Any, **kwargs: Any) -> "ImageList":
        """Return the batch after ``tensor.to(...)``."""
        return ImageList(self.tensor.to(*args, **kwargs), self.image_sizes)

    def __getitem__(self, idx: int) -> Tensor:
        """Return one image without its padding, (H_i, W_i) or (C, H_i, W_i), as a view."""
        height, width = self.image_sizes[idx]
        return self.tensor[idx, ..., :height, :width]

    def __len__(self) -> int:
        return len(self.image_sizes)


def _require_stackable(tensors: Sequence[Tensor]) -> None:
    if len(tensors) == 0:
        raise ValueError("ImageList.from_tensors needs at least one image; found none.")
    for index, image in enumerate(tensors):
        if image.ndim < 2 or image.shape[:-2] != tensors[0].shape[:-2]:
            raise ValueError(
                "ImageList.from_tensors needs images (H, W) or (C, H, W) with equal C; image 0 is "
                f"{tuple(tensors[0].shape)} and image {index} is {tuple(image.shape)}."
            )


def _common_size(
    sizes_hw: list[tuple[int, int]], square_size: int, divisor: int
) -> tuple[int, int]:
    height, width = max(size[0] for size in sizes_hw), max(size[1] for size in sizes_hw)
    if square_size > 0:
        if max(height, width) > square_size:
            raise ValueError(
                f"An image of height {height} or width {width} does not fit the square of "
                f"{square_size} pixels that the padding constraints ask for."
            )
        height = width = square_size
    if divisor > 1:
        height, width = -(-height // divisor) * divisor, -(-width // divisor) * divisor
    return height, width
