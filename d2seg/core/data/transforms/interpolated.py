"""Resizing images for testing: as detectron2 does, or by plain interpolation."""

import numpy as np
import torch
from fvcore.transforms.transform import NoOpTransform, Transform

from d2seg.core.config import CfgNode
from d2seg.core.data.transforms.random_resize import ResizeShortestEdge
from d2seg.core.data.transforms.resize import ResizeTransform
from d2seg.core.ops.resize import resize_by_interpolation, shortest_edge_size_below

RESIZINGS = ("pillow", "interpolate")
"""Values of ``INPUT.RESIZE_TEST``."""


class InterpolatedResizeTransform(ResizeTransform):
    """A change of size that neither smooths images nor rounds their values."""

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """Resize an image bilinearly.

        Args:
            img: (H, W, C) numbers. Not modified.
            interp: A Pillow resampling filter; with one, it is resized as `ResizeTransform` does.

        Returns:
            (new_h, new_w, C) float32.
        """
        if interp is not None or img.ndim != 3:
            return super().apply_image(img, interp)
        planes = torch.from_numpy(np.ascontiguousarray(img.transpose(2, 0, 1))).float()
        resized = resize_by_interpolation(planes, (self.new_h, self.new_w))
        return resized.numpy().transpose(1, 2, 0)


class InterpolatedShortestEdge(ResizeShortestEdge):
    """Resize the shorter edge to a length by interpolation, with sizes rounded down."""

    def get_transform(self, image: np.ndarray) -> Transform:
        """Compute the size of an image (H, W, C)."""
        height, width = image.shape[:2]
        length = self._sample_length()
        if length == 0:
            return NoOpTransform()
        new_hw = shortest_edge_size_below(height, width, length, self.max_size)
        return InterpolatedResizeTransform(height, width, *new_hw)


def build_test_resizing(cfg: CfgNode) -> ResizeShortestEdge:
    """Build the policy that brings images to the size a model is tested in.

    Args:
        cfg: ``INPUT.MIN_SIZE_TEST``, ``INPUT.MAX_SIZE_TEST`` and, where there is one,
            ``INPUT.RESIZE_TEST`` are read.

    Raises:
        ValueError: ``INPUT.RESIZE_TEST`` is neither ``pillow`` nor ``interpolate``.
    """
    kind = cfg.INPUT.get("RESIZE_TEST", RESIZINGS[0])
    if kind not in RESIZINGS:
        raise ValueError(f"INPUT.RESIZE_TEST is '{kind}'; use one of {', '.join(RESIZINGS)}.")
    policy = ResizeShortestEdge if kind == "pillow" else InterpolatedShortestEdge
    return policy(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST, "choice")
