"""A batch of images on its way through a model, part by part, no further than asked."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from d2seg.features.hooks import Captured, capture, capture_until_complete, module_path
from d2seg.features.objects import GivenObjects
from d2seg.framework import ImageList, Instances

Features = dict[str, Tensor]
"""The features of one image: tensor names such as ``backbone.p3`` to tensors."""

PARTS = {
    "backbone": "backbone",
    "sem_seg_head": "semantic",
    "proposal_generator": "proposals",
}
"""The submodules that every model is made of, and what runs them."""


class ImageRun:
    """Runs the parts that all models have; each when it is first asked for, and once.

    Args:
        model: With ``backbone``, ``pixel_mean`` and ``pixel_std``.
        inputs: For each image a dict with ``image`` (C, H, W).
        stages: All that will be asked for, in any order: names of stages and paths of modules.
        taps: The paths that are to be captured, and how often those in the backbone are called.
        given: Objects in place of detections.
        pool_again: Take ``box_pooler`` and ``box_head`` from inside the final boxes, and not from
            the proposals that were judged.

    Raises:
        ValueError: The model cannot give what is asked for of objects that it did not detect.
    """

    parts: Mapping[str, str] = PARTS
    object_parts: tuple[str, ...] = ()

    def __init__(
        self,
        model: Any,
        inputs: list[dict[str, Any]],
        stages: Sequence[str],
        taps: Mapping[str, int],
        given: GivenObjects | None = None,
        pool_again: bool = False,
    ) -> None:
        self.model = model
        self.inputs = inputs
        self.stages = frozenset(stages)
        self.taps = taps
        self.given = given
        self.pool_again = pool_again
        self.captured: Captured = {}
        if given is not None:
            self._check_given(given)

    @classmethod
    def available_stages(cls, model: Any) -> list[str]:
        """List the stages that a model has by name; those of objects after ``instances``."""
        levels = list(model.backbone.output_shape())
        inner = [name for name in bottom_up_levels(model) if name not in levels]
        names = ["backbone", *(f"backbone.{level}" for level in levels), *levels, *inner]
        if getattr(model, "sem_seg_head", None) is not None:
            names.append("sem_seg")
        if hasattr(model, "proposal_generator"):
            names.append("proposals")
        return names

    def wants(self, *stages: str) -> bool:
        """Tell whether any of these stages will be asked for."""
        return not self.stages.isdisjoint(stages)

    @cached_property
    def images(self) -> ImageList:
        """The normalised, padded batch."""
        return normalised_batch(self.model, self.inputs)

    @cached_property
    def maps(self) -> Mapping[str, Tensor]:
        """Level to (B, C, h, w)."""
        return self.run_part("backbone", lambda: self.model.backbone(self.images.tensor))

    @cached_property
    def semantic(self) -> Tensor:
        """(B, K, H, W) logits."""
        return self.run_part("semantic", lambda: self.model.sem_seg_head(self.maps, None)[0])

    @cached_property
    def proposals(self) -> list[Instances]:
        """Of each image, with ``proposal_boxes`` and ``objectness_logits``."""
        generator = self.model.proposal_generator
        if generator is None:
            return self._given_proposals()
        return self.run_part("proposals", lambda: generator(self.images, self.maps)[0])

    def features(self, stage: str) -> list[Features]:
        """Return the tensors of a named stage for each image."""
        level = stage.removeprefix("backbone.")
        if stage == "backbone":
            return [
                {f"backbone.{name}": batch[index] for name, batch in self.maps.items()}
                for index in range(len(self.inputs))
            ]
        if level in self.model.backbone.output_shape():
            return [{stage: item} for item in self.maps[level]]
        if stage in bottom_up_levels(self.model):
            return [{stage: item} for item in self._bottom_up(stage)]
        if stage == "sem_seg":
            return [{stage: item} for item in self.semantic]
        return [
            {
                "proposals.boxes": one.proposal_boxes.tensor,
                "proposals.logits": one.objectness_logits,
            }
            for one in self.proposals
        ]

    def module_features(self, name: str) -> list[Features]:
        """Return what was captured at the path of a module for each image.

        Raises:
            ValueError: The module is not called, or what it handles cannot be divided among the
                images.
        """
        part = self.part_of(name)
        if name not in self.captured:
            self._run_for_capture(part)
        divided = [
            (suffix, self._divide(name, tensor, part)) for suffix, tensor in self._named(name)
        ]
        return [
            {f"{name}{suffix}": items[index] for suffix, items in divided}
            for index in range(len(self.inputs))
        ]

    @classmethod
    def part_of(cls, name: str) -> str:
        """Return the attribute that runs a module.

        Raises:
            ValueError: None does.
        """
        first = module_path(name).partition(".")[0]
        if first not in cls.parts:
            raise ValueError(
                f"'{name}' is not inside {', '.join(cls.parts)}, which are run here; use "
                "d2seg.features.capture around a run of the model."
            )
        return cls.parts[first]

    def run_part(self, part: str, run: Callable[[], Any]) -> Any:
        """Run a part and capture what is wanted of its modules."""
        with capture(self.model, self._wanted_paths(part)) as captured:
            result = run()
        self.captured.update(captured)
        return result

    def counts(self, part: str) -> list[int] | None:
        """Return how many rows each image has in a part's tensors; None where rows are images."""
        return None

    def select(self, part: str, rows: list[Tensor]) -> list[Tensor]:
        """Pick from the rows of each image those that belong to its objects."""
        return rows

    def _check_given(self, given: GivenObjects) -> None:
        raise ValueError("boxes were given, but this model has no stage of objects.")

    def _wanted_paths(self, part: str) -> list[str]:
        return [name for name in self.taps if self.part_of(name) == part]

    def _run_for_capture(self, part: str) -> None:
        if part != "backbone":
            getattr(self, part)
        elif self._needs_maps():
            _ = self.maps
        else:
            calls = {name: self.taps[name] for name in self._wanted_paths(part)}
            captured = capture_until_complete(
                self.model, calls, lambda: self.model.backbone(self.images.tensor)
            )
            self.captured.update(captured)

    def _needs_maps(self) -> bool:
        """Tell whether anything is wanted that the whole backbone must have run for."""
        within = {*self._wanted_paths("backbone"), *bottom_up_levels(self.model)}
        return not self.stages <= within

    def _bottom_up(self, level: str) -> Tensor:
        """Return a map (B, C, h, w) of the network below the pyramid."""
        name = bottom_up_path(self.model, level)
        if name not in self.captured:
            self._run_for_capture("backbone")
        value = self.captured[name][-1]
        return value[level] if isinstance(value, Mapping) else value

    def _named(self, name: str) -> list[tuple[str, Tensor]]:
        """Name the tensors that a module handled; those of several calls by number."""
        calls = self.captured[name]
        if not calls:
            raise ValueError(f"The module '{name}' is not called when the model runs.")
        tensors = _tensors(calls[0] if len(calls) == 1 else calls)
        if not tensors:
            raise ValueError(
                f"'{name}' handles no tensors but {type(calls[0]).__name__}; ask for a named stage "
                "or for a module inside it."
            )
        return tensors

    def _divide(self, name: str, tensor: Tensor, part: str) -> list[Tensor]:
        counts = self.counts(part)
        expected = len(self.inputs) if counts is None else sum(counts)
        if tensor.dim() == 0 or len(tensor) != expected:
            raise ValueError(
                f"'{name}' handles a tensor of shape {tuple(tensor.shape)}, but its rows must be "
                f"the {expected} {'images' if counts is None else 'regions'} of the batch; use "
                "d2seg.features.capture around a run of the model."
            )
        if counts is None:
            return list(tensor)
        return self.select(part, list(tensor.split(counts)))

    def _given_proposals(self) -> list[Instances]:
        if any("proposals" not in one for one in self.inputs):
            raise ValueError(
                "This model takes its proposals from outside (MODEL.PROPOSAL_GENERATOR.NAME is "
                "'PrecomputedProposals'): every image must be a dict with 'proposals'."
            )
        device = self.images.tensor.device
        return [one["proposals"].to(device) for one in self.inputs]


