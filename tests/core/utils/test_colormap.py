"""Colours."""

import numpy as np
import pytest

from d2seg.core.utils.colormap import (
    change_brightness,
    colormap,
    jitter,
    random_color,
    random_colors,
    to_rgb,
)


def test_colors_differ_and_come_in_either_order() -> None:
    rgb = colormap(rgb=True)
    assert rgb.shape == (80, 3)
    assert rgb.dtype == np.float32
    assert rgb.min() >= 0
    assert 200 < rgb.max() <= 255
    assert len({tuple(row) for row in rgb.round().tolist()}) == 80
    np.testing.assert_array_equal(colormap()[:, ::-1], rgb)
    np.testing.assert_allclose(colormap(rgb=True, maximum=1) * 255, rgb, rtol=1e-6)
    with pytest.raises(ValueError, match="255 or 1; found 100"):
        colormap(maximum=100)


def test_random_colors_are_of_the_map_and_differ() -> None:
    known = {tuple(row) for row in colormap(rgb=True, maximum=1).tolist()}
    drawn = [tuple(color.tolist()) for color in random_colors(80, rgb=True, maximum=1)]
    assert set(drawn) == known
    assert len(random_colors(100)) == 100
    assert random_colors(0) == []
    assert tuple(random_color(rgb=True, maximum=1).tolist()) in known


@pytest.mark.parametrize(
    ("color", "expected"),
    [
        ("red", (1, 0, 0)),
        ("g", (0, 128 / 255, 0)),
        ("#0000ff", (0, 0, 1)),
        ((0.1, 0.2, 0.3), (0.1, 0.2, 0.3)),
        (np.array([0.1, 0.2, 0.3, 0.5]), (0.1, 0.2, 0.3)),
    ],
)
def test_colors_can_be_written_in_many_ways(color: object, expected: tuple[float, ...]) -> None:
    assert to_rgb(color) == pytest.approx(expected)


@pytest.mark.parametrize("color", ["redish", (1, 2, 3), (0.5, 0.5)])
def test_what_is_no_color_is_named(color: object) -> None:
    with pytest.raises(ValueError, match=r"is not a colour|in \[0, 1\]; found"):
        to_rgb(color)


def test_brightness_goes_to_black_and_to_white() -> None:
    assert change_brightness("red", -1.0) == (0, 0, 0)
    assert change_brightness("red", 1.0) == (1, 1, 1)
    assert change_brightness("red", 0.0) == pytest.approx((1, 0, 0))


def test_jitter_stays_near_and_in_range() -> None:
    moved = np.array([jitter((1.0, 0.5, 0.0)) for _ in range(50)])
    assert moved.min() >= 0
    assert moved.max() <= 1
    assert np.abs(moved - [1.0, 0.5, 0.0]).max() <= 0.12
    assert len(np.unique(moved[:, 1])) > 1
