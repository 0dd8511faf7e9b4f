"""What is drawn, where, and in which colour."""

from typing import Any

import numpy as np
import pytest
import torch

from d2seg.predict.masks import BoxMasks
from d2seg.predict.prediction import Prediction
from d2seg.predict.show import Drawer, Shown, make_picture_grid
from d2seg.visualize import instance_colors

SIZE_HW = (120, 200)
NOTHING = Shown(masks=False, boxes=False, names=False, scores=False, keypoints=False)


def prediction(**changes: Any) -> Prediction:
    boxes = torch.tensor([[10.0, 20.0, 90.0, 110.0], [120.0, 40.0, 130.0, 50.0]])
    values: dict[str, Any] = {
        "boxes": boxes,
        "scores": torch.tensor([0.75, 0.5]),
        "classes": torch.tensor([1, 0]),
        "class_names": ("cat", "dog"),
        "image_size": SIZE_HW,
        "mask_source": BoxMasks(torch.ones(2, 28, 28), boxes, SIZE_HW),
    }
    return Prediction(**values | changes)


def grey() -> np.ndarray:
    return np.full((*SIZE_HW, 3), 100, np.uint8)


def changed(drawn: np.ndarray) -> np.ndarray:
    return (drawn != grey()).any(2)


def test_masks_are_coloured_where_they_are() -> None:
    image = grey()
    found = prediction()
    drawn = Drawer(NOTHING._replace(masks=True)).draw(image, found)
    assert np.array_equal(image, grey())
    assert np.array_equal(changed(drawn), found.masks().any(0).numpy())
    assert not np.array_equal(drawn[21, 50], drawn[20, 50])  # the outline is not transparent
    assert not np.array_equal(drawn[60, 50], drawn[45, 125])


def test_the_smaller_object_is_on_top() -> None:
    boxes = torch.tensor([[60.0, 30.0, 80.0, 60.0], [10.0, 10.0, 190.0, 110.0]])
    masks = BoxMasks(torch.ones(2, 28, 28), boxes, SIZE_HW)
    drawn = Drawer(NOTHING._replace(masks=True)).draw(
        grey(), prediction(boxes=boxes, mask_source=masks)
    )
    assert drawn[30, 70].tolist() == list(instance_colors(1)[0])


def test_boxes_are_lines() -> None:
    drawn = changed(Drawer(NOTHING._replace(boxes=True)).draw(grey(), prediction()))
    assert drawn[20, 50]
    assert drawn[60, 89]
    assert not drawn[60, 90]
    assert not drawn[60, 50]


def test_keypoints_are_dots_where_the_model_is_sure() -> None:
    points = torch.tensor([[[30.5, 60.5, 0.9], [70.5, 90.5, 0.01]], [[199.0, 0.0, 0.5]] * 2])
    found = prediction(keypoints=points)
    drawn = Drawer(NOTHING._replace(keypoints=True)).draw(grey(), found)
    assert drawn[60, 30].tolist() == list(instance_colors(24)[0])
    rows, columns = np.nonzero(changed(drawn)[:, :100])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (57, 63, 27, 33)
    assert changed(drawn)[0, 199]
    assert not changed(Drawer(NOTHING).draw(grey(), found)).any()


@pytest.mark.parametrize("shown", [{"names": True}, {"scores": True}])
def test_large_objects_have_labels(shown: dict[str, bool]) -> None:
    rows, columns = np.nonzero(
        changed(Drawer(NOTHING._replace(**shown)).draw(grey(), prediction()))
    )
    assert len(rows) > 50
    assert (columns.max() < 100, rows.max() < 40) == (True, True)  # none at the small one


def test_the_same_number_is_the_same_colour() -> None:
    drawer = Drawer(NOTHING._replace(masks=True))
    first = drawer.draw(grey(), prediction(), [3, 8])
    second = drawer.draw(grey(), prediction(), [8, 3])
    assert np.array_equal(first[60, 50], second[45, 125])
    assert not np.array_equal(first[60, 50], second[60, 50])


def test_colours_are_rgb() -> None:
    drawn = Drawer(NOTHING._replace(masks=True)).draw(grey(), prediction(), [0, 0])
    red, green, blue = drawn[60, 50].tolist()
    assert red > 150 > green == blue  # the first colour


def test_a_note_is_in_the_corner() -> None:
    rows, columns = np.nonzero(changed(Drawer(NOTHING).draw(grey(), prediction(), note="5.0 FPS")))
    assert (rows.min() < 5, columns.min() < 12, rows.max() < 40) == (True, True, True)


@pytest.mark.parametrize("changes", [{"mask_source": None}, {}])
def test_nothing_to_draw(changes: dict[str, Any]) -> None:
    assert not changed(Drawer().draw(grey(), prediction(**changes)[:0])).any()
    assert changed(Drawer().draw(grey(), prediction(**changes))).any()


def test_pictures_lie_in_cells_without_being_stretched() -> None:
    wide, high = np.full((10, 40, 3), 200, np.uint8), np.full((40, 10, 3), 90, np.uint8)
    grid = make_picture_grid([[wide, high], [wide]], cell=20)
    assert grid.shape == (4 + 24 * 2, 4 + 24 * 2, 3)
    assert (grid[14, 4:24] == 200).all()
    assert (grid[5, 4:24] == 0).all()
    assert (grid[4:24, 38] == 90).all()
    assert (grid[28:, 28:] == 0).all()
