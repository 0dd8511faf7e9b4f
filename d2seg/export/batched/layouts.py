"""What goes into a graph and what comes out: one image, a padded batch, or segmentoly's names.

Each layout is a module around the same :class:`BatchedRCNN`, with the schemas of its tensors; a
letter in a shape is a size that is free.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from d2seg.core.ops.static_masks import paste_by_products
from d2seg.export.batched.deployable import BatchedRCNN
from d2seg.export.batched.stages import image_of_rows
from d2seg.export.description import ModelDescription
from d2seg.export.schema import TensorSchema

EXAMPLE_HW = (97, 150)
"""Size of the image that a graph is traced with."""


class Layout(nn.Module):
    """A model with the inputs and outputs of a file.

    Args:
        model: What finds the objects.
        description: Of a file that takes one image, see :func:`d2seg.export.schema.output_schema`.

    Attributes:
        inputs: Schemas of what ``forward`` takes.
        outputs: Schemas of what it returns.
    """

    inputs: list[TensorSchema]
    outputs: list[TensorSchema]

    def __init__(self, model: BatchedRCNN, description: ModelDescription) -> None:
        super().__init__()
        self.model = model
        self.order = description.input_order
        masks = [one for one in description.outputs if one.name == "masks"]
        self.full_masks = bool(masks) and masks[0].dtype == "bool"
        self.eval()

    def example(self) -> tuple[Tensor, ...]:
        """Return inputs to trace the module with."""
        raise NotImplementedError

    def _cut(self, features: list[Tensor], boxes: Tensor, classes: Tensor) -> list[Tensor]:
        """Return what the model says of boxes (N, 4) of one image beside their class."""
        images = torch.zeros_like(classes)
        details = []
        if self.model.masks is not None:
            details.append(self.model.masks(features, boxes, classes, images))
        if self.model.keypoints is not None:
            details.append(self.model.keypoints(features, boxes, images))
        return details


class SingleImage(Layout):
    """One image of any size in, as many rows as there are objects out; as of a ``.ptl``."""

    def __init__(self, model: BatchedRCNN, description: ModelDescription) -> None:
        super().__init__(model, description)
        self.inputs, self.outputs = description.inputs, description.outputs

    def example(self) -> tuple[Tensor, ...]:
        """Return inputs to trace the module with."""
        return (torch.rand(3, *EXAMPLE_HW) * 255,)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Find the objects of (3, H, W): outputs as :class:`d2seg.export.DeployableRCNN` has."""
        image_size = _size_of(image)
        features, boxes, classes, scores, counted = self.model.detect(image[None], image_size)
        kept = torch.nonzero(counted[0])[:, 0]
        boxes, classes = boxes[0, kept], classes[0, kept]
        details = self._cut(features, boxes, classes)
        if self.full_masks:
            size_hw = (image.shape[1], image.shape[2])
            details[0] = paste_by_products(details[0][:, 0], boxes, size_hw)
        return boxes, classes, *details, scores[0, kept], image_size[0]


class PaddedBatch(Layout):
    """Several images in, lists of one length out, filled up with zeros."""

    def __init__(self, model: BatchedRCNN, description: ModelDescription) -> None:
        super().__init__(model, description)
        count = description.max_detections
        known = {one.name: one for one in description.outputs}
        self.inputs = [
            TensorSchema(
                "images",
                ["B", 3, "H", "W"],
                "float32",
                f"raw pixels, {self.order}; each image at the top left",
            ),
            TensorSchema("image_sizes", ["B", 2], "int64", "height and width of each image"),
        ]
        rows = [replace(known["boxes"], meaning="XYXY, pixels of the image")]
        rows += [replace(known["classes"], name="labels"), known["scores"]]
        if "masks" in known:
            height, width = known["masks"].shape[-2:]
            rows.append(replace(known["masks"], shape=["N", 1, height, width]))
        if "keypoints" in known:
            rows.append(known["keypoints"])
        self.outputs = [
            TensorSchema("detections_per_batch", ["B", 1], "int64", "objects of each image"),
            *(replace(one, shape=["B", count, *one.shape[1:]]) for one in rows),
        ]

    def example(self) -> tuple[Tensor, ...]:
        """Return inputs to trace the module with."""
        height, width = EXAMPLE_HW
        sizes = torch.tensor([[height, width], [height - 20, width - 40]])
        return torch.rand(2, 3, height, width) * 255, sizes

    def forward(self, images: Tensor, image_sizes: Tensor) -> tuple[Tensor, ...]:
        """Find the objects of (B, 3, H, W), of which images take (B, 2) at the top left."""
        model = self.model
        features, boxes, classes, scores, counted = model.detect(images, image_sizes)
        rows, owners = boxes.flatten(0, 1), image_of_rows(boxes)
        details = []
        if model.masks is not None:
            masks = model.masks(features, rows, classes.flatten(), owners)
            if self.full_masks:
                size_hw = (images.shape[2], images.shape[3])
                masks = paste_by_products(masks[:, 0], rows, size_hw)[:, None]
            details.append(masks)
        if model.keypoints is not None:
            details.append(model.keypoints(features, rows, owners))
        count = counted.to(torch.int64).sum(dim=1, keepdim=True)
        return count, boxes, classes, scores, *(_pad(one, counted) for one in details)


