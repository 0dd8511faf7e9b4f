"""Merging files, lists and old versions into a config, and what bad input is told."""

from pathlib import Path

import pytest
import yaml
from fvcore.common.config import CfgNode as FvcoreCfgNode

from d2seg.core import config
from d2seg.core.config import CfgNode, downgrade_config, get_cfg, set_global_cfg, upgrade_config


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_a_config_is_a_config_of_fvcore() -> None:
    cfg = get_cfg()
    assert isinstance(cfg, FvcoreCfgNode)
    assert type(cfg.MODEL.RPN) is CfgNode


def test_list_values_are_literals_or_strings() -> None:
    cfg = get_cfg()
    cfg.merge_from_list(
        ["MODEL.MASK_ON", "True", "MODEL.WEIGHTS", "a/b.pth", "SOLVER.STEPS", "[1, 2]"]
        + ["SOLVER.BASE_LR", "1e-3", "SOLVER.WEIGHT_DECAY_BIAS", "0.1"]
    )
    assert (cfg.MODEL.MASK_ON, cfg.MODEL.WEIGHTS, cfg.SOLVER.STEPS) == (True, "a/b.pth", (1, 2))
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.WEIGHT_DECAY_BIAS) == (0.001, 0.1)


@pytest.mark.parametrize("text", ["{[]: 1}", "__import__('os').getpid()", "2**8", "(" * 5000])
def test_list_values_are_never_evaluated(text: str) -> None:
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.WEIGHTS", text])
    assert text == cfg.MODEL.WEIGHTS


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("MODEL.ROI_HEAD.NUM_CLASSES", "MODEL.ROI_HEADS.NUM_CLASSES"),
        ("MODEL.ROI_MASK_HEAD.NUM_CONVS", "MODEL.ROI_MASK_HEAD.NUM_CONV"),
        ("MODEL.ROI_BOX_HEAD.NUM_CLASSES", "MODEL.ROI_HEADS.NUM_CLASSES"),
        ("MODEL.WEIGHT", "MODEL.WEIGHTS"),
        ("model.weights", "MODEL.WEIGHTS"),
        ("BASE_LR", "SOLVER.BASE_LR"),
        ("WEIGHTS.MODEL.X", "MODEL.WEIGHTS"),
        ("MODEL.WEIGHTS.FILE", "MODEL.WEIGHTS"),
    ],
)
def test_unknown_key_in_a_list_names_the_nearest(wrong: str, right: str) -> None:
    with pytest.raises(KeyError, match=rf"'{wrong}' does not exist; did you mean '{right}'\?"):
        get_cfg().merge_from_list([wrong, "3"])


