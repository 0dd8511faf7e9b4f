"""The annotations that COCO's evaluation compares with."""

import contextlib
import io
import logging
import os

import pycocotools.mask as mask_util
from pycocotools.coco import COCO

from d2seg.core.data.catalog import Metadata
from d2seg.core.data.datasets.coco_export import convert_to_coco_json
from d2seg.core.runtime.files import PathManager
from d2seg.core.runtime.untrusted.run_lengths import compress_rle

__all__ = ["dataset_category_ids", "load_truth"]

logger = logging.getLogger(__name__)


def load_truth(
    metadata: Metadata, output_dir: str | os.PathLike[str] | None, allow_cached: bool
) -> COCO:
    """Read the annotation file of a data set; write one first if it has none.

    Args:
        metadata: Of the data set.
        output_dir: The folder for ``<name>_coco_format.json``.
        allow_cached: Use this file if it is there already.

    Returns:
        The annotations. Where a file of one's own left out ``iscrowd`` it is 0, where it left out
        ``area`` it is that of the mask or else of the box.

    Raises:
        ValueError: It has no annotation file, and there is no folder to write one to.
        FileNotFoundError: The annotation file is missing.
    """
    json_file = metadata.get("json_file")
    if json_file is None:
        if output_dir is None:
            raise ValueError(
                f"Data set '{metadata.name}' has no annotation file to evaluate with; register it "
                "with register_coco_instances, set `json_file` in its metadata, or give the "
                "evaluator an output_dir, to which the data set is then written."
            )
        json_file = os.path.join(output_dir, f"{metadata.name}_coco_format.json")
        convert_to_coco_json(metadata.name, json_file, allow_cached=allow_cached)
    path = PathManager.get_local_path(json_file)
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"There is no annotation file '{json_file}' (of data set '{metadata.name}')."
        )
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports the time it took
        coco_api = COCO(path)
    _complete(coco_api, json_file)
    return coco_api


def _complete(coco_api: COCO, json_file: str) -> None:
    """Add what pycocotools cannot do without, and files written by hand often lack."""
    without_area = [a for a in coco_api.anns.values() if "area" not in a]
    for annotation in coco_api.anns.values():
        annotation.setdefault("iscrowd", 0)
        if isinstance(annotation.get("segmentation"), dict):
            compress_rle(annotation["segmentation"])  # raises where pycocotools would crash
    for annotation in without_area:
        if annotation.get("segmentation"):
            annotation["area"] = float(mask_util.area(coco_api.annToRLE(annotation)))
        else:
            annotation["area"] = float(annotation["bbox"][2] * annotation["bbox"][3])
    if without_area:
        logger.warning(
            "%d annotations of '%s' have no area; it is computed.", len(without_area), json_file
        )


def dataset_category_ids(metadata: Metadata, coco_api: COCO) -> dict[int, int]:
    """Return the category id of the annotation file for each contiguous class."""
    contiguous = metadata.get("thing_dataset_id_to_contiguous_id")
    if contiguous is None:
        # load_coco_json, which would have noted it, numbers the ids in their order.
        return dict(enumerate(sorted(coco_api.getCatIds())))
    return {index: id_ for id_, index in contiguous.items()}
