"""Detection without proposals: the head of a deployable RetinaNet (arXiv:1708.02002)."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from d2seg.core.ops.dense import flatten_levels, select_dense_detections
from d2seg.export.proposals import Anchors


class DenseStage(nn.Module):
    """Classes and boxes at every cell of every level.

    Args:
        model: detectron2's ``RetinaNet``.
        level_names: Names of the backbone's maps.
        aten_only: Use no torchvision operator.
    """

    def __init__(self, model: Any, level_names: list[str], aten_only: bool) -> None:
        super().__init__()
        head = model.head
        self.levels: list[int] = [level_names.index(name) for name in model.head_in_features]
        count = len(self.levels)
        self.class_towers = nn.ModuleList(_towers(head.cls_subnet, count))
        self.box_towers = nn.ModuleList(_towers(head.bbox_subnet, count))
        self.class_logits = copy.deepcopy(head.cls_score)
        self.deltas = copy.deepcopy(head.bbox_pred)
        self.num_classes = int(model.num_classes)
        self.anchors = Anchors(model.anchor_generator)
        self.weights = [float(weight) for weight in model.box2box_transform.weights]
        self.scale_clamp = float(model.box2box_transform.scale_clamp)
        self.score_thresh = float(model.test_score_thresh)
        self.topk_candidates: int = model.test_topk_candidates
        self.nms_thresh = float(model.test_nms_thresh)
        self.topk: int = model.max_detections_per_image
        self.aten_only = aten_only

    def forward(
        self, features: list[Tensor], size_hw: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Detect boxes (N, 4), which may reach beyond the image, scores (N,) and classes (N,)."""
        maps = [features[level] for level in self.levels]
        scores: list[Tensor] = []
        deltas: list[Tensor] = []
        for level, (class_tower, box_tower) in enumerate(
            zip(self.class_towers, self.box_towers)  # noqa: B905
        ):
            logits = self.class_logits(class_tower(maps[level]))
            scores.append(flatten_levels(logits, self.num_classes)[0].sigmoid())
            deltas.append(flatten_levels(self.deltas(box_tower(maps[level])), 4)[0])
        return select_dense_detections(
            scores,
            deltas,
            self.anchors(maps),
            self.weights,
            self.scale_clamp,
            self.score_thresh,
            self.topk_candidates,
            self.nms_thresh,
            self.topk,
            self.aten_only,
        )


def _towers(tower: nn.Sequential, num_levels: int) -> list[nn.Module]:
    """Copy a tower for each level: the convolutions are shared, batch norms are each level's own.

    detectron2's ``CycleBatchNormList`` takes turns from call to call, which a file cannot.
    """
    shared = copy.deepcopy(tower)
    return [
        nn.Sequential(*(_norm_of_level(layer, level) for layer in shared))
        for level in range(num_levels)
    ]


def _norm_of_level(layer: Any, level: int) -> nn.Module:
    if not isinstance(layer, nn.ModuleList):
        return layer
    return _LevelNorm(layer[level], layer if layer.affine else None)


class _LevelNorm(nn.Module):
    """A batch norm with its statistics of training, as a factor and an offset for each channel.

    They are not folded into the convolution before, which other levels share.

    Args:
        norm: Has the statistics.
        affine: Has ``weight`` and ``bias``; None for a norm without.
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, norm: Any, affine: Any) -> None:
        super().__init__()
        scale = (norm.running_var + norm.eps).rsqrt()
        offset = -norm.running_mean * scale
        if affine is not None:
            scale, offset = scale * affine.weight, offset * affine.weight + affine.bias
        self.register_buffer("scale", scale.detach()[:, None, None])
        self.register_buffer("offset", offset.detach()[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (1, C, H, W)."""
        # In one operator: freezing would fold a product into a copy of the convolution.
        return torch.addcmul(self.offset, x, self.scale)
