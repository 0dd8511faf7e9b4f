"""torchvision's detectors with weights that find many different objects."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection import faster_rcnn, keypoint_rcnn, mask_rcnn
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from d2seg.config import load_config
from d2seg.convert import convert
from d2seg.core.checkpoint.formats.torchvision_detection import rename_torchvision_detection
from d2seg.framework import CfgNode
from tests.reference import deterministic

QUICK: dict[str, Any] = {"min_size": 64, "max_size": 150, "rpn_post_nms_top_n_test": 60}
"""Arguments of torchvision's detectors that keep them quick, none of them its default."""

OUR_KEYS = {
    "min_size": "INPUT.MIN_SIZE_TEST",
    "max_size": "INPUT.MAX_SIZE_TEST",
    "rpn_pre_nms_top_n_test": "MODEL.RPN.PRE_NMS_TOPK_TEST",
    "rpn_post_nms_top_n_test": "MODEL.RPN.POST_NMS_TOPK_TEST",
    "box_score_thresh": "MODEL.ROI_HEADS.SCORE_THRESH_TEST",
    "box_detections_per_img": "TEST.DETECTIONS_PER_IMAGE",
}

_CLASSES = {
    "mask": detection.MaskRCNN,
    "faster": detection.FasterRCNN,
    "keypoint": detection.KeypointRCNN,
}
_BUILDERS = {
    "mask": detection.maskrcnn_resnet50_fpn,
    "faster": detection.fasterrcnn_resnet50_fpn,
    "keypoint": detection.keypointrcnn_resnet50_fpn,
    "mask_v2": detection.maskrcnn_resnet50_fpn_v2,
    "faster_v2": detection.fasterrcnn_resnet50_fpn_v2,
}


def thin_detector(kind: str, seed: int, **arguments: Any) -> Any:
    """Build a detector on a ResNet-18 with narrow heads, which runs in a moment."""
    backbone = resnet_fpn_backbone(
        backbone_name="resnet18", weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5
    )
    classes = 2 if kind == "keypoint" else 7
    heads: dict[str, Any] = {
        "box_head": faster_rcnn.TwoMLPHead(256 * 49, 64),
        "box_predictor": faster_rcnn.FastRCNNPredictor(64, classes),
    }
    if kind == "mask":
        heads["mask_head"] = mask_rcnn.MaskRCNNHeads(256, (32, 32), 1)
        heads["mask_predictor"] = mask_rcnn.MaskRCNNPredictor(32, 32, classes)
    if kind == "keypoint":
        heads["keypoint_head"] = keypoint_rcnn.KeypointRCNNHeads(256, (32, 48))
        heads["keypoint_predictor"] = keypoint_rcnn.KeypointRCNNPredictor(48, 5)
    model = _CLASSES[kind](backbone, **heads, **{**QUICK, **arguments})
    return fill(model, seed)


def whole_detector(kind: str, seed: int, **arguments: Any) -> Any:
    """Build a detector on a ResNet-50 as torchvision publishes it."""
    model = _BUILDERS[kind](weights=None, weights_backbone=None, **{**QUICK, **arguments})
    return fill(model, seed)


def fill(model: Any, seed: int) -> Any:
    """Give every tensor a value that follows from its name and a seed, for evaluation."""
    state: dict[str, Tensor] = model.state_dict()
    ours = {theirs: name for name, theirs in rename_torchvision_detection(state).origins.items()}
    for theirs, tensor in state.items():
        name = ours[theirs] if seed == 0 else f"{seed}.{ours[theirs]}"
        value = deterministic.parameter_value(name, tuple(tensor.shape), pixel_std_is_one=False)
        tensor.copy_(torch.from_numpy(value))
    return model.eval()


def converted_config(model: Any, folder: Path, arguments: dict[str, Any]) -> CfgNode:
    """Save a detector, convert the file, and return the config with the detector's arguments."""
    torch.save(model.state_dict(), folder / "theirs.pth")
    convert(folder / "theirs.pth", folder / "ours.pth")
    cfg = load_config(folder / "ours.yaml", ["MODEL.DEVICE", "cpu"])
    cfg.merge_from_list([x for key, value in arguments.items() for x in (OUR_KEYS[key], value)])
    return cfg


def image(seed: int, height: int, width: int) -> np.ndarray:
    """Return a picture of overlapping shapes: (height, width, 3) uint8, BGR."""
    return deterministic.image(seed, height, width)


def found_by_torchvision(model: Any, image: np.ndarray) -> dict[str, Tensor]:
    """Run a detector on a BGR image."""
    rgb = np.ascontiguousarray(image[:, :, ::-1].transpose(2, 0, 1))
    with torch.no_grad():
        found: dict[str, Tensor] = model([torch.from_numpy(rgb).float() / 255])[0]
    return found


def marked(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Return tensors of these shapes, each filled with a number that follows from its name.

    They take the memory of one number each.
    """
    return {
        name: torch.tensor(float(zlib.crc32(name.encode()) % 10**6)).expand(shape)
        for name, shape in shapes.items()
    }
