"""A trained model for images of one size, with outputs of fixed length."""

import torch
from torch import Tensor, nn

from d2seg.export.deployable import DeployableRCNN
from d2seg.export.families import FixedTwoStages, TwoStages
from d2seg.export.static.dense import StaticDenseStage
from d2seg.export.static.stages import (
    StaticBoxStage,
    StaticKeypointStage,
    StaticMaskStage,
    StaticProposalStage,
    grid_sizes,
)


class StaticRCNN(nn.Module):
    """Finds the objects of one image of a fixed size; every shape is known.

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
        check_fixed(model)
        self.size_hw = size_hw
        self.flip_channels = model.flip_channels
        self.register_buffer("pixel_mean", model.pixel_mean)
        self.register_buffer("pixel_std", model.pixel_std)
        self.backbone = model.backbone
        sizes = grid_sizes(model.backbone, size_hw, len(model.pixel_mean))
        detector, points = model.detector, model.keypoints
        self.detector: nn.Module
        if isinstance(detector, TwoStages):
            self.detector = FixedTwoStages(
                StaticProposalStage(detector.proposals, sizes), StaticBoxStage(detector.boxes)
            )
        else:
            self.detector = StaticDenseStage(detector, sizes)
        self.masks = None if model.masks is None else StaticMaskStage(model.masks)
        self.keypoints = None if points is None else StaticKeypointStage(points, size_hw)
        self.requires_grad_(False)
        self.eval()

    def forward(self, image: Tensor, image_size: Tensor) -> tuple[Tensor, ...]:
        """Find the objects of an image.

        Args:
            image: (3, H, W) float, raw values 0..255, H and W those of the canvas.
            image_size: (2,) int64, height and width of the part that the image takes.

        Returns:
            A tuple, without what the model does not have: boxes (D, 4) float, XYXY pixels of the
            canvas; classes (D,) int64; masks (D, 1, h, w) float probabilities within the boxes;
            keypoints (D, K, 3) float, x and y in pixels of the canvas and a score; scores (D,)
            float, falling; image_size (2,) as given; count (1,) int64: only so many of the D
            detections exist, the others are zeros (their masks and keypoints mean nothing).
        """
        size = image_size.to(torch.float32)
        limits = torch.cat([size, size]).reshape(2, 2).flip(1).flatten()
        # Taken apart, so that what follows is another part for XNNPACK: with int8 it fails to lay
        # out a part whose results leave it in both orders of the channels.
        features = [one[0][None] for one in self.backbone(self._prepare(image, size))]
        boxes, scores, classes, counted = self.detector(features, limits)
        outputs = [boxes, classes]
        if self.masks is not None:
            outputs.append(self.masks(features, boxes, classes))
        if self.keypoints is not None:
            outputs.append(self.keypoints(features, boxes))
        count = counted.to(torch.int64).sum(dim=0, keepdim=True)
        return *outputs, scores, image_size.clone(), count

    def _prepare(self, image: Tensor, size: Tensor) -> Tensor:
        """Normalise (3, H, W) and blank what is not image: (1, 3, H, W)."""
        if self.flip_channels:
            image = image.flip(0)
        normalised = (image - self.pixel_mean) / self.pixel_std
        height, width = self.size_hw
        rows = (torch.arange(height, dtype=size.dtype) < size[0]).to(image.dtype)
        columns = (torch.arange(width, dtype=size.dtype) < size[1]).to(image.dtype)
        return (normalised * rows[:, None] * columns[None])[None]


def check_fixed(model: DeployableRCNN) -> None:
    """Refuse a model that cannot have fixed shapes.

    Raises:
        ValueError: Names what is in the way.
    """
    detector = model.detector
    topk = detector.boxes.topk if isinstance(detector, TwoStages) else detector.topk
    if model.full_masks:
        reason = "full_masks asks for masks in the size of the image"
    elif model.resize is not None:
        reason = "resize_inside asks for images of any size; a .pte is given letterboxed ones"
    elif topk < 1:
        reason = f"TEST.DETECTIONS_PER_IMAGE is {topk} here; set a limit above 0"
    else:
        return
    raise ValueError(f"A file of the format pte has fixed shapes, but {reason}.")


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
