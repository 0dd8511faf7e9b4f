"""From an image file to its feature file."""

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from d2seg import __version__
from d2seg.class_names import class_names
from d2seg.features.extractor import FeatureExtractor
from d2seg.features.store import save_features
from d2seg.features.image_run import Features
from d2seg.framework import FRAMEWORK, CfgNode
from d2seg.images import load_image, prepare_image


class FeatureWriter:
    """Extract the features of image files and write them, each image to one file.

    Images are resized as ``DefaultPredictor`` does.

    Args:
        extractor: Gives the features.
        cfg: The config of its model: input size, channel order, class names.
        config_file: Where the config came from; noted in the files.
        overrides: The ``KEY VALUE`` overrides that were applied to it; noted in the files.
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

    def write(self, image_file: Path, feature_file: Path) -> Features:
        """Extract the features of one image and write them with their description.

        Args:
            image_file: The image.
            feature_file: The ``.safetensors`` file; its ``.json`` is written beside it.

        Returns:
            The features that were written.

        Raises:
            ValueError: The file is not an image.
        """
        model_input = prepare_image(load_image(image_file, self.cfg.INPUT.FORMAT), self.cfg)
        features = self.extractor.extract([model_input])[0]
        description = {
            "image": self._describe_image(image_file, model_input),
            "tensors": self._describe_tensors(features),
            **self.about_run,
        }
        save_features(feature_file, features, description)
        return features

    def _describe_tensors(self, features: Features) -> dict[str, dict[str, Any]]:
        """Say what the tensors are; their own shapes are filled in when they are saved."""
        declared = self.extractor.describe()
        return {
            name: {key: value for key, value in declared[name].items() if key != "shape"}
            for name in features
        }

    def _describe_image(self, image_file: Path, model_input: dict[str, Any]) -> dict[str, Any]:
        return {
            "name": image_file.name,
            "original_size_hw": [model_input["height"], model_input["width"]],
            "network_size_hw": list(model_input["image"].shape[1:]),
            "channel_order": self.cfg.INPUT.FORMAT,
        }
