"""Copy-paste: objects of one image, cut out along their masks and put into another.

Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation",
CVPR 2021 (arXiv:2012.07177), section 3.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from d2seg.framework import BitMasks, Instances

MIN_VISIBLE_PIXELS = 10
MIN_VISIBLE_SHARE = 0.1
"""An object that lost pixels is kept if it has at least so many, and so large a share, left."""


class CopyPasteMapper:
    """Maps an image and, sometimes, pastes objects of another image into it.

    Which other image, and which of its objects, is drawn from NumPy's global generator.

    Args:
        mapper: Maps one image. Its ``instances`` have ``gt_boxes``, ``gt_classes`` and, unless
            there are none, ``gt_masks`` as BitMasks.
        images: Where the other image is drawn from, as dicts that the mapper takes.
        probability: Of pasting, 0 to 1.
        max_objects: See `paste_objects`.
        blend_sigma: See `paste_objects`.
        ignore_label: See `paste_objects`.
    """

    def __init__(
        self,
        mapper: Callable[[dict[str, Any]], dict[str, Any]],
        images: Sequence[dict[str, Any]],
        probability: float,
        *,
        max_objects: int = 0,
        blend_sigma: float = 0.0,
        ignore_label: int = 255,
    ) -> None:
        self.mapper = mapper
        self.images = images
        self.probability = probability
        self.max_objects = max_objects
        self.blend_sigma = blend_sigma
        self.ignore_label = ignore_label

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """Map one image.

        Args:
            dataset_dict: As a data set gives it. Not modified.

        Returns:
            What the mapper returns. Where something was pasted, ``pasted_from`` is the name of the
            other file. An image without annotations, not even an empty list, stays as it is.
        """
        target = self.mapper(dataset_dict)
        if "instances" not in target or np.random.uniform() >= self.probability:
            return target
        source = self.mapper(self._draw_other(dataset_dict["file_name"]))
        if "instances" not in source:
            return target
        return paste_objects(
            target,
            source,
            max_objects=self.max_objects,
            blend_sigma=self.blend_sigma,
            ignore_label=self.ignore_label,
        )

    def _draw_other(self, file_name: str) -> dict[str, Any]:
        """Return any image but this one, or this one if there is no other."""
        index = int(np.random.randint(len(self.images)))
        drawn = self.images[index]
        if drawn["file_name"] != file_name:
            return drawn
        return self.images[(index + 1) % len(self.images)]


def paste_objects(
    target: dict[str, Any],
    source: dict[str, Any],
    *,
    max_objects: int = 0,
    blend_sigma: float = 0.0,
    ignore_label: int = 255,
) -> dict[str, Any]:
    """Put a random subset of the objects of one mapped image on top of another.

    The top left corners of both images are laid on each other; what of the source is beyond the
    target is cut off. Objects that lost nearly all their pixels, by the cut or below others, are
    dropped; what is still to be seen of them then belongs to no object.

    Args:
        target: ``image`` (C, H, W), ``instances`` with ``gt_classes`` and ``gt_masks`` (BitMasks),
            and where there is one ``sem_seg`` (H, W). Not modified.
        source: Likewise, of any height and width; ``file_name`` is read. Not modified.
        max_objects: At most so many objects are pasted; 0 for no limit. How many is drawn evenly
            from 1 to what is possible.
        blend_sigma: Pixels; the outline of what is pasted fades over about this width (Gaussian).
            0 for hard edges, where each pixel is of one of the images alone.
        ignore_label: What ``sem_seg`` gets below pasted objects if the source has none.

    Returns:
        The target with new ``image``, ``sem_seg`` and ``instances``: first its own objects without
        what is now covered, then the pasted ones; boxes are those around the masks. ``pasted_from``
        is the source's ``file_name``. If the source has no object to paste, the target itself.
    """
    own, other = target["instances"], source["instances"]
    candidates = _fit(_masks(other), own.image_size)
    chosen = _draw_subset(_still_visible(_masks(other), candidates), max_objects)
    if len(chosen) == 0:
        return target
    pasted = candidates[chosen]
    covered = torch.from_numpy(pasted.numpy().any(axis=0))
    left = _masks(own) & ~covered
    keep = _still_visible(_masks(own), left)
    merged = {
        "image": _paste_pixels(target["image"], source["image"], covered, blend_sigma),
        "instances": _instances(
            torch.cat([left[keep], pasted]),
            torch.cat([own.gt_classes[keep], other.gt_classes[chosen]]),
        ),
        "pasted_from": source["file_name"],
    }
    if "sem_seg" in target:
        labels = source.get("sem_seg", torch.full(other.image_size, ignore_label))
        merged["sem_seg"] = _paste_pixels(target["sem_seg"], labels, covered, 0.0)
    return {**target, **merged}


def _masks(instances: Any) -> Tensor:
    """Return (N, H, W) bool, also where there are no objects and therefore no masks."""
    if not instances.has("gt_masks"):
        return torch.zeros((0, *instances.image_size), dtype=torch.bool)
    return instances.gt_masks.tensor


def _fit(masks: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Cut masks (N, h, w) at the right and the bottom, or add to them there, to this size."""
    if tuple(masks.shape[1:]) == tuple(size_hw):
        return masks
    fitted = masks.new_zeros((len(masks), *size_hw))
    seen = masks[:, : size_hw[0], : size_hw[1]]
    fitted[:, : seen.shape[1], : seen.shape[2]] = seen
    return fitted


