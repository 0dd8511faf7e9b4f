"""Which evaluators suit a model and a data set."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from d2seg.framework import (
    CfgNode,
    DatasetCatalog,
    MetadataCatalog,
    get_cfg,
    register_coco_panoptic_separated,
)
from d2seg.train.evaluators import build_evaluator

MINI = Path(__file__).parents[1] / "data" / "coco_mini"
BOTH, MAPS = "mini_separated", "mini_stuffonly"


@pytest.fixture
def registered() -> Iterator[None]:
    register_coco_panoptic_separated(
        "mini",
        {
            "thing_dataset_id_to_contiguous_id": {1: 0},
            "stuff_dataset_id_to_contiguous_id": {0: 0},
            "stuff_classes": ["things"],
        },
        *(str(MINI), str(MINI / "panoptic"), str(MINI / "panoptic.json"), str(MINI)),
        str(MINI / "instances.json"),
    )
    yield
    for name in (BOTH, MAPS):
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def config(architecture: str) -> CfgNode:
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE = architecture
    return cfg


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        ("GeneralizedRCNN", ["COCOEvaluator"]),
        ("RetinaNet", ["COCOEvaluator"]),
        ("SemanticSegmentor", ["SemSegEvaluator"]),
        ("PanopticFPN", ["SemSegEvaluator", "COCOPanopticEvaluator", "COCOEvaluator"]),
        ("MyOwn", ["SemSegEvaluator", "COCOEvaluator"]),
    ],
)
@pytest.mark.usefixtures("registered")
def test_a_panoptic_set_is_evaluated_for_what_the_model_predicts(
    architecture: str, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DatasetCatalog, "get", lambda name: [])  # not every label map is here
    evaluator = build_evaluator(config(architecture), BOTH, tmp_path)
    assert [type(part).__name__ for part in evaluator._evaluators] == expected


@pytest.mark.usefixtures("registered")
def test_label_maps_are_not_expected_of_a_detector(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'mini_stuffonly' has label maps only, but a FCOS"):
        build_evaluator(config("FCOS"), MAPS, tmp_path)


@pytest.mark.usefixtures("registered")
def test_a_detector_needs_annotated_objects(tmp_path: Path) -> None:
    MetadataCatalog.get(BOTH).__dict__.pop("json_file")
    with pytest.raises(ValueError, match="no annotated objects .json_file in its metadata"):
        build_evaluator(config("GeneralizedRCNN"), BOTH, tmp_path)
