"""The box head of a model, under one set of names, and its judgement of regions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from d2seg.framework import Boxes, Instances, fast_rcnn_inference


@dataclass(frozen=True)
class Judgement:
    """What the box head made of regions; R of them in all images, R_i in one, N_i objects in it.

    Attributes:
        regions: Of each image (R_i, 4), XYXY pixels of the network input.
        rows: Of each image (N_i,) int64, the region of each object.
        pooled: (R, C, S, S); None if it was not kept.
        headed: (R, D) or (R, C, s, s), output of the box head, of a cascade its last; likewise.
        logits: Of each image (R_i, K + 1), of a cascade those of the last stage.
        probs: Of each image (R_i, K + 1), of a cascade the mean of all stages.
        detections: Of each image, with ``pred_boxes``, ``scores`` and ``pred_classes``, one for
            each of ``rows``; empty for regions that were given.
    """

    regions: list[Tensor]
    rows: list[Tensor]
    pooled: Any
    headed: Any
    logits: list[Tensor]
    probs: list[Tensor]
    detections: list[Instances]

    @property
    def counts(self) -> list[int]:
        """R_i of each image."""
        return [len(regions) for regions in self.regions]

    def of_objects(self, tensors: Tensor | Sequence[Tensor]) -> list[Tensor]:
        """Pick the rows of the objects from (R, ...), or from (R_i, ...) of each image."""
        if isinstance(tensors, Tensor):
            tensors = tensors.split(self.counts)
        return [tensor[rows] for tensor, rows in zip(tensors, self.rows, strict=True)]


class BoxPart:
    """The modules of ``roi_heads`` that judge boxes, by what they do.

    Args:
        heads: Of the standard, C4 or cascade kind.

    Attributes:
        pooler: From maps and boxes to (R, C, S, S).
        networks: From that to features; of a cascade one for each stage.
        predictors: From features to logits and box deltas; as many.
    """

    def __init__(self, heads: Any) -> None:
        self.pooler = first_attribute(heads, "box_pooler", "pooler")
        self.levels = first_attribute(heads, "box_in_features", "in_features")
        self.networks = _as_list(first_attribute(heads, "box_head", "res5"))
        self.predictors = _as_list(heads.box_predictor)
        self._is_c4 = hasattr(heads, "res5")

    @staticmethod
    def is_in(heads: Any) -> bool:
        """Tell whether ``roi_heads`` have these modules."""
        names = (("box_pooler", "pooler"), ("box_head", "res5"), ("box_predictor",))
        return all(first_attribute(heads, *choice) is not None for choice in names)

    def pool(self, maps: Mapping[str, Tensor], boxes: list[Boxes]) -> Tensor:
        """Pool the boxes of each image: (R, C, S, S)."""
        return self.pooler([maps[level] for level in self.levels], boxes)

    def judge(
        self, pooled: Tensor, sizes: Sequence[tuple[int, int]], boxes: list[Boxes]
    ) -> Judgement:
        """Run all stages on given boxes, none of which they move."""
        headed = [network(pooled) for network in self.networks]
        flat = [features.mean(dim=(2, 3)) if self._is_c4 else features for features in headed]
        predictions = [
            predictor(features) for predictor, features in zip(self.predictors, flat, strict=True)
        ]
        regions = _as_proposals(sizes, boxes)
        return Judgement(
            [one.tensor for one in boxes],
            [torch.arange(len(one), device=pooled.device) for one in boxes],
            pooled,
            headed[-1],
            _split(predictions[-1][0], boxes),
            self._probabilities(predictions, regions),
            [],
        )

    def find_rows(
        self,
        predictions: list[Any],
        sizes: Sequence[tuple[int, int]],
        boxes: list[Boxes],
        detections: list[Instances],
        pooled: Tensor | None,
        headed: Tensor | None,
    ) -> Judgement:
        """Find the region of each detection by selecting once more from the same predictions.

        Raises:
            ValueError: That gives other detections: the model selects in a way of its own.
        """
        regions = _as_proposals(sizes, boxes)
        probs = self._probabilities(predictions, regions)
        last = self.predictors[-1]
        if len(self.predictors) == 1:
            found, rows = last.inference(predictions[0], regions)
        else:
            least = getattr(last, "test_min_side", 0.0)  # detectron2 has no such setting
            found, rows = fast_rcnn_inference(
                last.predict_boxes(predictions[-1], regions),
                probs,
                list(sizes),
                last.test_score_thresh,
                last.test_nms_thresh,
                last.test_topk_per_image,
                **({"min_side": least} if least else {}),
            )
        if not all(map(_same_boxes, found, detections)):
            raise ValueError(
                "The detections of this model are not those that its box_predictor selects, so "
                "that the stages of its box head have no rows for them; give boxes=, or ask for "
                "other stages."
            )
        logits = _split(predictions[-1][0], boxes)
        tensors = [one.tensor for one in boxes]
        return Judgement(tensors, list(rows), pooled, headed, logits, probs, detections)

    def _probabilities(self, predictions: list[Any], regions: list[Instances]) -> list[Tensor]:
        """Average the class probabilities (R_i, K + 1) of all stages."""
        stages = [
            predictor.predict_probs(of_stage, regions)
            for predictor, of_stage in zip(self.predictors, predictions, strict=True)
        ]
        return [torch.stack(of_image).mean(dim=0) for of_image in zip(*stages, strict=True)]


def first_attribute(item: Any, *names: str) -> Any:
    """Return the first of these attributes that is there and not None; None without one."""
    found = (getattr(item, name, None) for name in names)
    return next((value for value in found if value is not None), None)


def _as_list(module: nn.Module) -> list[Any]:
    return list(module) if isinstance(module, nn.ModuleList) else [module]


def _as_proposals(sizes: Sequence[tuple[int, int]], boxes: list[Boxes]) -> list[Instances]:
    return [Instances(size, proposal_boxes=one) for size, one in zip(sizes, boxes, strict=True)]


def _split(rows: Tensor, boxes: list[Boxes]) -> list[Tensor]:
    return list(rows.split([len(one) for one in boxes]))


def _same_boxes(one: Instances, other: Instances) -> bool:
    boxes, expected = one.pred_boxes.tensor, other.pred_boxes.tensor
    # A mean of stages may be rounded in another way than the model's own.
    return boxes.shape == expected.shape and torch.allclose(boxes, expected, atol=1e-3)
