"""Points by hand, and RoIAlign as a slow reference."""

import numpy as np
import pytest
import torch
from torch import Tensor

from d2seg.core.ops.roi_align import roi_align
from d2seg.core.projects.point_rend.point_features import (
    generate_regular_grid_point_coords,
    get_point_coords_wrt_image,
    get_uncertain_point_coords_on_grid,
    get_uncertain_point_coords_with_randomness,
    point_sample,
    point_sample_fine_grained_features,
    sample_point_labels,
)
from d2seg.core.structures import BitMasks, Boxes, Instances, PolygonMasks


def test_points_are_read_between_the_middles_of_cells() -> None:
    maps = torch.tensor([[[[1.0, 2.0, 4.0, 8.0], [10.0, 20.0, 40.0, 80.0]]]])  # 2 high, 4 wide
    points = torch.tensor([[[0.125, 0.25], [0.25, 0.25], [0.125, 0.5], [0.875, 0.75]]])
    assert point_sample(maps, points).tolist() == [[[1.0, 1.5, 5.5, 80.0]]]
    assert point_sample(maps, points.view(1, 2, 2, 2)).tolist() == [[[[1.0, 1.5], [5.5, 80.0]]]]
    nearest = point_sample(maps, torch.tensor([[[0.3, 0.4]]]), mode="nearest")
    assert nearest.item() == 2.0
    assert point_sample(maps, torch.zeros(1, 0, 2)).shape == (1, 1, 0)


def test_a_grid_has_the_middles_row_by_row() -> None:
    grid = generate_regular_grid_point_coords(2, 2, "cpu")
    assert grid.shape == (2, 4, 2)
    assert grid[1].tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    assert generate_regular_grid_point_coords(0, 3, "cpu").shape == (0, 9, 2)


def test_points_of_a_box_become_pixels() -> None:
    boxes = torch.tensor([[10.0, 20.0, 14.0, 60.0]])
    points = torch.tensor([[[0.0, 0.0], [0.5, 0.25], [1.0, 1.0]]])
    assert get_point_coords_wrt_image(boxes, points).tolist() == [[[10, 20], [12, 30], [14, 60]]]


def test_the_most_uncertain_cells_are_found() -> None:
    uncertainty = torch.tensor([[[[-3.0, -1.0, -9.0], [-8.0, -7.0, 0.0]]]])  # 2 high, 3 wide
    cells, points = get_uncertain_point_coords_on_grid(uncertainty, 3)
    assert cells.tolist() == [[5, 1, 0]]
    expected = torch.tensor([[[5 / 6, 0.75], [0.5, 0.25], [1 / 6, 0.25]]])
    torch.testing.assert_close(points, expected)
    assert get_uncertain_point_coords_on_grid(uncertainty, 99)[0].shape == (1, 6)
    assert get_uncertain_point_coords_on_grid(uncertainty[:0], 3)[1].shape == (0, 3, 2)


def near_the_middle(logits: Tensor) -> Tensor:
    return -logits.abs()


def test_drawn_points_lie_where_the_prediction_is_uncertain() -> None:
    torch.manual_seed(0)
    ramp = torch.linspace(-1, 1, 16).expand(2, 1, 4, 16)  # 0 in the middle of the width
    points = get_uncertain_point_coords_with_randomness(ramp, near_the_middle, 200, 4, 0.75)
    assert points.shape == (2, 200, 2)
    assert ((points >= 0) & (points < 1)).all()
    distance = (points[..., 0] - 0.5).abs()
    # 150 of 800 are near the middle of the width; the upper and lower borders fade to 0.
    assert (distance[:, :150] < 0.25).all()
    assert distance[:, :150].mean() < 0.06
    assert (distance[:, 150:] > 0.25).float().mean() == pytest.approx(0.5, abs=0.15)
    everywhere = get_uncertain_point_coords_with_randomness(ramp, near_the_middle, 200, 1, 0.0)
    assert (everywhere[..., 0] - 0.5).abs().mean().item() == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize(("oversample", "importance"), [(0.5, 0.5), (3, 1.5), (3, -0.1)])
def test_ratios_out_of_range_are_named(oversample: float, importance: float) -> None:
    with pytest.raises(ValueError, match="OVERSAMPLE_RATIO must be at least 1 and IMPORTANCE"):
        get_uncertain_point_coords_with_randomness(
            torch.zeros(1, 1, 2, 2), near_the_middle, 4, oversample, importance
        )


def test_features_at_a_grid_are_roi_align_with_one_sample() -> None:
    features = [torch.randn(2, 3, 16, 20), torch.randn(2, 2, 8, 10)]
    boxes = [
        torch.tensor([[4.0, 8.0, 40.0, 24.0]]),
        torch.tensor([[20.0, 10.0, 70.0, 60.0], [8.0, 8.0, 16.0, 32.0]]),
    ]
    grid = generate_regular_grid_point_coords(3, 5, "cpu")
    found, in_image = point_sample_fine_grained_features(
        features, [0.25, 0.125], [Boxes(one) for one in boxes], grid
    )
    image = torch.tensor([0.0, 1.0, 1.0])[:, None]
    rois = torch.cat([image, torch.cat(boxes)], dim=1)
    expected = [
        roi_align(level, rois, (5, 5), scale, 1, True).flatten(2)
        for level, scale in zip(features, (0.25, 0.125), strict=True)
    ]
    torch.testing.assert_close(found, torch.cat(expected, dim=1))
    assert in_image[0, 0].tolist() == pytest.approx([7.6, 9.6])


def labelled(masks: object, boxes: list[list[float]]) -> Instances:
    return Instances((4, 8), proposal_boxes=Boxes(boxes), gt_masks=masks)


def test_labels_are_read_from_bitmaps_and_polygons() -> None:
    pixels = np.zeros((1, 4, 8), dtype=bool)
    pixels[0, 1:3, 2:6] = True
    boxes = [[0.0, 0.0, 8.0, 4.0]]
    polygon = [[np.array([2.0, 1.0, 6.0, 1.0, 6.0, 3.0, 2.0, 3.0])]]
    points = torch.tensor([[[0.5, 0.5], [0.05, 0.5], [0.25, 0.5], [0.5, 0.1]]])
    for masks in (BitMasks(pixels), PolygonMasks(polygon)):
        none = labelled(masks, boxes)[torch.tensor([], dtype=torch.int64)]
        labels = sample_point_labels([none, labelled(masks, boxes)], points)
        torch.testing.assert_close(labels, torch.tensor([[1.0, 0.0, 0.5, 0.0]]))
    assert sample_point_labels([none], points[:0]).shape == (0, 4)
