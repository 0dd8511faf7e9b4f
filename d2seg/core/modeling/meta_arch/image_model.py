"""What all models share: a backbone, the normalisation of images, and two code paths."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from d2seg.core.modeling.backbone import Backbone
from d2seg.core.modeling.inference_options import InferenceOptions
from d2seg.core.structures import ImageList, Instances
from d2seg.core.structures.script_types import to_device


class ImageModel(nn.Module):
    """Base of the models: from a list of dicts to losses in training, to results otherwise.

    Args:
        backbone: From images to features.
        pixel_mean: Of each channel, in the order of ``input_format``, subtracted from images.
        pixel_std: Of each channel; images are divided by it.
        input_format: Order of the channels that the model expects, such as ``BGR``.
        vis_period: In training, models that find boxes give the active EventStorage a picture
            every so many iterations; 0 for never.
    """

    backbone: Backbone
    pixel_mean: Tensor
    pixel_std: Tensor
    inference_options = InferenceOptions()
    """How it computes outside of training; `build_model` sets what the config says."""

    def __init__(
        self,
        *,
        backbone: Backbone,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        input_format: str | None = None,
        vis_period: int = 0,
    ) -> None:
        super().__init__()
        if len(pixel_mean) != len(pixel_std) or min(pixel_std) <= 0:
            raise ValueError(
                f"MODEL.PIXEL_MEAN is {list(pixel_mean)} and MODEL.PIXEL_STD {list(pixel_std)}, "
                "but they need as many values, and PIXEL_STD values above 0."
            )
        self.backbone = backbone
        self.input_format = input_format
        self.vis_period = vis_period
        # Not saved: they follow from the config.
        self.register_buffer(
            "pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), persistent=False
        )
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), persistent=False)

    @staticmethod
    def image_arguments(cfg: Any) -> dict[str, Any]:
        """Map the config keys of images to arguments."""
        return {
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "input_format": cfg.INPUT.FORMAT,
            "vis_period": cfg.VIS_PERIOD,
        }

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.pixel_mean.device

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """Compute losses in training, results otherwise.

        Args:
            batched_inputs: For each image a dict with ``image``, (C, H, W) in the order of
                ``input_format`` and in 0..255; for training the ground truth that
                ``training_losses`` names; for inference optionally ``height`` and ``width``, the
                size in pixels the output should have.

        Returns:
            In training a dict of scalar losses; otherwise for each image a dict of results.
        """
        if self.training:
            return self.training_losses(batched_inputs)
        with self.inference_options.applied(self.device):
            return self.inference(batched_inputs)

    def training_losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Compute the training losses; their metrics go to the active EventStorage, if any."""
        raise NotImplementedError(f"{type(self).__name__} must define training_losses().")

    def inference(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """Compute the results of each image."""
        raise NotImplementedError(f"{type(self).__name__} must define inference().")

    def preprocess_image(self, batched_inputs: list[dict[str, Any]]) -> ImageList:
        """Normalise the images and pad them to one batch."""
        images = [
            (to_device(_checked_image(one, len(self.pixel_mean)), self.device) - self.pixel_mean)
            / self.pixel_std
            for one in batched_inputs
        ]
        return self.batch(images)

    def batch(self, tensors: list[Tensor], pad_value: float = 0.0) -> ImageList:
        """Pad tensors (..., H, W) of the images to one batch, as the backbone needs it."""
        return ImageList.from_tensors(
            tensors,
            self.backbone.size_divisibility,
            pad_value=pad_value,
            padding_constraints=self.backbone.padding_constraints,
        )

    def targets(self, batched_inputs: list[dict[str, Any]]) -> list[Instances]:
        """Return the ground-truth objects of each image, on the device of the model."""
        return self.ground_truth(batched_inputs, "instances")

    def ground_truth(self, batched_inputs: list[dict[str, Any]], key: str) -> list[Any]:
        """Return one kind of ground truth of each image, on the device of the model."""
        if any(key not in one for one in batched_inputs):
            raise ValueError(
                f"Training needs '{key}' in every input; call model.eval() for inference."
            )
        found = [one[key] for one in batched_inputs]
        return [
            to_device(one, self.device) if isinstance(one, Tensor) else one.to(self.device)
            for one in found
        ]

    def semantic_target(self, batched_inputs: list[dict[str, Any]], ignore_value: int) -> Tensor:
        """Return the classes of all pixels, (B, H, W) int64, padded as the images are."""
        targets = self.ground_truth(batched_inputs, "sem_seg")
        for one, target in zip(batched_inputs, targets, strict=True):
            if target.shape != one["image"].shape[-2:]:
                raise ValueError(
                    f"Training needs 'sem_seg' (height, width) of the size of 'image', "
                    f"{tuple(one['image'].shape[-2:])}; found {tuple(target.shape)}."
                )
        return self.batch(targets, ignore_value).tensor


def output_size(one: dict[str, Any], size_hw: tuple[int, int]) -> tuple[int, int]:
    """Return the height and width wanted for the output of an image: by default its own."""
    return one.get("height", size_hw[0]), one.get("width", size_hw[1])


def _checked_image(one: dict[str, Any], channels: int) -> Tensor:
    image = one.get("image")
    if not isinstance(image, Tensor) or image.ndim != 3 or image.shape[0] != channels:
        found = f"{tuple(image.shape)}" if isinstance(image, Tensor) else f"{type(image).__name__}"
        raise ValueError(
            f"Every input needs 'image', a tensor ({channels}, height, width) of values in 0..255; "
            f"found {found}."
        )
    return image
