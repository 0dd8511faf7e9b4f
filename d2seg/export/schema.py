"""Names, shapes and meaning of what a file takes and gives."""

from dataclasses import dataclass

from d2seg.framework import CfgNode


@dataclass(frozen=True)
class TensorSchema:
    """One input or output of a file.

    Attributes:
        name: What it is called in the documentation; outputs come in a tuple, in this order.
        shape: Sizes; letters are free, equal letters are equal sizes.
        dtype: torch's name of the type.
        meaning: Units and order of the values.
    """

    name: str
    shape: list[int | str]
    dtype: str
    meaning: str


def output_schema(cfg: CfgNode, full_masks: bool = False) -> list[TensorSchema]:
    """List the outputs of the file that a model with this config becomes, in order.

    Args:
        cfg: The model's config.
        full_masks: Whether its masks have the size of the image.
    """
    dense = is_dense(cfg)
    outputs = [
        TensorSchema("boxes", ["N", 4], "float32", "XYXY, pixels of the input"),
        TensorSchema("classes", ["N"], "int64", "index into class_names"),
    ]
    if cfg.MODEL.MASK_ON and not dense:
        outputs.append(_full_masks() if full_masks else _box_masks(cfg))
    if cfg.MODEL.KEYPOINT_ON and not dense:
        count = cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS
        meaning = "x and y in pixels of the input, score"
        outputs.append(TensorSchema("keypoints", ["N", count, 3], "float32", meaning))
    return [
        *outputs,
        TensorSchema("scores", ["N"], "float32", "0 to 1, falling"),
        TensorSchema("image_size", [2], "int64", "height and width of the input"),
    ]


def is_dense(cfg: CfgNode) -> bool:
    """Tell whether a model detects without proposals, and so has no heads for regions."""
    return str(cfg.MODEL.META_ARCHITECTURE) == "RetinaNet"


def _full_masks() -> TensorSchema:
    return TensorSchema("masks", ["N", "H", "W"], "bool", "pixels of the input in the object")


def _box_masks(cfg: CfgNode) -> TensorSchema:
    side = 2 * cfg.MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION
    if cfg.MODEL.ROI_HEADS.NAME == "Res5ROIHeads":
        # Pooled with the boxes, halved by res5 and doubled by the mask head.
        side = (cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION + 1) // 2 * 2
    return TensorSchema("masks", ["N", 1, side, side], "float32", "probabilities in the box")
