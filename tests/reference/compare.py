"""How a recorded reference case is compared with what an implementation produced.

Every function returns the list of differences it found, as readable sentences; an empty list
means parity. The tolerances are those that separate floating-point noise (another number of
threads, another memory format, fused batch norm) from a different algorithm.
"""

from __future__ import annotations

import numpy as np

from tests.reference.deterministic import sample_positions

FEATURE_RTOL = 2e-3  # of the tensor's standard deviation
BOX_ATOL = 0.05  # pixels
SCORE_ATOL = 2e-3
MATCHED = 0.98  # share of detections that must have a partner: NMS ties may flip under noise
LOSS_RTOL = 5e-3
GRADIENT_RTOL = 2e-2


def compare_tensor(name: str, recorded: dict, produced: np.ndarray) -> list[str]:
    """A tensor against its record: shape, mean, spread and the sampled values."""
    produced = np.asarray(produced, np.float64)
    if list(produced.shape) != recorded["shape"]:
        return [f"{name}: shape {list(produced.shape)}, recorded {recorded['shape']}"]
    if produced.size == 0:
        return []
    scale = max(recorded["std"], 1e-6)
    got = produced.reshape(-1)[sample_positions(len(recorded["samples"]), produced.size)]
    worst = float(np.abs(got - np.asarray(recorded["samples"])).max()) / scale
    differences = []
    if not worst <= FEATURE_RTOL:
        differences.append(f"{name}: samples differ by {worst:.2e} standard deviations")
    if not abs(produced.mean() - recorded["mean"]) <= FEATURE_RTOL * scale:
        differences.append(f"{name}: mean {produced.mean():.6g}, recorded {recorded['mean']:.6g}")
    return differences


def compare_detections(
    name: str,
    recorded: dict,
    boxes: np.ndarray,
    scores: np.ndarray,
    classes: np.ndarray | None = None,
) -> list[str]:
    """Scored boxes (N, 4) XYXY against the record, matched one to one in any order."""
    boxes, scores = np.asarray(boxes, np.float64).reshape(-1, 4), np.asarray(scores, np.float64)
    want_boxes = np.asarray(recorded["boxes"], np.float64).reshape(-1, 4)
    want_scores = np.asarray(recorded["scores" if "scores" in recorded else "logits"], np.float64)
    want_classes = recorded.get("classes")
    count = len(want_boxes)
    if abs(len(boxes) - count) > max(1, round((1 - MATCHED) * count)):
        return [f"{name}: {len(boxes)} detections, recorded {count}"]
    free, matched = np.ones(len(boxes), bool), 0
    score_scale = max(1.0, float(np.abs(want_scores).max(initial=0.0)))
    for i in range(count):
        box_atol = BOX_ATOL * max(1.0, np.abs(want_boxes[i]).max() / 100)
        near = free & (np.abs(boxes - want_boxes[i]).max(1) <= box_atol)
        near &= np.abs(scores - want_scores[i]) <= SCORE_ATOL * score_scale
        if classes is not None and want_classes is not None:
            near &= np.asarray(classes) == want_classes[i]
        hits = np.flatnonzero(near)
        if len(hits):
            free[hits[0]] = False
            matched += 1
    if matched < MATCHED * count:
        return [f"{name}: {matched} of {count} detections have a partner"]
    return []


def compare_losses(
    recorded: dict, losses: dict[str, float], gradient_norms: dict[str, float]
) -> list[str]:
    """One training step: every loss and the recorded gradient norms."""
    differences = []
    if set(losses) != set(recorded["losses"]):
        differences.append(f"losses: {sorted(losses)}, recorded {sorted(recorded['losses'])}")
    for name, want in recorded["losses"].items():
        got = losses.get(name, float("nan"))
        if not abs(got - want) <= LOSS_RTOL * max(abs(want), 1e-3):
            differences.append(f"{name}: {got:.6g}, recorded {want:.6g}")
    for name, want in recorded["gradient_norms"].items():
        got = gradient_norms.get(name, float("nan"))
        if not abs(got - want) <= GRADIENT_RTOL * max(abs(want), 1e-4):
            differences.append(f"gradient of {name}: norm {got:.6g}, recorded {want:.6g}")
    return differences
