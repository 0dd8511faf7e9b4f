"""Test-time augmentation: detect in several views of an image, and put together what was found."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from typing import Any

import numpy as np
import torch
from fvcore.transforms.transform import HFlipTransform, Transform, TransformList
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from d2seg.core.config import CfgNode, configurable
from d2seg.core.modeling.meta_arch import GeneralizedRCNN, PanopticFPN
from d2seg.core.modeling.postprocessing import detector_postprocess
from d2seg.core.modeling.roi_heads import RROIHeads
from d2seg.core.modeling.views import merge_views, move_boxes, unflip
from d2seg.core.structures import Instances


class DatasetMapperTTA:
    """Turn the input of one image into those of its views: every size, with and without a flip.

    Args:
        min_sizes: Lengths in pixels of the shorter edge, one view for each.
        max_size: Limit in pixels of the longer edge; the aspect ratio is kept.
        flip: Add the mirror image, left to right, of every view.

    Raises:
        ValueError: No sizes, or one below 1.
    """

    @configurable
    def __init__(self, min_sizes: Sequence[int], max_size: int, flip: bool) -> None:
        if not min_sizes or min(min_sizes) < 1 or max_size < 1:
            raise ValueError(
                "TEST.AUG.MIN_SIZES needs at least one size and TEST.AUG.MAX_SIZE a limit, all in "
                f"pixels above 0; found {list(min_sizes)} and {max_size}."
            )
        self.min_sizes = min_sizes
        self.max_size = max_size
        self.flip = flip

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Map config keys to arguments."""
        keys = cfg.TEST.AUG
        return {"min_sizes": keys.MIN_SIZES, "max_size": keys.MAX_SIZE, "flip": keys.FLIP}

    def __call__(self, dataset_dict: dict[str, Any]) -> list[dict[str, Any]]:
        """Make the views of one image.

        Args:
            dataset_dict: With ``image`` (C, H, W), and optionally ``height`` and ``width``, the
                size in pixels of the image as it was before any resizing. Not modified.

        Returns:
            For each size the view and, with ``flip``, its mirror image: the same dict with another
            ``image``, and with ``transforms`` from the original pixels to those of the view.
        """
        pixels = dataset_dict["image"].permute(1, 2, 0).cpu().numpy()
        before = _resized_from(dataset_dict, pixels.shape[:2])
        mirrored = (False, True) if self.flip else (False,)
        views = []
        for min_size, mirror in product(self.min_sizes, mirrored):
            change = self._change(pixels, min_size, mirror)
            image = np.ascontiguousarray(change.apply_image(pixels).transpose(2, 0, 1))
            transforms = TransformList([*before, *change.transforms])
            views.append(
                {**dataset_dict, "image": torch.from_numpy(image), "transforms": transforms}
            )
        return views

    def _change(self, pixels: np.ndarray, min_size: int, mirror: bool) -> TransformList:
        from d2seg.core.data.transforms import ResizeShortestEdge, ResizeTransform

        height, width = pixels.shape[:2]
        new_h, new_w = ResizeShortestEdge.get_output_shape(height, width, min_size, self.max_size)
        resize = ResizeTransform(height, width, new_h, new_w)
        return TransformList([resize, HFlipTransform(new_w)] if mirror else [resize])


