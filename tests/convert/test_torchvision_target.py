"""Models of detectron2 for torchvision: the same detections there, or a sentence why not."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.models.detection import FasterRCNN, KeypointRCNN, MaskRCNN

from d2seg.config import load_config
from d2seg.convert import build_torchvision_model, convert
from d2seg.convert.conventions import TORCHVISION
from d2seg.framework import CfgNode, DefaultPredictor, build_model
from tests.conftest import ROOT
from tests.convert.detectors import found_by_torchvision, image
from tests.convert.test_torchvision_parity import differences
from tests.core.modeling.thin import THIN
from tests.reference.cases import fill_deterministic

KEYPOINTS = {
    "MODEL.MASK_ON": False,
    "MODEL.KEYPOINT_ON": True,
    "MODEL.ROI_HEADS.NUM_CLASSES": 1,
    "MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS": (16, 24),
    "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS": 4,
}
V2 = {
    "MODEL.MASK_ON": True,
    "MODEL.RESNETS.NORM": "BN",
    "MODEL.FPN.NORM": "BN",
    "MODEL.RPN.CONV_DIMS": [-1, -1],
    "MODEL.ROI_BOX_HEAD.NUM_CONV": 2,
    "MODEL.ROI_BOX_HEAD.CONV_DIM": 16,
    "MODEL.ROI_BOX_HEAD.NUM_FC": 1,
    "MODEL.ROI_BOX_HEAD.NORM": "BN",
    "MODEL.ROI_MASK_HEAD.NORM": "BN",
}
MODELS: list[Any] = [
    pytest.param({"MODEL.MASK_ON": True}, MaskRCNN, id="mask"),
    pytest.param({"MODEL.MASK_ON": False}, FasterRCNN, id="faster"),
    pytest.param(KEYPOINTS, KeypointRCNN, id="keypoint"),
    pytest.param(V2, MaskRCNN, id="v2"),
    pytest.param({"MODEL.MASK_ON": True, "MODEL.RESNETS.DEPTH": 34}, MaskRCNN, id="r34"),
]


def config(**changes: Any) -> CfgNode:
    """Return the config of a thin model that computes as torchvision does."""
    keys = {
        **THIN,
        **TORCHVISION.settings,
        "MODEL.MASK_ON": True,
        "MODEL.RESNETS.STEM_OUT_CHANNELS": 64,
        "MODEL.RESNETS.RES2_OUT_CHANNELS": 64,
        "MODEL.PIXEL_MEAN": [100.0, 110.0, 120.0],
        "INPUT.MIN_SIZE_TEST": 64,
        "INPUT.MAX_SIZE_TEST": 150,
        "TEST.DETECTIONS_PER_IMAGE": 30,
        **changes,
    }
    cfg = load_config(ROOT / "configs" / "Base-RCNN-FPN.yaml")
    cfg.merge_from_list([item for pair in keys.items() for item in pair])
    return cfg


def written(cfg: CfgNode, folder: Path) -> Path:
    """Save a model with deterministic weights and its config; return the weights."""
    model = build_model(cfg)
    fill_deterministic(model, pixel_std_is_one=False)
    torch.save({"model": model.state_dict()}, folder / "ours.pth")
    cfg.MODEL.WEIGHTS = str(folder / "ours.pth")
    (folder / "ours.yaml").write_text(cfg.dump())
    return folder / "ours.pth"


@pytest.mark.parametrize("keys, kind", MODELS)
def test_torchvision_finds_the_same(keys: dict[str, Any], kind: type, tmp_path: Path) -> None:
    cfg = config(**keys)
    ours = written(cfg, tmp_path)
    report = convert(
        ours, tmp_path / "tv.pth", to="torchvision", config_file=str(tmp_path / "ours.yaml")
    )
    assert any("build_torchvision_model" in note for note in report.notes)
    model = build_torchvision_model(cfg)
    assert type(model) is kind
    model.load_state_dict(torch.load(tmp_path / "tv.pth"))
    picture = image(2, 61, 90)
    theirs = found_by_torchvision(model.eval(), picture)
    found = DefaultPredictor(cfg)(picture)["instances"]
    assert not differences(theirs, found.pred_boxes.tensor, found.scores, found.pred_classes)


REFUSED: list[Any] = [
    ("MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIAlignV2", "'ROIAlign'"),
    ("MODEL.ROI_MASK_HEAD.POOLER_TYPE", "ROIAlignV2", "'ROIAlign'"),
    ("INPUT.FORMAT", "BGR", "'RGB'"),
    ("INPUT.RESIZE_TEST", "pillow", "'interpolate'"),
    ("MODEL.ANCHOR_GENERATOR.WHOLE_PIXELS", False, "True"),
    ("MODEL.ANCHOR_GENERATOR.OFFSET", 0.5, "0.0"),
    ("MODEL.FPN.FUSE_TYPE", "avg", "'sum'"),
    ("MODEL.FPN.NORM", "GN", "'' or 'BN'"),
    ("MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", True, "False"),
    ("MODEL.ROI_HEADS.NAME", "CascadeROIHeads", "'StandardROIHeads'"),
    ("MODEL.META_ARCHITECTURE", "PanopticFPN", "'GeneralizedRCNN'"),
]
REFUSED_ALTOGETHER: list[Any] = [
    ("MODEL.RPN.CONV_DIMS", [-1, 24], r"\[-1, 24\]: .* as wide as the pyramid, 32 channels"),
    ("INPUT.MIN_SIZE_TEST", 0, "0, images that are not resized"),
    ("MODEL.ROI_BOX_HEAD.NUM_FC", 3, "3 without convolutions"),
]


@pytest.mark.parametrize("key, value, wanted", REFUSED)
def test_the_setting_that_torchvision_lacks_is_named(key: str, value: Any, wanted: str) -> None:
    message = rf"torchvision cannot express {key} {value!r}: its detectors compute as with {wanted}"
    with pytest.raises(ValueError, match=message):
        build_torchvision_model(config(**{key: value}))


@pytest.mark.parametrize("key, value, message", REFUSED_ALTOGETHER)
def test_the_value_that_torchvision_lacks_is_named(key: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"torchvision cannot express {key} {message}"):
        build_torchvision_model(config(**{key: value}))


def test_strides_in_1x1_convolutions_and_two_kinds_of_heads() -> None:
    deep = {"MODEL.RESNETS.DEPTH": 50, "MODEL.RESNETS.RES2_OUT_CHANNELS": 256}
    with pytest.raises(ValueError, match=r"cannot express MODEL.RESNETS.STRIDE_IN_1X1 True"):
        build_torchvision_model(config(**deep, **{"MODEL.RESNETS.STRIDE_IN_1X1": True}))
    with pytest.raises(ValueError, match=r"MODEL.MASK_ON and MODEL.KEYPOINT_ON together"):
        build_torchvision_model(config(**{**KEYPOINTS, "MODEL.MASK_ON": True}))


def test_a_published_config_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    cfg = config(**{"MODEL.ROI_BOX_HEAD.POOLER_TYPE": "ROIAlignV2"})
    ours = written(cfg, tmp_path)
    with pytest.raises(ValueError, match=r"cannot express MODEL.ROI_BOX_HEAD.POOLER_TYPE"):
        convert(
            ours, tmp_path / "tv.pth", to="torchvision", config_file=str(tmp_path / "ours.yaml")
        )
    assert not (tmp_path / "tv.pth").exists()
