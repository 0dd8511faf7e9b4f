"""A trained model for several images of different sizes at once."""

import torch
from torch import Tensor, nn

from d2seg.core.ops.batched_selection import take_rows, top_padded
from d2seg.core.ops.boxes import nonempty
from d2seg.core.ops.static_selection import UNUSABLE, clip_to_limits
from d2seg.export.batched.stages import (
    BatchedBoxStage,
    BatchedDenseStage,
    BatchedKeypointStage,
    BatchedMaskStage,
    BatchedProposalStage,
    Found,
)
from d2seg.export.deformable import Deformable
from d2seg.export.deployable import DeployableRCNN
from d2seg.export.families import FixedTwoStages, TwoStages


class BatchedRCNN(nn.Module):
    """Finds the objects of several images; shapes depend on nothing but the shape of the input.

    Each image stands at the top left of its canvas; what is right of it and below is ignored, as
    detectron2 ignores the padding of a smaller image in a batch.

    Args:
        model: The dynamic model; its layers are shared.

    Raises:
        ValueError: The model has no limit for the number of detections, deformable convolutions,
            or resizes images.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, model: DeployableRCNN) -> None:
        super().__init__()
        check_batched(model)
        self.flip_channels = model.flip_channels
        self.size_divisibility = model.size_divisibility
        self.register_buffer("pixel_mean", model.pixel_mean)
        self.register_buffer("pixel_std", model.pixel_std)
        self.backbone = model.backbone
        detector = model.detector
        self.detector: nn.Module
        if isinstance(detector, TwoStages):
            self.detector = FixedTwoStages(
                BatchedProposalStage(detector.proposals), BatchedBoxStage(detector.boxes)
            )
        else:
            self.detector = BatchedDenseStage(detector)
        self.masks = None if model.masks is None else BatchedMaskStage(model.masks)
        self.keypoints = None if model.keypoints is None else BatchedKeypointStage(model.keypoints)
        self.requires_grad_(False)
        self.eval()

    def detect(
        self, images: Tensor, sizes: Tensor
    ) -> tuple[list[Tensor], Tensor, Tensor, Tensor, Tensor]:
        """Find the boxes of the objects.

        Args:
            images: (B, 3, H, W) float, raw values 0..255.
            sizes: (B, 2) int64, height and width that each image takes at the top left.

        Returns:
            The maps of the backbone, for what else is asked about the objects; boxes (B, D, 4)
            float, XYXY pixels within each image and not empty; classes (B, D) int64; scores (B, D)
            float, falling; which of them exist, (B, D) bool. What does not exist is all zeros.
        """
        size = sizes.to(torch.float32)
        limits = torch.cat([size.flip(1), size.flip(1)], dim=1)
        features = self.backbone(self._prepare(images, sizes))
        found: Found = self.detector(features, limits)
        boxes = clip_to_limits(found.boxes, limits[:, None])
        scores = torch.where(nonempty(boxes), found.scores, UNUSABLE)
        scores, order, _ = top_padded(scores, scores.shape[1])
        counted = scores > UNUSABLE
        classes = found.classes.gather(1, order) * counted
        return (
            features,
            take_rows(boxes, order, counted),
            classes,
            torch.where(counted, scores, 0.0),
            counted,
        )

    def _prepare(self, images: Tensor, sizes: Tensor) -> Tensor:
        """Normalise (B, 3, H, W), blank what is not image, and pad to what the network divides."""
        if self.flip_channels:
            images = images.flip(1)
        normalised = (images - self.pixel_mean) / self.pixel_std
        height, width = images.shape[2], images.shape[3]
        rows = torch.arange(height, device=sizes.device) < sizes[:, :1]  # [B,H]
        columns = torch.arange(width, device=sizes.device) < sizes[:, 1:]  # [B,W]
        within = rows[:, None, :, None] & columns[:, None, None, :]
        blanked = torch.where(within, normalised, 0.0)
        multiple = self.size_divisibility
        # In this form an exporter sees that the sides are multiples.
        bottom = (height + multiple - 1) // multiple * multiple - height
        right = (width + multiple - 1) // multiple * multiple - width
        return torch.constant_pad_nd(blanked, [0, right, 0, bottom], 0.0)


def check_batched(model: DeployableRCNN) -> None:
    """Refuse a model that cannot have lists of one length.

    Raises:
        ValueError: Says what is in the way.
    """
    detector = model.detector
    topk = detector.boxes.topk if isinstance(detector, TwoStages) else detector.topk
    if topk < 1:
        raise ValueError(
            f"The file needs a limit for its detections, but TEST.DETECTIONS_PER_IMAGE is {topk}; "
            "set max_detections."
        )
    if any(isinstance(module, Deformable) for module in model.backbone.modules()):
        raise ValueError(
            "A model with deformable convolutions (MODEL.RESNETS.DEFORM_ON_PER_STAGE) can become a "
            "file of format 'ptl', not 'onnx' or 'openvino'."
        )
    if model.full_masks and model.whole_pixel_masks:
        raise ValueError(
            "full_masks is not for this model in a file of format 'onnx' or 'openvino': its masks "
            "are pasted into whole pixels (MODEL.ROI_MASK_HEAD.WHOLE_PIXELS), which the file "
            "cannot; leave full_masks out, and d2seg.Predictor pastes them."
        )
    if model.resize is not None:
        raise ValueError(
            "resize_inside is for files of format 'ptl'; other files take resized images."
        )