class Segmentoly(Layout):
    """The names and shapes of the OpenVINO toolbox segmentoly, and of Open Model Zoo's demo.

    Classes count from 1, 0 is the background; masks come for all classes.
    """

    def __init__(self, model: BatchedRCNN, description: ModelDescription) -> None:
        super().__init__(model, description)
        known = {one.name: one for one in description.outputs}
        self.num_classes = len(description.class_names)
        self.inputs = [
            TensorSchema("im_data", [1, 3, "H", "W"], "float32", f"raw pixels, {self.order}"),
            TensorSchema(
                "im_info", [1, 3], "float32", "height and width of the image, and a scale (unused)"
            ),
        ]
        self.outputs = [
            known["boxes"],
            replace(known["classes"], meaning="index into class_names, plus 1"),
            known["scores"],
            TensorSchema("batch_ids", ["N"], "int64", "0"),
        ]
        if "masks" in known:
            shape = ["N", self.num_classes + 1, *known["masks"].shape[2:]]
            meaning = "probabilities in the box, for the background (0) and each class"
            self.outputs.append(TensorSchema("raw_masks", shape, "float32", meaning))
        if "keypoints" in known:
            self.outputs.append(known["keypoints"])

    def example(self) -> tuple[Tensor, ...]:
        """Return inputs to trace the module with."""
        height, width = EXAMPLE_HW
        return torch.rand(1, 3, height, width) * 255, torch.tensor([[height, width, 1.0]])

    def forward(self, im_data: Tensor, im_info: Tensor) -> tuple[Tensor, ...]:
        """Find the objects of (1, 3, H, W), of which the image takes the size in ``im_info``."""
        model = self.model
        sizes = im_info[:, :2].to(torch.int64)
        features, boxes, classes, scores, counted = model.detect(im_data, sizes)
        kept = torch.nonzero(counted[0])[:, 0]
        boxes, classes = boxes[0, kept], classes[0, kept]
        images = torch.zeros_like(classes)
        details = []
        if model.masks is not None:
            probs = model.masks.logits(features, boxes, images).sigmoid()
            probs = probs.expand(-1, self.num_classes, -1, -1)
            details.append(torch.cat([torch.zeros_like(probs[:, :1]), probs], dim=1))
        if model.keypoints is not None:
            details.append(model.keypoints(features, boxes, images))
        return boxes, classes + 1, scores[0, kept], images, *details


LAYOUTS: dict[str, type[Layout]] = {
    "single": SingleImage,
    "batched": PaddedBatch,
    "segmentoly": Segmentoly,
}
"""The layouts by name."""


def _size_of(image: Tensor) -> Tensor:
    """Return height and width of (3, H, W) as (1, 2) int64, also where they are free."""
    sides = [torch.full((1, 1), side, dtype=torch.int64) for side in image.shape[1:]]
    return torch.cat(sides, dim=1)


def _pad(values: Tensor, counted: Tensor) -> Tensor:
    """Bring rows (B * D, ...) into (B, D, ...), zeros where nothing was found."""
    shaped = values.reshape(counted.shape[0], counted.shape[1], *values.shape[1:])
    mask = counted.reshape(*counted.shape, *[1] * (values.dim() - 1))
    return shaped & mask if shaped.dtype == torch.bool else torch.where(mask, shaped, 0.0)
