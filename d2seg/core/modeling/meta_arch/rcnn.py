"""Two-stage detectors: a backbone, proposals, and heads for each region."""

from typing import Any

import torch
from torch import Tensor, nn

from d2seg.core.config import configurable
from d2seg.core.modeling import training_pictures
from d2seg.core.modeling.backbone import build_backbone
from d2seg.core.modeling.losses import Losses
from d2seg.core.modeling.meta_arch.build import META_ARCH_REGISTRY
from d2seg.core.modeling.meta_arch.image_model import ImageModel, output_size
from d2seg.core.modeling.postprocessing import detector_postprocess
from d2seg.core.modeling.proposal_generator import build_proposal_generator
from d2seg.core.modeling.roi_heads import build_roi_heads
from d2seg.core.structures import ImageList, Instances


@META_ARCH_REGISTRY.register()
class GeneralizedRCNN(ImageModel):
    """Faster R-CNN, Mask R-CNN and their kin.

    Args:
        proposal_generator: From features to proposals; None when they come with the inputs.
        roi_heads: From proposals to detections.
        whole_pixel_masks: Paste masks into whole pixels, as the first Detectron did.
        **kwargs: As of `ImageModel`.
    """

    proposal_generator: Any
    roi_heads: Any

    @configurable
    def __init__(
        self,
        *,
        proposal_generator: nn.Module | None,
        roi_heads: nn.Module,
        whole_pixel_masks: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.proposal_generator = proposal_generator
        self.roi_heads = roi_heads
        self.whole_pixel_masks = whole_pixel_masks

    @classmethod
    def from_config(cls, cfg: Any) -> dict[str, Any]:
        """Map config keys to arguments."""
        backbone = build_backbone(cfg)
        shapes = backbone.output_shape()
        generator, heads = build_proposal_generator(cfg, shapes), build_roi_heads(cfg, shapes)
        _require_equal_boxes(cfg, generator, heads)
        return {
            "backbone": backbone,
            "proposal_generator": generator,
            "roi_heads": heads,
            "whole_pixel_masks": cfg.MODEL.ROI_MASK_HEAD.get("WHOLE_PIXELS", False),
            **cls.image_arguments(cfg),
        }

    def training_losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Compute the training losses; their metrics go to the active EventStorage, if any.

        Args:
            batched_inputs: See `forward`; with ``instances`` that have ``gt_*`` fields and, for
                precomputed proposals, ``proposals``.
        """
        targets = self.targets(batched_inputs)
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        proposals, losses = self._propose(batched_inputs, images, features, targets)
        _, head_losses = self.roi_heads(images, features, proposals, targets)
        losses.add(head_losses)
        losses.publish()
        if training_pictures.is_due(self.vis_period):
            self.visualize_training(batched_inputs, proposals)
        return losses

    def visualize_training(
        self, batched_inputs: list[dict[str, Any]], proposals: list[Instances]
    ) -> None:
        """Give the active EventStorage a picture of the first image's objects and proposals.

        Args:
            batched_inputs: With ``instances``.
            proposals: For each image, with ``proposal_boxes``, best first.
        """
        name = "Left: GT bounding boxes;  Right: Predicted proposals"
        training_pictures.put_boxes(
            name, batched_inputs[0], self.input_format, proposals[0].proposal_boxes
        )

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
        results, sizes_hw = self._detect(batched_inputs, detected_instances)
        if not do_postprocess:
            return results
        return self._postprocess(results, batched_inputs, sizes_hw, self.whole_pixel_masks)

    def _detect(
        self, batched_inputs: list[dict[str, Any]], detected_instances: list[Instances] | None
    ) -> tuple[list[Instances], list[tuple[int, int]]]:
        """Return what is found in each image, and its size; the features are gone by then."""
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        if detected_instances is not None:
            given = [one.to(self.device) for one in detected_instances]
            return self.roi_heads.forward_with_given_boxes(features, given), images.image_sizes
        proposals, _ = self._propose(batched_inputs, images, features)
        results, _ = self.roi_heads(images, features, proposals, None)
        return results, images.image_sizes

    @staticmethod
    def _postprocess(
        instances: list[Instances],
        batched_inputs: list[dict[str, Any]],
        image_sizes: list[tuple[int, int]],
        whole_pixel_masks: bool = False,
    ) -> list[dict[str, Instances]]:
        """Rescale the detections of each image to the size wanted for it."""
        return [
            {
                "instances": detector_postprocess(
                    result, *output_size(one, size_hw), whole_pixels=whole_pixel_masks
                )
            }
            for result, one, size_hw in zip(instances, batched_inputs, image_sizes, strict=True)
        ]

    def _propose(
        self,
        batched_inputs: list[dict[str, Any]],
        images: ImageList,
        features: dict[str, Tensor],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], Losses]:
        """Return the proposals of each image, predicted or given, and their losses."""
        if self.proposal_generator is None:
            return self._given_proposals(batched_inputs), Losses()
        proposals, losses = self.proposal_generator(images, features, targets)
        return proposals, Losses(losses)

    def _given_proposals(self, batched_inputs: list[dict[str, Any]]) -> list[Instances]:
        if any("proposals" not in one for one in batched_inputs):
            raise ValueError(
                "MODEL.PROPOSAL_GENERATOR.NAME is 'PrecomputedProposals', so every input needs "
                "'proposals', but one has none."
            )
        return [one["proposals"].to(self.device) for one in batched_inputs]


@META_ARCH_REGISTRY.register()
class ProposalNetwork(ImageModel):
    """A backbone and a proposal generator alone.

    Args:
        proposal_generator: From features to proposals.
        **kwargs: As of `ImageModel`.
    """

    proposal_generator: Any

    @configurable
    def __init__(self, *, proposal_generator: nn.Module, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.proposal_generator = proposal_generator

    @classmethod
    def from_config(cls, cfg: Any) -> dict[str, Any]:
        """Map config keys to arguments."""
        backbone = build_backbone(cfg)
        generator = build_proposal_generator(cfg, backbone.output_shape())
        if generator is None:
            raise ValueError(
                "MODEL.META_ARCHITECTURE 'ProposalNetwork' makes proposals, so "
                "MODEL.PROPOSAL_GENERATOR.NAME cannot be 'PrecomputedProposals'."
            )
        return {
            "backbone": backbone,
            "proposal_generator": generator,
            **cls.image_arguments(cfg),
        }

    def training_losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Compute the losses of the proposals; inputs need ``instances`` with ``gt_boxes``."""
        targets = self.targets(batched_inputs)
        images = self.preprocess_image(batched_inputs)
        _, found = self.proposal_generator(images, self.backbone(images.tensor), targets)
        losses = Losses(found)
        losses.publish()
        return losses

    @torch.no_grad()
    def inference(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        """Propose regions.

        Returns:
            For each image ``{"proposals": Instances}`` with ``proposal_boxes`` and
            ``objectness_logits``, of the wanted size.
        """
        images = self.preprocess_image(batched_inputs)
        proposals, _ = self.proposal_generator(images, self.backbone(images.tensor), None)
        return [
            {"proposals": detector_postprocess(result, *output_size(one, size_hw))}
            for result, one, size_hw in zip(
                proposals, batched_inputs, images.image_sizes, strict=True
            )
        ]


def _require_equal_boxes(cfg: Any, generator: Any, heads: Any) -> None:
    """Refuse rotated proposals for heads of plain boxes, and the other way round.

    Modules of users that do not tell how many values their boxes have are not looked at.
    """
    predictor = getattr(heads, "box_predictor", None)
    if isinstance(predictor, nn.ModuleList):
        predictor = predictor[0]
    proposed = getattr(getattr(generator, "anchor_generator", None), "box_dim", None)
    predicted = getattr(predictor, "box_dim", None)
    if proposed and predicted and proposed != predicted:
        raise ValueError(
            f"MODEL.PROPOSAL_GENERATOR.NAME '{cfg.MODEL.PROPOSAL_GENERATOR.NAME}' proposes boxes "
            f"of {proposed} values, but MODEL.ROI_HEADS.NAME '{cfg.MODEL.ROI_HEADS.NAME}' predicts "
            f"boxes of {predicted}: 'RRPN' and 'RROIHeads' belong together."
        )
