"""From detectron2's families of models to the stages of a deployable one.

======================  ============================  =========================================
family                  detections                    what they get beside
======================  ============================  =========================================
Faster, Mask, Keypoint  proposals, one box head       masks, keypoints
Cascade                 proposals, several box heads  masks, keypoints
C4 (``Res5ROIHeads``)   proposals, ``res5``, a mean   masks, pooled and taken through ``res5``
RetinaNet               dense                         --
======================  ============================  =========================================
"""

from typing import Any, NamedTuple

from torch import Tensor, nn

from d2seg.export.dense import DenseStage
from d2seg.export.proposals import ProposalStage
from d2seg.export.regions import BoxHead, BoxStage, KeypointStage, MaskStage, Regions


class TwoStages(nn.Module):
    """Detection by proposals.

    Args:
        proposals: Finds regions.
        boxes: Turns them into detections.
    """

    def __init__(self, proposals: ProposalStage, boxes: BoxStage) -> None:
        super().__init__()
        self.proposals = proposals
        self.boxes = boxes

    def forward(
        self, features: list[Tensor], size_hw: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Detect boxes (N, 4), XYXY pixels, scores (N,) and classes (N,), by falling score."""
        boxes, scores, classes = self.boxes(features, self.proposals(features, size_hw), size_hw)
        return boxes, scores, classes


class FixedTwoStages(nn.Module):
    """Detection by proposals with lists of fixed length, of one image or of several.

    Args:
        proposals: Finds regions, and says which of the list count.
        boxes: Turns those that count into detections.
    """

    def __init__(self, proposals: nn.Module, boxes: nn.Module) -> None:
        super().__init__()
        self.proposals = proposals
        self.boxes = boxes

    def forward(self, features: list[Tensor], limits: Tensor) -> Any:
        """Detect; limits (..., 4) are the width and height of the image, twice."""
        regions, counted = self.proposals(features, limits)
        return self.boxes(features, regions, counted, limits)


class Stages(NamedTuple):
    """What follows the backbone of a model; None for what the model does not have."""

    detector: TwoStages | DenseStage
    masks: MaskStage | None
    keypoints: KeypointStage | None


def build_stages(model: Any, level_names: list[str], aten_only: bool) -> Stages:
    """Copy everything behind the backbone of a model.

    Args:
        model: See :func:`d2seg.export.support.check_supported`. Not modified.
        level_names: Names of the backbone's maps.
        aten_only: Use no torchvision operator.
    """
    if not hasattr(model, "roi_heads"):
        return Stages(DenseStage(model, level_names, aten_only), None, None)
    heads = model.roi_heads
    pools = _Pools(heads, level_names, aten_only)
    box_regions = pools.build("box")
    proposals = ProposalStage(model.proposal_generator, level_names, aten_only)
    predictors = box_predictors(heads)
    box_heads = [
        BoxHead(head, predictor)
        for head, predictor in zip(_box_heads(heads), predictors, strict=True)
    ]
    masks = keypoints = None
    if heads.mask_on:
        masks = MaskStage(heads.mask_head, box_regions if pools.shared else pools.build("mask"))
    if getattr(heads, "keypoint_on", False):
        keypoints = KeypointStage(heads.keypoint_head, pools.build("keypoint"))
    boxes = BoxStage(box_heads, predictors[-1], box_regions, aten_only)
    return Stages(TwoStages(proposals, boxes), masks, keypoints)


class _Pools(NamedTuple):
    """Builds the pooling of regions for each head."""

    heads: Any
    level_names: list[str]
    aten_only: bool

    @property
    def shared(self) -> bool:
        """Whether boxes and masks pool by the same module, as in C4 models."""
        return hasattr(self.heads, "res5")

    def build(self, purpose: str) -> Regions:
        """Build it for ``box``, ``mask`` or ``keypoint``."""
        heads = self.heads
        names = heads.in_features if self.shared else getattr(heads, f"{purpose}_in_features")
        pooler = heads.pooler if self.shared else getattr(heads, f"{purpose}_pooler")
        levels = [self.level_names.index(name) for name in names]
        return Regions(pooler, levels, self.aten_only, heads.res5 if self.shared else None)


def box_predictors(heads: Any) -> list[Any]:
    """List the box predictors of ROI heads: one, or those of a cascade."""
    return _as_list(heads.box_predictor)


def _box_heads(heads: Any) -> list[Any]:
    return [None] if hasattr(heads, "res5") else _as_list(heads.box_head)


def _as_list(module: Any) -> list[Any]:
    return list(module) if isinstance(module, nn.ModuleList) else [module]
