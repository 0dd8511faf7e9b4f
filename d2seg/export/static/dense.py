"""Detection without proposals, with lists of fixed length."""

from torch import Tensor, nn

from d2seg.core.ops.dense import flatten_levels
from d2seg.core.ops.static_selection import select_fixed_dense
from d2seg.export.dense import DenseStage
from d2seg.export.static.stages import BOX_STEPS, NUM_CANDIDATES, FixedAnchors, Found, MatrixNms


class StaticDenseStage(nn.Module):
    """The head of a RetinaNet for one size of image.

    Args:
        stage: The dynamic stage; its layers are shared.
        grids_hw: Height and width of each map of the backbone.
    """

    def __init__(self, stage: DenseStage, grids_hw: list[tuple[int, int]]) -> None:
        super().__init__()
        self.class_towers, self.box_towers = stage.class_towers, stage.box_towers
        self.class_logits, self.deltas = stage.class_logits, stage.deltas
        self.levels, self.num_classes = stage.levels, stage.num_classes
        self.weights, self.scale_clamp = stage.weights, stage.scale_clamp
        self.score_thresh, self.topk = stage.score_thresh, stage.topk
        self.topk_candidates = stage.topk_candidates
        self.nms = MatrixNms(stage.nms_thresh, BOX_STEPS)
        self.anchors = FixedAnchors(stage.anchors, [grids_hw[level] for level in self.levels])

    def forward(self, features: list[Tensor], limits: Tensor) -> Found:
        """Detect; limits (4,) are the width and height of the image, twice."""
        logits, deltas = [], []
        for level, class_tower, box_tower in zip(
            self.levels, self.class_towers, self.box_towers, strict=True
        ):
            judged = self.class_logits(class_tower(features[level]))
            logits.append(flatten_levels(judged, self.num_classes)[0])
            deltas.append(flatten_levels(self.deltas(box_tower(features[level])), 4)[0])
        found = select_fixed_dense(
            logits,
            deltas,
            self.anchors(),
            limits,
            self.weights,
            self.scale_clamp,
            self.score_thresh,
            self.nms,
            self.topk_candidates,
            self.topk,
            max(NUM_CANDIDATES, self.topk),
        )
        return Found(*found)