def test_unknown_key_in_a_file_names_key_file_and_nearest(tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", "VERSION: 2\nMODEL:\n  ROI_HEAD:\n    NUM_CLASSES: 3\n")
    message = (
        f"'MODEL.ROI_HEAD.NUM_CLASSES' in '{path}' does not exist; did you mean 'MODEL.ROI_HEADS"
    )
    with pytest.raises(KeyError, match=message):
        get_cfg().merge_from_file(path)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["MODEL.MASK_ON", "yes"], r"'MODEL.MASK_ON' must be of type bool .*found str 'yes'"),
        (["SOLVER.MAX_ITER", "1.5"], r"'SOLVER.MAX_ITER' must be of type int .*found float 1.5"),
        (["SOLVER.BASE_LR", "1"], r"must be of type float .*found int 1\. Write 1\.0\."),
        (["SOLVER.BASE_LR", "{1, 2}"], r"must be of type float .*found set \{1, 2\}"),
        (["MODEL.RPN", "3"], r"'MODEL.RPN' must be a section with keys such as 'MODEL.RPN.\w+'"),
        (["MODEL.RPN", "{'NMS_THRESH': 0.5}"], r"'MODEL.RPN' must be a section"),
        (["MODEL.MASK_ON"], r"in pairs KEY VALUE, found an odd number of words: MODEL.MASK_ON"),
        (["_BASE_", "a.yaml"], r"'_BASE_' can only be used in files"),
    ],
)
def test_wrong_value_in_a_list(overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        get_cfg().merge_from_list(overrides)


def test_wrong_type_in_a_file_names_key_file_and_types(tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", "MODEL:\n  RPN: {IN_FEATURES: p2}\n")
    with pytest.raises(ValueError, match=rf"RPN.IN_FEATURES' in '{path}' must be of type list"):
        get_cfg().merge_from_file(path)


def test_a_failed_merge_changes_nothing(tmp_path: Path) -> None:
    cfg, before = get_cfg(), get_cfg()
    with pytest.raises(KeyError):
        cfg.merge_from_list(["MODEL.MASK_ON", "True", "NOPE", "1"])
    with pytest.raises(KeyError):
        cfg.merge_from_file(write(tmp_path / "a.yaml", "MODEL: {MASK_ON: true, NOPE: 1}"))
    assert cfg == before


def test_frozen_config_refuses_assignment() -> None:
    cfg = get_cfg()
    cfg.freeze()
    with pytest.raises(AttributeError, match="immutable"):
        cfg.MODEL.MASK_ON = True
    unfrozen = cfg.clone()
    unfrozen.defrost()
    unfrozen.MODEL.MASK_ON = True
    assert (cfg.MODEL.MASK_ON, unfrozen.MODEL.MASK_ON) == (False, True)


def test_dump_and_merge_are_a_round_trip(tmp_path: Path) -> None:
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.MASK_ON", "True", "TEST.AUG.MIN_SIZES", "(1, 2)"])
    other = get_cfg()
    other.merge_from_file(write(tmp_path / "dump.yaml", cfg.dump()))
    assert yaml.safe_load(other.dump()) == yaml.safe_load(cfg.dump())
    assert type(other.TEST.AUG.MIN_SIZES) is tuple


def test_nodes_that_allow_new_keys_take_them(tmp_path: Path) -> None:
    cfg = CfgNode({"A": {"B": 1}})
    cfg.set_new_allowed(True)
    cfg.merge_from_file(write(tmp_path / "a.yaml", "A: {C: [1]}\nD: x\n"))
    assert cfg == {"A": {"B": 1, "C": [1]}, "D": "x"}


def test_version_1_file_is_upgraded(tmp_path: Path) -> None:
    path = write(
        tmp_path / "old.yaml",
        "MODEL:\n  WEIGHT: w.pth\n  ROI_HEADS: {NMS: 0.4}\n"
        "  RPN: {ANCHOR_SIZES: [[8]]}\n  RETINANET: {ANCHOR_SIZES: [[9]], ANCHOR_STRIDES: [1]}\n"
        "TEST: {AUG_ON: true, DETECTIONS_PER_IMG: 7}\n",
    )
    cfg = get_cfg()
    cfg.merge_from_file(path)
    assert (cfg.VERSION, cfg.MODEL.WEIGHTS, cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST) == (
        2,
        "w.pth",
        0.4,
    )
    assert cfg.MODEL.ANCHOR_GENERATOR.SIZES == [[8]]
    assert (cfg.TEST.AUG.ENABLED, cfg.TEST.DETECTIONS_PER_IMAGE) == (True, 7)
    assert set(cfg.MODEL.RETINANET) == set(get_cfg().MODEL.RETINANET)


def test_version_1_retinanet_has_its_own_anchors(tmp_path: Path) -> None:
    text = "VERSION: 1\nMODEL: {META_ARCHITECTURE: RetinaNet, RETINANET: {ANCHOR_SIZES: [[9]]}}"
    cfg = get_cfg()
    cfg.merge_from_file(write(tmp_path / "old.yaml", text))
    assert cfg.MODEL.ANCHOR_GENERATOR.SIZES == [[9]]


@pytest.mark.parametrize("version", ["3", "-1", "two"])
def test_unknown_version(tmp_path: Path, version: str) -> None:
    path = write(tmp_path / "a.yaml", f"VERSION: {version}\n")
    with pytest.raises(ValueError, match="expected an integer from 0 to 2"):
        get_cfg().merge_from_file(path)


@pytest.mark.parametrize("version", [0, 1])
def test_downgrade_and_upgrade_are_a_round_trip(version: int) -> None:
    cfg = get_cfg()
    old = downgrade_config(cfg, version)
    assert old.MODEL.WEIGHT == ""
    assert "ENABLED" not in old.get("TEST").get("AUG", {})
    assert ("RPN_HEAD" in old.MODEL) == (version == 0)
    assert upgrade_config(old) == cfg


def test_upgrade_refuses_an_older_target_and_both_names() -> None:
    with pytest.raises(ValueError, match="Cannot upgrade a config between versions 2 and 1"):
        upgrade_config(get_cfg(), 1)
    both = downgrade_config(get_cfg(), 1)
    both.MODEL.WEIGHTS = "x"
    with pytest.raises(ValueError, match=r"'MODEL.WEIGHT' is the old name of 'MODEL.WEIGHTS'"):
        upgrade_config(both)


def test_global_config() -> None:
    cfg = get_cfg()
    cfg.GLOBAL.HACK = 2.0
    set_global_cfg(cfg)
    assert config.global_cfg.GLOBAL.HACK == 2.0
    config.global_cfg.clear()
