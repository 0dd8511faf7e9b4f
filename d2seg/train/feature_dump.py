"""Features of chosen images while a model learns, to watch them evolve."""

import logging
from pathlib import Path

import numpy as np
from torch import nn

from d2seg.features import FeatureExtractor, FeatureWriter
from d2seg.features.image_run import Features
from d2seg.features.pictures import channels_to_rgb, enlarge_cells
from d2seg.framework import CfgNode, HookBase
from d2seg.images import find_images, load_image, unique_stems
from d2seg.inputs import Source

logger = logging.getLogger(__name__)

PICTURE_PIXELS = 128
"""Shorter side of the pictures of maps in TensorBoard."""


class FeatureDumpHook(HookBase):
    """Writes features of given images every so many iterations, and at the end.

    After iteration 499 they are in ``<folder>/iter_0000499/<image>.safetensors``, with a
    description beside each; `d2seg.features.load` reads them. Pictures of the maps go to the event
    storage, ``features/<image>/<map>``, and so to TensorBoard. The training is not changed by it.

    Args:
        cfg: Of the model: ``FEATURES.STAGES``, ``FEATURES.DUMP_IMAGES`` and
            ``FEATURES.DUMP_PERIOD`` say what is written, of what, and when; 0 for the end alone.
        model: The model that is trained, alone or within ``DistributedDataParallel``.
        folder: Where the features go.

    Raises:
        FileNotFoundError, ValueError: An image or a stage is unknown.
    """

    def __init__(self, cfg: CfgNode, model: nn.Module, folder: str | Path) -> None:
        self._images = find_images(cfg.FEATURES.DUMP_IMAGES)
        for image in self._images:
            load_image(image)  # one that cannot be read is told before the training
        extractor = FeatureExtractor(model, cfg.FEATURES.STAGES, cfg.FEATURES.BOX_REGION)
        self._writer = FeatureWriter(extractor, cfg, f"{cfg.OUTPUT_DIR}/config.yaml")
        first = self._images[0]
        self._writer.extract([self._writer.prepare(Source(first.name, first))])
        self._period = cfg.FEATURES.DUMP_PERIOD
        self._folder = Path(folder)

    def after_step(self) -> None:
        """Write the features if it is time."""
        following = self.trainer.iter + 1
        is_due = self._period > 0 and following % self._period == 0
        if is_due or following == self.trainer.max_iter:
            self._dump(self.trainer.iter)

    def _dump(self, iteration: int) -> None:
        folder = self._folder / f"iter_{iteration:07d}"
        for image, stem in zip(self._images, unique_stems(self._images), strict=True):
            file = folder / f"{stem}.safetensors"
            features = self._writer.write(image, file, {"iteration": iteration})
            self._show(stem, features)
        logger.info("Wrote the features of %d image(s) to %s", len(self._images), folder)

    def _show(self, stem: str, features: Features) -> None:
        declared = self._writer.extractor.describe()
        for name, tensor in features.items():
            if "stride" in declared[name]:
                picture = enlarge_cells(channels_to_rgb(tensor), PICTURE_PIXELS)
                in_order = np.ascontiguousarray(picture.transpose(2, 0, 1))
                self.trainer.storage.put_image(f"features/{stem}/{name}", in_order)
