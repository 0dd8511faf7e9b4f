"""Run a model as deep as the wanted features lie, and hand them out by name."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from d2seg.features.dense_run import DenseRun
from d2seg.features.hooks import capture, check_hookable
from d2seg.features.image_run import (
    Features,
    ImageRun,
    bottom_up_levels,
    bottom_up_path,
    normalised_batch,
)
from d2seg.features.objects import GivenObjects, check_objects
from d2seg.features.region_run import RegionRun
from d2seg.features.stages import (
    OBJECT_STAGES,
    OBJECTS,
    check_stages,
    meaning_of,
    rows_of,
)
from d2seg.framework import Boxes, Instances

_BLANK_SIDE = 128
"""Side of the blank image that shapes are learned from; maps of stride 128 have one cell of it."""


class FeatureExtractor:
    """Give the intermediate features of a model by stage name.

    Named stages, in the order they run; a model has those that it has parts for:

    - ``backbone``: all maps, ``backbone.<level>`` (C, h, w). One level alone by ``backbone.p3`` or
      ``p3``, below a pyramid by ``res4``. A map covers the padded network input; cell (y, x)
      begins at pixel ``stride * (y, x)``.
    - ``sem_seg``: logits (K, h, w).
    - ``proposals``: ``proposals.boxes`` (P, 4) and ``proposals.logits`` (P,).
    - ``instances``: the detections ``instances.boxes`` (N, 4), ``.scores`` (N,), ``.classes`` (N,)
      before they are rescaled and pasted.
    - ``box_pooler`` (N, C, S, S), ``box_head`` (N, D), ``class_logits`` and ``class_probs``
      (N, K + 1): what the model made of the region that detection i came from, so that
      ``class_probs[i, instances.classes[i]]`` is its score. That region is
      ``instances.proposal_boxes[i]``.
    - ``mask_pooler``, ``mask_head`` (probabilities of the object's class), ``mask_logits``, and
      ``keypoint_pooler``, ``keypoint_head`` (N, K, 3), ``keypoint_logits``: of the final boxes.

    Any other stage is the path of a module: its output, or with ``:input`` at the end its input;
    rows of regions are brought to those of the detections. A module called several times gives one
    tensor for each call, ``<path>.0`` and so on.

    ``instances`` come along with every stage of objects, row i for row i. Boxes are XYXY pixels of
    the image tensor that was given. The model runs only as deep as the deepest stage needs, and no
    part twice.

    Args:
        model: A model of d2seg.core or of detectron2, alone or within ``DistributedDataParallel``;
            only public attributes are used.
        stages: What to hand out.
        box_region: ``proposal``, or ``detection`` to run pooler and box head once more on the
            final boxes for ``box_pooler`` and ``box_head``.

    Raises:
        TypeError: The model has no backbone, or is scripted or compiled.
        ValueError: A stage is unknown, or the model does not have it.
    """

    def __init__(self, model: Any, stages: Sequence[str], box_region: str = "proposal") -> None:
        if isinstance(model, nn.DataParallel | DistributedDataParallel):
            model = model.module
        check_hookable(model)
        self._kind = _kind_of(model)
        self.available_stages = self._kind.available_stages(model)
        check_stages(model, stages, self.available_stages)
        if box_region not in ("proposal", "detection"):
            raise ValueError(f"box_region is '{box_region}', not 'proposal' or 'detection'.")
        self.model = model
        self.stages = tuple(dict.fromkeys(stages))
        self.box_region = box_region
        self._paths = [stage for stage in self.stages if stage not in self.available_stages]
        self._path_parts = {name: self._kind.part_of(name) for name in self._paths}

    def extract(
        self,
        images: Sequence[Tensor | Mapping[str, Any]],
        boxes: Sequence[Any] | None = None,
        classes: Sequence[Any] | None = None,
        grad: bool = False,
    ) -> list[Features]:
        """Return the features of each image.

        Args:
            images: (C, H, W) tensors of raw pixels, resized already and in the model's channel
                order, or dicts that hold one under ``image``. Their sizes may differ.
            boxes: Objects in place of detections: for each image (N, 4), XYXY pixels of its
                tensor. The stages of objects are then of these boxes, row by row.
            classes: With ``boxes``, for each image (N,) integers: the class of each object, for
                the stages that need one; by default the most probable.
            grad: Keep the graph, so that the features backpropagate to weights and images.

        Returns:
            One dict per image, on the model's device. The model evaluates, and each part of it has
            its training flag back afterwards.

        Raises:
            TypeError: An item is neither a tensor nor a dict with ``image``.
            ValueError: An image is not of shape (C, H, W), or a box is impossible.
        """
        inputs = [_model_input(item) for item in images]
        if not inputs:
            return []
        given = None
        if boxes is not None:
            sizes = [(one["image"].shape[1], one["image"].shape[2]) for one in inputs]
            given = check_objects(boxes, classes, sizes, _device_of(self.model))
        elif classes is not None:
            raise ValueError("classes were given without boxes; give both, or neither.")
        with _evaluating(self.model), torch.set_grad_enabled(grad):
            return self._collect(self._new_run(inputs, given))

    def describe(self) -> dict[str, dict[str, Any]]:
        """Say what the tensors of an image will be.

        Returns:
            Tensor name to ``shape``, a list of numbers and of ``"N"`` objects, ``"P"`` proposals,
            ``"h"`` and ``"w"``; ``dtype``; ``meaning``; where its rows stand for something,
            ``rows``: ``objects`` or ``proposals``; for maps, ``stride`` in input pixels.
        """
        return {name: dict(about) for name, about in self._described.items()}

    @cached_property
    def _described(self) -> dict[str, dict[str, Any]]:
        with _evaluating(self.model), torch.no_grad():
            run = self._new_run([_blank(self.model)], None)
            described: dict[str, dict[str, Any]] = {}
            for stage, features in self._stages_of(run):
                padded = run.images.tensor.shape[-1]
                for name, tensor in features[0].items():
                    described[name] = self._describe(stage, name, tensor, padded)
        return described

    def _describe(self, stage: str, name: str, tensor: Tensor, padded: int) -> dict[str, Any]:
        rows = OBJECTS if self._is_of_objects(stage) else rows_of(stage)
        about: dict[str, Any] = {"shape": list(tensor.shape)}
        about["dtype"] = str(tensor.dtype).removeprefix("torch.")
        about["meaning"] = meaning_of(name, tensor.shape)
        if stage in self._paths:
            side = "input" if stage.endswith(":input") else "output"
            about["meaning"] = f"{side} of the module {stage.partition(':')[0]}"
        if rows is not None:
            about["rows"] = rows
            about["shape"][0] = "N" if rows == OBJECTS else "P"
        elif tensor.dim() == 3 and tensor.shape[1] == tensor.shape[2]:  # as the blank image
            about["stride"] = _stride(self.model, name, padded // tensor.shape[-1])
            about["shape"][1:] = ["h", "w"]
        return about

    @cached_property
    def _taps(self) -> dict[str, int]:
        """The paths to capture, and how often each is called, counted on a blank image."""
        levels = set(bottom_up_levels(self.model))
        inner = [stage for stage in self.stages if stage in levels - set(self._output_levels)]
        names = [*self._paths, *(bottom_up_path(self.model, level) for level in inner)]
        within = [name for name in names if name.startswith("backbone.")]
        calls = dict.fromkeys(names, 0)
        if within:
            with _evaluating(self.model), torch.no_grad(), capture(self.model, within) as seen:
                self.model.backbone(normalised_batch(self.model, [_blank(self.model)]).tensor)
            calls.update({name: len(values) for name, values in seen.items()})
        return calls

    @property
    def _output_levels(self) -> list[str]:
        return list(self.model.backbone.output_shape())

    def _new_run(self, inputs: list[dict[str, Any]], given: GivenObjects | None) -> ImageRun:
        pool_again = self.box_region == "detection"
        return self._kind(self.model, inputs, self.stages, self._taps, given, pool_again)

    def _is_of_objects(self, stage: str) -> bool:
        return self._path_parts.get(stage) in self._kind.object_parts

    def _collect(self, run: ImageRun) -> list[Features]:
        results: list[Features] = [{} for _ in run.inputs]
        for _, features in self._stages_of(run):
            for result, addition in zip(results, features, strict=True):
                result.update(addition)
        return results

    def _stages_of(self, run: ImageRun) -> Iterator[tuple[str, list[Features]]]:
        """Go through the stages in the order they run, objects before what has rows for them."""
        wanted = set(self.stages)
        of_objects = not wanted.isdisjoint(OBJECT_STAGES) or any(map(self._is_of_objects, wanted))
        for stage in self.available_stages:
            if stage in wanted or (stage == "instances" and of_objects):
                yield stage, run.features(stage)
        for name in self._paths:
            yield name, run.module_features(name)


def _kind_of(model: Any) -> type[ImageRun]:
    """Return what runs a model of this architecture.

    Raises:
        TypeError: It has no backbone, or no normalisation of images.
    """
    if not all(hasattr(model, part) for part in ("backbone", "pixel_mean", "pixel_std")):
        raise TypeError(
            "Features come from a model of d2seg or detectron2 (with backbone, pixel_mean and "
            f"pixel_std), got {type(model).__name__}."
        )
    if hasattr(model, "roi_heads"):
        return RegionRun
    return DenseRun if hasattr(model, "head_in_features") else ImageRun


def _model_input(item: Tensor | Mapping[str, Any]) -> dict[str, Any]:
    inputs = dict(item) if isinstance(item, Mapping) else {"image": item}
    tensor = inputs.get("image")
    if not isinstance(tensor, Tensor):
        raise TypeError(
            "Each image must be a (C, H, W) tensor or a dict with one under 'image', "
            f"got {type(item).__name__}."
        )
    if tensor.dim() != 3 or 0 in tensor.shape:
        raise ValueError(f"Each image must have shape (C, H, W), got {tuple(tensor.shape)}.")
    return inputs


def _blank(model: Any) -> dict[str, Any]:
    """Return an input without objects; with a proposal, for models that make none themselves."""
    size = (_BLANK_SIDE, _BLANK_SIDE)
    middle = Boxes(torch.tensor([[32.0, 32.0, 96.0, 96.0]]))
    proposals = Instances(size, proposal_boxes=middle, objectness_logits=torch.ones(1))
    return {"image": torch.zeros(len(model.pixel_mean), *size), "proposals": proposals}


def _device_of(model: Any) -> torch.device:
    device: torch.device = model.pixel_mean.device
    return device


def _stride(model: Any, name: str, measured: int) -> int:
    """Return the stride of a map: as the backbone declares it, else as measured."""
    shape = model.backbone.output_shape().get(name.removeprefix("backbone."))
    return measured if shape is None or shape.stride is None else int(shape.stride)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode; each submodule gets its own training flag back."""
    flags = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in flags:
            module.training = training
