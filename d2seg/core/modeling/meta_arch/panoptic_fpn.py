"""Things and stuff in one model (Panoptic FPN, arXiv:1901.02446)."""

from typing import Any

from torch import Tensor, nn

from d2seg.core.config import configurable
from d2seg.core.modeling import training_pictures
from d2seg.core.modeling.losses import Losses
from d2seg.core.modeling.meta_arch.build import META_ARCH_REGISTRY
from d2seg.core.modeling.meta_arch.image_model import output_size
from d2seg.core.modeling.meta_arch.rcnn import GeneralizedRCNN
from d2seg.core.modeling.meta_arch.semantic_seg import build_sem_seg_head
from d2seg.core.modeling.postprocessing import detector_postprocess, sem_seg_postprocess
from d2seg.core.ops.panoptic import merge_panoptic
from d2seg.core.structures import Instances


@META_ARCH_REGISTRY.register()
class PanopticFPN(GeneralizedRCNN):
    """Mask R-CNN with a head that classifies every pixel, and the two put together.

    Args:
        sem_seg_head: From features to logits of the classes.
        combine_overlap_thresh: See `combine_semantic_and_instance_outputs`.
        combine_stuff_area_thresh: Likewise.
        combine_instances_score_thresh: Likewise.
        combine_on: Whether to put the two together.
        instance_loss_weight: Weight of all losses of the ROI heads.
        **kwargs: As of `GeneralizedRCNN`.
    """

    sem_seg_head: Any

    @configurable
    def __init__(
        self,
        *,
        sem_seg_head: nn.Module,
        combine_overlap_thresh: float = 0.5,
        combine_stuff_area_thresh: float = 4096,
        combine_instances_score_thresh: float = 0.5,
        combine_on: bool = True,
        instance_loss_weight: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sem_seg_head = sem_seg_head
        self.combine_overlap_thresh = combine_overlap_thresh
        self.combine_stuff_area_thresh = combine_stuff_area_thresh
        self.combine_instances_score_thresh = combine_instances_score_thresh
        self.combine_on = combine_on
        self.instance_loss_weight = instance_loss_weight

    @classmethod
    def from_config(cls, cfg: Any) -> dict[str, Any]:
        """Map config keys to arguments."""
        combine = cfg.MODEL.PANOPTIC_FPN.COMBINE
        if combine.ENABLED and not cfg.MODEL.MASK_ON:
            raise ValueError(
                "MODEL.PANOPTIC_FPN.COMBINE.ENABLED puts object masks and stuff together, but "
                "MODEL.MASK_ON is False; set it to True, or COMBINE.ENABLED to False."
            )
        arguments = super().from_config(cfg)
        shapes = arguments["backbone"].output_shape()
        return {
            **arguments,
            "sem_seg_head": build_sem_seg_head(cfg, shapes),
            "combine_overlap_thresh": combine.OVERLAP_THRESH,
            "combine_stuff_area_thresh": combine.STUFF_AREA_LIMIT,
            "combine_instances_score_thresh": combine.INSTANCES_CONFIDENCE_THRESH,
            "combine_on": combine.ENABLED,
            "instance_loss_weight": cfg.MODEL.PANOPTIC_FPN.INSTANCE_LOSS_WEIGHT,
        }

    def training_losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Compute all losses; inputs need ``instances`` and ``sem_seg`` (H, W) int64."""
        targets = self.targets(batched_inputs)
        images = self.preprocess_image(batched_inputs)
        semantic = self.semantic_target(batched_inputs, self.sem_seg_head.ignore_value)
        features = self.backbone(images.tensor)
        _, semantic_losses = self.sem_seg_head(features, semantic)
        proposals, losses = self._propose(batched_inputs, images, features, targets)
        _, head_losses = self.roi_heads(images, features, proposals, targets)
        total = Losses(semantic_losses)
        total.add(losses)
        total.add(Losses(head_losses).weighted(self.instance_loss_weight))
        total.publish()
        if training_pictures.is_due(self.vis_period):
            self.visualize_training(batched_inputs, proposals)
        return total

    def inference(  # type: ignore[override]
        self, batched_inputs: list[dict[str, Any]], do_postprocess: bool = True
    ) -> Any:
        """Detect objects and classify every pixel.

        Args:
            batched_inputs: See `forward`.
            do_postprocess: Rescale to the wanted size, paste the masks, and combine.

        Returns:
            For each image a dict with ``sem_seg`` (C, H, W) logits, ``instances`` and, if combined,
            ``panoptic_seg``, see `combine_semantic_and_instance_outputs`. Without postprocessing
            the instances and the logits of all images, in pixels of the network input.
        """
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        logits, _ = self.sem_seg_head(features, None)
        proposals, _ = self._propose(batched_inputs, images, features)
        detections, _ = self.roi_heads(images, features, proposals, None)
        if not do_postprocess:
            return detections, logits
        return [
            self._outputs(found, semantic, size_hw, output_size(one, size_hw))
            for found, semantic, one, size_hw in zip(
                detections, logits, batched_inputs, images.image_sizes, strict=True
            )
        ]

    def _outputs(
        self,
        detections: Instances,
        logits: Tensor,
        size_hw: tuple[int, int],
        wanted_hw: tuple[int, int],
    ) -> dict[str, Any]:
        output: dict[str, Any] = {
            "sem_seg": sem_seg_postprocess(logits, size_hw, *wanted_hw),
            "instances": detector_postprocess(
                detections, *wanted_hw, whole_pixels=self.whole_pixel_masks
            ),
        }
        if self.combine_on:
            output["panoptic_seg"] = combine_semantic_and_instance_outputs(
                output["instances"],
                output["sem_seg"].argmax(dim=0),
                self.combine_overlap_thresh,
                self.combine_stuff_area_thresh,
                self.combine_instances_score_thresh,
            )
        return output


def combine_semantic_and_instance_outputs(
    instance_results: Instances,
    semantic_results: Tensor,
    overlap_threshold: float,
    stuff_area_thresh: float,
    instances_score_thresh: float,
) -> tuple[Tensor, list[dict[str, Any]]]:
    """Put objects and stuff into one segmentation without overlaps.

    Args:
        instance_results: With ``pred_masks`` (N, H, W), ``scores`` and ``pred_classes``.
        semantic_results: (H, W) int64 classes; 0 stands for all things.
        overlap_threshold: An object is left out when more than this share of it is taken already.
        stuff_area_thresh: A class that fills fewer pixels than this is left out.
        instances_score_thresh: Objects that score below it are left out.

    Returns:
        (H, W) int32, the segment of each pixel, 0 for none; and for each segment a dict with
        ``id``, ``isthing``, ``category_id``, and ``score`` and ``instance_id`` (its row) for
        things, ``area`` for stuff.
    """
    segments, rows, stuff = merge_panoptic(
        instance_results.pred_masks.bool(),
        instance_results.scores,
        semantic_results,
        overlap_threshold,
        stuff_area_thresh,
        instances_score_thresh,
    )
    things: list[dict[str, Any]] = [
        {
            "id": number,
            "isthing": True,
            "score": float(instance_results.scores[row]),
            "category_id": int(instance_results.pred_classes[row]),
            "instance_id": row,
        }
        for number, row in enumerate(rows, start=1)
    ]
    classes: list[dict[str, Any]] = [
        {
            "id": number,
            "isthing": False,
            "category_id": label,
            "area": int((segments == number).sum()),
        }
        for number, label in enumerate(stuff, start=len(rows) + 1)
    ]
    return segments, things + classes
