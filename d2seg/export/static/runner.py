"""A model of one size as a callable for images of any size."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from d2seg.export.description import ModelDescription
from d2seg.export.static.letterbox import letterbox, place_on_canvas, unletterbox

RunCanvas = Callable[[Tensor, Tensor], Sequence[Tensor]]
"""From a canvas (3, H, W) and the size (2,) of the image on it to outputs of fixed length."""

WHOLE = ("image_size", "count")
"""Outputs that do not have a row for each detection."""


class Letterboxed:
    """Runs a model with fixed shapes on images of any size.

    Args:
        run: The model or file, with the arguments and outputs of
            :class:`d2seg.export.static.deployable.StaticRCNN`.
        description: Of the file.

    Attributes:
        description: What the file says of itself. ``outputs`` names what a call returns, in this
            order; where the file has a fixed number of rows, a call returns those that exist.
        canvas_hw: Height and width of the images that the file itself takes.
    """

    def __init__(self, run: RunCanvas, description: ModelDescription) -> None:
        self._file = run
        self.description = description
        _, height, width = description.inputs[0].shape
        self.canvas_hw = (int(height), int(width))
        self._names = [schema.name for schema in description.outputs]

    def __call__(self, image: Tensor) -> tuple[Tensor, ...]:
        """Find the objects of an image.

        Args:
            image: (3, H, W) float, raw values 0..255, channels in ``description.input_order``; it
                is resized to fit the canvas.

        Returns:
            In the order of ``description.outputs``: boxes (N, 4) float, XYXY pixels of ``image``,
            within it and not empty; classes (N,) int64; masks (N, 1, h, w) float probabilities in
            the boxes and keypoints (N, K, 3) float x, y in pixels of ``image`` and a score, if the
            model has any; scores (N,) float, falling; image_size (2,) int64, that of ``image``;
            count (1,) int64, N.

        Raises:
            ValueError, TypeError: The image has other dimensions or is not float.
        """
        canvas, placed_hw = letterbox(image, self.canvas_hw)
        return self._run(canvas, placed_hw, (image.shape[1], image.shape[2]))

    def run_placed(self, image: Tensor) -> tuple[Tensor, ...]:
        """Find the objects of an image that is placed on the canvas as it is.

        Args:
            image: As for a call, not larger than the canvas.

        Returns:
            As a call.
        """
        size_hw = (image.shape[1], image.shape[2])
        return self._run(place_on_canvas(image, self.canvas_hw), size_hw, size_hw)

    def _run(
        self, canvas: Tensor, placed_hw: tuple[int, int], size_hw: tuple[int, int]
    ) -> tuple[Tensor, ...]:
        found = self.run_canvas(canvas, placed_hw)
        boxes, kept = unletterbox(found["boxes"], placed_hw, size_hw)
        rows = {name: value[kept] for name, value in found.items() if name not in WHOLE}
        rows["boxes"] = boxes[kept]
        if "keypoints" in rows:
            factors = (size_hw[1] / placed_hw[1], size_hw[0] / placed_hw[0], 1.0)
            rows["keypoints"] = rows["keypoints"] * torch.tensor(factors)
        rows["image_size"] = torch.tensor(size_hw)
        rows["count"] = kept.sum(dim=0, keepdim=True)
        return tuple(rows[name] for name in self._names)

    def run_canvas(self, canvas: Tensor, placed_hw: tuple[int, int]) -> dict[str, Tensor]:
        """Run the file as it is, and cut its outputs to what was found.

        Args:
            canvas: (3, H, W) float32 of the file's own size.
            placed_hw: Height and width of the part, at the top left, that the image takes.

        Returns:
            The outputs by name; boxes in pixels of the canvas.
        """
        with torch.inference_mode():
            outputs = self._file(canvas, torch.tensor(placed_hw))
        found = dict(zip(self._names, outputs, strict=True))
        count = int(found["count"])
        # Copies: a runtime uses its memory again in the next run.
        return {
            name: (value if name in WHOLE else value[:count]).clone()
            for name, value in found.items()
        }
