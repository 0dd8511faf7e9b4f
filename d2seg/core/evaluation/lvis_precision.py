"""Average precision where not every category is annotated in every image (LVIS, arXiv:1908.03195).

Legend: T IoU thresholds (0.50 to 0.95), R recall positions, K categories, A size ranges.
"""

import contextlib
import io
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

__all__ = ["LVISeval", "best_of_each_image", "federated_precision", "federated_results"]


class LVISeval(COCOeval):
    """pycocotools' evaluation in which what may be right is not wrong.

    Where an image names a category in ``not_exhaustive_category_ids``, some of its objects have no
    annotation; detections without a match are left out there.
    """

    def evaluateImg(self, imgId: Any, catId: Any, aRng: Any, maxDet: int) -> Any:
        """Match an image's detections and annotations of a category.

        Args:
            imgId: The image.
            catId: The category.
            aRng: The smallest and the largest area that count, in pixels.
            maxDet: How many detections count, best first.

        Returns:
            The matches as pycocotools records them; None where there is nothing to match.
        """
        matches = super().evaluateImg(imgId, catId, aRng, maxDet)
        if matches is not None and catId in _not_exhaustive(self.cocoGt.imgs[imgId]):
            matches["dtIgnore"] |= matches["dtMatches"] == 0
        return matches


def best_of_each_image(
    results: Iterable[dict[str, Any]], max_dets_per_image: int
) -> list[dict[str, Any]]:
    """Keep the best results of each image, of all categories together.

    Args:
        results: In COCO's format.
        max_dets_per_image: How many; a negative number keeps all.
    """
    by_image = defaultdict(list)
    for result in results:
        by_image[result["image_id"]].append(result)
    kept = []
    for of_image in by_image.values():
        best_first = sorted(of_image, key=lambda result: -result["score"])
        kept += best_first if max_dets_per_image < 0 else best_first[:max_dets_per_image]
    return kept


def federated_results(truth: COCO, results: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Keep results that can be judged: of categories known to be, or not to be, in their image.

    Args:
        truth: LVIS annotations.
        results: In COCO's format, of annotated images.
    """
    judged = {
        id_: {a["category_id"] for a in truth.imgToAnns.get(id_, [])}
        | set(image["neg_category_ids"])
        for id_, image in truth.imgs.items()
    }
    return [result for result in results if result["category_id"] in judged[result["image_id"]]]


def federated_precision(
    truth: COCO, results: list[dict[str, Any]], task: str
) -> tuple[np.ndarray, Any]:
    """Measure the precision of each category on the images that are annotated for it.

    Args:
        truth: LVIS annotations.
        results: In COCO's format, of this task only.
        task: ``bbox`` or ``segm``.

    Returns:
        (T, R, K, A) float by rising category id, -1 where there is nothing to measure; and the
        params of the evaluation.
    """
    judged = federated_results(truth, results)
    images = defaultdict(set)
    for one in [*truth.dataset["annotations"], *judged]:
        images[one["category_id"]].add(one["image_id"])
    rows = []
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports each step
        evaluation = LVISeval(truth, _as_coco(truth, judged), task)
        evaluation.params.maxDets = [max(1, len(judged))]
        # One category at a time: most pairs of an image and a category are empty.
        for category_id in sorted(truth.cats):
            evaluation.params.catIds = [category_id]
            evaluation.params.imgIds = sorted(images[category_id])
            evaluation.evaluate()
            evaluation.accumulate()
            rows.append(evaluation.eval["precision"][:, :, 0, :, 0])
    return np.stack(rows, axis=2), evaluation.params


def _as_coco(truth: COCO, results: list[dict[str, Any]]) -> COCO:
    if results:
        return truth.loadRes([dict(result) for result in results])
    nothing = COCO()
    nothing.dataset = {"images": [], "annotations": [], "categories": []}
    nothing.createIndex()
    return nothing


def _not_exhaustive(image: dict[str, Any]) -> list[int]:
    categories: list[int] = image.get("not_exhaustive_category_ids", [])
    return categories
