"""Writing a model with torchvision's names."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.models import detection

from d2seg.convert.convert import start_report
from d2seg.convert.files import write_tensors
from d2seg.convert.report import Report
from d2seg.convert.source import Source
from d2seg.convert.torchvision_limits import check_expressible
from d2seg.convert.torchvision_model import meta_state, settings_of
from d2seg.core.checkpoint.formats.torchvision_detection import to_torchvision_detection
from d2seg.core.checkpoint.formats.torchvision_resnet import to_torchvision_resnet
from d2seg.framework import CfgNode

_BUILDERS = (
    "maskrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn_v2",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "keypointrcnn_resnet50_fpn",
)
_DEFAULTS: dict[str, Any] = {
    "min_size": 800,
    "max_size": 1333,
    "rpn_pre_nms_top_n_test": 1000,
    "rpn_post_nms_top_n_test": 1000,
    "rpn_nms_thresh": 0.7,
    "box_score_thresh": 0.05,
    "box_nms_thresh": 0.5,
    "box_detections_per_img": 100,
}
"""What torchvision's builders use unless told otherwise."""


def write_torchvision(source: Source, cfg: CfgNode | None, output: Path) -> Report:
    """Write the state dict that torchvision's model of the same settings loads, strictly.

    Args:
        source: What was read.
        cfg: The model's config; a backbone needs none.
        output: ``.pth`` or ``.safetensors``.

    Raises:
        ValueError: torchvision cannot express the model, or there is no config to tell.
    """
    report = start_report(source, "torchvision", cfg)
    model = source.renamed.model
    if source.is_backbone:
        state, names = to_torchvision_resnet(model)
        report.notes.append("torchvision.models.resnet*, or resnext*, loads it.")
        if "fc.weight" not in state:
            report.missing += ["fc.weight", "fc.bias"]
            report.notes.append("It has no classifier: load it with strict=False.")
    else:
        if cfg is None:
            raise ValueError(
                f"'{source.path}' has detectron2's names, which do not say how the model computes; "
                "give its config (--config-file), which torchvision must be able to express."
            )
        check_expressible(cfg)
        state, names = to_torchvision_detection(model, source.renamed.background)
        _require_strict(state, cfg)
        report.notes += _how_to_build(state, cfg)
        if not source.renamed.background:
            report.notes.append(
                "The background's rows of box regression and masks are zeros: nothing uses them."
            )
    left = [name for name in model if name not in names]
    report.dropped |= dict.fromkeys(left, "torchvision has no place for it")
    report.renamed = [f"{ours} -> {theirs}" for ours, theirs in names.items() if ours != theirs]
    report.matched = [ours for ours, theirs in names.items() if ours == theirs]
    report.reordered = {
        name: "the background is the first class again"
        for name in model
        if not source.is_backbone and name.startswith(_CLASSES)
    }
    write_tensors(output, state)
    report.files.append(str(output))
    return report


_CLASSES = ("roi_heads.box_predictor.", "roi_heads.mask_head.predictor.")


def _require_strict(state: dict[str, Tensor], cfg: CfgNode) -> None:
    """Check that torchvision's model has exactly these names and shapes."""
    wanted = meta_state(cfg)
    counters = {name for name in wanted if name.endswith("num_batches_tracked")}
    wrong = [
        name
        for name in (wanted.keys() | state.keys()) - counters
        if name not in wanted or name not in state or wanted[name].shape != state[name].shape
    ]
    if wrong:
        raise ValueError(
            f"torchvision's model of this config differs in {len(wrong)} tensors, such as "
            f"{', '.join(sorted(wrong)[:3])}; the weights are not those of the config."
        )


def _how_to_build(state: dict[str, Tensor], cfg: CfgNode) -> list[str]:
    """Say in a sentence how to make the model in torchvision."""
    classes = cfg.MODEL.ROI_HEADS.NUM_CLASSES + 1
    name = next((one for one in _BUILDERS if _fits(one, classes, state, cfg)), None)
    if name is None:
        return ["Build it by d2seg.convert.build_torchvision_model(cfg)."]
    settings = settings_of(cfg)
    changed = {key: settings[key] for key in _DEFAULTS if settings[key] != _DEFAULTS[key]}
    arguments = "".join(f", {key}={value!r}" for key, value in changed.items())
    sentences = [
        f"Build it by torchvision.models.detection.{name}(weights=None, weights_backbone=None, "
        f"num_classes={classes}{arguments})."
    ]
    if cfg.MODEL.RESNETS.NORM_EPS != 1e-5:
        sentences.append(f"Then set eps of its norms to {cfg.MODEL.RESNETS.NORM_EPS}.")
    return sentences


def _fits(name: str, classes: int, state: dict[str, Tensor], cfg: CfgNode) -> bool:
    extra = {"num_keypoints": cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS}
    with torch.device("meta"):
        model = getattr(detection, name)(
            weights=None,
            weights_backbone=None,
            num_classes=classes,
            **(extra if name.startswith("keypoint") else {}),
        )
    theirs = {k: v.shape for k, v in model.state_dict().items() if "num_batches" not in k}
    return theirs == {k: v.shape for k, v in state.items() if "num_batches" not in k}
