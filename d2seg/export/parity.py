"""Does an exported file find what the eager model finds? Detections are matched, then measured."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from d2seg.export.differences import compare_keypoints, compare_masks
from d2seg.export.eager import Detections, Prepare, detect_eagerly
from d2seg.export.tolerances import TOLERANCES, Tolerances
from d2seg.export.torchscript import RunFile

__all__ = [
    "Detections",
    "ImageParity",
    "ParityError",
    "ParityReport",
    "compare_detections",
    "compare_file",
    "detect_eagerly",
    "require_passed",
]

FULL = TOLERANCES["fp32"]


@dataclass(frozen=True)
class ImageParity:
    """How a file compares with the eager model on one image.

    Attributes:
        size_hw: Height and width of the image.
        num_eager: Detections of the eager model.
        num_file: Detections of the file.
        num_matched: Pairs of the same class that agree within all tolerances.
        box_difference: Largest difference of a box coordinate among all pairs, in pixels.
        score_difference: Largest difference of a score.
        mask_difference: Largest difference of a mask probability, or for masks of the size of the
            image the largest share of an object's pixels that differ.
        highest_unmatched: Highest score of a detection without a partner that is not at the end of
            the list; 0 if there is none.
        keypoint_difference: Largest difference of a keypoint coordinate, in pixels; None without
            keypoints.
        tolerances: What counts as the same.
    """

    size_hw: tuple[int, int]
    num_eager: int
    num_file: int
    num_matched: int
    box_difference: float
    score_difference: float
    mask_difference: float
    highest_unmatched: float
    keypoint_difference: float | None = None
    tolerances: Tolerances = FULL

    @property
    def passed(self) -> bool:
        """Whether the file finds the same objects."""
        most = max(self.num_eager, self.num_file)
        return self.tolerances.accept(most, self.num_matched, self.highest_unmatched)


@dataclass(frozen=True)
class ParityReport:
    """How a file compares with the eager model on several images."""

    images: list[ImageParity]

    @property
    def passed(self) -> bool:
        """Whether the file finds the same objects in every image."""
        return all(image.passed for image in self.images)

    def explain(self) -> str:
        """Say in how many images the file differs."""
        failed = sum(not image.passed for image in self.images)
        return (
            f"The exported file finds other objects than the model in {failed} of "
            f"{len(self.images)} images"
        )

    @property
    def found_nothing(self) -> bool:
        """Whether no image had a detection: then the comparison says little."""
        return not any(image.num_eager or image.num_file for image in self.images)

    def table(self) -> str:
        """Lay the comparison out as text: a line for each image, and what was asked for.

        The differences are the largest of all pairs, also of those too far apart to be matched.
        """
        points = any(image.keypoint_difference is not None for image in self.images)
        titles = ["image", "eager", "file", "matched", "box px", "score", "mask"]
        lines = [f"{_line([*titles, *(['point px'] if points else [])])}  objects"]
        for image in self.images:
            differences = [image.box_difference, image.score_difference, image.mask_difference]
            if points:
                differences.append(image.keypoint_difference or 0.0)
            cells = [f"{image.size_hw[0]}x{image.size_hw[1]}"]
            cells += map(str, (image.num_eager, image.num_file, image.num_matched))
            cells += [f"{difference:.1e}" for difference in differences]
            lines.append(f"{_line(cells)}  {'same' if image.passed else 'DIFFERS'}")
        lines += dict.fromkeys(image.tolerances.explain() for image in self.images)
        return "\n".join(lines)


_WIDTHS = (11, 6, 6, 8, 9, 9, 9, 9)


def _line(cells: Sequence[str]) -> str:
    return " ".join(cell.rjust(width) for cell, width in zip(cells, _WIDTHS, strict=False))


class ParityError(ValueError):
    """An exported file does not find what the eager model finds.

    Attributes:
        report: The comparison.
    """

    def __init__(self, report: ParityReport) -> None:
        """Summarise the report."""
        super().__init__(f"{report.explain()}, so it was not kept.")
        self.report = report


def require_passed(report: ParityReport, keep_different: bool = False) -> ParityReport:
    """Return a report that passed; any report, if files that find other objects are kept too.

    Raises:
        ParityError: It did not.
    """
    if not report.passed and not keep_different:
        raise ParityError(report)
    return report


def compare_file(
    model: Any,
    run: RunFile,
    images: Sequence[Tensor],
    flip: bool,
    names: Sequence[str] = ("boxes", "classes", "masks", "scores", "image_size"),
    prepare: Prepare | None = None,
    tolerances: Tolerances = FULL,
) -> ParityReport:
    """Run a file and the eager model on images.

    Args:
        model: In eval mode.
        run: The file, loaded in its own runtime.
        images: Each (3, H, W) float, raw pixels in the order of the model.
        flip: Whether the file takes the channels in the reverse order.
        names: Of the file's outputs, in order.
        prepare: What the file does to an image before the network, as the model's predictor does
            it; None for nothing.
        tolerances: What counts as the same.
    """
    rows = []
    for image in images:
        found = Detections.from_outputs(names, run(image.flip(0) if flip else image))
        full_masks = found.masks is not None and found.masks.dim() == 3
        eager = detect_eagerly(model, image, prepare, full_masks)
        size_hw = (image.shape[1], image.shape[2])
        rows.append(compare_detections(size_hw, eager, found, tolerances))
    return ParityReport(rows)


def compare_detections(
    size_hw: tuple[int, int],
    eager: Detections,
    found: Detections,
    tolerances: Tolerances = FULL,
) -> ImageParity:
    """Pair the detections of both sides, whatever their order, and measure the pairs.

    Args:
        size_hw: Height and width of the image, for the report.
        eager: What the eager model found.
        found: What the file found.
        tolerances: What counts as the same.
    """
    pairs = _pair_up(eager, found)
    first, second = pairs[:, 0], pairs[:, 1]
    # At least 1: in proportion only for boxes that reach beyond 100 px.
    scale = (eager.boxes[first].abs().amax(dim=1) / 100).clamp(min=1)
    boxes = (eager.boxes[first] - found.boxes[second]).abs().amax(dim=1)
    scores = (eager.scores[first] - found.scores[second]).abs()
    masks, masks_same = compare_masks(eager.masks, found.masks, pairs, tolerances)
    points, points_same = compare_keypoints(
        eager.keypoints, found.keypoints, pairs, scale, tolerances
    )
    # Written so that a NaN on one side counts as a difference.
    same = (boxes <= tolerances.box * scale) & (scores <= tolerances.score)
    same &= masks_same & points_same
    unmatched = torch.cat(
        [
            _above_weakest(_without(eager.scores, first[same]), found.scores, tolerances.score),
            _above_weakest(_without(found.scores, second[same]), eager.scores, tolerances.score),
        ]
    )
    return ImageParity(
        size_hw,
        len(eager.scores),
        len(found.scores),
        int(same.sum()),
        _largest(boxes),
        _largest(scores),
        _largest(masks),
        _largest(unmatched),
        None if eager.keypoints is None else _largest(points),
        tolerances,
    )


def _pair_up(eager: Detections, found: Detections) -> Tensor:
    """Pair each eager detection, best first, with the nearest free one of its class.

    Returns:
        (M, 2) int64, rows of the eager and of the file's detections.
    """
    distance = (eager.boxes[:, None] - found.boxes[None]).abs().amax(dim=2)
    # Detections of the same box and class differ in score only.
    distance = distance + (eager.scores[:, None] - found.scores[None]).abs()
    distance[eager.classes[:, None] != found.classes[None]] = math.inf
    pairs = []
    for row in eager.scores.argsort(descending=True).tolist():
        column = int(distance[row].argmin()) if len(found.scores) else -1
        if column >= 0 and bool(distance[row, column] < math.inf):
            distance[:, column] = math.inf
            pairs.append([row, column])
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)


def _without(values: Tensor, rows: Tensor) -> Tensor:
    kept = torch.ones(len(values), dtype=torch.bool)
    kept[rows] = False
    return values[kept]


def _above_weakest(scores: Tensor, others: Tensor, tolerance: float) -> Tensor:
    return scores[scores > others.min() + tolerance] if len(others) else scores


def _largest(values: Tensor) -> float:
    return float(values.max()) if len(values) else 0.0
