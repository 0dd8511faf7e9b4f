import numpy as np
import pytest
import torch

from d2seg.features.pictures import (
    GAP_PIXELS,
    TILE_PIXELS,
    channels_to_rgb,
    enlarge_cells,
    feature_grid,
    feature_tiles,
    object_crops,
    object_thumbnails,
)


def test_equal_features_get_equal_colours_and_different_ones_do_not() -> None:
    features = torch.zeros(8, 4, 6)
    features[:, :, 3:] = torch.randn(8, 1, 1, generator=torch.Generator().manual_seed(0))
    picture = channels_to_rgb(features)
    assert picture.shape == (4, 6, 3)
    assert (picture[:, :3] == picture[0, 0]).all()
    assert (picture[:, 3:] == picture[0, 3]).all()
    assert (picture[0, 0] != picture[0, 3]).any()


def test_the_first_component_of_a_ramp_is_the_ramp() -> None:
    ramp = (
        torch.linspace(0, 1, 50).expand(5, 1, 50) * torch.tensor([3.0, 1, 0, 0, 2])[:, None, None]
    )
    red = channels_to_rgb(ramp)[0, :, 0].astype(int)
    assert (np.diff(red) >= 0).all()
    assert (red[0], red[-1]) == (0, 255)


def test_the_picture_is_repeatable_and_leaves_the_random_state_alone() -> None:
    features = torch.randn(16, 9, 7)
    state = torch.get_rng_state()
    assert np.array_equal(channels_to_rgb(features), channels_to_rgb(features.clone()))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("channels", [1, 2])
def test_missing_components_are_grey(channels: int) -> None:
    picture = channels_to_rgb(torch.randn(channels, 6, 5))
    assert (picture[..., channels:] == 128).all()
    assert picture[..., 0].std() > 0


def test_constant_features_are_grey() -> None:
    assert (channels_to_rgb(torch.full((4, 3, 5), 2.5)) == 128).all()


def test_tiles_of_equal_objects_are_equal() -> None:
    features = torch.randn(3, 8, 14, 14, generator=torch.Generator().manual_seed(1))
    features[2] = features[0]
    tiles = feature_tiles(features)
    assert np.array_equal(tiles[0], tiles[2])
    assert not np.array_equal(tiles[0], tiles[1])
    assert feature_tiles(features[:0]) == []


def test_grid_has_rows_of_columns() -> None:
    tiles = [np.full((2, 2, 3), value, np.uint8) for value in (10, 20, 30, 40, 50)]
    grid = feature_grid(tiles, columns=3)
    step = TILE_PIXELS + GAP_PIXELS
    assert grid.shape == (2 * step - GAP_PIXELS, 3 * step - GAP_PIXELS, 3)
    assert grid[0, 2 * step, 0] == 30
    assert grid[step, step, 0] == 50
    assert (grid[step:, 2 * step :] == 255).all()
    with pytest.raises(ValueError, match="at least one picture"):
        feature_grid([])


def test_crops_show_the_inside_of_each_box() -> None:
    image = np.zeros((20, 40, 3), np.uint8)
    image[5:10, 30:40] = 200
    boxes = torch.tensor([[30.0, 5.0, 40.0, 10.0], [0.0, 0.0, 10.0, 10.0]])
    inside, outside = object_crops(image, boxes)
    assert inside.shape == (TILE_PIXELS, TILE_PIXELS, 3)
    assert (inside[20:-20, 20:-20] > 190).all()  # the border blends with what lies outside
    assert not outside.any()


def test_crops_of_boxes_that_leave_the_image_or_have_no_area() -> None:
    image = np.full((20, 40, 3), 7, np.uint8)
    boxes = torch.tensor([[-5.0, -5.0, 50.0, 30.0], [40.0, 20.0, 40.0, 20.0]])
    assert all((crop == 7).all() for crop in object_crops(image, boxes))


def test_enlarge_cells_keeps_the_aspect() -> None:
    assert enlarge_cells(np.zeros((4, 8, 3), np.uint8), 20).shape == (20, 40, 3)


def test_thumbnails_keep_their_proportions() -> None:
    image = np.zeros((20, 40, 3), np.uint8)
    image[5:10, 20:40] = 200
    boxes = torch.tensor([[20.0, 5, 40, 10], [0, 0, 0.5, 20], [60, 30, 70, 50]])
    wide, thin, outside = object_thumbnails(image, boxes, 48)
    assert wide.shape == (12, 48, 3)
    assert (wide[3:-3, 5:-5] > 190).all()
    assert thin.shape == (48, 2, 3)
    assert outside.shape == (48, 48, 3)  # the nearest pixel
    assert object_thumbnails(image, boxes[:0], 48) == []
