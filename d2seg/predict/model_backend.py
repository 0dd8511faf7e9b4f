"""A config and its weights, run by the framework."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch

from d2seg.class_names import class_names
from d2seg.framework import CfgNode, DefaultPredictor, FlopCountAnalysis, Instances
from d2seg.predict.backend import on_cpu, usable_device
from d2seg.predict.images import NetworkInput, SizeHW, fit_shortest_edge, fit_shortest_edge_below
from d2seg.predict.masks import ImageMasks
from d2seg.predict.prediction import Prediction, from_network


class ModelBackend:
    """A model built from its config, with the weights of ``MODEL.WEIGHTS``.

    Args:
        cfg: A config of a model that finds instances. Not modified.

    Attributes:
        model: The model, in evaluation mode.
    """

    takes_batches = True
    resizes_inside = False
    limit_hw: SizeHW | None = None

    def __init__(self, cfg: CfgNode) -> None:
        own = cfg.clone()
        own.defrost()
        self.device = usable_device(own.MODEL.DEVICE)
        own.MODEL.DEVICE = str(self.device)
        self.model: Any = DefaultPredictor(own).model
        self.class_names = tuple(class_names(own))
        self.input_order: str = own.INPUT.FORMAT
        self.interpolate = own.INPUT.get("RESIZE_TEST") == "interpolate"
        fit = fit_shortest_edge_below if self.interpolate else fit_shortest_edge
        self.fit = fit(own.INPUT.MIN_SIZE_TEST, own.INPUT.MAX_SIZE_TEST)

    def run(self, inputs: Sequence[NetworkInput]) -> list[Prediction]:
        """See :class:`d2seg.predict.backend.Backend`."""
        options = getattr(self.model, "inference_options", None)  # detectron2's has none
        with torch.no_grad(), options.applied(self.device) if options else nullcontext():
            if type(self.model).__name__ == "GeneralizedRCNN":
                return self._run_without_pasting(inputs)
            return self._run_any(inputs)

    def count_flops(self, one: NetworkInput) -> float | None:
        """See :class:`d2seg.predict.backend.Backend`."""
        counted = FlopCountAnalysis(self.model, [{"image": one.tensor}])
        return float(counted.total()) / 1e9

    def _run_without_pasting(self, inputs: Sequence[NetworkInput]) -> list[Prediction]:
        """Take the masks before they are pasted, as only this kind of model gives them."""
        batch = [{"image": one.tensor} for one in inputs]
        found = self.model.inference(batch, do_postprocess=False)
        whole_pixels = getattr(self.model, "whole_pixel_masks", False)  # detectron2's has none
        return [
            from_network(
                self._prediction(instances),
                one.image_size,
                on_cpu(instances.pred_masks) if instances.has("pred_masks") else None,
                whole_pixels,
            )
            for instances, one in zip(found, inputs, strict=True)
        ]

    def _run_any(self, inputs: Sequence[NetworkInput]) -> list[Prediction]:
        batch = [
            {"image": one.tensor, "height": one.image_size[0], "width": one.image_size[1]}
            for one in inputs
        ]
        return [self._finished(output) for output in self.model(batch)]

    def _finished(self, output: dict[str, Any]) -> Prediction:
        """Wrap an output that is in pixels of the image already, with pasted masks if any."""
        if "instances" not in output:
            raise ValueError(
                f"A Predictor is for models that find instances, but this one gives "
                f"{', '.join(output) or 'nothing'}; use DefaultPredictor."
            )
        instances = output["instances"]
        masks = None
        if instances.has("pred_masks"):
            masks = ImageMasks.from_pixels(on_cpu(instances.pred_masks), instances.image_size)
        found = self._prediction(instances, masks)
        return from_network(found, found.image_size)

    def _prediction(self, instances: Instances, masks: ImageMasks | None = None) -> Prediction:
        has_keypoints = instances.has("pred_keypoints")
        return Prediction(
            boxes=on_cpu(instances.pred_boxes.tensor),
            scores=on_cpu(instances.scores),
            classes=on_cpu(instances.pred_classes),
            class_names=self.class_names,
            image_size=instances.image_size,
            keypoints=on_cpu(instances.pred_keypoints) if has_keypoints else None,
            mask_source=masks,
        )
