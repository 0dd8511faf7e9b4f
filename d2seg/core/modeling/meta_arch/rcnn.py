"""Two-stage detectors: a backbone, proposals, and heads for each region."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from d2seg.core.config import configurable
from d2seg.core.modeling.backbone import Backbone, build_backbone
from d2seg.core.modeling.losses import Losses
from d2seg.core.modeling.meta_arch.build import META_ARCH_REGISTRY
from d2seg.core.modeling.postprocessing import detector_postprocess
from d2seg.core.modeling.proposal_generator import build_proposal_generator
from d2seg.core.modeling.roi_heads import build_roi_heads
from d2seg.core.structures import ImageList, Instances


@META_ARCH_REGISTRY.register()
class GeneralizedRCNN(nn.Module):
    """Faster R-CNN, Mask R-CNN and their kin.

    Args:
        backbone: From images to features.
        proposal_generator: From features to proposals; None when they come with the inputs.
        roi_heads: From proposals to detections.
        pixel_mean: Of each channel, in the order of ``input_format``, subtracted from images.
        pixel_std: Of each channel; images are divided by it.
        input_format: Order of the channels that the model expects, such as ``BGR``.
        vis_period: Accepted as in detectron2; models here never draw.
    """

    backbone: Backbone
    proposal_generator: Any
    roi_heads: Any
    pixel_mean: Tensor
    pixel_std: Tensor

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        proposal_generator: nn.Module | None,
        roi_heads: nn.Module,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        input_format: str | None = None,
        vis_period: int = 0,
    ) -> None:
        super().__init__()
        if len(pixel_mean) != len(pixel_std) or min(pixel_std) <= 0:
            raise ValueError(
                f"MODEL.PIXEL_MEAN is {list(pixel_mean)} and MODEL.PIXEL_STD {list(pixel_std)}, "
                "but they need as many values, and PIXEL_STD values above 0."
            )
        self.backbone = backbone
        self.proposal_generator = proposal_generator
        self.roi_heads = roi_heads
        self.input_format = input_format
        self.vis_period = vis_period
        # Not saved: they follow from the config.
        self.register_buffer(
            "pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), persistent=False
        )
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), persistent=False)

    @classmethod
    def from_config(cls, cfg: Any) -> dict[str, Any]:
        """Map config keys to arguments."""
        backbone = build_backbone(cfg)
        shapes = backbone.output_shape()
        return {
            "backbone": backbone,
            "proposal_generator": build_proposal_generator(cfg, shapes),
            "roi_heads": build_roi_heads(cfg, shapes),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "input_format": cfg.INPUT.FORMAT,
            "vis_period": cfg.VIS_PERIOD,
        }

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.pixel_mean.device

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """Compute losses in training, detections otherwise.

        Args:
            batched_inputs: For each image a dict with ``image``, (C, H, W) in the order of
                ``input_format`` and in 0..255; for training ``instances`` with ``gt_*`` fields;
                for precomputed proposals ``proposals``; for inference optionally ``height`` and
                ``width``, the size in pixels the output should have.

        Returns:
            In training a dict of scalar losses; otherwise for each image a dict with ``instances``.
        """
        if self.training:
            return self.losses(batched_inputs)
        return self.inference(batched_inputs)

    def losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Compute the training losses; their metrics go to the active EventStorage, if any."""
        if any("instances" not in one for one in batched_inputs):
            raise ValueError(
                "Training needs 'instances' in every input; call model.eval() to detect objects."
            )
        images = self.preprocess_image(batched_inputs)
        targets = [one["instances"].to(self.device) for one in batched_inputs]
        features = self.backbone(images.tensor)
        losses = Losses()
        if self.proposal_generator is None:
            proposals = self._given_proposals(batched_inputs)
        else:
            proposals, proposal_losses = self.proposal_generator(images, features, targets)
            losses.add(proposal_losses)
        _, head_losses = self.roi_heads(images, features, proposals, targets)
        losses.add(head_losses)
        losses.publish()
        return losses

    def inference(
        self,
        batched_inputs: list[dict[str, Any]],
        detected_instances: list[Instances] | None = None,
        do_postprocess: bool = True,
    ) -> Any:
        """Detect objects.

        Args:
            batched_inputs: See `forward`.
            detected_instances: Boxes and classes to use instead of detecting them, in pixels of
                ``image``.
            do_postprocess: Rescale to the wanted size and paste the masks.

        Returns:
            For each image ``{"instances": Instances}``; without postprocessing Instances in pixels
            of ``image``, masks as (N, 1, h, w) probabilities.
        """
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        if detected_instances is not None:
            given = [one.to(self.device) for one in detected_instances]
            results = self.roi_heads.forward_with_given_boxes(features, given)
        else:
            if self.proposal_generator is None:
                proposals = self._given_proposals(batched_inputs)
            else:
                proposals, _ = self.proposal_generator(images, features, None)
            results, _ = self.roi_heads(images, features, proposals, None)
        if not do_postprocess:
            return results
        outputs = []
        for result, one, size_hw in zip(results, batched_inputs, images.image_sizes, strict=True):
            height, width = one.get("height", size_hw[0]), one.get("width", size_hw[1])
            outputs.append({"instances": detector_postprocess(result, height, width)})
        return outputs

    def preprocess_image(self, batched_inputs: list[dict[str, Any]]) -> ImageList:
        """Normalise the images and pad them to one batch."""
        images = [
            (_checked_image(one, len(self.pixel_mean)).to(self.device) - self.pixel_mean)
            / self.pixel_std
            for one in batched_inputs
        ]
        return ImageList.from_tensors(
            images,
            self.backbone.size_divisibility,
            padding_constraints=self.backbone.padding_constraints,
        )

    def _given_proposals(self, batched_inputs: list[dict[str, Any]]) -> list[Instances]:
        if any("proposals" not in one for one in batched_inputs):
            raise ValueError(
                "MODEL.PROPOSAL_GENERATOR.NAME is 'PrecomputedProposals', so every input needs "
                "'proposals', but one has none."
            )
        return [one["proposals"].to(self.device) for one in batched_inputs]


def _checked_image(one: dict[str, Any], channels: int) -> Tensor:
    image = one.get("image")
    if not isinstance(image, Tensor) or image.ndim != 3 or image.shape[0] != channels:
        found = f"{tuple(image.shape)}" if isinstance(image, Tensor) else f"{type(image).__name__}"
        raise ValueError(
            f"Every input needs 'image', a tensor ({channels}, height, width) of values in 0..255; "
            f"found {found}."
        )
    return image
