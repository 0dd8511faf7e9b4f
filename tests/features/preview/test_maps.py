from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from d2seg.features.preview.maps import LONGEST_MAP, MOST_LEVELS, KeptMaps, map_names


def describe(size_hw: tuple[int, int], **strides: float) -> dict[str, Any]:
    tensors = {name: {"stride": stride} for name, stride in strides.items()}
    return {"image": {"network_size_hw": list(size_hw)}, "tensors": tensors}


def a_map(channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(channels, height, width, generator=torch.Generator().manual_seed(seed))


def test_the_padding_is_cut_off_and_the_last_cells_reach_beyond_the_image() -> None:
    maps = KeptMaps()
    features = a_map(5, 4, 8)
    maps.add(0, {"res3": features}, describe((20, 48), res3=8))
    (picture,) = maps.pictures([0])[0]
    # 20 x 48 pixels need 3 x 6 cells of 8 pixels; three rows are 24 pixels high.
    assert picture.colors.shape == picture.strength.shape == (3, 6, 3)
    assert picture.covers_hw == (24 / 20, 1.0)
    assert picture.what.startswith("5 x 4 x 8, stride 8, ")
    inside = torch.linalg.vector_norm(features[:, :3, :6].half().float(), dim=0)
    brightest = np.unravel_index(picture.strength.astype(int).sum(axis=2).argmax(), (3, 6))
    assert tuple(brightest) == divmod(int(inside.argmax()), 6)


def test_a_map_without_stride_is_stretched_over_the_image() -> None:
    maps = KeptMaps()
    maps.add(0, {"sem_seg": a_map(5, 4, 8)}, describe((20, 48)))
    (picture,) = maps.pictures([0])[0]
    assert picture.colors.shape == (4, 8, 3)
    assert picture.covers_hw == (1.0, 1.0)
    assert "stretched over the image" in picture.what


def test_equal_features_have_equal_colours_in_two_images() -> None:
    first, second = a_map(8, 5, 7, seed=1), a_map(8, 6, 4, seed=2)
    second[:, 5, 1] = first[:, 2, 3]
    maps = KeptMaps()
    maps.add(0, {"p3": first}, describe((40, 56), p3=8))
    maps.add(1, {"p3": second}, describe((48, 32), p3=8))
    found = maps.pictures([0, 1])
    for picture in ("colors", "strength"):
        one, two = (getattr(found[image][0], picture) for image in (0, 1))
        assert (one[2, 3] == two[5, 1]).all()
    assert found[0][0].strength_range == found[1][0].strength_range


def test_large_maps_are_averaged() -> None:
    maps = KeptMaps()
    features = a_map(2, LONGEST_MAP, 2 * LONGEST_MAP)
    maps.add(0, {"p2": features}, describe((4 * LONGEST_MAP, 8 * LONGEST_MAP), p2=4))
    kept = maps.levels["p2"][0]
    assert kept.cells.shape == (2, LONGEST_MAP // 2, LONGEST_MAP)
    assert kept.cells.dtype == torch.float16
    assert kept.covers_hw == (1.0, 1.0)
    assert kept.cells[1, 3, 5].item() == pytest.approx(
        features[1, 6:8, 10:12].mean().item(), abs=1e-3
    )


def test_what_float16_cannot_hold_is_drawn_all_the_same() -> None:
    features = a_map(3, 4, 4)
    features[0, 0, 0], features[1, 1, 1], features[2, 2, 2] = 1e30, torch.nan, -torch.inf
    maps = KeptMaps()
    maps.add(0, {"p3": features}, describe((32, 32), p3=8))
    (picture,) = maps.pictures([0])[0]
    assert np.isfinite(picture.strength_range).all()
    assert picture.strength[0, 0].astype(int).sum() > picture.strength[3, 3].astype(int).sum()


def test_only_maps_are_shown() -> None:
    tensors = {
        "p3": a_map(4, 2, 2),
        "one_channel": a_map(1, 2, 2).half(),
        "empty": torch.zeros(3, 0, 4),
        "labels": torch.zeros(3, 4, 4, dtype=torch.int64),
        "keypoint_head": torch.zeros(5, 17, 3),
        "instances.keypoints": torch.zeros(5, 17, 3),
        "box_pooler": torch.zeros(5, 4, 7, 7),
    }
    assert map_names(tensors, {"keypoint_head": {"rows": "objects"}}) == ["p3", "one_channel"]


def test_more_levels_than_fit_are_named_once() -> None:
    maps = KeptMaps()
    tensors = {f"level.{number}": a_map(2, 3, 3) for number in range(MOST_LEVELS + 2)}
    for image in range(2):
        maps.add(image, tensors, describe((24, 24)))
    assert len(maps.levels) == MOST_LEVELS
    assert maps.left_out == [f"level.{MOST_LEVELS}", f"level.{MOST_LEVELS + 1}"]
    assert [len(found) for found in maps.pictures([0, 1]).values()] == [MOST_LEVELS] * 2


def test_a_tensor_that_changes_its_channels_is_shown_where_it_is_as_at_first() -> None:
    maps = KeptMaps()
    for image, channels in enumerate((4, 5, 4)):
        maps.add(image, {"hooked": a_map(channels, 3, 3)}, describe((24, 24)))
    assert {image: len(found) for image, found in maps.pictures(range(3)).items()} == {
        0: 1,
        1: 0,
        2: 1,
    }
