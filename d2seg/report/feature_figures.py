"""The feature section of the page."""

import math
from collections.abc import Mapping

import numpy as np
from torch import Tensor

from d2seg.features.pictures import (
    channels_to_rgb,
    enlarge_cells,
    feature_tiles,
    object_crops,
)
from d2seg.features.stages import meaning_of
from d2seg.pages import picture_uri
from d2seg.postprocess import rescale_boxes
from d2seg.report.page import FeatureFigure, Table

SHOWN_LEVELS = 3
SHOWN_OBJECTS = 12
MAP_PIXELS = 256


def level_pictures(
    features: Mapping[str, Tensor], strides: Mapping[str, int], size_hw: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Picture the finest backbone levels, without the padding.

    Args:
        features: What a FeatureExtractor gave for one image.
        strides: Stride of each ``backbone.<level>`` in pixels of the network input.
        size_hw: Height and width of the network input before padding.

    Returns:
        Tensor name to (h, w, 3) uint8, one pixel per cell.
    """
    levels = [name for name in features if name in strides][:SHOWN_LEVELS]
    pictures = {}
    for name in levels:
        rows, columns = (math.ceil(side / strides[name]) for side in size_hw)
        pictures[name] = channels_to_rgb(features[name][:, :rows, :columns])
    return pictures


def map_figures(
    image: np.ndarray, pictures: Mapping[str, np.ndarray], features: Mapping[str, Tensor]
) -> list[FeatureFigure]:
    """Show the input and its backbone levels at one size.

    Args:
        image: (H, W, 3) uint8 RGB, the input.
        pictures: What :func:`level_pictures` gave.
        features: For the shapes in the captions.
    """
    figures = [FeatureFigure("the input", picture_uri(image))]
    for name, picture in pictures.items():
        shape = " x ".join(str(side) for side in features[name].shape)
        uri = picture_uri(enlarge_cells(picture, MAP_PIXELS), exact=True)
        figures.append(FeatureFigure(f"{name}: {shape}", uri))
    return figures


def object_figures(
    image: np.ndarray, features: Mapping[str, Tensor], size_hw: tuple[int, int]
) -> list[FeatureFigure]:
    """Show the best detections: the crop of the image above the features pooled from it.

    Args:
        image: (H, W, 3) uint8 RGB, the input at any size.
        features: With ``instances.*`` and ``mask_pooler``.
        size_hw: Height and width of the network input, in whose pixels the boxes are.
    """
    boxes = features["instances.boxes"][:SHOWN_OBJECTS].cpu()
    crops = object_crops(image, rescale_boxes(boxes, size_hw, image.shape[:2]))
    tiles = feature_tiles(features["mask_pooler"][:SHOWN_OBJECTS].cpu())
    scores = features["instances.scores"].tolist()
    return [
        FeatureFigure(f"score {score:.2f}", picture_uri(_stack(crop, tile), exact=True))
        for crop, tile, score in zip(crops, tiles, scores, strict=False)
    ]


def tensor_table(features: Mapping[str, Tensor]) -> Table:
    """List the tensors of a feature file."""
    rows = [
        (name, " x ".join(str(side) for side in tensor.shape), meaning_of(name))
        for name, tensor in features.items()
    ]
    return Table(("Tensor", "Shape", "What it is"), rows)


def _stack(crop: np.ndarray, tile: np.ndarray) -> np.ndarray:
    gap = np.full((4, crop.shape[1], 3), 255, dtype=np.uint8)
    return np.concatenate([crop, gap, enlarge_cells(tile, crop.shape[0])])
