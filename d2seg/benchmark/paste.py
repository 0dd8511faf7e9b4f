"""Task ``paste``: masks of many objects brought into a large image."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.roi_heads import paste_masks_in_image

from d2seg.benchmark.comparison import Comparison, compare
from d2seg.benchmark.rounds import Contestant, Rounds, time_rounds
from d2seg.postprocess import paste_masks

ONE_BY_ONE = "one by one"
_SIDE, _THRESHOLD = 28, 0.5
_ROUNDED = 1e-6
"""Share of the masks' pixels that may lie so near the threshold that rounding decides."""


class Pasting(NamedTuple):
    """What the rounds say.

    Attributes:
        comparisons: One for each contestant, the baseline first.
        differing: Contestant to how many pixels differ from the baseline's, of all masks.
    """

    comparisons: list[Comparison]
    differing: dict[str, int]


def benchmark_paste(
    objects: int,
    size_hw: tuple[int, int],
    sides: tuple[float, float],
    rounds: Rounds,
    after_round: Callable[[int], None] = lambda done: None,
) -> Pasting:
    """Compare how long it takes to bring masks into an image.

    Args:
        objects: How many masks; at least 1.
        size_hw: Height and width of the image.
        sides: Bounds of the sides of boxes, in shares of those of the image.
        rounds: How often each is timed.
        after_round: Is told how many rounds are done.

    Raises:
        ValueError: A number is out of range.
        RuntimeError: Core pastes other pixels than come out one by one.
    """
    masks, boxes = _make_objects(objects, size_hw, sides)
    runs: dict[str, Callable[[], Tensor]] = {
        ONE_BY_ONE: lambda: _paste_one_by_one(masks, boxes, size_hw),
        "torchvision": lambda: _paste_by_torchvision(masks, boxes, size_hw),
        "core": lambda: paste_masks(masks, boxes, size_hw, _THRESHOLD),
    }
    expected = runs[ONE_BY_ONE]()
    differing = {name: int((run() != expected).sum()) for name, run in runs.items()}
    if differing["core"] > _ROUNDED * int(expected.sum()):
        raise RuntimeError(
            f"{differing['core']} pixels differ from those that come out one by one; the figures "
            "would compare different work."
        )
    del expected
    # A result of a gigabyte is freed within the round, as a user frees it.
    contestants = [Contestant(name, _without_result(run)) for name, run in runs.items()]
    times = time_rounds(contestants, rounds, after_round=after_round)
    return Pasting(compare(times, ONE_BY_ONE, 1), differing)


def _without_result(run: Callable[[], Tensor]) -> Callable[[], None]:
    def run_and_free() -> None:
        run()

    return run_and_free


def _make_objects(
    number: int, size_hw: tuple[int, int], sides: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Make up masks (N, 28, 28), uneven ellipses that fill their boxes, and boxes (N, 4) XYXY."""
    if number < 1:
        raise ValueError(f"The number of objects must be at least 1, got {number}.")
    if min(size_hw) < 1:
        raise ValueError(f"The size of images must be positive, got {size_hw[0]}x{size_hw[1]}.")
    low, high = sides
    if not 0 < low <= high <= 1:
        raise ValueError(
            "The sides of boxes are shares of the image's, above 0 and at most 1, the lower first; "
            f"got {low:g} and {high:g}."
        )
    chance = torch.Generator().manual_seed(0)
    image_wh = torch.tensor([size_hw[1], size_hw[0]])
    shares = low + (high - low) * torch.rand(number, 2, generator=chance)
    corners = (1 - shares) * torch.rand(number, 2, generator=chance)
    boxes = torch.cat([corners, corners + shares], dim=1) * image_wh.repeat(2)
    place = torch.linspace(-1, 1, _SIDE).square()
    inside = torch.sigmoid(8 * (1 - place[:, None] - place))
    uneven = inside + 0.1 * torch.randn(number, _SIDE, _SIDE, generator=chance)
    return uneven.clamp(0, 1), boxes


def _paste_one_by_one(masks: Tensor, boxes: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Sample each mask at the pixels of its box, as is usual on a CPU: (N, H, W) bool."""
    height, width = size_hw
    pasted = torch.zeros(len(masks), height, width, dtype=torch.bool)
    for mask, (left, top, right, bottom), target in zip(masks, boxes.tolist(), pasted, strict=True):
        columns = slice(max(int(left) - 1, 0), min(int(right) + 2, width))
        rows = slice(max(int(top) - 1, 0), min(int(bottom) + 2, height))
        x = (torch.arange(columns.start, columns.stop) + 0.5 - left) / (right - left) * 2 - 1
        y = (torch.arange(rows.start, rows.stop) + 0.5 - top) / (bottom - top) * 2 - 1
        grid = torch.stack([x.expand(len(y), -1), y[:, None].expand(-1, len(x))], dim=2)
        soft = F.grid_sample(mask[None, None], grid[None], align_corners=False)
        target[rows, columns] = soft[0, 0] >= _THRESHOLD
    return pasted


def _paste_by_torchvision(masks: Tensor, boxes: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Let torchvision paste, which rounds boxes to whole pixels: (N, H, W) bool."""
    soft: Tensor = paste_masks_in_image(masks[:, None], boxes, size_hw)
    return soft[:, 0] >= _THRESHOLD
