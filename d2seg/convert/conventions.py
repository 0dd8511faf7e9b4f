"""What toolboxes do that leaves no trace in the weights: config keys, and what no key can say."""

from typing import Any, NamedTuple

_IMAGENET_RGB = {
    "INPUT.FORMAT": "RGB",
    "MODEL.PIXEL_MEAN": [123.675, 116.28, 103.53],
    "MODEL.PIXEL_STD": [58.395, 57.12, 57.375],
}
"""torchvision's mean and deviation of values in 0..1, times 255."""


class Conventions(NamedTuple):
    """How a toolbox computes.

    Attributes:
        settings: Config keys and their values.
        not_exact: What remains different, in sentences.
    """

    settings: dict[str, Any]
    not_exact: tuple[str, ...] = ()


def _poolers(kind: str, samples: int, heads: tuple[str, ...]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for head in heads:
        settings[f"MODEL.ROI_{head}_HEAD.POOLER_TYPE"] = kind
        settings[f"MODEL.ROI_{head}_HEAD.POOLER_SAMPLING_RATIO"] = samples
    return settings


TORCHVISION = Conventions(
    {
        **_IMAGENET_RGB,
        **_poolers("ROIAlign", 2, ("BOX", "MASK", "KEYPOINT")),
        "INPUT.RESIZE_TEST": "interpolate",
        "MODEL.RESNETS.STRIDE_IN_1X1": False,
        "MODEL.ANCHOR_GENERATOR.WHOLE_PIXELS": True,
        "MODEL.ANCHOR_GENERATOR.MEASURED_STRIDES": True,
        "MODEL.PROPOSAL_GENERATOR.MIN_SIDE": 1e-3,
        "MODEL.RPN.RANK_BY": "probability",
        "MODEL.RPN.POST_NMS_TOPK_TRAIN": 2000,
        "MODEL.RPN.SMOOTH_L1_BETA": 1 / 9,
        "MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA": 1 / 9,
        "MODEL.ROI_HEADS.MIN_SIDE_TEST": 1e-2,
        "MODEL.ROI_HEADS.LEVEL_MARGIN": 1e-6,
        "MODEL.ROI_MASK_HEAD.WHOLE_PIXELS": True,
        "MODEL.ROI_KEYPOINT_HEAD.SCORE": "logit",
    },
    (
        "torchvision derives the strides of its pooling from the first image it sees; images "
        "lower than 23 pixels after resizing make it take others, which is not imitated.",
    ),
)

IMAGENET = Conventions({**_IMAGENET_RGB, "MODEL.RESNETS.STRIDE_IN_1X1": False})

_LEGACY = {
    "INPUT.FORMAT": "BGR",
    "MODEL.PIXEL_MEAN": [102.9801, 115.9465, 122.7717],
    "MODEL.PIXEL_STD": [1.0, 1.0, 1.0],
    # A box of there, corners included, has its middle in the middle of the cell.
    "MODEL.ANCHOR_GENERATOR.OFFSET": 0.5,
    "MODEL.RPN.SMOOTH_L1_BETA": 1 / 9,
    "MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA": 1.0,
}
_LEGACY_WORDS = (
    "Boxes there include their last pixel (width is x2 - x1 + 1): every box ends one pixel later "
    "here, and regions are pooled up to that pixel.",
    "Anchors there are rounded to whole cells before they are scaled, so that those of aspect "
    "ratios 0.5 and 2 have other sides, by up to 7 %.",
    "Masks are pasted into their boxes by sampling, there by resizing to whole pixels.",
    "Detections are therefore close, not equal; a short training with this config removes the "
    "difference.",
)


def legacy_conventions(has_pyramid: bool, has_groups: bool) -> Conventions:
    """Describe Detectron and maskrcnn-benchmark.

    Args:
        has_pyramid: Their models with a pyramid sample two by two points in every cell; those
            without adapt to the size of the box.
        has_groups: ResNeXt has its strides in the 3x3 convolutions.
    """
    return Conventions(
        {
            **_LEGACY,
            **_poolers("ROIAlign", 2 if has_pyramid else 0, ("BOX", "MASK", "KEYPOINT")),
            "MODEL.RESNETS.STRIDE_IN_1X1": not has_groups,
        },
        _LEGACY_WORDS,
    )


CAFFE2_BACKBONE = Conventions(
    {},
    (
        "Whether the network has its strides in the 1x1 or the 3x3 convolutions, and which mean "
        "its images need, is not in the file: the config has those of detectron2's R-50 and R-101 "
        "(MSRA); published X-101 weights need MODEL.RESNETS.STRIDE_IN_1X1 False and their own "
        "PIXEL_STD.",
    ),
)
