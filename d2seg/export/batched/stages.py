"""The stages of a batched model: those of the dynamic one, with lists of one length between.

Legend: B images, P proposals, D detections, R = B * P or B * D regions.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from d2seg.core.ops.batched_selection import (
    select_batched_dense,
    select_batched_detections,
    select_batched_proposals,
)
from d2seg.core.ops.dense import flatten_levels
from d2seg.core.ops.masks import mask_probabilities
from d2seg.core.ops.pooling import pool_multilevel
from d2seg.core.ops.proposals import flatten_deltas, flatten_logits
from d2seg.core.ops.static_selection import clip_to_limits
from d2seg.export.batched.operators import decode_heatmaps, keep_best
from d2seg.export.dense import DenseStage
from d2seg.export.proposals import ProposalStage
from d2seg.export.regions import BoxStage, KeypointStage, MaskStage, Regions, average_steps


class Found(NamedTuple):
    """Detections of several images, by falling score.

    Attributes:
        boxes: (B, D, 4) float, XYXY pixels.
        scores: (B, D) float; ``UNUSABLE`` where there are no more.
        classes: (B, D) int64.
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor


class BatchedRegions(nn.Module):
    """Features of regions of several images.

    Args:
        regions: The dynamic form; its layers are shared.
    """

    def __init__(self, regions: Regions) -> None:
        super().__init__()
        self.pooler, self.trunk = regions.pooler, regions.trunk

    def forward(self, features: list[Tensor], boxes: Tensor, image_index: Tensor) -> Tensor:
        """Map boxes (R, 4), XYXY pixels, of the images (R,) int64 to (R, C, h, w)."""
        pooler = self.pooler
        pooled = pool_multilevel(
            [features[level] for level in pooler.levels],
            boxes,
            image_index,
            pooler.output_hw,
            pooler.scales,
            pooler.sampling_ratio,
            pooler.aligned,
            pooler.canonical_size,
            pooler.canonical_level,
            level_margin=pooler.level_margin,
        )
        result: Tensor = self.trunk(pooled)
        return result


class BatchedProposalStage(nn.Module):
    """The region proposal network for several images.

    Args:
        stage: The dynamic stage; its layers are shared.
    """

    def __init__(self, stage: ProposalStage) -> None:
        super().__init__()
        self.stage = stage

    def forward(self, features: list[Tensor], limits: Tensor) -> tuple[Tensor, Tensor]:
        """Propose regions (B, P, 4) within limits (B, 4), and say which count, (B, P) bool."""
        stage = self.stage
        maps = [features[level] for level in stage.levels]
        hidden = [stage.hidden(one) for one in maps]
        return select_batched_proposals(
            [flatten_logits(stage.logits(one)) for one in hidden],
            [flatten_deltas(stage.deltas(one)) for one in hidden],
            stage.anchors(maps),
            limits,
            stage.weights,
            stage.scale_clamp,
            keep_best,
            stage.nms_thresh,
            stage.pre_nms_topk,
            stage.post_nms_topk,
            stage.min_box_size,
            stage.min_side,
            stage.by_probability,
        )


class BatchedBoxStage(nn.Module):
    """Classification and refinement of the proposals, in one step or in a cascade.

    Args:
        stage: The dynamic stage; its layers are shared.
    """

    def __init__(self, stage: BoxStage) -> None:
        super().__init__()
        self.stage = stage
        self.regions = BatchedRegions(stage.regions)

    def forward(
        self, features: list[Tensor], boxes: Tensor, counted: Tensor, limits: Tensor
    ) -> Found:
        """Turn proposals (B, P, 4), of which (B, P) count, into detections."""
        stage = self.stage
        image_index = image_of_rows(boxes)
        judged = []
        for step, head in enumerate(stage.heads):
            if step > 0:
                boxes = clip_to_limits(boxes, limits[:, None])
            rows = boxes.flatten(0, 1)
            refined, probs = head(self.regions(features, rows, image_index), rows)
            boxes = refined.reshape(boxes.shape[0], boxes.shape[1], -1)
            judged.append(probs)
        probs = average_steps(judged).reshape(boxes.shape[0], boxes.shape[1], -1)
        return Found(
            *select_batched_detections(
                boxes,
                probs,
                counted,
                limits,
                stage.score_thresh,
                keep_best,
                stage.nms_thresh,
                stage.topk,
                stage.min_side,
            )
        )


class BatchedDenseStage(nn.Module):
    """Detection without proposals.

    Args:
        stage: The dynamic stage; its layers are shared.
    """

    def __init__(self, stage: DenseStage) -> None:
        super().__init__()
        self.stage = stage

    def forward(self, features: list[Tensor], limits: Tensor) -> Found:
        """Find the objects; boxes may reach beyond the ``limits`` (B, 4) of their image."""
        stage = self.stage
        maps = [features[level] for level in stage.levels]
        scores, deltas = [], []
        for one, class_tower, box_tower in zip(
            maps, stage.class_towers, stage.box_towers, strict=True
        ):
            logits = stage.class_logits(class_tower(one))
            scores.append(flatten_levels(logits, stage.num_classes).sigmoid())
            deltas.append(flatten_levels(stage.deltas(box_tower(one)), 4))
        return Found(
            *select_batched_dense(
                scores,
                deltas,
                stage.anchors(maps),
                stage.weights,
                stage.scale_clamp,
                stage.score_thresh,
                stage.topk_candidates,
                keep_best,
                stage.nms_thresh,
                stage.topk,
            )
        )


class BatchedMaskStage(nn.Module):
    """Masks of the detected boxes.

    Args:
        stage: The dynamic stage; its layers are shared.
    """

    def __init__(self, stage: MaskStage) -> None:
        super().__init__()
        self.regions, self.layers = BatchedRegions(stage.regions), stage.layers

    def forward(
        self, features: list[Tensor], boxes: Tensor, classes: Tensor, image_index: Tensor
    ) -> Tensor:
        """Segment boxes (R, 4) of classes (R,) in images (R,): probabilities (R, 1, h, w)."""
        return mask_probabilities(self.logits(features, boxes, image_index), classes)

    def logits(self, features: list[Tensor], boxes: Tensor, image_index: Tensor) -> Tensor:
        """Segment boxes (R, 4) in images (R,) for each class: (R, K, h, w)."""
        logits: Tensor = self.layers(self.regions(features, boxes, image_index))
        return logits


class BatchedKeypointStage(nn.Module):
    """Keypoints of the detected boxes.

    Args:
        stage: The dynamic stage; its layers are shared.
    """

    def __init__(self, stage: KeypointStage) -> None:
        super().__init__()
        self.regions, self.layers = BatchedRegions(stage.regions), stage.layers
        self.score_column = stage.score_column

    def forward(self, features: list[Tensor], boxes: Tensor, image_index: Tensor) -> Tensor:
        """Find the points in boxes (R, 4) of images (R,): (R, K, 3) x, y in pixels, and a score."""
        low = self.layers(self.regions(features, boxes, image_index))
        heatmaps = torch.ops.aten.upsample_bilinear2d(low, None, False, [2.0, 2.0])
        points = decode_heatmaps(heatmaps, boxes)
        score = points[:, :, self.score_column : self.score_column + 1]
        return torch.cat([points[:, :, :2], score], dim=2)


def image_of_rows(boxes: Tensor) -> Tensor:
    """Number the images of boxes (B, N, 4): (B * N,) int64."""
    images = torch.arange(boxes.shape[0], device=boxes.device)
    return images[:, None].expand(-1, boxes.shape[1]).flatten()
