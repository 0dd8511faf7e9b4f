"""Resizing as the first stage of a deployable model."""

from torch import Tensor, nn

from d2seg.core.ops.resize import (
    resize_by_interpolation,
    resize_like_pillow,
    shortest_edge_size,
    shortest_edge_size_below,
)


class ShortestEdge(nn.Module):
    """Resizes an image as the predictor of the model does before the network.

    Args:
        short: Length of the shorter edge, in pixels.
        longest: Limit of the longer edge.
        interpolate: Resize by plain interpolation, with sizes rounded down.

    Raises:
        ValueError: A length is not positive.
    """

    def __init__(self, short: int, longest: int, interpolate: bool = False) -> None:
        super().__init__()
        if min(short, longest) < 1:
            raise ValueError(
                "Resizing inside the file needs INPUT.MIN_SIZE_TEST and INPUT.MAX_SIZE_TEST above "
                f"0, but they are {short} and {longest}."
            )
        self.short, self.longest = short, longest
        self.interpolate = interpolate

    def forward(self, image: Tensor) -> Tensor:
        """Map (3, H, W) float, whole values 0..255, to (3, h, w), whole unless interpolated."""
        height, width = image.shape[1], image.shape[2]
        if self.interpolate:
            below_hw = shortest_edge_size_below(height, width, self.short, self.longest)
            return resize_by_interpolation(image, below_hw)
        size_hw = shortest_edge_size(height, width, self.short, self.longest)
        return resize_like_pillow(image, size_hw)