class GeneralizedRCNNWithTTA(nn.Module):
    """A detector that is asked about several views of every image.

    The boxes of all views go through non-maximum suppression together; each mask is the mean of
    what the mask head says in the views about the box that remained.

    Args:
        cfg: The config of the model; ``MODEL.ROI_HEADS.NMS_THRESH_TEST``,
            ``TEST.DETECTIONS_PER_IMAGE`` and ``INPUT.FORMAT`` are read.
        model: Predicts boxes and perhaps masks; may be wrapped for distributed training.
        tta_mapper: From the input of an image to those of its views, as `DatasetMapperTTA`, which
            is the default. Views may be resized, moved, recoloured and mirrored.
        batch_size: How many views go through the model at a time.

    Raises:
        TypeError: The model is not a two-stage detector of upright boxes.
        ValueError: It predicts keypoints or takes precomputed proposals, which is not supported.
    """

    def __init__(
        self,
        cfg: CfgNode,
        model: nn.Module,
        tta_mapper: Callable[[dict[str, Any]], list[dict[str, Any]]] | None = None,
        batch_size: int = 3,
    ) -> None:
        super().__init__()
        model = model.module if isinstance(model, DistributedDataParallel) else model
        _check(cfg, model)
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, but is {batch_size}.")
        self.cfg = cfg.clone()
        self.model: Any = model
        self.tta_mapper = DatasetMapperTTA(cfg) if tta_mapper is None else tta_mapper
        self.batch_size = batch_size

    @torch.no_grad()
    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        """Detect objects.

        Args:
            batched_inputs: As for the model; without ``image``, the file ``file_name`` is read.

        Returns:
            For each image ``{"instances": Instances}`` of the original size, by falling score.
        """
        return [{"instances": self._detect(self._with_image(one))} for one in batched_inputs]

    def _with_image(self, one: dict[str, Any]) -> dict[str, Any]:
        """Complete an input by its image and the size of that."""
        image = one.get("image")
        if image is None:
            image = _read(one, self.cfg.INPUT.FORMAT)
        height, width = image.shape[1:]
        return {"height": height, "width": width, **one, "image": image}

    def _detect(self, one: dict[str, Any]) -> Instances:
        views = self.tta_mapper(one)
        transforms = [view["transforms"] for view in views]
        inputs = [{k: v for k, v in view.items() if k != "transforms"} for view in views]
        with _without_masks(self.model.roi_heads):
            found = self._infer(inputs)
        size_hw = (one["height"], one["width"])
        merged = merge_views(
            found,
            transforms,
            size_hw,
            self.cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST,
            self.cfg.TEST.DETECTIONS_PER_IMAGE,
        )
        if self.cfg.MODEL.MASK_ON:
            merged.pred_masks = self._mean_masks(merged, inputs, transforms)
        return detector_postprocess(merged, *size_hw, whole_pixels=self.model.whole_pixel_masks)

    def _mean_masks(
        self, merged: Instances, inputs: list[dict[str, Any]], transforms: list[Transform]
    ) -> Tensor:
        """Average (N, 1, h, w) probabilities of the masks of merged boxes over the views."""
        asked = [
            Instances(
                (view["image"].shape[1], view["image"].shape[2]),
                pred_boxes=move_boxes(merged.pred_boxes, change),
                pred_classes=merged.pred_classes,
                scores=merged.scores,
            )
            for view, change in zip(inputs, transforms, strict=True)
        ]
        answers = self._infer(inputs, asked)
        upright = [
            unflip(answer.pred_masks, change)
            for answer, change in zip(answers, transforms, strict=True)
        ]
        return torch.stack(upright).mean(dim=0)

    def _infer(
        self, inputs: list[dict[str, Any]], asked: list[Instances] | None = None
    ) -> list[Instances]:
        """Run the model over views, ``batch_size`` at a time; results in pixels of each view."""
        results: list[Instances] = []
        for start in range(0, len(inputs), self.batch_size):
            rows = slice(start, start + self.batch_size)
            given = None if asked is None else asked[rows]
            results += self.model.inference(inputs[rows], given, do_postprocess=False)
        return results


@contextmanager
def _without_masks(roi_heads: Any) -> Iterator[None]:
    """Let heads predict boxes alone for a while."""
    before = roi_heads.mask_on
    roi_heads.mask_on = False
    try:
        yield
    finally:
        roi_heads.mask_on = before


def _resized_from(one: dict[str, Any], size_hw: tuple[int, int]) -> list[Transform]:
    """Return what was done to the image before: its resizing, if its size changed."""
    from d2seg.core.data.transforms import ResizeTransform

    original_hw = (one.get("height", size_hw[0]), one.get("width", size_hw[1]))
    return [] if original_hw == size_hw else [ResizeTransform(*original_hw, *size_hw)]


def _read(one: dict[str, Any], image_format: str) -> Tensor:
    from d2seg.core.data.detection_utils import read_image

    if "file_name" not in one:
        raise ValueError(f"Every input needs 'image' or 'file_name'; found {sorted(one)}.")
    pixels = read_image(one["file_name"], image_format)
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def _check(cfg: CfgNode, model: nn.Module) -> None:
    """Refuse models whose results cannot be put together."""
    if not isinstance(model, GeneralizedRCNN) or isinstance(model, PanopticFPN):
        raise TypeError(
            "Test-time augmentation is for GeneralizedRCNN models, but this is a "
            f"{type(model).__name__}; set TEST.AUG.ENABLED to False."
        )
    if isinstance(model.roi_heads, RROIHeads):
        raise TypeError("Test-time augmentation is for upright boxes, but RROIHeads rotates them.")
    if cfg.MODEL.KEYPOINT_ON:
        raise ValueError(
            "Test-time augmentation does not support keypoints; set MODEL.KEYPOINT_ON or "
            "TEST.AUG.ENABLED to False."
        )
    if cfg.MODEL.LOAD_PROPOSALS or model.proposal_generator is None:
        raise ValueError(
            "Test-time augmentation does not support precomputed proposals; use a proposal "
            "generator such as MODEL.PROPOSAL_GENERATOR.NAME 'RPN'."
        )
