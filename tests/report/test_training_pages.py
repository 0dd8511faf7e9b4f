"""The pages that a training leaves behind."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from d2seg.framework import DatasetCatalog, MetadataCatalog, get_cfg, register_coco_instances
from d2seg.report.training import write_training_reports

NAMES = ("annotated", "only_images", "not_evaluated")


@pytest.fixture
def evaluated(tmp_path: Path) -> Iterator[Path]:
    """An output folder with detections of data sets, one with annotations and one without."""
    box = {"bbox": [0, 0, 4, 4], "area": 16, "category_id": 1, "image_id": 1}
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 8, "width": 9}],
        "categories": [{"id": 1, "name": "cell"}],
    }
    for name in NAMES:
        parts = {} if name == "only_images" else {"annotations": [{"id": 1, **box}]}
        (tmp_path / f"{name}.json").write_text(json.dumps({**content, **parts}))
        register_coco_instances(name, {}, str(tmp_path / f"{name}.json"), str(tmp_path))
        if name != "not_evaluated":
            folder = tmp_path / "inference" / name
            folder.mkdir(parents=True)
            detections = [{**box, "score": 0.9}]
            (folder / "coco_instances_results.json").write_text(json.dumps(detections))
    yield tmp_path
    for name in NAMES:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_only_annotated_data_sets_have_a_page(
    evaluated: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = get_cfg()
    cfg.merge_from_list(["DATASETS.TEST", NAMES, "OUTPUT_DIR", str(evaluated)])
    with caplog.at_level(logging.INFO, "d2seg"):
        pages = write_training_reports(cfg)
    assert pages == [evaluated / "inference" / "annotated" / "report" / "index.html"]
    assert json.loads(pages[0].with_name("report.json").read_text())
    assert not (evaluated / "inference" / "only_images" / "report").exists()
    assert [message for message in caplog.messages if "no page of it" in message] == [
        "'only_images' has no annotations to measure detections by: no page of it."
    ]
