"""From a config to predictions, with the usual choices made."""

import logging
from typing import Any

import numpy as np
import torch

from d2seg.core.checkpoint import DetectionCheckpointer
from d2seg.core.config import CfgNode
from d2seg.core.data.catalog import Metadata, MetadataCatalog
from d2seg.core.data.transforms import build_test_resizing
from d2seg.core.modeling import build_model
from d2seg.core.runtime.torch_install import select_device
from d2seg.core.structures.script_types import to_device

logger = logging.getLogger(__name__)

_CHANNEL_ORDERS = ("RGB", "BGR")


class DefaultPredictor:
    """One image in, its predictions out.

        predictor = DefaultPredictor(cfg)
        instances = predictor(read_image("cells.png", format="BGR"))["instances"]

    The image is resized as the config says for testing; the result is in pixels of the image given.

    Attributes:
        cfg: A copy of the config, with the device that is used.
        model: The model, in evaluation mode, with the weights of ``MODEL.WEIGHTS``.
        metadata: What is known about the first data set of ``DATASETS.TEST``, if there is one.
        aug: The resizing.
        input_format: The channel order that the model was made for.
    """

    def __init__(self, cfg: CfgNode) -> None:
        """Build the model and load its weights.

        Args:
            cfg: A config of a model. Not modified.

        Raises:
            ValueError: ``INPUT.FORMAT`` is neither RGB nor BGR.
            FileNotFoundError: ``MODEL.WEIGHTS`` does not exist.
        """
        self.cfg = cfg.clone()
        self.cfg.defrost()
        self.cfg.MODEL.DEVICE = str(select_device(cfg.MODEL.DEVICE))
        self.input_format: str = cfg.INPUT.FORMAT
        if self.input_format not in _CHANNEL_ORDERS:
            raise ValueError(
                f"DefaultPredictor needs INPUT.FORMAT RGB or BGR; found '{self.input_format}'."
            )
        self.metadata = (
            MetadataCatalog.get(cfg.DATASETS.TEST[0]) if cfg.DATASETS.TEST else Metadata()
        )
        self.aug = build_test_resizing(cfg)
        self.model = build_model(self.cfg)
        self.model.eval()
        if backend := self.cfg.MODEL.get("INFERENCE", {}).get("COMPILE", ""):
            backbone: Any = self.model.backbone
            backbone.compile(backend=backend, dynamic=True)
        if cfg.MODEL.WEIGHTS:
            DetectionCheckpointer(self.model).load(cfg.MODEL.WEIGHTS)
        else:
            logger.warning("MODEL.WEIGHTS is empty: the weights are random, and so is the output.")

    @torch.no_grad()
    def __call__(self, original_image: np.ndarray) -> dict[str, Any]:
        """Predict.

        Args:
            original_image: (H, W, C) uint8 or any other type of numbers, in the range of
                ``MODEL.PIXEL_MEAN`` (usually 0..255) and with as many channels as that, which is
                3 with few exceptions. Always BGR; turned into the model's order.

        Returns:
            The model's output for the image, such as ``{"instances": Instances}``.

        Raises:
            TypeError: It is not an array of numbers.
            ValueError: It has another shape.
        """
        _require_image(original_image, len(self.cfg.MODEL.PIXEL_MEAN))
        height, width = original_image.shape[:2]
        image = original_image if self.input_format == "BGR" else original_image[:, :, ::-1]
        image = self.aug.get_transform(image).apply_image(np.ascontiguousarray(image))
        # Bytes stay bytes until they are on the device: a fourth of what floats are.
        kind = np.uint8 if image.dtype == np.uint8 else np.float32
        pixels = torch.from_numpy(image.astype(kind, order="C")).permute(2, 0, 1)  # (C, H, W)
        tensor = to_device(pixels, self.cfg.MODEL.DEVICE).float()
        return self.model([{"image": tensor, "height": height, "width": width}])[0]


def _require_image(image: np.ndarray, num_channels: int) -> None:
    if not isinstance(image, np.ndarray) or image.dtype.kind not in "uif":
        found = (
            f"an array of {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
        )
        raise TypeError(
            f"DefaultPredictor needs a numpy array of numbers; found {found}. "
            "read_image(file, format='BGR') gives one."
        )
    if image.ndim != 3 or image.shape[2] != num_channels or 0 in image.shape:
        raise ValueError(
            f"DefaultPredictor needs an image (height, width, {num_channels}), as many channels as "
            f"MODEL.PIXEL_MEAN; found shape {image.shape}. "
            "read_image(file, format='BGR') gives one."
        )
