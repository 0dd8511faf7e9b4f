"""What is known of a feature map before it is computed."""

from dataclasses import dataclass


@dataclass
class ShapeSpec:
    """Shape of a feature map; None where it is not known.

    Attributes:
        channels: Number of channels.
        height: Height in cells.
        width: Width in cells.
        stride: Input pixels from one cell to the next.
    """

    channels: int | None = None
    height: int | None = None
    width: int | None = None
    stride: int | None = None
