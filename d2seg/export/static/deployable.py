"""A trained model for images of one size, with outputs of fixed length."""

import torch
from torch import Tensor, nn

from d2seg.export.deployable import DeployableRCNN
from d2seg.export.families import TwoStages
from d2seg.export.static.stages import (
    StaticBoxStage,
    StaticMaskStage,
    StaticProposalStage,
    grid_sizes,
)

PROPOSAL_STEPS = 24
"""Steps of the NMS of the proposals; more than the chains of overlaps in real images are long."""

BOX_STEPS = 16
"""Likewise of the detections."""


class StaticRCNN(nn.Module):
    """Detects and segments the objects of one image of a fixed size; every shape is known.

    The image stands at the top left of the canvas; what is right of it and below is ignored, as
    detectron2 ignores the padding of a smaller image in a batch.

    Args:
        model: The dynamic model; its layers are shared.
        size_hw: Height and width of the canvas, multiples of ``model.size_divisibility``.

    Raises:
        ValueError: The size is no such multiple, or the model cannot have fixed shapes.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, model: DeployableRCNN, size_hw: tuple[int, int]) -> None:
        super().__init__()
        check_size(size_hw, model.size_divisibility)
        detector = check_fixed(model)
        self.size_hw = size_hw
        self.flip_channels = model.flip_channels
        self.register_buffer("pixel_mean", model.pixel_mean)
        self.register_buffer("pixel_std", model.pixel_std)
        self.backbone = model.backbone
        sizes = grid_sizes(model.backbone, size_hw, len(model.pixel_mean))
        grids = [sizes[level] for level in detector.proposals.levels]
        self.proposals = StaticProposalStage(detector.proposals, grids, PROPOSAL_STEPS)
        self.boxes = StaticBoxStage(detector.boxes, BOX_STEPS)
        self.masks = None if model.masks is None else StaticMaskStage(model.masks)
        self.requires_grad_(False)
        self.eval()

    def forward(self, image: Tensor, image_size: Tensor) -> tuple[Tensor, ...]:
        """Find the objects of an image.

        Args:
            image: (3, H, W) float, raw values 0..255, H and W those of the canvas.
            image_size: (2,) int64, height and width of the part that the image takes.

        Returns:
            A tuple, without masks where the model has none: boxes (D, 4) float, XYXY pixels of the
            canvas; classes (D,) int64; masks (D, 1, h, w) float probabilities within the boxes;
            scores (D,) float, falling; image_size (2,) as given; count (1,) int64: only so many of
            the D detections exist, the others are zeros (their masks mean nothing).
        """
        size = image_size.to(torch.float32)
        limits = torch.cat([size, size]).reshape(2, 2).flip(1).flatten()
        # Taken apart, so that what follows is another part for XNNPACK: with int8 it fails to lay
        # out a part whose results leave it in both orders of the channels.
        features = [one[0][None] for one in self.backbone(self._prepare(image, size))]
        regions, counted = self.proposals(features, limits)
        boxes, scores, classes, found = self.boxes(features, regions, counted, limits)
        count = found.to(torch.int64).sum(dim=0, keepdim=True)
        masks = () if self.masks is None else (self.masks(features, boxes, classes),)
        return boxes, classes, *masks, scores, image_size.clone(), count

    def _prepare(self, image: Tensor, size: Tensor) -> Tensor:
        """Normalise (3, H, W) and blank what is not image: (1, 3, H, W)."""
        if self.flip_channels:
            image = image.flip(0)
        normalised = (image - self.pixel_mean) / self.pixel_std
        height, width = self.size_hw
        rows = (torch.arange(height, dtype=size.dtype) < size[0]).to(image.dtype)
        columns = (torch.arange(width, dtype=size.dtype) < size[1]).to(image.dtype)
        return (normalised * rows[:, None] * columns[None])[None]


def check_fixed(model: DeployableRCNN) -> TwoStages:
    """Refuse a model that cannot have fixed shapes.

    Returns:
        Its detector.

    Raises:
        ValueError: Names the part that is in the way.
    """
    detector, reason = model.detector, ""
    if not isinstance(detector, TwoStages):
        reason = "this one detects without proposals (RetinaNet)"
    elif model.keypoints is not None:
        reason = "this one finds keypoints (MODEL.KEYPOINT_ON)"
    elif model.full_masks:
        reason = "full_masks asks for masks in the size of the image"
    elif model.resize is not None:
        reason = "resize_inside asks for images of any size; a .pte is given letterboxed ones"
    elif detector.boxes.topk < 1:
        reason = f"TEST.DETECTIONS_PER_IMAGE is {detector.boxes.topk} here; set a limit above 0"
    else:
        return detector
    raise ValueError(f"Faster, Mask and Cascade R-CNN can have fixed shapes, but {reason}.")


def check_size(size_hw: tuple[int, int], multiple: int) -> None:
    """Refuse a size of the canvas that the network cannot divide.

    Raises:
        ValueError: A side is not a positive multiple.
    """
    for side, name in zip(size_hw, ("height", "width"), strict=True):
        if side < 1 or side % multiple:
            fitting = max((side + multiple - 1) // multiple, 1) * multiple
            raise ValueError(
                f"The {name} of the file's input is {side}, but this network needs a multiple of "
                f"{multiple}, such as {fitting}."
            )
