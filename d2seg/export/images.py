"""The images that an exported file is verified on."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

import d2seg.assets
from d2seg.framework import CfgNode
from d2seg.images import find_images, load_image, prepare_image
from d2seg.postprocess import resize_shortest_edge

SHIPPED_IMAGES = Path(d2seg.assets.__file__).parent / "images"
NUM_SHIPPED = 2
"""How many of the shipped images are used when none are named."""
OTHER_SCALE = 0.75
"""Scale of the second size that the first image is tried in."""
GRAIN = 2.0
"""Standard deviation of the noise in the blank image, like that of a camera's sensor."""


def verification_images(cfg: CfgNode, inputs: Sequence[str | Path] | None = None) -> list[Tensor]:
    """Prepare real images, the first of them in a second size and shape, and one without objects.

    Args:
        cfg: Gives the order of the channels and the size for testing.
        inputs: Images, folders or patterns; by default some of the shipped images.

    Returns:
        Each (3, H, W) float, raw pixels 0..255 in ``cfg.INPUT.FORMAT`` order.

    Raises:
        FileNotFoundError, ValueError: An input does not exist or is not an image.
    """
    paths = find_images(inputs) if inputs else find_images([SHIPPED_IMAGES])[:NUM_SHIPPED]
    images: list[Tensor] = [
        prepare_image(load_image(path, cfg.INPUT.FORMAT), cfg)["image"] for path in paths
    ]
    return [*images, _other_size(images[0]), _blank_like(images[0])]


def _other_size(image: Tensor) -> Tensor:
    """Cut (3, H, W) to another aspect ratio and shrink it."""
    height, width = image.shape[1:]
    cut = image[:, : max(height * 4 // 5, 1), :]
    return resize_shortest_edge(
        cut, max(int(min(cut.shape[1:]) * OTHER_SCALE), 1), max(height, width)
    )


def _blank_like(image: Tensor) -> Tensor:
    """Make an image of the size of (3, H, W) that shows nothing but its background with grain.

    Without the grain every place would look the same: a network that still finds objects there
    gives them exactly equal scores, and any rounding picks others of them.
    """
    background = image.flatten(1).median(dim=1).values[:, None, None]
    grain = torch.randn(image.shape, generator=torch.Generator().manual_seed(0)) * GRAIN
    return (background + grain).round().clamp(0, 255)
