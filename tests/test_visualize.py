from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from d2seg.visualize import (
    draw_instances,
    enlarge,
    instance_colors,
    side_by_side,
    stretch_contrast,
    write_png,
)


def two_instances() -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
    """A black 20 x 40 image with a wide mask on the left and a small one inside it."""
    masks = torch.zeros(2, 20, 40, dtype=torch.bool)
    masks[0, 2:18, 2:34] = True
    masks[1, 6:14, 8:16] = True
    boxes = torch.tensor([[2.0, 2.0, 34.0, 18.0], [8.0, 6.0, 16.0, 14.0]])
    return np.zeros((20, 40, 3), dtype=np.uint8), masks, boxes


def test_colors_are_distinct() -> None:
    assert len(set(instance_colors(100))) == 100


def test_stretch_contrast_reaches_black_and_white_and_keeps_the_order() -> None:
    dark = np.linspace(10, 40, 31 * 3 * 40).astype(np.uint8).reshape(31, 40, 3)
    bright = stretch_contrast(dark)
    assert (bright.min(), bright.max()) == (0, 255)
    assert (np.diff(bright.reshape(-1).astype(int)) >= 0).all()


@pytest.mark.parametrize("shape", [(5, 7, 3), (40, 30, 3), (101, 1, 1)])
def test_stretch_contrast_clips_at_the_percentiles(shape: tuple[int, int, int]) -> None:
    image = np.random.RandomState(0).randint(20, 180, shape, dtype=np.uint8)
    low, high = np.percentile(image, (0.5, 99.5))
    expected = ((image - low) * 255 / (high - low)).clip(0, 255)
    assert np.abs(stretch_contrast(image) - expected).max() <= 0.5 + 1e-9


def test_stretch_contrast_leaves_a_flat_image_alone() -> None:
    flat = np.full((4, 6, 3), 17, dtype=np.uint8)
    assert np.array_equal(stretch_contrast(flat), flat)


def test_draw_instances_colours_masks_and_nothing_else() -> None:
    image, masks, boxes = two_instances()
    drawn = draw_instances(image, masks, boxes)
    covered = masks.any(dim=0).numpy()
    assert drawn.shape == image.shape
    assert drawn[covered].any(axis=-1).all()
    assert not drawn[~covered].any()
    assert not image.any()


def test_the_smaller_of_overlapping_instances_is_on_top() -> None:
    image, masks, boxes = two_instances()
    red, other = instance_colors(2)
    for order in ([0, 1], [1, 0]):
        drawn = draw_instances(image, masks[order], boxes[order])
        small = np.array((red, other)[order.index(1)])
        inside = drawn[10, 12].astype(int)
        assert np.abs(inside - small * 0.35).max() <= 2
        border = drawn[6, 12].astype(int)
        assert np.abs(border - small).max() <= 2


def test_draw_instances_scales() -> None:
    image, masks, boxes = two_instances()
    drawn = draw_instances(image, masks, boxes, scale=3)
    assert drawn.shape == (60, 120, 3)
    assert drawn[20, 80].any()
    assert not drawn[:4].any()


def test_a_label_is_drawn_only_where_it_fits() -> None:
    image, masks, boxes = two_instances()
    plain = draw_instances(image, masks, boxes)
    labelled = draw_instances(image, masks, boxes, ["8", "9"])
    changed = (plain != labelled).any(axis=-1)
    assert changed[:, 10:27].any()
    too_long = draw_instances(image, masks, boxes, ["a very long name"] * 2)
    assert np.array_equal(plain, too_long)


def test_labels_do_not_cover_each_other() -> None:
    image, masks, boxes = two_instances()
    masks, boxes = masks[[0, 0]], boxes[[0, 0]]
    once = draw_instances(image, masks, boxes, ["8", " " * 90])
    twice = draw_instances(image, masks, boxes, ["8", "8"])
    assert np.array_equal(once, twice)


def test_boxes_are_drawn_on_request() -> None:
    image, masks, boxes = two_instances()
    drawn = draw_instances(image, torch.zeros_like(masks), boxes, show_boxes=True)
    assert drawn[2, 20].any()
    assert not drawn[10, 20].any()


def test_no_instances_leave_the_image_as_it_is() -> None:
    image = np.random.RandomState(0).randint(0, 255, (5, 9, 3), dtype=np.uint8)
    none = torch.zeros(0, 5, 9, dtype=torch.bool)
    assert np.array_equal(draw_instances(image, none, torch.zeros(0, 4)), image)


def test_counts_and_sizes_must_fit() -> None:
    image, masks, boxes = two_instances()
    with pytest.raises(ValueError, match="got 2, 1 and 0"):
        draw_instances(image, masks, boxes[:1])
    with pytest.raises(ValueError, match=r"height and width \(20, 40\), got \(40, 20\)"):
        draw_instances(image, masks.transpose(1, 2), boxes)


def test_side_by_side_keeps_both_pictures() -> None:
    left, right = np.zeros((4, 6, 3), np.uint8), np.full((4, 2, 3), 9, np.uint8)
    both = side_by_side(left, right)
    assert np.array_equal(both[:, :6], left)
    assert np.array_equal(both[:, -2:], right)
    with pytest.raises(ValueError, match="one height are needed, got 4 and 3"):
        side_by_side(left, right[:3])


def test_enlarge_keeps_height_and_width_apart() -> None:
    assert enlarge(np.zeros((3, 7, 3), np.uint8), 2).shape == (6, 14, 3)


def test_write_png_keeps_every_pixel_and_makes_folders(tmp_path: Path) -> None:
    picture = np.random.RandomState(1).randint(0, 255, (5, 9, 3), dtype=np.uint8)
    path = tmp_path / "new" / "picture.png"
    write_png(path, picture)
    assert np.array_equal(np.asarray(Image.open(path)), picture)
    assert [file.name for file in path.parent.iterdir()] == ["picture.png"]
