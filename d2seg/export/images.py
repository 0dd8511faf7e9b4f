"""The images that an exported file is verified on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import d2seg.assets
from d2seg.export.eager import Prepare
from d2seg.framework import CfgNode
from d2seg.images import find_images, load_image, prepare_image
from d2seg.postprocess import resize_shortest_edge

SHIPPED_IMAGES = Path(d2seg.assets.__file__).parent / "images"
NUM_SHIPPED = 2
"""How many of the shipped images are used when none are named."""
OTHER_SCALE = 0.75
"""Scale of the second size that the first image is tried in."""
HUGE_SCALE = 1.5
"""Scale of the huge image, beyond any size that the model was tested with."""
TINY_HW = (17, 23)
"""Height and width of the tiny image."""
GRAIN = 2.0
"""Standard deviation of the noise in the blank image, like that of a camera's sensor."""


def verification_images(
    cfg: CfgNode, inputs: Sequence[str | Path] | None = None, resized: bool = True
) -> list[Tensor]:
    """Prepare real images, the first of them in other sizes too, and one without objects.

    Args:
        cfg: Gives the order of the channels and the size for testing.
        inputs: Images, folders or patterns; by default some of the shipped images.
        resized: Bring the images to the size for testing, for a model that does not do it itself.

    Returns:
        Each (3, H, W) float, whole grey values 0..255 in ``cfg.INPUT.FORMAT`` order: the images;
        the first in another shape, huge, and tiny; and last a blank one.

    Raises:
        FileNotFoundError, ValueError: An input does not exist or is not an image.
    """
    paths = find_images(inputs) if inputs else find_images([SHIPPED_IMAGES])[:NUM_SHIPPED]
    images = [_load(path, cfg, resized) for path in paths]
    first = images[0]
    return [*images, _other_size(first), _huge(first), _tiny(first), _blank_like(first)]


def load_images(cfg: CfgNode, inputs: Sequence[str | Path]) -> list[Tensor]:
    """Prepare images as the model's predictor does.

    Args:
        cfg: Gives the order of the channels and the size for testing.
        inputs: Images, folders or patterns.

    Returns:
        Each (3, H, W) float, whole grey values 0..255 in ``cfg.INPUT.FORMAT`` order.

    Raises:
        FileNotFoundError, ValueError: An input does not exist or is not an image.
    """
    return [_load(path, cfg, resized=True) for path in find_images(inputs)]


def predictor_resize(cfg: CfgNode) -> Prepare:
    """Return a function that resizes images as the predictor of a model does.

    Args:
        cfg: Gives ``INPUT.MIN_SIZE_TEST`` and ``INPUT.MAX_SIZE_TEST``.
    """

    def prepare(image: Tensor) -> Tensor:
        pixels = image.to(torch.uint8).permute(1, 2, 0).numpy()
        resized: Tensor = prepare_image(np.ascontiguousarray(pixels), cfg)["image"]
        return resized

    return prepare


def _load(path: Path, cfg: CfgNode, resized: bool) -> Tensor:
    pixels = load_image(path, cfg.INPUT.FORMAT)
    image: Tensor
    if resized:
        image = prepare_image(pixels, cfg)["image"]
    else:
        image = torch.from_numpy(pixels.transpose(2, 0, 1)).float()
    return image


def _other_size(image: Tensor) -> Tensor:
    """Cut (3, H, W) to another aspect ratio and shrink it."""
    height, width = image.shape[1:]
    cut = image[:, : max(height * 4 // 5, 1), :]
    short = max(int(min(cut.shape[1:]) * OTHER_SCALE), 1)
    return resize_shortest_edge(cut, short, max(height, width)).round()


def _huge(image: Tensor) -> Tensor:
    """Enlarge (3, H, W)."""
    longest = int(max(image.shape[1:]) * HUGE_SCALE)
    return resize_shortest_edge(image, longest, longest).round()


def _tiny(image: Tensor) -> Tensor:
    """Cut a piece out of the middle of (3, H, W)."""
    top, left = image.shape[1] // 2, image.shape[2] // 2
    return image[:, top : top + TINY_HW[0], left : left + TINY_HW[1]].contiguous()


def _blank_like(image: Tensor) -> Tensor:
    """Make an image of the size of (3, H, W) that shows nothing but its background with grain.

    Without the grain every place would look the same: a network that still finds objects there
    gives them exactly equal scores, and any rounding picks others of them.
    """
    background = image.flatten(1).median(dim=1).values[:, None, None]
    grain = torch.randn(image.shape, generator=torch.Generator().manual_seed(0)) * GRAIN
    return (background + grain).round().clamp(0, 255)