def normalised_batch(model: Any, inputs: list[dict[str, Any]]) -> ImageList:
    """Normalise and pad images; some models of detectron2 do so in ``forward`` alone."""
    if hasattr(model, "preprocess_image"):
        batch: ImageList = model.preprocess_image(inputs)
        return batch
    images = [one["image"].to(model.pixel_mean.device) for one in inputs]
    return ImageList.from_tensors(
        [(image - model.pixel_mean) / model.pixel_std for image in images],
        model.backbone.size_divisibility,
        padding_constraints=getattr(model.backbone, "padding_constraints", None),
    )


def bottom_up_levels(model: Any) -> Iterable[str]:
    """List the levels of the network below a pyramid, such as ``res4``."""
    bottom_up = getattr(model.backbone, "bottom_up", None)
    return [] if bottom_up is None else list(bottom_up.output_shape())


def bottom_up_path(model: Any, level: str) -> str:
    """Return the module that gives a level of the network below a pyramid, alone or with others."""
    modules = dict(model.backbone.bottom_up.named_children())
    return f"backbone.bottom_up.{level}" if level in modules else "backbone.bottom_up"


def _tensors(value: Any, suffix: str = "") -> list[tuple[str, Tensor]]:
    """List the tensors in nested dicts, tuples and lists with a suffix that says where."""
    if isinstance(value, torch.Tensor):
        return [(suffix, value)]
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    return [found for key, item in items for found in _tensors(item, f"{suffix}.{key}")]
