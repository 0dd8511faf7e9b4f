"""Pasting masks under detectron2's names."""

import torch
import torch.nn.functional as F
from torch import Tensor

from d2seg.core.ops.masks import paste_masks


def paste_masks_in_image(
    masks: Tensor, boxes: Tensor, image_shape: tuple[int, int], threshold: float = 0.5
) -> Tensor:
    """Resize region masks to their boxes and place them in the image.

    Args:
        masks: (N, h, w) float probabilities in [0, 1].
        boxes: (N, 4) float, XYXY absolute pixels, or Boxes of length N.
        image_shape: Height and width of the image.
        threshold: Pixels at or above it belong to the object; below zero keeps soft masks.

    Returns:
        (N, height, width) bool, or uint8 in [0, 255] for a threshold below zero.
    """
    if not isinstance(boxes, Tensor):
        boxes = boxes.tensor
    return paste_masks(masks.to(boxes.dtype), boxes, image_shape, threshold)


def pad_masks(masks: Tensor, padding: int) -> tuple[Tensor, float]:
    """Put zeros around masks (N, S, S); returns them and how much larger they are."""
    side = masks.shape[-1]
    padded = F.pad(masks.float(), (padding,) * 4)
    return padded, (side + 2 * padding) / side


def scale_boxes(boxes: Tensor, scale: float) -> Tensor:
    """Scale boxes (N, 4) XYXY about their own centres."""
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 * scale
    return torch.cat([center - half, center + half], dim=1)


def paste_mask_in_image_old(
    mask: Tensor, box: Tensor, img_h: int, img_w: int, threshold: float
) -> Tensor:
    """Paste one mask as the first Detectron did, whose boxes hold whole pixels, ends included.

    Args:
        mask: (S, S) float.
        box: (4,) float, XYXY.
        img_h: Height of the image.
        img_w: Width of the image.
        threshold: Pixels above it belong to the object; below zero keeps soft masks.

    Returns:
        (img_h, img_w) uint8: 0 and 1, or 0..255 for a threshold below zero.
    """
    x0, y0, x1, y1 = (int(value) for value in box.to(torch.int32))
    width, height = max(x1 - x0 + 1, 1), max(y1 - y0 + 1, 1)
    resized = F.interpolate(
        mask[None, None].float(), (height, width), mode="bilinear", align_corners=False
    )[0, 0]
    pixels = (resized > threshold) if threshold >= 0 else resized * 255
    image = torch.zeros(img_h, img_w, dtype=torch.uint8)
    top, left, bottom, right = max(y0, 0), max(x0, 0), min(y1 + 1, img_h), min(x1 + 1, img_w)
    if bottom > top and right > left:
        part = pixels[top - y0 : bottom - y0, left - x0 : right - x0]
        image[top:bottom, left:right] = part.to(torch.uint8)
    return image
