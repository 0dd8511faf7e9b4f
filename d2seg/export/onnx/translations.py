"""What stands in an ONNX file for the operators of :mod:`d2seg.export.batched.operators`."""

from collections.abc import Callable
from typing import Any

import torch
from onnxscript import BOOL, FLOAT, script
from onnxscript import opset18 as op

from d2seg.export.batched import operators  # noqa: F401  (registers them)

ALL_BOXES = torch.iinfo(torch.int64).max


def keep_best(boxes: FLOAT, scores: FLOAT, iou_threshold: float, lowest: float) -> BOOL:
    """Keep boxes by ONNX's NonMaxSuppression, whose result is a list of the kept ones."""
    kept = op.NonMaxSuppression(
        boxes,
        scores,
        op.Constant(value_ints=[ALL_BOXES]),
        op.Constant(value_floats=[iou_threshold]),
        op.Constant(value_floats=[lowest]),
    )
    none = op.Expand(op.Constant(value_float=0.0), op.Shape(scores))
    ones = op.Expand(op.Constant(value_float=1.0), op.Shape(kept, start=0, end=1))
    return op.Cast(op.ScatterND(none, kept, ones), to=BOOL.dtype)


@script()
def decode_heatmaps(heatmaps: FLOAT, boxes: FLOAT) -> FLOAT:
    """Enlarge the heat maps of one box after the other to its pixels, and find the highest."""
    corner = op.Slice(boxes, [0], [2], [1])
    size = op.Max(op.Sub(op.Slice(boxes, [2], [4], [1]), corner), op.Constant(value_float=1.0))
    pixels = op.Ceil(size)
    scale = op.Div(size, pixels)
    channels = op.Shape(heatmaps, start=0, end=2)
    points = op.Expand(
        op.Constant(value_float=0.0), op.Concat(channels, op.Constant(value_ints=[4]), axis=0)
    )
    number = op.Squeeze(op.Shape(heatmaps, start=0, end=1))
    for i in range(number):
        row = op.Reshape(i, op.Constant(value_ints=[1]))
        maps = op.Gather(heatmaps, row, axis=0)
        width_height = op.Cast(op.Gather(pixels, row, axis=0), to=7)
        width = op.Slice(width_height, [0], [1], [1])
        height = op.Slice(width_height, [1], [2], [1])
        sides = op.Concat(
            op.Shape(maps, start=0, end=2), op.Squeeze(height, [0]), op.Squeeze(width, [0]), axis=0
        )
        enlarged = op.Resize(
            maps,
            None,
            None,
            sides,
            mode="cubic",
            coordinate_transformation_mode="half_pixel",
            cubic_coeff_a=-0.75,
        )
        flat = op.Reshape(enlarged, op.Constant(value_ints=[0, 0, -1]))
        logit = op.ReduceMax(flat, [2], keepdims=0)
        position = op.ArgMax(flat, axis=2, keepdims=0)
        column = op.Cast(op.Mod(position, width), to=1)
        line = op.Cast(op.Div(position, width), to=1)
        factor = op.Gather(scale, row, axis=0)
        start = op.Gather(corner, row, axis=0)
        half = op.Constant(value_float=0.5)
        x = op.Add(
            op.Mul(op.Add(column, half), op.Slice(factor, [0], [1], [1])),
            op.Slice(start, [0], [1], [1]),
        )
        y = op.Add(
            op.Mul(op.Add(line, half), op.Slice(factor, [1], [2], [1])),
            op.Slice(start, [1], [2], [1]),
        )
        cells = op.Reshape(maps, op.Constant(value_ints=[0, 0, -1]))
        top = op.ReduceMax(cells, [2], keepdims=1)
        total = op.ReduceSum(op.Exp(op.Sub(cells, top)), [2], keepdims=0)
        score = op.Div(op.Exp(op.Sub(logit, op.Squeeze(top, [2]))), total)
        found = op.Concat(
            op.Unsqueeze(x, [2]),
            op.Unsqueeze(y, [2]),
            op.Unsqueeze(logit, [2]),
            op.Unsqueeze(score, [2]),
            axis=2,
        )
        points = op.ScatterND(points, op.Reshape(row, op.Constant(value_ints=[1, 1])), found)
    return points


def translations() -> dict[Any, Callable[..., Any]]:
    """Map the operators to their form in a file."""
    return {
        torch.ops.d2seg.keep_best.default: keep_best,
        torch.ops.d2seg.decode_heatmaps.default: decode_heatmaps,
    }
