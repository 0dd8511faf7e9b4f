"""Pictures of what a model is trained on and what it finds, for the active EventStorage."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from d2seg.core.ops.rotated import rotated_corners
from d2seg.core.runtime.events import get_event_storage, has_event_storage

MOST_BOXES = 20
"""Of the boxes that a model finds, at most so many are drawn."""
_COLOR = (255, 64, 64)


def is_due(period: int) -> bool:
    """Tell whether the current iteration is one to draw, every ``period``; never without storage.

    Args:
        period: ``VIS_PERIOD``; 0 for never.
    """
    return period > 0 and has_event_storage() and get_event_storage().iter % period == 0


def put_boxes(name: str, one_input: dict[str, Any], input_format: str | None, boxes: Any) -> None:
    """Record a picture of an image twice: with its annotated boxes, and with those found.

    Args:
        name: Of the picture.
        one_input: With ``image`` and ``instances``.
        input_format: Order of the channels of ``image``.
        boxes: Boxes or RotatedBoxes found, best first.
    """
    image = _rgb(one_input["image"], input_format)
    annotated = _with_boxes(image, one_input["instances"].gt_boxes.tensor)
    found = _with_boxes(image, boxes.tensor[:MOST_BOXES])
    get_event_storage().put_image(name, torch.cat([annotated, found], dim=2))


def _rgb(image: Tensor, input_format: str | None) -> np.ndarray:
    """Return (H, W, 3) uint8; formats other than BGR are shown as they are."""
    channels = image.flip(0) if input_format == "BGR" else image[:1] if len(image) < 3 else image
    pixels = channels[:3].expand(3, -1, -1).detach().clamp(0, 255)
    return pixels.permute(1, 2, 0).to("cpu", torch.uint8).contiguous().numpy()


def _with_boxes(image: np.ndarray, boxes: Tensor) -> Tensor:
    """Draw boxes (N, 4) XYXY or (N, 5) rotated on a copy of an image: (3, H, W) uint8."""
    from PIL import Image, ImageDraw

    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    boxes = boxes.detach().float().cpu()
    corners = (
        rotated_corners(boxes)
        if boxes.shape[1] == 5
        else boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]]
    )
    for polygon in corners.tolist():
        draw.polygon([(x, y) for x, y in polygon], outline=_COLOR, width=2)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)
