"""From pictures to their features and the descriptions that go with them."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from d2seg import __version__
from d2seg.class_names import class_names
from d2seg.features.extractor import FeatureExtractor
from d2seg.features.image_run import Features
from d2seg.features.objects import find_impossible_box
from d2seg.features.store import save_features
from d2seg.framework import FRAMEWORK, CfgNode
from d2seg.images import prepare_image
from d2seg.inputs import Source
from d2seg.postprocess import rescale_boxes


@dataclass(frozen=True)
class Prepared:
    """A picture as the model takes it.

    Attributes:
        source: Where it is from.
        pixels: (H, W, 3) uint8, channels in ``INPUT.FORMAT`` order.
        model_input: See `prepare_image`.
        boxes: (M, 4) float32, XYXY pixels of the resized picture; None to detect objects.
    """

    source: Source
    pixels: np.ndarray
    model_input: dict[str, Any]
    boxes: Tensor | None


class FeatureWriter:
    """Extract the features of pictures, resized as ``DefaultPredictor`` does, and describe them.

    Args:
        extractor: Gives the features.
        cfg: The config of its model: input size, channel order, class names.
        config_file: Where the config came from; noted in the descriptions.
        overrides: The ``KEY VALUE`` overrides that were applied to it; likewise.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        cfg: CfgNode,
        config_file: str | Path,
        overrides: Sequence[str] = (),
    ) -> None:
        self.extractor = extractor
        self.cfg = cfg
        self.about_run = {
            "stages": list(extractor.stages),
            "box_region": extractor.box_region,
            "class_names": class_names(cfg),
            "model": {
                "config_file": str(config_file),
                "overrides": list(overrides),
                "weights": cfg.MODEL.WEIGHTS,
            },
            "framework": FRAMEWORK,
            "versions": {
                "d2seg": __version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
        }

    def prepare(self, source: Source) -> Prepared:
        """Read a picture and bring it, and its boxes, to the size that the model takes.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is no picture, or a box of it is impossible; the message names the
                annotation.
        """
        pixels = source.read(self.cfg.INPUT.FORMAT)
        model_input = prepare_image(pixels, self.cfg)
        if source.annotated is None:
            return Prepared(source, pixels, model_input, None)
        boxes = torch.from_numpy(source.annotated.boxes)
        impossible = find_impossible_box(boxes, pixels.shape[:2])
        if impossible is not None:
            row, fault = impossible
            which = source.annotated.annotation_ids[row]
            raise ValueError(f"The box of annotation {which}, {fault}.")
        scaled = rescale_boxes(boxes, pixels.shape[:2], model_input["image"].shape[1:])
        return Prepared(source, pixels, model_input, scaled)

    def extract(self, batch: Sequence[Prepared]) -> list[tuple[Features, dict[str, Any]]]:
        """Return the features and the description of each picture of a batch."""
        boxes = [one.boxes for one in batch]
        given = None if any(item is None for item in boxes) else boxes
        extracted = self.extractor.extract([one.model_input for one in batch], given)
        return [
            (features, self._describe(one, features))
            for one, features in zip(batch, extracted, strict=True)
        ]

    def write(
        self, image_file: Path, feature_file: Path, more: Mapping[str, Any] | None = None
    ) -> Features:
        """Extract the features of one image file and write them with their description.

        Args:
            image_file: The image.
            feature_file: The ``.safetensors`` file; its ``.json`` is written beside it.
            more: Further entries of the description.

        Returns:
            The features that were written.

        Raises:
            FileNotFoundError: There is no such image.
            ValueError: The file is not an image.
        """
        prepared = self.prepare(Source(image_file.name, image_file))
        features, description = self.extract([prepared])[0]
        save_features(feature_file, features, {**description, **(more or {})})
        return features

    def _describe(self, one: Prepared, features: Features) -> dict[str, Any]:
        declared = self.extractor.describe()
        tensors = {
            name: {key: value for key, value in declared[name].items() if key != "shape"}
            for name in features
        }
        return {"image": self._describe_image(one), "tensors": tensors, **self.about_run}

    def _describe_image(self, one: Prepared) -> dict[str, Any]:
        about: dict[str, Any] = {
            "name": one.source.path.name,
            "original_size_hw": [one.model_input["height"], one.model_input["width"]],
            "network_size_hw": list(one.model_input["image"].shape[1:]),
            "channel_order": self.cfg.INPUT.FORMAT,
        }
        if one.source.frame is not None:
            about["frame"] = one.source.frame
        if one.source.annotated is not None:
            about["annotation_ids"] = list(one.source.annotated.annotation_ids)
            about["annotation_classes"] = list(one.source.annotated.class_names)
        return about
