"""The names that other toolboxes give to weights, one module for each.

Detectron's and Caffe2's names are in `d2seg.core.checkpoint.c2_model_loading`, where detectron2
has them.
"""

from collections.abc import Mapping

from torch import Tensor

from d2seg.core.checkpoint.formats.maskrcnn_benchmark import (
    matches_maskrcnn_benchmark,
    rename_maskrcnn_benchmark,
)
from d2seg.core.checkpoint.formats.renamed import Format, Renamed
from d2seg.core.checkpoint.formats.torchvision_detection import (
    matches_torchvision_detection,
    rename_torchvision_detection,
)
from d2seg.core.checkpoint.formats.torchvision_resnet import (
    matches_torchvision_resnet,
    rename_torchvision_resnet,
)

__all__ = ["FORMATS", "Format", "Renamed", "find_format"]

FORMATS = (
    Format(
        "maskrcnn-benchmark",
        "backbone.body.stem.conv1",
        matches_maskrcnn_benchmark,
        rename_maskrcnn_benchmark,
    ),
    Format(
        "torchvision detection",
        "backbone.body.conv1 with rpn.head",
        matches_torchvision_detection,
        rename_torchvision_detection,
    ),
    Format(
        "torchvision or timm ResNet",
        "layer1.0",
        matches_torchvision_resnet,
        rename_torchvision_resnet,
        whole=False,
    ),
)
"""Formats whose files are known by their names alone."""


def find_format(weights: Mapping[str, Tensor]) -> Format | None:
    """Return the format that names are of; None for detectron2's own and for unknown ones."""
    return next((one for one in FORMATS if one.matches(weights)), None)
