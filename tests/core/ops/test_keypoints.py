"""Keypoints as cells of heat maps, against detectron2's record and by hand."""

import pytest
import torch

from d2seg.core.ops.keypoints import decode_heatmaps, keypoint_targets
from d2seg.core.structures import Keypoints, heatmaps_to_keypoints
from tests.reference.functions import recorded_functions


def recorded_boxes() -> torch.Tensor:
    return torch.tensor(recorded_functions()["boxes_jittered"])


def test_targets_are_the_recorded_ones() -> None:
    record = recorded_functions()
    cells, valid = Keypoints(record["keypoints"]).to_heatmap(recorded_boxes(), 56)
    assert valid.tolist() == record["keypoint_valid"]
    assert cells.tolist() == record["keypoint_heatmap_positions"]


def test_decoded_keypoints_are_the_recorded_ones() -> None:
    record = recorded_functions()
    logits = torch.tensor(record["heatmap_logits"])
    expected = torch.tensor(record["heatmaps_to_keypoints"])
    decoded = heatmaps_to_keypoints(logits, recorded_boxes()[: len(logits)])
    torch.testing.assert_close(decoded, expected, atol=2e-4, rtol=1e-4)


def test_x_is_the_column_and_the_far_edge_is_the_last_cell() -> None:
    boxes = torch.tensor([[10.0, 20.0, 50.0, 40.0]])
    points = torch.tensor([[[10.0, 20, 2], [50, 40, 2], [30, 25, 1], [51, 30, 2], [30, 25, 0]]])
    cells, valid = keypoint_targets(points, boxes, 4)
    assert valid.tolist() == [[1, 1, 1, 0, 0]]
    assert cells.tolist() == [[0, 15, 1 * 4 + 2, 0, 0]]


def test_the_peak_of_a_heat_map_is_found_in_its_box() -> None:
    heatmaps = torch.zeros(1, 2, 8, 8)
    heatmaps[0, 0, 6, 1] = 9.0
    heatmaps[0, 1, 2, 4] = 5.0
    (points,) = decode_heatmaps(heatmaps, torch.tensor([[100.0, 200.0, 116.0, 240.0]]))
    # Cells are 2 wide and 5 high; the peak is within a pixel of its cell's centre.
    torch.testing.assert_close(
        points[:, :2], torch.tensor([[103.0, 232.5], [109.0, 212.5]]), atol=1.0, rtol=0
    )
    assert points[0, 2] > points[1, 2] > 0


def test_scores_do_not_depend_on_the_other_keypoints_of_an_object() -> None:
    heatmaps = torch.randn(1, 2, 8, 8)
    box = torch.tensor([[0.0, 0.0, 30.0, 50.0]])
    apart = decode_heatmaps(heatmaps, box)
    heatmaps[0, 1] -= 400.0
    (low,) = decode_heatmaps(heatmaps, box)
    torch.testing.assert_close(low[:, 3], apart[0, :, 3], atol=1e-4, rtol=1e-3)
    assert (low[:, 3] > 0).all()


def test_no_objects_have_no_keypoints() -> None:
    cells, valid = keypoint_targets(torch.zeros(0, 5, 3), torch.zeros(0, 4), 56)
    assert cells.shape == valid.shape == (0, 5)
    assert decode_heatmaps(torch.zeros(0, 5, 56, 56), torch.zeros(0, 4)).shape == (0, 5, 4)


def test_a_box_without_area_counts_as_a_pixel() -> None:
    (point,) = decode_heatmaps(torch.randn(1, 1, 8, 8), torch.tensor([[3.0, 4.0, 3.0, 4.0]]))
    assert point[0, :2].tolist() == [3.5, 4.5]


@pytest.mark.parametrize("function", [keypoint_targets, decode_heatmaps])
def test_compiles_with_torchscript(function: object) -> None:
    scripted = torch.jit.script(function)
    boxes = torch.tensor([[10.0, 20.0, 50.0, 40.0]])
    if function is keypoint_targets:
        arguments = (torch.tensor([[[30.0, 25.0, 1.0]]]), boxes, 4)
        assert scripted(*arguments)[0].tolist() == keypoint_targets(*arguments)[0].tolist()
    else:
        maps = torch.randn(1, 3, 8, 8)
        torch.testing.assert_close(scripted(maps, boxes), decode_heatmaps(maps, boxes))
