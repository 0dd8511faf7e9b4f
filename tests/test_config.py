"""The config every tool makes: defaults, the plugin's keys, a file or a name, overrides."""

from pathlib import Path

import pytest

from d2seg.config import add_d2seg_config, load_config
from d2seg.core import config as core_config
from d2seg.core.config.errors import leaf_keys
from d2seg.framework import get_cfg

NAME = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"


def test_plugin_keys() -> None:
    cfg = get_cfg()
    add_d2seg_config(cfg)
    assert cfg.FEATURES.STAGES == ["backbone", "proposals", "mask_pooler"]
    assert (cfg.EXPORT.ATEN_ONLY, cfg.EXPORT.INPUT_ORDER) == (True, "")


def test_adding_the_plugin_keys_again_keeps_their_values() -> None:
    cfg = get_cfg()
    add_d2seg_config(cfg)
    cfg.merge_from_list(["EXPORT.ATEN_ONLY", "False"])
    add_d2seg_config(cfg)
    assert cfg.EXPORT.ATEN_ONLY is False


def test_name_of_the_model_zoo_with_overrides() -> None:
    cfg = load_config(NAME, ["MODEL.DEVICE", "cpu", "FEATURES.STAGES", "['backbone']"])
    assert cfg.MODEL.MASK_ON
    assert (cfg.MODEL.DEVICE, cfg.FEATURES.STAGES) == ("cpu", ["backbone"])
    cfg.MODEL.DEVICE = "cuda"  # it is not frozen


def test_a_file_and_a_dumped_config(tmp_path: Path) -> None:
    path = tmp_path / "dump.yaml"
    path.write_text(load_config(NAME, ["EXPORT.INPUT_ORDER", "RGB"]).dump())
    cfg = load_config(path, [])
    assert (cfg.EXPORT.INPUT_ORDER, cfg.MODEL.RPN.IN_FEATURES[0]) == ("RGB", "p2")


def test_neither_a_file_nor_a_name() -> None:
    name = NAME.replace("mask_rcnn", "mask_rcn")
    with pytest.raises(FileNotFoundError, match=rf"neither a file nor .* nearest: {NAME}"):
        load_config(name)


def test_wrong_key() -> None:
    with pytest.raises(KeyError, match=r"did you mean 'FEATURES.STAGES'\?"):
        load_config(NAME, ["FEATURES.STAGE", "x"])


def test_a_published_config_as_the_base(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"_BASE_: configs://{NAME}\nMODEL: {{ROI_HEADS: {{NUM_CLASSES: 3}}}}\n")
    cfg = load_config(path)
    assert cfg.MODEL.MASK_ON
    assert (cfg.MODEL.ROI_HEADS.NUM_CLASSES, cfg.SOLVER.MAX_ITER) == (3, 270000)


def test_keys_that_detectron2_does_not_know_are_refused_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("d2seg.config.FRAMEWORK", "detectron2")
    load_config(NAME)  # the defaults are its own way
    message = r"MODEL.RPN.RANK_BY is 'probability', which detectron2 does not know; set D2SEG_FRAM"
    with pytest.raises(ValueError, match=message):
        load_config(NAME, ["MODEL.RPN.RANK_BY", "probability"])


def test_plain_config_says_how_to_get_each_key_of_the_plugin() -> None:
    plain, full = core_config.get_cfg(), core_config.get_cfg()
    add_d2seg_config(full)
    added = set(leaf_keys(full)) - set(leaf_keys(plain))
    for key in added:
        with pytest.raises(KeyError, match=rf"'{key}' is one of d2seg's .*add_d2seg_config"):
            plain.merge_from_list([key, "1"])
    with pytest.raises(KeyError, match=r"did you mean 'TRAIN.PATIENCE'"):
        full.merge_from_list(["TRAIN.PATIENC", "1"])


def test_plain_config_says_what_a_file_of_a_training_needs(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(load_config(NAME).dump())
    cfg = core_config.get_cfg()
    with pytest.raises(KeyError, match=r"config.yaml' is one of d2seg's .*add_d2seg_config"):
        cfg.merge_from_file(str(path))
    add_d2seg_config(cfg)
    cfg.merge_from_file(str(path))
