"""What one-stage detectors share."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from d2seg.core.modeling import training_pictures
from d2seg.core.modeling.backbone import Backbone
from d2seg.core.modeling.losses import Losses
from d2seg.core.modeling.meta_arch.image_model import ImageModel, output_size
from d2seg.core.modeling.postprocessing import detector_postprocess
from d2seg.core.ops.dense import flatten_levels
from d2seg.core.structures import ImageList, Instances


def permute_to_N_HWA_K(tensor: Tensor, K: int) -> Tensor:
    """Bring maps (B, A * K, H, W) into anchor order: (B, H * W * A, K)."""
    return flatten_levels(tensor, K)


class DenseDetector(ImageModel):
    """Base of detectors that predict at every cell of a pyramid.

    Args:
        backbone: From images to features.
        head: From the levels, a list of (B, C, H_l, W_l), to tuples of maps for each level.
        head_in_features: Names of the levels, finest first; None for all of the backbone.
        **kwargs: As of `ImageModel`.
    """

    head: Any

    def __init__(
        self,
        backbone: Backbone,
        head: nn.Module,
        head_in_features: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(backbone=backbone, **kwargs)
        self.head = head
        shapes = self.backbone.output_shape()
        names = shapes if head_in_features is None else head_in_features
        self.head_in_features = sorted(names, key=lambda name: shapes[name].stride or 0)

    def training_losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Compute the training losses; inputs need ``instances`` with boxes and classes."""
        targets = self.targets(batched_inputs)
        images = self.preprocess_image(batched_inputs)
        levels = self._levels(images)
        predictions = self.head(levels)
        losses = Losses(self.forward_training(images, levels, predictions, targets))
        losses.publish()
        if training_pictures.is_due(self.vis_period):
            with torch.no_grad():
                results = self.forward_inference(images, levels, predictions)
            self.visualize_training(batched_inputs, results)
        return losses

    def visualize_training(
        self, batched_inputs: list[dict[str, Any]], results: list[Instances]
    ) -> None:
        """Give the active EventStorage a picture of the first image's objects and detections.

        Args:
            batched_inputs: With ``instances``.
            results: For each image, with ``pred_boxes``, best first.
        """
        name = "Left: GT bounding boxes;  Right: Predicted results"
        training_pictures.put_boxes(
            name, batched_inputs[0], self.input_format, results[0].pred_boxes
        )

    def inference(
        self, batched_inputs: list[dict[str, Any]], do_postprocess: bool = True
    ) -> list[Any]:
        """Detect objects.

        Returns:
            For each image ``{"instances": Instances}`` of the wanted size; without postprocessing
            Instances in pixels of ``image``.
        """
        images = self.preprocess_image(batched_inputs)
        levels = self._levels(images)
        results = self.forward_inference(images, levels, self.head(levels))
        if not do_postprocess:
            return results
        return [
            {"instances": detector_postprocess(result, *output_size(one, size_hw))}
            for result, one, size_hw in zip(
                results, batched_inputs, images.image_sizes, strict=True
            )
        ]

    def forward_training(
        self,
        images: ImageList,
        features: list[Tensor],
        predictions: Any,
        gt_instances: list[Instances],
    ) -> Any:
        """Compute the losses of the head's predictions."""
        raise NotImplementedError(f"{type(self).__name__} must define forward_training().")

    def forward_inference(
        self, images: ImageList, features: list[Tensor], predictions: Any
    ) -> list[Instances]:
        """Compute the detections of each image from the head's predictions."""
        raise NotImplementedError(f"{type(self).__name__} must define forward_inference().")

    def _levels(self, images: ImageList) -> list[Tensor]:
        features = self.backbone(images.tensor)
        return [features[name] for name in self.head_in_features]


def in_anchor_order(maps: Sequence[Tensor], values: int) -> list[Tensor]:
    """Bring maps (B, A * values, H_l, W_l) of each level to (B, H_l * W_l * A, values)."""
    return [flatten_levels(level, values) for level in maps]
