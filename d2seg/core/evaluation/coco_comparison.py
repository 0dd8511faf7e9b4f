"""Running pycocotools' evaluation on results."""

import contextlib
import io
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from d2seg.core.data.errors import InvalidArgumentError

__all__ = ["compare_with_truth", "require_known_images"]

logger = logging.getLogger(__name__)


def compare_with_truth(
    coco_api: COCO,
    results: list[dict[str, Any]],
    task: str,
    *,
    kind: type = COCOeval,
    max_dets: int = 100,
    kpt_oks_sigmas: Sequence[float] = (),
    img_ids: Sequence[Any] | None = None,
) -> Any:
    """Match results with the annotations and accumulate precision and recall.

    Args:
        coco_api: The annotations.
        results: In COCO's format, of this task only; at least one.
        task: ``bbox``, ``segm`` or ``keypoints``.
        kind: COCOeval, or something with its methods.
        max_dets: How many boxes or masks of an image count, best first.
        kpt_oks_sigmas: One for each keypoint; empty for COCO's.
        img_ids: The images to count; None for all that are annotated.

    Returns:
        The COCOeval, accumulated and summarized.

    Raises:
        ValueError: A result is of an image that is not annotated, or the numbers of keypoints
            differ.
    """
    require_known_images(coco_api, results)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):  # all that pycocotools has to say goes to stdout
        coco_eval = kind(coco_api, coco_api.loadRes(results), task)
        if task == "keypoints":
            if kpt_oks_sigmas:
                coco_eval.params.kpt_oks_sigmas = np.array(kpt_oks_sigmas)
            _require_same_keypoints(coco_api, results, len(coco_eval.params.kpt_oks_sigmas))
        else:
            coco_eval.params.maxDets = [1, min(10, max_dets), max_dets]
        if img_ids is not None:
            coco_eval.params.imgIds = list(img_ids)
        coco_eval.evaluate()
        coco_eval.accumulate()
        coco_eval.summarize()
    logger.debug("%s", printed.getvalue())
    return coco_eval


def require_known_images(coco_api: COCO, results: list[dict[str, Any]]) -> None:
    """Raise InvalidArgumentError if a result is of an image that is not annotated."""
    unknown = {result["image_id"] for result in results} - set(coco_api.imgs)
    if unknown:
        raise InvalidArgumentError(
            f"There are predictions for {len(unknown)} image(s) that the annotation file does not "
            f"list, such as image id {min(unknown, key=str)}. If it was written for a data set "
            "that has changed since (<name>_coco_format.json), allow_cached_coco=False writes it "
            "anew."
        )


def _require_same_keypoints(coco_api: COCO, results: list[dict[str, Any]], num_sigmas: int) -> None:
    annotated = next((a["keypoints"] for a in coco_api.anns.values() if "keypoints" in a), None)
    predicted = len(results[0]["keypoints"]) // 3
    expected = num_sigmas if annotated is None else len(annotated) // 3
    if not predicted == expected == num_sigmas:
        raise InvalidArgumentError(
            f"The predictions have {predicted} keypoints, the annotations {expected}, and there "
            f"are {num_sigmas} sigmas; they must agree. See MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS "
            "and TEST.KEYPOINT_OKS_SIGMAS (the evaluator's kpt_oks_sigmas)."
        )
