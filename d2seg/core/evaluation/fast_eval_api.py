"""COCO's evaluation, faster."""

from importlib import import_module
from typing import Any

from pycocotools.cocoeval import COCOeval

__all__ = ["COCOeval_opt", "fastest_evaluation"]


def fastest_evaluation(task: str) -> type:
    """Return the fastest class that evaluates a task and gives pycocotools' numbers.

    Args:
        task: ``bbox`` or ``segm``, for which the package faster-coco-eval is used if it is
            installed, or ``keypoints``, which it wants annotations of its own for.
    """
    if task == "keypoints":
        return COCOeval_opt
    try:
        faster: type = import_module("faster_coco_eval").COCOeval_faster
    except ImportError:
        return COCOeval_opt
    return faster


class COCOeval_opt(COCOeval):
    """pycocotools' evaluation that spends no time on what has neither truth nor detection.

    Its ``eval``, ``evalImgs`` and ``stats`` are those of the base class, for every setting. Most
    pairs of an image and a category are empty: COCO has 3 of its 80 categories in an image.
    """

    def computeIoU(self, imgId: Any, catId: Any) -> Any:
        """Return the overlaps of an image's detections and annotations of a category.

        Args:
            imgId: The image.
            catId: The category; without meaning if ``params.useCats`` is 0.

        Returns:
            (detections, annotations) float, or an empty list where there are none.
        """
        return super().computeIoU(imgId, catId) if self._is_occupied(imgId, catId) else []

    def evaluateImg(self, imgId: Any, catId: Any, aRng: Any, maxDet: int) -> Any:
        """Match an image's detections and annotations of a category.

        Args:
            imgId: The image.
            catId: The category; without meaning if ``params.useCats`` is 0.
            aRng: The smallest and the largest area that count, in pixels.
            maxDet: How many detections count, best first.

        Returns:
            The matches as pycocotools records them; None where there is nothing to match.
        """
        if not self._is_occupied(imgId, catId):
            return None
        return super().evaluateImg(imgId, catId, aRng, maxDet)

    def _is_occupied(self, image_id: Any, category_id: Any) -> bool:
        if not self.params.useCats:
            return True
        key = (image_id, category_id)
        # These are defaultdicts: asking with [] would add an entry for every empty pair.
        return bool(self._gts.get(key) or self._dts.get(key))
