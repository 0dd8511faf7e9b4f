"""Resizing against Pillow."""

import numpy as np
import pytest
import torch
from PIL import Image

from d2seg.core.ops.resize import resize_like_pillow, shortest_edge_size
from tests.conftest import ROOT

PHOTO = ROOT / "d2seg" / "assets" / "images" / "2cfa857e63be1b41.png"


def both(image: Image.Image, size_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Resize an image by this package and by Pillow: (h, w, 3) each."""
    pixels = torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy()).float()
    own = resize_like_pillow(pixels, size_hw).permute(1, 2, 0).numpy()
    pillow = image.resize((size_hw[1], size_hw[0]), Image.Resampling.BILINEAR)
    return own, np.asarray(pillow, np.float32)


SIZES = [(256, 256), (360, 270), (37, 91), (1, 1), (1, 50), (3, 700), (120, 60)]


@pytest.mark.parametrize("size_hw", SIZES)
@pytest.mark.parametrize("short", [17, 64, 240])
def test_values_are_those_of_pillow(size_hw: tuple[int, int], short: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), np.uint8)
    new_hw = shortest_edge_size(*size_hw, short, 400)
    own, pillow = both(Image.fromarray(noise), new_hw)
    assert own.shape == (*new_hw, 3)
    assert np.array_equal(own, pillow)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_ties_are_rounded_as_by_pillow_in_a_script_too() -> None:
    # At 8 / 9 of the size many values are exactly half-way.
    noise = np.random.default_rng(0).integers(0, 256, (360, 270, 3), np.uint8)
    own, pillow = both(Image.fromarray(noise), (320, 240))
    assert np.array_equal(own, pillow)
    pixels = torch.from_numpy(noise.transpose(2, 0, 1).copy()).float()
    scripted = torch.jit.script(resize_like_pillow)(pixels, (320, 240))
    assert np.array_equal(scripted.permute(1, 2, 0).numpy(), pillow)


@pytest.mark.parametrize("size_hw", [(800, 731), (96, 201), (17, 3), (228, 512)])
def test_other_shapes_differ_by_the_rounding_between(size_hw: tuple[int, int]) -> None:
    own, pillow = both(Image.open(PHOTO).convert("RGB"), size_hw)
    assert np.abs(own - pillow).max() <= 1


def test_half_values_are_rounded_first() -> None:
    image = torch.full((3, 4, 4), 100.4)
    assert torch.equal(resize_like_pillow(image, (9, 7)), torch.full((3, 9, 7), 100.0))


def test_a_size_of_its_own_changes_nothing() -> None:
    image = torch.randint(0, 256, (3, 20, 30)).float()
    assert torch.equal(resize_like_pillow(image, (20, 30)), image)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (480, 640, (800, 1067)),
        (640, 480, (1067, 800)),
        (300, 900, (444, 1333)),
        (3, 9000, (1, 1333)),
    ],
)
def test_shortest_edge(height: int, width: int, expected: tuple[int, int]) -> None:
    assert shortest_edge_size(height, width, 800, 1333) == expected
