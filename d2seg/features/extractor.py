"""Run a model as deep as the wanted features lie, and hand them out by name."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from d2seg.features.stages import (
    HEAD_STAGES,
    INSTANCES,
    PROPOSALS,
    available_stages,
    check_stages,
    meaning_of,
)
from d2seg.framework import Boxes, ImageList, Instances

Features = dict[str, Tensor]
"""The features of one image: tensor names such as ``backbone.p3`` to tensors."""


class FeatureExtractor:
    """Give the intermediate features of a GeneralizedRCNN by stage name.

    The stages, in the order they run:

    - ``backbone``, or single levels such as ``backbone.p3``: ``backbone.<level>`` (C, h, w). The
      map covers the padded network input; cell (y, x) begins at pixel ``stride * (y, x)``.
    - ``proposals``: ``proposals.boxes`` (P, 4) and ``proposals.logits`` (P,).
    - ``instances``: the detections ``instances.boxes`` (N, 4), ``.scores`` (N,), ``.classes`` (N,).
    - ``box_pooler`` (N, C, S, S), ``box_head`` (N, D), ``mask_pooler`` (N, C, S, S), ``mask_head``
      (N, 1, M, M): row i belongs to detection i, and pooling is inside its final box.
      ``instances`` comes along.

    Boxes are XYXY pixels of the image tensor that was given. The model runs only as deep as the
    deepest stage needs; backbone, proposal generator and detection heads run at most once each.

    Args:
        model: A GeneralizedRCNN of d2seg.core or of detectron2; only public attributes are used.
        stages: What to hand out.

    Raises:
        TypeError: The model is not a GeneralizedRCNN.
        ValueError: A stage is unknown, or the model does not have it.
    """

    def __init__(self, model: Any, stages: Sequence[str]) -> None:
        check_stages(stages, available_stages(model))
        self.model = model
        self.stages = tuple(dict.fromkeys(stages))
        self.strides = {
            f"backbone.{level}": spec.stride
            for level, spec in self.model.backbone.output_shape().items()
        }

    def extract(self, images: Sequence[Tensor | Mapping[str, Any]]) -> list[Features]:
        """Return the features of each image.

        Args:
            images: (C, H, W) tensors of raw pixels, resized already and in the model's channel
                order, or dicts that hold one under ``image``. Their sizes may differ.

        Returns:
            One dict per image, tensors detached and on the model's device. The training flags of
            the model are as they were before.

        Raises:
            TypeError: An item is neither a tensor nor a dict with ``image``.
            ValueError: An image is not of shape (C, H, W).
        """
        inputs = [{"image": _image_tensor(item)} for item in images]
        if not inputs:
            return []
        with _evaluating(self.model):
            return self._run(self.model.preprocess_image(inputs))

    def describe(self, tensors: Features) -> dict[str, dict[str, Any]]:
        """Describe extracted tensors for :func:`d2seg.features.save_features`.

        Returns:
            Tensor name to its ``meaning`` and, for a feature map, its ``stride`` in input pixels.
        """
        described: dict[str, dict[str, Any]] = {}
        for name in tensors:
            described[name] = {"meaning": meaning_of(name)}
            if name in self.strides:
                described[name]["stride"] = self.strides[name]
        return described

    def _run(self, images: ImageList) -> list[Features]:
        model = self.model
        maps = model.backbone(images.tensor)
        results = [self._backbone_features(maps, index) for index in range(len(images))]
        if self._wants(PROPOSALS, INSTANCES, *HEAD_STAGES):
            proposals, _ = model.proposal_generator(images, maps)
            if self._wants(PROPOSALS):
                _update_each(results, [_proposal_features(item) for item in proposals])
            if self._wants(INSTANCES, *HEAD_STAGES):
                instances, _ = model.roi_heads(images, maps, proposals)
                _update_each(results, [_instance_features(item) for item in instances])
                self._add_head_features(results, maps, instances)
        return results

    def _wants(self, *stages: str) -> bool:
        return any(stage in self.stages for stage in stages)

    def _backbone_features(self, maps: Mapping[str, Tensor], index: int) -> Features:
        named = {f"backbone.{level}": batch[index] for level, batch in maps.items()}
        return {name: item for name, item in named.items() if self._wants("backbone", name)}

    def _add_head_features(
        self, results: list[Features], maps: Mapping[str, Tensor], instances: list[Instances]
    ) -> None:
        heads = self.model.roi_heads
        boxes = [item.pred_boxes for item in instances]
        if self._wants("box_pooler", "box_head"):
            pooled = heads.box_pooler([maps[level] for level in heads.box_in_features], boxes)
            if self._wants("box_pooler"):
                _update_each(results, _split("box_pooler", pooled, boxes))
            if self._wants("box_head"):
                _update_each(results, _split("box_head", _box_head(heads)(pooled), boxes))
        if self._wants("mask_pooler"):
            pooled = heads.mask_pooler([maps[level] for level in heads.mask_in_features], boxes)
            _update_each(results, _split("mask_pooler", pooled, boxes))
        if self._wants("mask_head"):
            _update_each(results, [{"mask_head": item.pred_masks} for item in instances])


def _box_head(heads: Any) -> nn.Module:
    """Return the network of the box features; of a cascade that of its last stage."""
    head = heads.box_head
    return head[-1] if isinstance(head, nn.ModuleList) else head


def _image_tensor(item: Tensor | Mapping[str, Any]) -> Tensor:
    tensor = item.get("image") if isinstance(item, Mapping) else item
    if not isinstance(tensor, Tensor):
        raise TypeError(
            "Each image must be a (C, H, W) tensor or a dict with one under 'image', "
            f"got {type(item).__name__}."
        )
    if tensor.dim() != 3:
        raise ValueError(f"Each image must have shape (C, H, W), got {tuple(tensor.shape)}.")
    return tensor


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; each submodule gets its own training flag back."""
    flags = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in flags:
            module.training = training


def _proposal_features(proposals: Instances) -> Features:
    return {
        "proposals.boxes": proposals.proposal_boxes.tensor,
        "proposals.logits": proposals.objectness_logits,
    }


def _instance_features(instances: Instances) -> Features:
    return {
        "instances.boxes": instances.pred_boxes.tensor,
        "instances.scores": instances.scores,
        "instances.classes": instances.pred_classes,
    }


def _split(name: str, rows: Tensor, boxes: Sequence[Boxes]) -> list[Features]:
    """Cut the rows of a batch, one per box, into one tensor per image."""
    return [{name: part} for part in rows.split([len(item) for item in boxes])]


def _update_each(results: list[Features], additions: list[Features]) -> None:
    for result, addition in zip(results, additions, strict=True):
        result.update(addition)
