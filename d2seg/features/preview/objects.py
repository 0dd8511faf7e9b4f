"""The objects of a page's gallery: a vector and a crop of each, the best-scored of a whole run."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from d2seg.features.pictures import object_thumbnails
from d2seg.pages import picture_uri
from d2seg.postprocess import rescale_boxes

PREFERRED = ("box_head", "box_pooler", "mask_pooler")
BOXES, SCORES, CLASSES = "instances.boxes", "instances.scores", "instances.classes"
CROP_PIXELS = 96


class KeptObject(NamedTuple):
    """An object that takes part in the gallery.

    Attributes:
        image: Index of its image.
        image_name: Name of it.
        class_name: Empty where classes are not known.
        score: 0..1; None where there are no scores.
        vector: (D,) float32 of length 1, or 0 where all its features are 0.
        crop_uri: The image inside its box.
    """

    image: int
    image_name: str
    class_name: str
    score: float | None
    vector: Tensor
    crop_uri: str

    @property
    def rank(self) -> float:
        """The score; objects without one are as good as the best."""
        return 1.0 if self.score is None else self.score


class KeptObjects:
    """The best-scored objects of all images that were added.

    Args:
        most: Keep at most this many; 1 or more.

    Attributes:
        source: The tensor that the vectors come from; empty while none was found.
        seen: How many objects were added.
        kept: The best of them, highest score first; of equal ones the earlier first.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.source = ""
        self.seen = 0
        self.kept: list[KeptObject] = []

    def add(
        self,
        image: tuple[int, str],
        photo: Callable[[], np.ndarray],
        tensors: Mapping[str, Tensor],
        description: Mapping[str, Any],
    ) -> None:
        """Keep the objects of an image that are among the best so far.

        Args:
            image: Its index and its name.
            photo: Gives its pixels (H, W, 3) uint8 RGB; called only if a crop is needed.
            tensors: Its features; without upright boxes, or without a tensor of a row per object,
                it has no objects.
            description: Says which tensors have a row per object, the ``network_size_hw`` of the
                image, and the ``class_names``.

        Raises:
            ValueError: There are not as many rows as boxes.
        """
        self.source = self.source or _vector_source(tensors, description.get("tensors", {}))
        if self.source not in tensors or BOXES not in tensors or tensors[BOXES].shape[1] != 4:
            return
        vectors = object_vectors(tensors[self.source])
        boxes = tensors[BOXES].detach().cpu()
        if len(vectors) != len(boxes):
            raise ValueError(
                f"'{self.source}' must have a row for each of the {len(boxes)} boxes of "
                f"'{image[1]}', it has {len(vectors)}."
            )
        self.seen += len(boxes)
        scores, names = _scores(tensors, description), _class_names(tensors, description)
        rows = [row for row in range(len(boxes)) if self._is_among_the_best(scores, row)]
        crops = _crops(photo, boxes[rows], description["image"]["network_size_hw"])
        found = [  # a row is copied, for a view of it would keep all rows in memory
            KeptObject(
                *image, names[row], scores[row] if scores else None, vectors[row].clone(), crop
            )
            for row, crop in zip(rows, crops, strict=True)
        ]
        self.kept = sorted(self.kept + found, key=lambda item: -item.rank)[: self.most]

    def _is_among_the_best(self, scores: list[float], row: int) -> bool:
        if len(self.kept) < self.most:
            return True
        return (scores[row] if scores else 1.0) > self.kept[-1].rank


def object_vectors(features: Tensor) -> Tensor:
    """Make one vector of length 1 of the features of each object, for the cosine similarity.

    Args:
        features: (N, D), (N, A, B), of which the values are strung together, or (N, C, S, S),
            which is averaged over the positions.

    Returns:
        (N, D) float32 on the CPU; a row of zeros stays one.
    """
    rows = features.detach().float()
    rows = rows.mean(dim=(2, 3)) if rows.dim() == 4 else rows.flatten(1)
    return F.normalize(rows.nan_to_num(0.0), dim=1).cpu()


def _vector_source(
    tensors: Mapping[str, Tensor], described: Mapping[str, Mapping[str, Any]]
) -> str:
    """Name the tensor to compare objects by; empty if there is none."""
    others = (
        name
        for name, tensor in tensors.items()
        if described.get(name, {}).get("rows") == "objects" and not name.startswith("instances.")
        if tensor.is_floating_point() and tensor.dim() >= 2
    )
    return next((name for name in (*PREFERRED, *others) if name in tensors), "")


def _scores(tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> list[float]:
    """Return the scores of detections; annotated objects have none."""
    if "annotation_classes" in description.get("image", {}):
        return []
    return tensors[SCORES].detach().float().tolist() if SCORES in tensors else []


def _class_names(tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> list[str]:
    """Name the class of each object: the annotated one, else the model's, at least its index."""
    annotated = description.get("image", {}).get("annotation_classes")
    if annotated is not None:
        return list(annotated)
    if CLASSES not in tensors:
        return [""] * len(tensors[BOXES])
    names = dict(enumerate(description.get("class_names", ())))
    return [names.get(index, f"class {index}") for index in tensors[CLASSES].tolist()]


def _crops(photo: Callable[[], np.ndarray], boxes: Tensor, network_hw: list[int]) -> list[str]:
    if len(boxes) == 0:
        return []
    pixels = photo()
    in_photo = rescale_boxes(boxes.to(torch.float32), network_hw, pixels.shape[:2])
    return [picture_uri(crop) for crop in object_thumbnails(pixels, in_photo, CROP_PIXELS)]
