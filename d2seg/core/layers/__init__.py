"""Building blocks of networks, under detectron2's public names."""

from torchvision.ops import nms, roi_align

from d2seg.core.layers.aspp import ASPP
from d2seg.core.layers.batch_norm import (
    CycleBatchNormList,
    FrozenBatchNorm2d,
    LayerNorm,
    NaiveSyncBatchNorm,
    get_norm,
    norm_with_eps,
)
from d2seg.core.layers.blocks import CNNBlockBase
from d2seg.core.layers.conv import Conv2d
from d2seg.core.layers.deform_conv import DeformConv, ModulatedDeformConv
from d2seg.core.layers.linear import Linear
from d2seg.core.layers.losses import ciou_loss, diou_loss
from d2seg.core.layers.mask_ops import paste_masks_in_image
from d2seg.core.layers.nms import batched_nms, batched_nms_rotated, nms_rotated
from d2seg.core.layers.roi_align import ROIAlign
from d2seg.core.layers.roi_align_rotated import ROIAlignRotated
from d2seg.core.layers.rotated_boxes import pairwise_iou_rotated
from d2seg.core.layers.separable import DepthwiseSeparableConv2d
from d2seg.core.layers.shape_spec import ShapeSpec
from d2seg.core.layers.wrappers import (
    BatchNorm2d,
    ConvTranspose2d,
    cat,
    check_if_dynamo_compiling,
    cross_entropy,
    empty_input_loss_func_wrapper,
    interpolate,
    move_device_like,
    nonzero_tuple,
    shapes_to_tensor,
)

__all__ = [
    "ASPP",
    "BatchNorm2d",
    "CNNBlockBase",
    "Conv2d",
    "ConvTranspose2d",
    "CycleBatchNormList",
    "DeformConv",
    "DepthwiseSeparableConv2d",
    "FrozenBatchNorm2d",
    "LayerNorm",
    "Linear",
    "ModulatedDeformConv",
    "NaiveSyncBatchNorm",
    "ROIAlign",
    "ROIAlignRotated",
    "ShapeSpec",
    "batched_nms",
    "batched_nms_rotated",
    "cat",
    "check_if_dynamo_compiling",
    "ciou_loss",
    "cross_entropy",
    "diou_loss",
    "empty_input_loss_func_wrapper",
    "get_norm",
    "interpolate",
    "move_device_like",
    "nms",
    "nms_rotated",
    "nonzero_tuple",
    "norm_with_eps",
    "pairwise_iou_rotated",
    "paste_masks_in_image",
    "roi_align",
    "shapes_to_tensor",
]
