"""Run-length encoded masks (RLE) of COCO, checked before pycocotools takes them.

pycocotools reads and writes beyond its memory when a count is wrong, and reserves what a size says.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pycocotools.mask as mask_util

_MOST_PIXELS = 2**28
"""A mask takes a byte for each; images larger than Pillow opens have no masks."""
_MOST_COUNTED = 2**32 - 1
"""What pycocotools can count."""
_LONGEST_NUMBER = 12
"""Characters of one compressed count; 60 bits."""
_NONE = np.zeros(0, dtype=np.int64)
_LONGEST_OUTLINE = 4_000_000
"""Pixels; a polygon takes 80 bytes for each of its outline while it is drawn."""


def decode_rle(segmentation: Any) -> np.ndarray:
    """Return the mask (H, W) uint8, 0 or 1, of an RLE in either form.

    Raises:
        ValueError: It is none, or does not fit its size.
    """
    mask: np.ndarray = mask_util.decode(compress_rle(segmentation))
    return mask


def compress_rle(segmentation: Any) -> dict[str, Any]:
    """Return an RLE in compressed form, as pycocotools' functions want it.

    Args:
        segmentation: A dict with ``size`` (height, width) and ``counts``, numbers or text.

    Raises:
        ValueError: It is none, or does not fit its size.
    """
    read_rle(segmentation)
    if isinstance(segmentation["counts"], str | bytes):
        found: dict[str, Any] = segmentation
    else:
        found = mask_util.frPyObjects(segmentation, *segmentation["size"])
    return found


def read_rle(segmentation: Any) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the run lengths (N,) int64 of an RLE in either form, and its height and width.

    Raises:
        ValueError: It is none, or does not fit its size.
    """
    try:
        counts, fault = _read(segmentation)
    except (TypeError, KeyError, ValueError, OverflowError, AttributeError):
        fault = "is no dict of 'size' and 'counts' in COCO's form"
    if fault is not None:
        raise ValueError(f"A mask (RLE) {fault}; run d2seg check-data to find all such masks.")
    height, width = segmentation["size"]
    return counts, (int(height), int(width))