def _still_visible(before: Tensor, after: Tensor) -> Tensor:
    """Return (N,) bool: which masks are whole or have enough left."""
    pixels_before, pixels = _areas(before), _areas(after)
    enough = (pixels >= MIN_VISIBLE_PIXELS) & (pixels >= MIN_VISIBLE_SHARE * pixels_before)
    return enough | (pixels == pixels_before)


def _areas(masks: Tensor) -> Tensor:
    """Return the number of pixels of each mask (N, H, W)."""
    # NumPy counts booleans of one array 90 times as fast as torch sums them.
    counts = [np.count_nonzero(mask) for mask in masks.numpy()]
    return torch.tensor(counts, dtype=torch.int64)


def _draw_subset(candidates: Tensor, max_objects: int) -> Tensor:
    """Return the indices, in order, of some of the objects that are marked in (N,) bool."""
    indices = np.flatnonzero(candidates.numpy())
    most = min(len(indices), max_objects) if max_objects else len(indices)
    if most == 0:
        return torch.zeros(0, dtype=torch.int64)
    count = np.random.randint(1, most + 1)
    return torch.from_numpy(np.sort(np.random.permutation(indices)[:count]))


def _paste_pixels(target: Tensor, source: Tensor, covered: Tensor, sigma: float) -> Tensor:
    """Return (..., H, W) with values of (..., h, w) where (H, W) says so."""
    height, width = (min(sizes) for sizes in zip(target.shape[-2:], source.shape[-2:], strict=True))
    new = target.clone()
    below, above = (values[..., :height, :width] for values in (new, source))
    covered = covered[:height, :width]
    if sigma == 0:
        below[...] = torch.where(covered, above, below)
        return new
    mixed = torch.lerp(below.float(), above.float(), _soften(covered, sigma))
    below[...] = mixed if new.is_floating_point() else mixed.round()
    return new


def _soften(covered: Tensor, sigma: float) -> Tensor:
    """Return the share, 0 to 1, that each pixel has of a region blurred by a Gaussian."""
    region = Image.fromarray(covered.numpy().astype(np.uint8) * 255)
    blurred = np.array(region.filter(ImageFilter.GaussianBlur(sigma)))
    return torch.from_numpy(blurred).float() / 255


def _instances(masks: Tensor, classes: Tensor) -> Any:
    """Return the objects with these masks (N, H, W)."""
    height, width = masks.shape[1:]
    held = BitMasks(masks)
    return Instances(
        (height, width), gt_boxes=held.get_bounding_boxes(), gt_classes=classes, gt_masks=held
    )
