"""Building blocks of networks, under detectron2's public names."""

from d2seg.core.layers.batch_norm import (
    CycleBatchNormList,
    FrozenBatchNorm2d,
    LayerNorm2d,
    get_norm,
)
from d2seg.core.layers.blocks import CNNBlockBase
from d2seg.core.layers.deform_conv import DeformConv, ModulatedDeformConv
from d2seg.core.layers.mask_ops import paste_masks_in_image
from d2seg.core.layers.nms import batched_nms, batched_nms_rotated, nms_rotated
from d2seg.core.layers.roi_align import ROIAlign
from d2seg.core.layers.roi_align_rotated import ROIAlignRotated
from d2seg.core.layers.rotated_boxes import pairwise_iou_rotated
from d2seg.core.layers.shape_spec import ShapeSpec
from d2seg.core.layers.wrappers import (
    Conv2d,
    ConvTranspose2d,
    Linear,
    cat,
    cross_entropy,
    interpolate,
    nonzero_tuple,
)

__all__ = [
    "CNNBlockBase",
    "Conv2d",
    "ConvTranspose2d",
    "CycleBatchNormList",
    "DeformConv",
    "FrozenBatchNorm2d",
    "LayerNorm2d",
    "Linear",
    "ModulatedDeformConv",
    "ROIAlign",
    "ROIAlignRotated",
    "ShapeSpec",
    "batched_nms",
    "batched_nms_rotated",
    "cat",
    "cross_entropy",
    "get_norm",
    "interpolate",
    "nms_rotated",
    "nonzero_tuple",
    "pairwise_iou_rotated",
    "paste_masks_in_image",
]
