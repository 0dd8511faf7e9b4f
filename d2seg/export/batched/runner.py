"""A file of any layout as a callable for one image or several."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from d2seg.export.description import ModelDescription
from d2seg.postprocess import pad_images, slice_batch

RunNamed = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
"""From the inputs of a file, by name, to its outputs, by name."""


class FileRunner:
    """Runs a file, whatever layout it has, and says what it finds by the same names.

    Args:
        run: The file in its runtime.
        description: What it says of itself; its tensors tell the layout.
        device: Where the runtime computes, by its own name.

    Attributes:
        description: As given.
        device: As given.
        takes_batches: Whether the file takes several images together.
        names: What a call returns, in this order.
    """

    def __init__(self, run: RunNamed, description: ModelDescription, device: str = "cpu") -> None:
        self._run = run
        self.description = description
        self.device = device
        outputs = {schema.name for schema in description.outputs}
        self.takes_batches = "detections_per_batch" in outputs
        has = {"masks": {"masks", "raw_masks"} & outputs, "keypoints": {"keypoints"} & outputs}
        details = [name for name, there in has.items() if there]
        self.names = ["boxes", "classes", *details, "scores", "image_size"]

    def __call__(self, image: Tensor) -> tuple[Tensor, ...]:
        """Find the objects of (3, H, W) float, raw values: what ``names`` lists, as of a .ptl."""
        found = self.run_batch([image])[0] | {"image_size": torch.tensor(image.shape[1:])}
        return tuple(found[name] for name in self.names)

    def run_batch(self, images: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        """Find the objects of images; together, if the file takes several.

        Args:
            images: Each (3, H, W) float, raw values 0..255, channels in
                ``description.input_order``.

        Returns:
            For each image ``boxes`` (N, 4) float, XYXY pixels; ``classes`` (N,) int64; ``scores``
            (N,) float, falling; and where the file has them ``masks`` and ``keypoints``.
        """
        if not self.takes_batches:
            return [
                _from_single(self._run(file_inputs(self.description, [image]))) for image in images
            ]
        found = slice_batch(self._run(file_inputs(self.description, images)))
        return [_from_batch(one, image) for one, image in zip(found, images, strict=True)]


def file_inputs(description: ModelDescription, images: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return what a file takes for images, by name.

    Args:
        description: Of the file; its inputs tell the layout.
        images: Each (3, H, W) float; one of them, unless the file takes batches.
    """
    names = [schema.name for schema in description.inputs]
    if "images" in names:
        return dict(zip(("images", "image_sizes"), pad_images(images), strict=True))
    (image,) = images
    if "im_data" in names:
        info = torch.tensor([[image.shape[1], image.shape[2], 1.0]])
        return {"im_data": image[None], "im_info": info}
    return {"image": image}


def _from_batch(found: dict[str, Tensor], image: Tensor) -> dict[str, Tensor]:
    """Rename what was found in one image of a batch, and cut masks of the batch to the image."""
    found["classes"] = found.pop("labels")
    if "masks" in found and found["masks"].dtype == torch.bool:
        found["masks"] = found["masks"][:, 0, : image.shape[1], : image.shape[2]]
    return found


def _from_single(outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename what was found, if it has segmentoly's names."""
    found = dict(outputs)
    if "batch_ids" not in found:
        return found
    if "raw_masks" in found:
        rows = torch.arange(len(found["classes"]))
        found["masks"] = found.pop("raw_masks")[rows, found["classes"]][:, None]
    return found | {"classes": found["classes"] - 1}