def paint_runs(
    counts: np.ndarray,
    height: int,
    target: np.ndarray,
    rows: np.ndarray | None = None,
    columns: np.ndarray | None = None,
) -> None:
    """Set the pixels of a mask in an array of zeros; nothing outside of the mask's box is touched.

    Args:
        counts: Run lengths, as of :func:`read_rle`.
        height: Of the mask.
        target: (H, W) bool or uint8, is changed.
        rows: (H,) int, the row of the mask that each row of ``target`` shows, in ascending or
            descending order; by default the same.
        columns: (W,) int, likewise.
    """
    ends = np.concatenate([[0], counts.cumsum()])  # of runs of zeros and ones in turn, by columns
    first, last = ends[1:-1:2], ends[2::2]
    some = np.flatnonzero(last > first)
    if len(some) == 0:
        return
    left, right = int(first[some[0]] // height), int((last[some[-1]] - 1) // height) + 1
    lengths = np.diff(ends.clip(left * height, right * height))
    block = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(right - left, height)
    used = np.flatnonzero(block.any(axis=0))
    top, bottom = int(used[0]), int(used[-1]) + 1
    if rows is None or columns is None:
        target[top:bottom, left:right] = block[:, top:bottom].T
        return
    ys = np.flatnonzero((rows >= top) & (rows < bottom))
    xs = np.flatnonzero((columns >= left) & (columns < right))
    if len(ys) and len(xs):
        shown = block[columns[xs[0] : xs[-1] + 1] - left][:, rows[ys[0] : ys[-1] + 1]]
        target[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1] = shown.T


def paint_polygons(polygons: Sequence[Any], target: np.ndarray) -> None:
    """Set the pixels of the union of polygons in an array of zeros, as :func:`draw_polygons` does.

    Args:
        polygons: Flat coordinates ``x0, y0, x1, y1, ...`` in pixels; any number.
        target: (H, W) bool or uint8, is changed.

    Raises:
        ValueError: As of :func:`draw_polygons`.
    """
    if len(polygons):
        height, width = target.shape
        encoded = _encode_polygons(polygons, height, width)
        paint_runs(decode_counts(encoded["counts"]), height, target)


def draw_polygons(polygons: Sequence[Any], height: int, width: int) -> np.ndarray:
    """Return the mask (height, width) uint8 of the union of polygons, by COCO's rule.

    Args:
        polygons: Flat coordinates ``x0, y0, x1, y1, ...`` in pixels; at least one.
        height: Rows of the result.
        width: Columns of the result.

    Raises:
        ValueError: A coordinate is not finite, or an outline is longer than any image has.
    """
    mask: np.ndarray = mask_util.decode(_encode_polygons(polygons, height, width))
    return mask


def _encode_polygons(polygons: Sequence[Any], height: int, width: int) -> dict[str, Any]:
    flat = [np.asarray(polygon, dtype=np.float64) for polygon in polygons]
    for points in flat:
        length = _outline_length(points)
        if length > _LONGEST_OUTLINE:
            raise ValueError(
                f"The outline of a polygon is {length:.3g} pixels long; run d2seg check-data to "
                "find coordinates far outside of the image."
            )
    parts = mask_util.frPyObjects([one.tolist() for one in flat], height, width)
    merged: dict[str, Any] = mask_util.merge(parts)
    return merged


def _outline_length(points: np.ndarray) -> float:
    """Return about how many pixels are drawn for a polygon; infinite if a number is not finite."""
    if not np.isfinite(points).all():
        return float("inf")
    points_xy = points[: len(points) // 2 * 2].reshape(-1, 2)
    steps = np.abs(points_xy - np.roll(points_xy, 1, axis=0))
    return float(steps.max(axis=1, initial=0).sum())


def rle_fault(segmentation: dict[str, Any]) -> str | None:
    """Say what is wrong with an RLE, in half a sentence; None if nothing is."""
    return _read(segmentation)[1]


def _read(segmentation: dict[str, Any]) -> tuple[np.ndarray, str | None]:
    """Return the run lengths of an RLE, and what is wrong with it."""
    height, width = segmentation["size"]
    if min(height, width) < 0 or height * width > _MOST_PIXELS:
        return _NONE, f"has the size {height} x {width}"
    try:
        counts = decode_counts(segmentation["counts"])
    except ValueError as error:
        return _NONE, str(error)
    if len(counts) and counts.min() < 0:
        return _NONE, f"has a negative count, {counts.min()}"
    # As floats, which are exact far beyond any image, the sum of damaged counts cannot overflow.
    covered = counts.sum(dtype=np.float64)
    if covered != height * width:
        return _NONE, (
            f"counts {covered:.0f} pixels, but its size {height} x {width} has {height * width}"
        )
    return counts, None


def decode_counts(counts: str | bytes | Sequence[int]) -> np.ndarray:
    """Return the run lengths of an RLE.

    The compressed form writes each number in characters of 5 bits, the lowest first, added to
    '0' (48): bit 32 says that more follow, bit 16 of the last is the sign. From the fourth number
    on they are differences to the last but one.

    Args:
        counts: Text, or the run lengths themselves.

    Returns:
        (N,) int64; negative where the text is damaged.

    Raises:
        ValueError: The text is not of this form.
    """
    if isinstance(counts, bytes):
        counts = counts.decode("latin-1")
    if not isinstance(counts, str):
        if max(map(abs, counts), default=0) > _MOST_COUNTED:
            raise ValueError("has a count that is larger than any image")
        return np.asarray(counts, dtype=np.int64)
    codes = np.frombuffer(counts.encode("utf-8"), dtype=np.uint8).astype(np.int64) - 48
    if len(codes) == 0:
        return codes
    if codes.min() < 0 or codes.max() > 63:
        raise ValueError("has characters that no compressed RLE has")
    is_last = codes & 32 == 0
    starts = np.flatnonzero(np.concatenate([[True], is_last[:-1]]))
    lengths = np.diff(np.append(starts, len(codes)))
    if not is_last[-1] or lengths.max() > _LONGEST_NUMBER:
        raise ValueError("breaks off in the middle of a number")
    place = np.arange(len(codes)) - np.repeat(starts, lengths)
    numbers = np.add.reduceat((codes & 31) << (5 * place), starts)
    is_negative = codes[starts + lengths - 1] & 16 != 0
    numbers -= np.where(is_negative, 1 << (5 * lengths), 0)
    numbers[1::2] = numbers[1::2].cumsum()
    numbers[2::2] = numbers[2::2].cumsum()
    return numbers
