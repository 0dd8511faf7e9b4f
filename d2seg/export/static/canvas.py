"""The eager model seen as a file of one size sees images: at the top left of a canvas."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from d2seg.export.static.letterbox import letterbox


class OnCanvas:
    """Runs a model on images that are padded to a given size.

    detectron2 pads the smaller images of a batch to the size of the largest, so a blank image of
    the canvas's size beside each one does it, without another line of arithmetic than the model's.

    Args:
        model: A ``GeneralizedRCNN`` or ``RetinaNet``, in eval mode.
        canvas_hw: Height and width of the canvas.

    Attributes:
        roi_heads: The model's; None where it has none.
    """

    def __init__(self, model: Any, canvas_hw: tuple[int, int]) -> None:
        self.model = model
        self.canvas_hw = canvas_hw
        self.roi_heads = getattr(model, "roi_heads", None)

    def __call__(self, inputs: Sequence[dict[str, Any]]) -> list[Any]:
        """Run the model as it is called."""
        return list(self.model([*inputs, self._blank()])[:-1])

    def inference(self, inputs: Sequence[dict[str, Any]], do_postprocess: bool = True) -> list[Any]:
        """Run the model; images not larger than the canvas."""
        found = self.model.inference([*inputs, self._blank()], do_postprocess=do_postprocess)
        return list(found[:-1])

    def _blank(self) -> dict[str, Any]:
        return {"image": torch.zeros(3, *self.canvas_hw)}


def fit_canvas(image: Tensor, canvas_hw: tuple[int, int]) -> Tensor:
    """Resize (3, h, w) to fit a canvas, as a file's user does."""
    canvas, placed_hw = letterbox(image, canvas_hw)
    return canvas[:, : placed_hw[0], : placed_hw[1]].contiguous()


def default_canvas(short_edge: int, multiple: int) -> tuple[int, int]:
    """Choose the size of a file's input: a square with the edge that the model was tested with.

    Args:
        short_edge: ``INPUT.MIN_SIZE_TEST``.
        multiple: Of which the sides must be.
    """
    side = max(math.ceil(short_edge / multiple), 1) * multiple
    return side, side
