"""How much of the truth a set of proposals covers, whatever its class: average recall.

Legend: G annotated objects, P proposals of an image.
"""

import os
import pickle
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from pycocotools.coco import COCO
from torch import Tensor

from d2seg.core.runtime.files import replace_when_complete
from d2seg.core.structures import Boxes, BoxMode, Instances, pairwise_iou

__all__ = ["evaluate_box_proposals", "proposal_metrics", "write_proposals"]

AREA_RANGES = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
    "96-128": (96.0**2, 128.0**2),
    "128-256": (128.0**2, 256.0**2),
    "256-512": (256.0**2, 512.0**2),
    "512-inf": (512.0**2, 1e10),
}
"""Names of object sizes, in square pixels, both ends included."""

_REPORTED_LIMITS = (100, 1000)
_REPORTED_AREAS = {"": "all", "s": "small", "m": "medium", "l": "large"}


def evaluate_box_proposals(
    dataset_predictions: Iterable[Mapping[str, Any]],
    coco_api: COCO,
    thresholds: Tensor | None = None,
    area: str = "all",
    limit: int | None = None,
) -> dict[str, Any]:
    """Measure the recall of proposals.

    Args:
        dataset_predictions: For each image ``image_id`` and ``proposals``, which are Instances
            with ``proposal_boxes`` and ``objectness_logits``.
        coco_api: The annotations; crowds do not count.
        thresholds: Overlaps at which an object is covered; None for 0.50, 0.55, ... 0.95.
        area: A name of `AREA_RANGES`, which objects count.
        limit: How many proposals of an image count, best first; None for all.

    Returns:
        ``ar`` (the mean recall), ``recalls`` (by threshold), ``thresholds``, ``gt_overlaps`` (the
        overlap of every object with its proposal, sorted) and ``num_pos``. The recall of no objects
        is nan.

    Raises:
        ValueError: There is no area of that name.
    """
    if area not in AREA_RANGES:
        raise ValueError(f"Object sizes are {', '.join(AREA_RANGES)}; found '{area}'.")
    if thresholds is None:
        thresholds = torch.linspace(0.5, 0.95, 10)
    overlaps = [torch.zeros(0)]
    for prediction in dataset_predictions:
        truth = _boxes_of_image(coco_api, prediction["image_id"], AREA_RANGES[area])
        overlaps.append(_best_overlaps(_best_proposals(prediction["proposals"], limit), truth))
    gt_overlaps = torch.cat(overlaps).sort().values
    # [T,G] to [T]; no objects give nan
    recalls = (gt_overlaps[None] >= thresholds[:, None]).double().mean(dim=1)
    return {
        "ar": recalls.mean(),
        "recalls": recalls,
        "thresholds": thresholds,
        "gt_overlaps": gt_overlaps,
        "num_pos": len(gt_overlaps),
    }


def proposal_metrics(
    dataset_predictions: Sequence[Mapping[str, Any]], coco_api: COCO
) -> dict[str, float]:
    """Measure ``AR@100``, ``ARs@100``, ..., ``ARl@1000``, in percent.

    Args:
        dataset_predictions: See :func:`evaluate_box_proposals`.
        coco_api: The annotations.
    """
    return {
        f"AR{suffix}@{limit}": 100
        * float(evaluate_box_proposals(dataset_predictions, coco_api, area=area, limit=limit)["ar"])
        for limit in _REPORTED_LIMITS
        for suffix, area in _REPORTED_AREAS.items()
    }


def write_proposals(
    dataset_predictions: Iterable[Mapping[str, Any]],
    output_dir: str | os.PathLike[str],
    name: str = "box_proposals.pkl",
) -> None:
    """Write proposals in the form that Fast R-CNN is trained on (``DATASETS.PROPOSAL_FILES_*``).

    Args:
        dataset_predictions: See :func:`evaluate_box_proposals`.
        output_dir: The folder.
        name: The file's name in it.
    """
    predictions = list(dataset_predictions)
    proposals = [prediction["proposals"] for prediction in predictions]
    content = {
        "ids": [prediction["image_id"] for prediction in predictions],
        "boxes": [one.proposal_boxes.tensor.numpy() for one in proposals],
        "objectness_logits": [one.objectness_logits.numpy() for one in proposals],
        "bbox_mode": BoxMode.XYXY_ABS.value,
    }
    with replace_when_complete(os.path.join(output_dir, name)) as path:
        path.write_bytes(pickle.dumps(content))


def _boxes_of_image(coco_api: COCO, image_id: Any, area_range: tuple[float, float]) -> Boxes:
    annotations = coco_api.loadAnns(coco_api.getAnnIds(imgIds=[image_id], iscrowd=False))
    low, high = area_range
    counted = [a["bbox"] for a in annotations if low <= a["area"] <= high]
    xywh = torch.tensor(counted, dtype=torch.float32).reshape(-1, 4)
    return Boxes(BoxMode.convert(xywh, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS))


def _best_proposals(proposals: Instances, limit: int | None) -> Boxes:
    order = proposals.objectness_logits.argsort(descending=True, stable=True)
    return proposals.proposal_boxes[order[:limit]]


def _best_overlaps(proposals: Boxes, truth: Boxes) -> Tensor:
    """Pair objects and proposals, the best pair first; return the overlap of each object, (G,)."""
    overlaps = pairwise_iou(proposals, truth)  # [P,G]
    best = torch.zeros(len(truth))
    for _ in range(min(overlaps.shape)):
        proposal, obj = divmod(int(overlaps.argmax()), overlaps.shape[1])
        best[obj] = overlaps[proposal, obj]
        overlaps[proposal] = overlaps[:, obj] = -1
    return best
