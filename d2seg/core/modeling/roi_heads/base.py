"""What all ROI heads share: which proposals they are trained on."""

from typing import Any

import torch
from torch import Tensor, nn

from d2seg.core.config import configurable
from d2seg.core.layers import ShapeSpec
from d2seg.core.modeling.backbone.backbone import named_shapes
from d2seg.core.modeling.ground_truth import check_classes
from d2seg.core.modeling.matcher import Matcher, match_in_memory_bounds
from d2seg.core.modeling.poolers import ROIPooler
from d2seg.core.modeling.proposal_generator.proposal_utils import add_ground_truth_to_proposals
from d2seg.core.modeling.sampling import subsample_labels
from d2seg.core.runtime.registry import Registry
from d2seg.core.structures import BitMasks, ImageList, Instances, pairwise_iou

ROI_HEADS_REGISTRY = Registry("ROI_HEADS")
"""Classes called with ``(cfg, input_shape)``; see `ROIHeads`."""


class ROIHeads(nn.Module):
    """Base of all heads that work on regions.

    Args:
        num_classes: K, without background.
        batch_size_per_image: Proposals of each image that enter the loss.
        positive_fraction: At most this share of them is foreground.
        proposal_matcher: Assigns ground truth to proposals.
        proposal_append_gt: Add the ground-truth boxes to the proposals when training.
    """

    @configurable
    def __init__(
        self,
        *,
        num_classes: int,
        batch_size_per_image: int,
        positive_fraction: float,
        proposal_matcher: Matcher,
        proposal_append_gt: bool = True,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.batch_size_per_image = batch_size_per_image
        self.positive_fraction = positive_fraction
        self.proposal_matcher = proposal_matcher
        self.proposal_append_gt = proposal_append_gt

    @classmethod
    def from_config(cls, cfg: Any, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Map config keys to arguments."""
        heads = cfg.MODEL.ROI_HEADS
        if heads.NUM_CLASSES < 1:
            raise ValueError(
                f"MODEL.ROI_HEADS.NUM_CLASSES is {heads.NUM_CLASSES}, but must be at least 1; the "
                "background is not counted."
            )
        return {
            "num_classes": heads.NUM_CLASSES,
            "batch_size_per_image": heads.BATCH_SIZE_PER_IMAGE,
            "positive_fraction": heads.POSITIVE_FRACTION,
            "proposal_matcher": Matcher(heads.IOU_THRESHOLDS, heads.IOU_LABELS),
            "proposal_append_gt": heads.PROPOSAL_APPEND_GT,
        }

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """Compute losses in training, detections otherwise."""
        raise NotImplementedError(f"{type(self).__name__} must define forward().")

    pairwise_iou = staticmethod(pairwise_iou)
    """How well boxes overlap; rotated ones differ."""

    @torch.no_grad()
    def label_and_sample_proposals(
        self, proposals: list[Instances], targets: list[Instances]
    ) -> list[Instances]:
        """Choose the proposals to train on and give them their ground truth.

        Args:
            proposals: With ``proposal_boxes``.
            targets: With ``gt_boxes``, ``gt_classes`` and any other ``gt_*`` field.

        Returns:
            For each image the sampled proposals with ``gt_classes`` (K for background) and, where
            the image has objects, every ``gt_*`` field of the matched object.
        """
        check_classes(targets, self.num_classes, "MODEL.ROI_HEADS.NUM_CLASSES")
        if self.proposal_append_gt:
            proposals = add_ground_truth_to_proposals(targets, proposals)
        return [
            self._label_and_sample(proposal, target)
            for proposal, target in zip(proposals, targets, strict=True)
        ]

    def _label_and_sample(self, proposals: Instances, targets: Instances) -> Instances:
        matches, labels = match_in_memory_bounds(
            self.proposal_matcher, self.pairwise_iou, targets.gt_boxes, proposals.proposal_boxes
        )
        rows, classes = self._sample_proposals(matches, labels, targets.gt_classes)
        sampled = proposals[rows]
        sampled.gt_classes = classes
        if len(targets):
            for name, value in targets.get_fields().items():
                if name.startswith("gt_") and not sampled.has(name):
                    chosen = matches[rows]
                    # Hundreds of regions see the same few objects.
                    shares = isinstance(value, BitMasks)
                    sampled.set(name, value.sharing(chosen) if shares else value[chosen])
        return sampled

    def _sample_proposals(
        self, matched_idxs: Tensor, matched_labels: Tensor, gt_classes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Draw rows of proposals (S,) and their classes (S,), K for background."""
        if gt_classes.numel():
            classes = gt_classes[matched_idxs]
            classes[matched_labels == 0] = self.num_classes
            classes[matched_labels == -1] = -1
        else:
            classes = torch.full_like(matched_idxs, self.num_classes)
        foreground, background = subsample_labels(
            classes, self.batch_size_per_image, self.positive_fraction, self.num_classes
        )
        rows = torch.cat([foreground, background])
        return rows, classes[rows]


def select_foreground_proposals(
    proposals: list[Instances], bg_label: int
) -> tuple[list[Instances], list[Tensor]]:
    """Keep the proposals that match an object.

    Args:
        proposals: With ``gt_classes``.
        bg_label: The class of background.

    Returns:
        For each image its foreground proposals, and (R_i,) bool that tells which they are.
    """
    chosen = [(one.gt_classes != -1) & (one.gt_classes != bg_label) for one in proposals]
    return [one[mask] for one, mask in zip(proposals, chosen, strict=True)], chosen


def select_proposals_with_visible_keypoints(proposals: list[Instances]) -> list[Instances]:
    """Keep the proposals that contain a visible keypoint of their object.

    Args:
        proposals: With ``proposal_boxes`` and ``gt_keypoints``, whose third value is above 0 where
            the keypoint is visible. Points on the border of a box are inside.
    """
    return [one[_sees_keypoint(one)] if len(one) else one for one in proposals]


def _sees_keypoint(proposals: Instances) -> Tensor:
    x, y, visible = proposals.gt_keypoints.tensor.unbind(dim=2)  # [N,K] each
    left, top, right, bottom = proposals.proposal_boxes.tensor[:, :, None].unbind(dim=1)  # [N,1]
    inside = (x >= left) & (x <= right) & (y >= top) & (y <= bottom)
    return (inside & (visible >= 1)).any(dim=1)


def require_ground_truth(targets: list[Instances] | None, fields: list[str]) -> None:
    """Raise ValueError in training without targets, or with targets that lack a field.

    Args:
        targets: For each image.
        fields: Names that every image with objects must have.
    """
    if targets is None:
        raise ValueError("ROI heads need targets in training; call model.eval() to infer.")
    for one in targets:
        missing = [name for name in fields if len(one) and not one.has(name)]
        if missing:
            found = ", ".join(sorted(one.get_fields()))
            key = {"gt_masks": "MODEL.MASK_ON", "gt_keypoints": "MODEL.KEYPOINT_ON"}
            hint = f", or set {key[missing[0]]} False" if missing[0] in key else ""
            raise ValueError(
                f"Training needs {missing[0]} of every object, but the annotations of an image "
                f"have only {found}; add them{hint}."
            )


def sampling_metrics(proposals: list[Instances], num_classes: int) -> dict[str, Tensor | float]:
    """Count foreground and background among sampled proposals, as means over the images."""
    classes = torch.cat([one.gt_classes for one in proposals])
    num_background = (classes == num_classes).sum()
    return {
        "roi_head/num_fg_samples": (classes.numel() - num_background) / len(proposals),
        "roi_head/num_bg_samples": num_background / len(proposals),
    }


def build_pooler(
    cfg: Any, head: Any, input_shape: dict[str, ShapeSpec]
) -> tuple[ROIPooler, ShapeSpec]:
    """Build the pooler of a head, and the shape of what it returns."""
    names = cfg.MODEL.ROI_HEADS.IN_FEATURES
    if head.POOLER_RESOLUTION < 1:
        raise ValueError(
            f"A POOLER_RESOLUTION (MODEL.ROI_BOX_HEAD, ROI_MASK_HEAD, ROI_KEYPOINT_HEAD) is "
            f"{head.POOLER_RESOLUTION}, but must be at least 1."
        )
    shapes = named_shapes("MODEL.ROI_HEADS.IN_FEATURES", names, input_shape).values()
    channels = {shape.channels for shape in shapes}
    if len(channels) != 1:
        raise ValueError(
            f"MODEL.ROI_HEADS.IN_FEATURES must have equal channels, but have "
            f"{sorted(map(str, channels))}."
        )
    pooler = ROIPooler(
        output_size=head.POOLER_RESOLUTION,
        scales=[1.0 / (shape.stride or 1) for shape in shapes],
        sampling_ratio=head.POOLER_SAMPLING_RATIO,
        pooler_type=head.POOLER_TYPE,
        level_margin=cfg.MODEL.ROI_HEADS.get("LEVEL_MARGIN", 0.0),
    )
    shape = ShapeSpec(channels.pop(), head.POOLER_RESOLUTION, head.POOLER_RESOLUTION)
    return pooler, shape


def build_optional_pooler(
    cfg: Any, head: Any, input_shape: dict[str, ShapeSpec]
) -> tuple[ROIPooler | None, Any]:
    """Build a pooler as `build_pooler` does; with POOLER_TYPE "" the head gets whole features.

    Returns:
        The pooler and the shape of what it returns; or None and the shapes of the features.
    """
    if head.POOLER_TYPE:
        return build_pooler(cfg, head, input_shape)
    return None, {name: input_shape[name] for name in cfg.MODEL.ROI_HEADS.IN_FEATURES}


def build_roi_heads(cfg: Any, input_shape: dict[str, ShapeSpec]) -> ROIHeads:
    """Build the heads that ``MODEL.ROI_HEADS.NAME`` names."""
    return ROI_HEADS_REGISTRY.get(cfg.MODEL.ROI_HEADS.NAME)(cfg, input_shape)
