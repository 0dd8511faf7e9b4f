"""Images of different sizes in one padded tensor."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from d2seg.core.structures.script_types import Device

# Any sequence will do; TorchScript compiles for lists.
if TYPE_CHECKING:
    Images = Sequence[Tensor]
else:
    Images = list[Tensor]


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
        tensors: Images,
        size_divisibility: int = 0,
        pad_value: float = 0.0,
        padding_constraints: dict[str, int] | None = None,
    ) -> "ImageList":
        """Pad images to a common size and stack them.

        In a trace the sizes are tensors (2,), so that it holds for images of other sizes.

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
        divisor, square_size = size_divisibility, 0
        if padding_constraints is not None:
            divisor = padding_constraints.get("size_divisibility", size_divisibility)
            square_size = padding_constraints.get("square_size", 0)
        if not torch.jit.is_scripting() and torch.jit.is_tracing():
            return _traced(tensors, divisor, square_size, pad_value)
        sizes_hw = [(image.shape[-2], image.shape[-1]) for image in tensors]
        height, width = _common_size(sizes_hw, square_size, divisor)
        shape = [len(tensors)] + list(tensors[0].shape[:-2]) + [height, width]
        batch = tensors[0].new_full(shape, pad_value)
        for index, image in enumerate(tensors):
            batch[index, ..., : image.shape[-2], : image.shape[-1]] = image
        return ImageList(batch, sizes_hw)

    @property
    def device(self) -> Device:
        """Where the batch is."""
        return self.tensor.device

    @torch.jit.unused
    def to(self, *args: Any, **kwargs: Any) -> "ImageList":
        """Return the batch after ``tensor.to(...)``."""
        return ImageList(self.tensor.to(*args, **kwargs), self.image_sizes)

    def __getitem__(self, idx: int) -> Tensor:
        """Return one image without its padding, (H_i, W_i) or (C, H_i, W_i), as a view."""
        height, width = self.image_sizes[idx]
        return self.tensor[idx, ..., :height, :width]

    def __len__(self) -> int:
        return len(self.image_sizes)


def _traced(
    tensors: Sequence[Tensor], divisor: int, square_size: int, pad_value: float
) -> ImageList:
    """Pad and stack with every size taken from the images, as a trace needs it."""
    sizes_hw = [torch.stack([torch.as_tensor(n) for n in image.shape[-2:]]) for image in tensors]
    common = torch.stack(sizes_hw).amax(dim=0)
    if square_size > 0:
        common = torch.full_like(common, square_size)
    if divisor > 1:
        common = (common + (divisor - 1)).div(divisor, rounding_mode="floor") * divisor
    padded = []
    for image, size in zip(tensors, sizes_hw, strict=True):
        below, right = (common - size).unbind()
        padded.append(F.pad(image, [0, right, 0, below], value=pad_value))  # type: ignore[list-item]
    return ImageList(torch.stack(padded), sizes_hw)  # type: ignore[arg-type]


def _require_stackable(tensors: Images) -> None:
    if len(tensors) == 0:
        raise ValueError("ImageList.from_tensors needs at least one image; found none.")
    leading = list(tensors[0].shape[:-2])
    for index, image in enumerate(tensors):
        if image.dim() < 2 or list(image.shape[:-2]) != leading:
            raise ValueError(
                "ImageList.from_tensors needs images (H, W) or (C, H, W) with equal C; image 0 is "
                f"{list(tensors[0].shape)} and image {index} is {list(image.shape)}."
            )


def _common_size(
    sizes_hw: list[tuple[int, int]], square_size: int, divisor: int
) -> tuple[int, int]:
    height, width = max([size[0] for size in sizes_hw]), max([size[1] for size in sizes_hw])
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
