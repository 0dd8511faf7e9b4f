"""Left and right in the names of keypoints, and what a config says of them."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from d2seg.config import add_d2seg_config
from d2seg.datasets import register_datasets
from d2seg.framework import CfgNode, DatasetCatalog, MetadataCatalog, get_cfg
from d2seg.keypoint_names import find_mirror_pairs

NAME = "keypoint_names_test"


@pytest.mark.parametrize(
    ("left", "right"),
    [
        *(("left_eye", "right_eye"), ("LeftEye", "RightEye"), ("LEFT_EYE", "RIGHT_EYE")),
        *(("L_eye", "R_eye"), ("eye_l", "eye_r"), ("eye.L", "eye.R"), ("l-eye", "r-eye")),
        *(("eyeL", "eyeR"), ("lEye", "rEye"), ("eye left", "eye right"), ("L", "R")),
        *(("L_EYE", "R_EYE"), ("small_L_toe", "small_R_toe"), ("L_wheel_l", "L_wheel_r")),
    ],
)
def test_spellings_of_left_and_right(left: str, right: str) -> None:
    assert find_mirror_pairs([right, "nose", left]) == [(left, right)]


@pytest.mark.parametrize(
    "names", [["lip", "rip"], ["nose", "tail"], ["left_eye"], ["leg", "reg"], ["ball", "barr"], []]
)
def test_other_names_make_no_pairs(names: list[str]) -> None:
    assert find_mirror_pairs(names) == []


@pytest.fixture
def cfg() -> Iterator[CfgNode]:
    cfg = get_cfg()
    add_d2seg_config(cfg)
    cfg.MODEL.KEYPOINT_ON = True
    yield cfg
    if NAME in DatasetCatalog.list():
        DatasetCatalog.remove(NAME)
    MetadataCatalog.pop(NAME, None)


def declare(cfg: CfgNode, folder: Path, **more: Any) -> None:
    content = {"images": [], "annotations": []}
    category = {"id": 1, "name": "fish", "keypoints": ["port", "starboard", "tail"]}
    path = folder / "fish.json"
    path.write_text(json.dumps({**content, "categories": [category]}))
    entry = {"json": str(path), "image_root": str(folder), **more}
    cfg.DATASETS.REGISTER = CfgNode({NAME: entry}, new_allowed=True)


@pytest.mark.parametrize("flip", ["horizontal", "none"])
def test_pictures_mirrored_without_pairs_are_warned_of(
    cfg: CfgNode, tmp_path: Path, caplog: pytest.LogCaptureFixture, flip: str
) -> None:
    declare(cfg, tmp_path)
    cfg.INPUT.RANDOM_FLIP = flip
    with caplog.at_level(logging.WARNING, "d2seg"):
        register_datasets(cfg)
    assert MetadataCatalog.get(NAME).keypoint_flip_map == []
    told = [message for message in caplog.messages if f"{NAME}.keypoint_flip_map" in message]
    assert len(told) == int(flip == "horizontal")


def test_the_pairs_can_be_declared(
    cfg: CfgNode, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    declare(cfg, tmp_path, keypoint_flip_map=[["port", "starboard"]])
    register_datasets(cfg)
    assert MetadataCatalog.get(NAME).keypoint_flip_map == [("port", "starboard")]
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([["port", "bow"]], r"has \['port', 'bow'\], but must have pairs .* port, starboard, tail"),
        ([["port"]], r"has \['port'\], but must have pairs"),
        ("port", "must be a list of pairs of names; found 'port'"),
    ],
)
def test_wrong_pairs_are_told(cfg: CfgNode, tmp_path: Path, pairs: Any, message: str) -> None:
    declare(cfg, tmp_path, keypoint_flip_map=pairs)
    with pytest.raises(ValueError, match=message):
        register_datasets(cfg)


def test_only_coco_entries_have_pairs(cfg: CfgNode, tmp_path: Path) -> None:
    declare(cfg, tmp_path, type="lvis", keypoint_flip_map=[])
    with pytest.raises(ValueError, match="of type lvis needs the keys json, image_root; found"):
        register_datasets(cfg)
