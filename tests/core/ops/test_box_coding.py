"""Box deltas: what detectron2 recorded, and that decoding undoes encoding."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from d2seg.core.ops.box_coding import decode_boxes, encode_boxes
from d2seg.core.ops.rotated_coding import decode_rotated_boxes, encode_rotated_boxes
from tests.reference.deterministic import annotations
from tests.reference.functions import recorded_functions

CLAMP = math.log(1000 / 16)
WEIGHTS = [10.0, 10.0, 5.0, 5.0]


def test_deltas_are_detectron2s() -> None:
    record = recorded_functions()
    truth = annotations(record["seed"], record["height"], record["width"], 3)["boxes"]
    jittered, truth = torch.tensor(record["boxes_jittered"]), torch.from_numpy(truth)
    deltas = encode_boxes(jittered, truth, WEIGHTS)
    torch.testing.assert_close(
        deltas, torch.tensor(record["box_deltas_10_10_5_5"]), atol=2e-5, rtol=0
    )
    decoded = decode_boxes(deltas * 3, jittered, WEIGHTS, CLAMP)
    want = torch.tensor(record["applied_tripled_deltas"])
    torch.testing.assert_close(decoded, want, atol=1e-3, rtol=0)


@settings(deadline=None)
@given(seed=st.integers(0, 1000), count=st.integers(0, 20))
def test_decoding_undoes_encoding(seed: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    source, target = (
        torch.cat([corner, corner + 1 + 99 * torch.rand(count, 2, generator=generator)], dim=1)
        for corner in 400 * torch.rand(2, count, 2, generator=generator)
    )
    decoded = decode_boxes(encode_boxes(source, target, WEIGHTS), source, WEIGHTS, 10.0)
    torch.testing.assert_close(decoded, target, atol=1e-2, rtol=1e-4)


def test_several_classes_of_one_box_are_decoded_side_by_side() -> None:
    box = torch.tensor([[10.0, 20.0, 30.0, 60.0]])
    deltas = torch.tensor([[0.0, 0, 0, 0, 1, 0, 0, 0]])
    decoded = decode_boxes(deltas, box, [1.0, 1.0, 1.0, 1.0], CLAMP)
    assert decoded.tolist() == [[10.0, 20.0, 30.0, 60.0, 30.0, 20.0, 50.0, 60.0]]


def test_growth_is_clamped() -> None:
    box = torch.tensor([[0.0, 0.0, 16.0, 8.0]])
    decoded = decode_boxes(torch.tensor([[0.0, 0.0, 99.0, 99.0]]), box, [1.0] * 4, CLAMP)
    width, height = (decoded[0, 2:] - decoded[0, :2]).tolist()
    assert width == pytest.approx(1000, rel=1e-5)
    assert height == pytest.approx(500, rel=1e-5)


def test_no_boxes_keep_their_columns() -> None:
    assert decode_boxes(torch.zeros(0, 8), torch.zeros(0, 4), WEIGHTS, CLAMP).shape == (0, 8)


class Copies(TorchDispatchMode):
    """Counts the tensors that are made of numbers or copied, for which a device is waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        copying = (torch.ops.aten.lift_fresh, torch.ops.aten._to_copy, torch.ops.aten.copy_)
        self.count += func.overloadpacket in copying
        return func(*args, **(kwargs or {}))


def test_weights_are_not_copied_to_the_device() -> None:
    boxes = torch.tensor([[10.0, 20, 30, 60], [1.0, 2, 3, 9]])
    rotated = torch.tensor([[10.0, 20, 30, 60, 15], [1.0, 2, 3, 9, -80]])
    with Copies() as copies:
        decode_boxes(encode_boxes(boxes, boxes, WEIGHTS), boxes, WEIGHTS, CLAMP)
        five = [*WEIGHTS, 2.0]
        decode_rotated_boxes(encode_rotated_boxes(rotated, rotated, five), rotated, five, CLAMP)
    assert copies.count == 0
    with Copies() as copies:
        torch.tensor(WEIGHTS).to(torch.float64)
    assert copies.count == 2


def test_rotated_weights_multiply_their_columns() -> None:
    source = torch.tensor([[10.0, 20, 4, 8, 170]])
    target = torch.tensor([[12.0, 18, 8, 8, -170]])
    deltas = encode_rotated_boxes(source, target, [10.0, 20.0, 3.0, 4.0, 5.0])
    expected = torch.tensor([[5.0, -5.0, 3 * math.log(2), 0.0, 5 * math.radians(20)]])
    torch.testing.assert_close(deltas, expected)
    decoded = decode_rotated_boxes(deltas, source, [10.0, 20.0, 3.0, 4.0, 5.0], CLAMP)
    torch.testing.assert_close(decoded, target, atol=1e-4, rtol=0)
