"""The pages of a training's last evaluation."""

import json
import logging
from pathlib import Path

from d2seg.framework import CfgNode, MetadataCatalog, PathManager
from d2seg.report.evaluation import write_evaluation_report

logger = logging.getLogger(__name__)

_DETECTIONS = "coco_instances_results.json"


def write_training_reports(cfg: CfgNode) -> list[Path]:
    """Write a page for every data set of ``DATASETS.TEST`` that has COCO annotations.

    One that has only images, to detect something on, gets none.

    Args:
        cfg: The config of a run that has evaluated; its data sets are registered.

    Returns:
        The pages, ``OUTPUT_DIR/inference/NAME/report/index.html``.
    """
    pages = []
    for name in cfg.DATASETS.TEST:
        folder = Path(cfg.OUTPUT_DIR) / "inference" / name
        metadata = MetadataCatalog.get(name)
        annotations = metadata.get("json_file", None)
        if metadata.get("evaluator_type", None) != "coco" or annotations is None:
            continue
        if (folder / _DETECTIONS).is_file() and _is_annotated(name, annotations):
            page = write_evaluation_report(
                folder / "report",
                ground_truth=annotations,
                detections=folder / _DETECTIONS,
                image_root=metadata.image_root,
                title=name,
                iou_type="segm" if cfg.MODEL.MASK_ON else "bbox",
            )
            pages.append(page)
    return pages


def _is_annotated(name: str, json_file: str) -> bool:
    with PathManager.open(json_file) as file:
        found = "annotations" in json.load(file)
    if not found:
        logger.info("'%s' has no annotations to measure detections by: no page of it.", name)
    return found
