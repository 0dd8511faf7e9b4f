"""A list of keypoints."""

import numpy as np
import pytest
import torch

from d2seg.core.structures import Keypoints

POINTS = [[[1.0, 2.0, 2.0], [3.0, 4.0, 0.0]], [[5.0, 6.0, 1.0], [7.0, 8.0, 2.0]]]


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_is_made_of_lists_arrays_and_tensors(kind: type) -> None:
    keypoints = Keypoints(kind(POINTS))
    assert keypoints.tensor.dtype == torch.float32
    assert keypoints.tensor.tolist() == POINTS
    assert len(keypoints) == 2
    assert repr(keypoints) == "Keypoints(num_instances=2)"


def test_chooses_objects() -> None:
    keypoints = Keypoints(POINTS)
    assert keypoints[1].tensor.tolist() == [POINTS[1]]
    assert keypoints[torch.tensor([False, True])].tensor.tolist() == [POINTS[1]]
    assert len(keypoints[:0]) == 0


def test_joins_and_moves() -> None:
    joined = Keypoints.cat([Keypoints(POINTS), Keypoints(POINTS)[:1]])
    assert joined.tensor.tolist() == [*POINTS, POINTS[0]]
    assert joined.to("cpu").device.type == "cpu"
    with pytest.raises(ValueError, match="needs at least one"):
        Keypoints.cat([])


def test_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"tensor \(N, K, 3\); found \(2, 3\)"):
        Keypoints([[1.0, 2, 3], [4, 5, 6]])
