"""A small training: a config file that declares six square microscope images."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from d2seg.framework import DatasetCatalog, MetadataCatalog

DATA = Path(__file__).parents[1] / "data" / "nuclei"
TRAIN, VALIDATION = "small_train", "small_val"

WriteConfig = Callable[..., Path]


def merge(tree: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Put dotted keys into a nested dict."""
    for key, value in changes.items():
        *parents, name = key.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    return tree


@pytest.fixture
def write_config(tmp_path: Path) -> Iterator[WriteConfig]:
    """Return a function that writes a training config; keywords are keys with __ for the dots."""
    content = json.loads((DATA / "instances_val.json").read_text())
    square = [image for image in content["images"] if image["width"] == image["height"]]
    for name, images in ((TRAIN, square[:6]), (VALIDATION, square[6:9])):
        kept = {image["id"] for image in images}
        part = [a for a in content["annotations"] if a["image_id"] in kept]
        text = json.dumps({**content, "images": images, "annotations": part})
        (tmp_path / f"{name}.json").write_text(text)

    def write(**changes: Any) -> Path:
        entries = {
            name: {"json": str(tmp_path / f"{name}.json"), "image_root": str(DATA / "images")}
            for name in (TRAIN, VALIDATION)
        }
        tree = {
            "_BASE_": "d2seg://nuclei.yaml",
            "MODEL": {"WEIGHTS": "", "ROI_HEADS": {"NUM_CLASSES": -1, "BATCH_SIZE_PER_IMAGE": 16}},
            "DATASETS": {"REGISTER": entries, "TRAIN": [TRAIN], "TEST": [VALIDATION]},
            "INPUT": {"MIN_SIZE_TRAIN": [64, 96], "MIN_SIZE_TEST": 96},
            "SOLVER": {"IMS_PER_BATCH": 2, "MAX_ITER": 6, "CHECKPOINT_PERIOD": 2, "STEPS": []},
            "OUTPUT_DIR": str(tmp_path / "run"),
            "SEED": 1,
        }
        merge(tree, {"SOLVER.WARMUP_ITERS": 2, "SOLVER.BASE_LR": 0.002})
        path = tmp_path / "config.yaml"
        path.write_text(
            yaml.safe_dump(merge(tree, {k.replace("__", "."): v for k, v in changes.items()}))
        )
        return path

    yield write
    for name in (TRAIN, VALIDATION):
        if name in DatasetCatalog.list():
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)
    for logger in map(logging.getLogger, ("d2seg", "detectron2", "fvcore")):
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
        logger.propagate = True
        logger.setLevel(logging.NOTSET)


def read_metrics(folder: Path) -> dict[int, dict[str, float]]:
    """Return the numbers of ``metrics.json`` by iteration; times left out."""
    lines: dict[int, dict[str, float]] = {}
    for text in (folder / "metrics.json").read_text().splitlines():
        line = json.loads(text)
        lines.setdefault(line.pop("iteration"), {}).update(
            {
                name: value
                for name, value in line.items()
                if ("loss" in name or "/" in name) and value is not None
            }
        )
    return lines
