"""A batch on its way through a one-stage detector (RetinaNet, FCOS)."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from d2seg.features.hooks import capture, copied
from d2seg.features.image_run import PARTS, Features, ImageRun
from d2seg.features.objects import GivenObjects, object_features
from d2seg.framework import Boxes, Instances, ROIPooler

POOLED_SIDE = 7
SCORES = ("class_logits", "class_probs")
ANCHORS = "anchor_generator"
SAME_BOX_PIXELS = 0.01
"""What rounding may change in a box that is computed twice."""


class DenseRun(ImageRun):
    """Runs a detector whose ``head`` predicts at every cell, for detections or given objects.

    Such a model pools nothing; ``box_pooler`` is RoIAlign (arXiv:1703.06870, section 3) of the
    levels that its head sees, as R-CNN pools: 7 x 7 bins from the level that fits the box.
    """

    parts: Mapping[str, str] = {**PARTS, "head": "predictions"}

    @classmethod
    def available_stages(cls, model: Any) -> list[str]:
        """List the stages that a model has by name; those of objects after ``instances``."""
        by_anchor = hasattr(model, ANCHORS) and hasattr(model, "box2box_transform")
        scores = SCORES if by_anchor else ()
        return [*super().available_stages(model), "instances", "box_pooler", *scores]

    @cached_property
    def predictions(self) -> Any:
        """Maps of each level, as the head gives them."""
        return self.run_part("predictions", lambda: self.model.head(self._levels))

    @property
    def objects(self) -> list[Instances]:
        """The objects whose rows are handed out, with ``pred_boxes`` and what else is known."""
        if self.given is None:
            return self._detected[0]
        return self.given.instances(list(self.images.image_sizes))

    @cached_property
    def _detected(self) -> tuple[list[Instances], list[Tensor]]:
        """Detections, and, if wanted, for each image (N, K) the logits of their anchors."""
        with_scores = self.wants(*SCORES)
        # Copied before the model works on them in place.
        raw = copied(self.predictions[:2]) if with_scores else None
        with capture(self.model, [ANCHORS] if with_scores else [], copy=False) as seen:
            found: list[Instances] = self.model.forward_inference(
                self.images, self._levels, self.predictions
            )
        return found, [] if raw is None else self._logits_of(found, raw, seen[ANCHORS][-1])

    def features(self, stage: str) -> list[Features]:
        """Return the tensors of a named stage for each image."""
        if stage == "instances":
            return [object_features(one) for one in self.objects]
        if stage == "box_pooler":
            return [{stage: tensor} for tensor in self._pooled()]
        if stage in SCORES:
            logits = self._detected[1]
            return [{stage: one if stage == "class_logits" else one.sigmoid()} for one in logits]
        return super().features(stage)

    def _check_given(self, given: GivenObjects) -> None:
        if self.wants(*SCORES):
            raise ValueError(
                f"{' and '.join(SCORES)} are of anchors in this model, so given boxes have none; "
                "leave boxes away, or ask for other stages."
            )

    @property
    def _levels(self) -> list[Tensor]:
        return [self.maps[name] for name in self.model.head_in_features]

    def _pooled(self) -> list[Tensor]:
        shapes = self.model.backbone.output_shape()
        scales = [1 / shapes[name].stride for name in self.model.head_in_features]
        pooler = ROIPooler(POOLED_SIDE, scales, 0, "ROIAlignV2")
        pooled: Tensor = pooler(self._levels, [one.pred_boxes for one in self.objects])
        return list(pooled.split([len(one) for one in self.objects]))

    def _logits_of(
        self,
        detections: list[Instances],
        predictions: Sequence[list[Tensor]],
        anchors_of_levels: list[Boxes],
    ) -> list[Tensor]:
        """Pick, for the detections of each image, the logits (N, K) of the anchors they were."""
        logits = self._anchor_rows(predictions[0], self.model.num_classes)
        deltas = self._anchor_rows(predictions[1], 4)
        anchors = torch.cat([boxes.tensor for boxes in anchors_of_levels])
        chosen = []
        for index, found in enumerate(detections):
            boxes = self.model.box2box_transform.apply_deltas(deltas[index], anchors)
            rows = find_anchors(found, logits[index].sigmoid(), boxes)
            chosen.append(logits[index][rows])
        return chosen

    @staticmethod
    def _anchor_rows(maps: list[Tensor], values: int) -> Tensor:
        """Bring maps (B, A * values, h, w) of each level to (B, anchors of all levels, values)."""
        levels = [level.unflatten(1, (-1, values)).movedim(2, -1) for level in maps]
        return torch.cat([level.movedim(1, 3).flatten(1, 3) for level in levels], dim=1)


def find_anchors(found: Instances, scores: Tensor, boxes: Tensor) -> Tensor:
    """Find the anchor of each detection: that with its box and, among several, nearest its score.

    Its score alone would not do: that of FCOS is not a class probability.

    Args:
        found: N detections.
        scores: (A, K) float, of each anchor.
        boxes: (A, 4) float, predicted for each anchor.

    Returns:
        (N,) int64.

    Raises:
        ValueError: A detection has no anchor's box: the model changes them in a way of its own.
    """
    rows = []
    for score, label, box in zip(
        found.scores, found.pred_classes, found.pred_boxes.tensor, strict=True
    ):
        distance = (boxes - box).abs().amax(dim=1)
        nearest = distance.min()
        if nearest > SAME_BOX_PIXELS:
            raise ValueError(
                "The detections of this model are not the boxes that its head predicts for "
                "anchors, so that class scores have no rows for them; ask for other stages."
            )
        candidates = torch.nonzero(distance <= nearest + SAME_BOX_PIXELS)[:, 0]
        rows.append(candidates[(scores[candidates, label] - score).abs().argmin()])
    return torch.stack(rows) if rows else torch.zeros(0, dtype=torch.int64, device=scores.device)
