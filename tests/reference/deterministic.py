"""Weights, images and annotations that are the same on every machine.

The reference cases beside this file were recorded with exactly these inputs, so a test
rebuilds them instead of storing hundreds of megabytes. Only numpy's legacy ``RandomState``
is used: its streams are frozen by numpy's compatibility policy.
"""

from __future__ import annotations

import math
import zlib

import numpy as np

# Output layers get gains that spread their logits, so that a random network yields
# proposals, classes and masks that differ clearly from one another.
_GAINS = {
    "objectness_logits.weight": 1.0,
    "anchor_deltas.weight": 0.15,
    "cls_score.weight": 2.0,
    "bbox_pred.weight": 0.4,
    "mask_head.predictor.weight": 1.5,
    "keypoint_head.score_lowres.weight": 1.5,
    "sem_seg_head.predictor.weight": 1.0,
}
# The last norm of every residual branch is damped: activations stay bounded in deep nets.
_DAMPED_NORMS = ("conv3.norm.weight", "conv2.norm.weight")


def parameter_value(  # noqa: PLR0911
    name: str, shape: tuple[int, ...], *, pixel_std_is_one: bool
) -> np.ndarray:
    """The value of one state-dict entry: float32, of the given shape, a function of its name."""
    rng = np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF)
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if name.endswith("running_var"):
        return (1.0 + 0.2 * rng.random_sample(shape)).astype(np.float32)
    if name.endswith("running_mean"):
        return (0.1 * rng.standard_normal(shape)).astype(np.float32)
    if len(shape) >= 2:
        fan_in = int(np.prod(shape[1:]))
        gain = next((g for suffix, g in _GAINS.items() if name.endswith(suffix)), 1.0)
        if "conv2_offset" in name:
            gain = 0.05
        if name.startswith("head."):  # RetinaNet: sigmoid scores, spread but not saturated
            gain = {"head.cls_score.weight": 0.25, "head.bbox_pred.weight": 0.1}.get(name, 1.0)
        if name.endswith("stem.conv1.weight") and pixel_std_is_one:
            gain /= 60.0  # images reach the stem in 0..255 minus the mean
        value = rng.standard_normal(shape) * (gain * math.sqrt(2.0 / fan_in))
        return value.astype(np.float32)
    if name.endswith("norm.weight"):
        damping = 0.35 if name.endswith(_DAMPED_NORMS) else 1.0
        return (damping * (0.9 + 0.2 * rng.random_sample(shape))).astype(np.float32)
    if name.endswith(".scale"):
        return np.ones(shape, np.float32)
    if name == "head.cls_score.bias":
        return (-4.0 + 0.1 * rng.standard_normal(shape)).astype(np.float32)
    return (0.1 * rng.standard_normal(shape)).astype(np.float32)


def state_dict(
    shapes: dict[str, tuple[int, ...]], *, pixel_std_is_one: bool
) -> dict[str, np.ndarray]:
    """Every entry of a state dict, from names and shapes (buffers like anchors left out)."""
    return {
        name: parameter_value(name, tuple(shape), pixel_std_is_one=pixel_std_is_one)
        for name, shape in shapes.items()
        if "cell_anchors" not in name and "pixel_" not in name
    }


def image(seed: int, height: int, width: int) -> np.ndarray:
    """A picture of overlapping coloured shapes on a gradient: (height, width, 3) uint8, BGR."""
    rng = np.random.RandomState(seed)
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float64)
    canvas = np.stack(
        [40 + 60 * ys / height, 90 + 50 * xs / width, 120 - 40 * ys / height], axis=-1
    )
    for shape in _shapes(rng, height, width):
        canvas[_inside(shape, ys, xs)] = shape["colour"]
    canvas += rng.standard_normal(canvas.shape) * 4.0
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def annotations(seed: int, height: int, width: int, num_classes: int) -> dict[str, np.ndarray]:
    """Truth of ``image``: boxes (N, 4) float XYXY, classes (N,) int, masks (N, H, W) bool."""
    rng = np.random.RandomState(seed)
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float64)
    boxes, classes, masks = [], [], []
    for index, shape in enumerate(_shapes(rng, height, width)):
        mask = _inside(shape, ys, xs)
        if mask.sum() < 16:
            continue
        rows, cols = np.where(mask.any(1))[0], np.where(mask.any(0))[0]
        boxes.append([cols[0], rows[0], cols[-1] + 1, rows[-1] + 1])
        classes.append(index % num_classes)
        masks.append(mask)
    return {
        "boxes": np.asarray(boxes, np.float32),
        "classes": np.asarray(classes, np.int64),
        "masks": np.asarray(masks, bool),
    }


def _shapes(rng: np.random.RandomState, height: int, width: int) -> list[dict]:
    return [
        {
            "kind": "disc" if rng.random_sample() < 0.5 else "box",
            "cy": rng.uniform(0.15, 0.85) * height,
            "cx": rng.uniform(0.15, 0.85) * width,
            "ry": rng.uniform(0.06, 0.3) * height,
            "rx": rng.uniform(0.06, 0.3) * width,
            "colour": rng.uniform(0, 255, 3),
        }
        for _ in range(7)
    ]


def _inside(shape: dict, ys: np.ndarray, xs: np.ndarray) -> np.ndarray:
    dy, dx = (ys - shape["cy"]) / shape["ry"], (xs - shape["cx"]) / shape["rx"]
    if shape["kind"] == "disc":
        return dy * dy + dx * dx <= 1.0
    return (np.abs(dy) <= 1.0) & (np.abs(dx) <= 1.0)


def sample_positions(count: int, size: int) -> np.ndarray:
    """Flat positions at which a recorded tensor was sampled: (count,) int64."""
    return np.random.RandomState(20240).randint(0, size, count)
