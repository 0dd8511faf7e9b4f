"""Resizing images and what is annotated on them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from d2seg.core.data.transforms import NoOpTransform, ResizeShortestEdge, ResizeTransform
from tests.reference.deterministic import image, sample_positions
from tests.reference.functions import recorded_functions


@pytest.mark.parametrize("case", ["resize_up", "resize_capped", "resize_down"])
def test_resized_images_are_detectron2s(case: str) -> None:
    record = recorded_functions()
    want: dict[str, Any] = record[case]
    original = image(record["seed"], record["height"], record["width"])
    policy = ResizeShortestEdge([want["short"], want["short"]], want["max"])
    resized = policy.get_transform(original).apply_image(original)
    assert list(resized.shape) == want["shape"]
    assert resized.astype(int).sum() == want["sum"]
    positions = sample_positions(len(want["samples"]), resized.size)
    assert resized.reshape(-1)[positions].tolist() == want["samples"]


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 1200), st.integers(1, 2000))
@settings(deadline=None)
def test_the_output_shape_keeps_both_limits(h: int, w: int, short: int, limit: int) -> None:
    new_h, new_w = ResizeShortestEdge.get_output_shape(h, w, short, limit)
    scale = min(short / min(h, w), limit / max(h, w))
    assert max(new_h, new_w) <= limit
    assert abs(new_h - h * scale) <= 0.5 + 1e-6 and abs(new_w - w * scale) <= 0.5 + 1e-6


def test_the_shorter_edge_can_be_either() -> None:
    assert ResizeShortestEdge.get_output_shape(480, 640, 800, 1333) == (800, 1067)
    assert ResizeShortestEdge.get_output_shape(640, 480, 800, 1333) == (1067, 800)
    assert ResizeShortestEdge.get_output_shape(400, 1200, 800, 1333) == (444, 1333)


def test_lengths_are_sampled_from_the_range_or_the_choices() -> None:
    picture = np.zeros((10, 20, 3), np.uint8)
    np.random.seed(0)
    ranged, chosen = ResizeShortestEdge((4, 6)), ResizeShortestEdge((4, 8), sample_style="choice")
    assert {ranged.get_transform(picture).new_h for _ in range(60)} == {4, 5, 6}
    assert {chosen.get_transform(picture).new_h for _ in range(60)} == {4, 8}
    assert isinstance(ResizeShortestEdge(0).get_transform(picture), NoOpTransform)


def test_a_policy_that_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="'range' or 'choice'; found 'random'"):
        ResizeShortestEdge(800, sample_style="random")
    with pytest.raises(ValueError, match=r"found \(640, 672, 704\)"):
        ResizeShortestEdge((640, 672, 704))
    with pytest.raises(ValueError, match="at least one length"):
        ResizeShortestEdge((), sample_style="choice")


@pytest.mark.parametrize("shape", [(6, 8), (6, 8, 1), (6, 8, 3), (6, 8, 4), (6, 8, 5)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64, np.bool_])
def test_type_and_channels_are_kept(shape: tuple[int, ...], dtype: type) -> None:
    resized = ResizeTransform(6, 8, 3, 16).apply_image(np.ones(shape, dtype))
    assert resized.shape == (3, 16, *shape[2:])
    assert resized.dtype == dtype
    assert (resized == 1).all()


def test_a_fourth_channel_is_not_transparency() -> None:
    picture = np.full((4, 4, 4), 200, np.uint8)
    picture[..., 3] = 0
    resized = ResizeTransform(4, 4, 8, 8).apply_image(picture)
    assert (resized[..., :3] == 200).all() and (resized[..., 3] == 0).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.float32])
def test_labels_are_not_mixed(dtype: type) -> None:
    labels = np.array([[1, 7], [7, 90]], dtype)
    resized = ResizeTransform(2, 2, 4, 6).apply_segmentation(labels)
    assert resized.tolist() == np.kron(labels, np.ones((2, 3))).tolist()


def test_labels_beyond_float32_survive() -> None:
    labels = np.array([[2**31 + 1, 2**40 + 3]], np.int64)
    assert (
        ResizeTransform(1, 2, 2, 2).apply_segmentation(labels).tolist() == [labels[0].tolist()] * 2
    )


def test_coordinates_and_boxes_scale_by_axis() -> None:
    transform = ResizeTransform(10, 20, 30, 40)
    coords = np.array([[1.0, 1.0], [20.0, 10.0]])
    assert transform.apply_coords(coords).tolist() == [[2.0, 3.0], [40.0, 30.0]]
    assert coords.tolist() == [[1.0, 1.0], [20.0, 10.0]]
    assert transform.apply_box(np.array([1.0, 1.0, 20.0, 10.0])).tolist() == [
        [2.0, 3.0, 40.0, 30.0]
    ]
    back = transform.inverse().apply_coords(transform.apply_coords(coords))
    np.testing.assert_allclose(back, coords)


def test_what_cannot_be_resized() -> None:
    with pytest.raises(ValueError, match=r"height 10 and width 20.*found shape \(20, 10, 3\)"):
        ResizeTransform(10, 20, 30, 40).apply_image(np.zeros((20, 10, 3), np.uint8))
    with pytest.raises(ValueError, match="float32.*found LANCZOS"):
        ResizeTransform(4, 4, 2, 2, Image.Resampling.LANCZOS).apply_image(
            np.zeros((4, 4), np.float32)
        )
