"""The defaults against configs that real detectron2 resolved."""

import json
from pathlib import Path
from typing import Any

import yaml

from d2seg.core.config import get_cfg
from d2seg.core.config.errors import leaf_keys

DATA = Path(__file__).parents[2] / "data" / "config" / "resolved.json"

# What detectron2's rpn_R_50_C4_1x sets beyond the defaults, with the device of the recording.
C4_OVERRIDES = [
    *("MODEL.META_ARCHITECTURE", "ProposalNetwork", "MODEL.DEVICE", "cpu"),
    *("MODEL.RPN.PRE_NMS_TOPK_TEST", 12000, "MODEL.RPN.POST_NMS_TOPK_TEST", 2000),
    *("INPUT.MIN_SIZE_TRAIN", (640, 672, 704, 736, 768, 800)),
    *("DATASETS.TRAIN", ("coco_2017_train",), "DATASETS.TEST", ("coco_2017_val",)),
    *("SOLVER.MAX_ITER", 90000, "SOLVER.STEPS", (60000, 80000), "SOLVER.BASE_LR", 0.02),
]


def recorded(name: str) -> dict[str, Any]:
    data = json.loads(DATA.read_text())
    return {**data["resolved"], **data["differences"][name]}


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def test_defaults_have_the_keys_of_detectron2_and_no_others() -> None:
    expected = recorded("COCO-Detection/rpn_R_50_C4_1x")
    assert len(expected) == 192
    assert sorted(leaf_keys(get_cfg())) == sorted(expected)


def test_defaults_with_the_overrides_of_a_c4_config_are_what_detectron2_resolves() -> None:
    cfg = get_cfg()
    cfg.merge_from_list(C4_OVERRIDES)
    resolved = flatten(yaml.safe_load(cfg.dump()))
    expected = recorded("COCO-Detection/rpn_R_50_C4_1x")
    assert resolved == expected
    assert {k: type(v) for k, v in resolved.items()} == {k: type(v) for k, v in expected.items()}


def test_defaults_that_every_published_config_overrides() -> None:
    cfg = get_cfg()
    assert cfg.MODEL.DEVICE == "cuda"
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS, cfg.SOLVER.BASE_LR) == (40000, (30000,), 0.001)
    assert cfg.INPUT.MIN_SIZE_TRAIN == (800,)
    assert (cfg.DATASETS.TRAIN, cfg.DATASETS.TEST) == ((), ())
    assert cfg.MODEL.RPN.PRE_NMS_TOPK_TEST == 6000


def test_each_config_is_a_copy_of_its_own() -> None:
    get_cfg().MODEL.ANCHOR_GENERATOR.SIZES[0].append(1024)
    assert get_cfg().MODEL.ANCHOR_GENERATOR.SIZES == [[32, 64, 128, 256, 512]]
