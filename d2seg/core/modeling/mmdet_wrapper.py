"""Backbones and detectors of MMDetection 3 as models of this framework.

The packages mmdet and mmengine are imported when something is built from a config, or a detector
is called.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2seg.core.layers import ShapeSpec
from d2seg.core.modeling.backbone import Backbone
from d2seg.core.modeling.losses import Losses
from d2seg.core.modeling.meta_arch.image_model import output_size
from d2seg.core.structures import BitMasks, Boxes, ImageList, Instances


class MMDetBackbone(Backbone):
    """A backbone, and perhaps a neck, of MMDetection, whose outputs get names.

    Args:
        backbone: From images to a list of maps; a module, or the config of one.
        neck: From these to another list of maps; likewise.
        output_shapes: Channels and stride of each map.
        output_names: Name of each map; by default ``out0``, ``out1``, ...

    Raises:
        ImportError: It is to be built from a config and mmdet is not installed.
        ValueError: As many names as shapes are needed.
    """

    def __init__(
        self,
        backbone: nn.Module | Mapping[str, Any],
        neck: nn.Module | Mapping[str, Any] | None = None,
        *,
        output_shapes: Sequence[ShapeSpec],
        output_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        names = output_names or [f"out{index}" for index in range(len(output_shapes))]
        if len(names) != len(output_shapes):
            raise ValueError(
                f"MMDetBackbone has {len(output_shapes)} output_shapes, but output_names are "
                f"{list(names)}."
            )
        self.backbone = _built(backbone)
        self.neck = None if neck is None else _built(neck)
        for part in (self.backbone, self.neck):
            _draw_weights(part)
        self._shapes = dict(zip(names, output_shapes, strict=True))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map (B, 3, H, W) to name -> (B, C, H / stride, W / stride)."""
        maps = self.backbone(x)
        if self.neck is not None:
            maps = self.neck(maps)
        if not isinstance(maps, list | tuple) or len(maps) != len(self._shapes):
            found = f"{len(maps)}" if isinstance(maps, list | tuple) else type(maps).__name__
            raise ValueError(
                f"MMDetBackbone expects {len(self._shapes)} maps, for {', '.join(self._shapes)}, "
                f"but the network gave {found}."
            )
        return dict(zip(self._shapes, maps, strict=True))

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Return channels and stride of every output."""
        return dict(self._shapes)


class MMDetDetector(nn.Module):
    """A detector of MMDetection with the inputs and outputs of `GeneralizedRCNN`.

    Args:
        detector: With the methods ``loss`` and ``predict`` of MMDetection 3; or the config of one.
        size_divisibility: What the height and width of its input must be multiples of.
        pixel_mean: Of each channel, subtracted from images.
        pixel_std: Of each channel; images are divided by it.

    Raises:
        ImportError: It is to be built from a config and mmdet is not installed.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        detector: nn.Module | Mapping[str, Any],
        *,
        size_divisibility: int = 32,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ) -> None:
        super().__init__()
        self.detector: Any = _built(detector)
        _draw_weights(self.detector)
        self.size_divisibility = size_divisibility
        for name, values in (("pixel_mean", pixel_mean), ("pixel_std", pixel_std)):
            buffer = torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)
            self.register_buffer(name, buffer, persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.pixel_mean.device

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """Compute losses in training, detections otherwise; see `GeneralizedRCNN.forward`."""
        images = self._batch(batched_inputs)
        samples = [
            _sample(one, size_hw, (images.tensor.shape[2], images.tensor.shape[3]))
            for one, size_hw in zip(batched_inputs, images.image_sizes, strict=True)
        ]
        if not self.training:
            found = self.detector.predict(images.tensor, samples, rescale=True)
            return [
                {"instances": _instances(result.pred_instances, sample.metainfo["ori_shape"])}
                for result, sample in zip(found, samples, strict=True)
            ]
        self._add_ground_truth(samples, batched_inputs, images)
        losses = _losses(self.detector.loss(images.tensor, samples))
        losses.publish()
        return losses

    def _batch(self, batched_inputs: list[dict[str, Any]]) -> ImageList:
        """Normalise the images and pad them to one batch."""
        images = [
            (one["image"].to(self.device) - self.pixel_mean) / self.pixel_std
            for one in batched_inputs
        ]
        return ImageList.from_tensors(images, self.size_divisibility)

    def _add_ground_truth(
        self, samples: list[Any], batched_inputs: list[dict[str, Any]], images: ImageList
    ) -> None:
        instance_data = _require("mmengine.structures").InstanceData
        padded_hw = (images.tensor.shape[2], images.tensor.shape[3])
        for sample, one in zip(samples, batched_inputs, strict=True):
            if "instances" not in one:
                raise ValueError(
                    "Training needs 'instances' in every input; call model.eval() for inference."
                )
            gt = one["instances"].to(self.device)
            fields = {"bboxes": gt.gt_boxes.tensor, "labels": gt.gt_classes}
            if gt.has("gt_masks"):
                fields["masks"] = _masks(gt.gt_masks, padded_hw)
            sample.gt_instances = instance_data(**fields)
            empty = gt.gt_boxes.tensor.new_zeros(0, 4)
            sample.ignored_instances = instance_data(bboxes=empty, labels=gt.gt_classes[:0])


def _sample(one: dict[str, Any], size_hw: tuple[int, int], padded_hw: tuple[int, int]) -> Any:
    """Describe an image as MMDetection does; results are scaled back to the wanted size."""
    wanted_hw = output_size(one, size_hw)
    return _require("mmdet.structures").DetDataSample(
        metainfo={
            "img_shape": size_hw,
            "ori_shape": wanted_hw,
            "pad_shape": padded_hw,
            "batch_input_shape": padded_hw,
            "scale_factor": (size_hw[1] / wanted_hw[1], size_hw[0] / wanted_hw[0]),
        }
    )


def _masks(masks: Any, padded_hw: tuple[int, int]) -> Any:
    """Convert ground-truth masks, padded as the images are."""
    kinds = _require("mmdet.structures.mask")
    if not isinstance(masks, BitMasks):
        polygons = [[np.asarray(part) for part in one] for one in masks.polygons]
        return kinds.PolygonMasks(polygons, *padded_hw)
    height, width = masks.tensor.shape[1:]
    padded = F.pad(masks.tensor, (0, padded_hw[1] - width, 0, padded_hw[0] - height))
    return kinds.BitmapMasks(padded.cpu().numpy().astype(np.uint8), *padded_hw)


def _instances(found: Any, size_hw: tuple[int, int]) -> Instances:
    """Convert the detections of an image."""
    result = Instances(
        size_hw,
        pred_boxes=Boxes(found.bboxes),
        scores=found.scores,
        pred_classes=found.labels,
    )
    masks = getattr(found, "masks", None)
    if masks is not None:
        result.pred_masks = torch.as_tensor(masks, device=found.bboxes.device).bool()
    return result


def _losses(parts: Mapping[str, Any]) -> Losses:
    """Reduce what MMDetection returns, tensors or lists of them, to scalars.

    As there, names that contain "loss" are summed to the total loss; others are only reported.
    """
    totals = {}
    for name, values in parts.items():
        several = values if isinstance(values, list | tuple) else [values]
        totals[name] = torch.stack([value.mean() for value in several]).sum()
    losses = {name: value for name, value in totals.items() if "loss" in name}
    metrics = {name: value.detach() for name, value in totals.items() if "loss" not in name}
    return Losses(losses, metrics)


def _built(part: nn.Module | Mapping[str, Any]) -> nn.Module:
    """Build a module from its config, which may be one of omegaconf."""
    if isinstance(part, nn.Module):
        return part
    if type(part).__module__.startswith("omegaconf"):
        part = import_module("omegaconf").OmegaConf.to_container(part, resolve=True)
    config = _require("mmengine.config").ConfigDict(part)
    _require("mmdet.models")  # registers what configs name
    module: nn.Module = _require("mmdet.registry").MODELS.build(config)
    return module


def _draw_weights(part: Any) -> None:
    """Let a module of MMDetection draw its weights, which it does not do when it is built."""
    draw = getattr(part, "init_weights", None)
    if draw is not None:
        draw()


def _require(name: str) -> ModuleType:
    package = name.partition(".")[0]
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(
            f"Models of MMDetection need the packages mmdet (3.0 or newer) and mmengine, but "
            f"{package} cannot be imported: {error}"
        ) from error
