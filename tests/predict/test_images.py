"""Every kind of image becomes the same tensor."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from d2seg.config import load_config
from d2seg.images import prepare_image
from d2seg.predict.images import as_it_is, fit_shortest_edge, prepare
from tests.reference import deterministic

RGB = deterministic.image(5, 61, 97)
BGR = np.ascontiguousarray(RGB[:, :, ::-1])
FIT = fit_shortest_edge(40, 80)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    Image.fromarray(RGB).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


@pytest.mark.parametrize("wanted", ["RGB", "BGR"])
def test_all_kinds_give_the_same_tensor(file: Path, wanted: str) -> None:
    given: list[tuple[Any, str | None]] = [
        (file, None),
        (str(file), None),
        (Image.fromarray(RGB), None),
        (Image.fromarray(RGB), "BGR"),  # it knows its own order
        (RGB, "RGB"),
        (BGR, "BGR"),
        (torch.from_numpy(RGB).permute(2, 0, 1), "RGB"),
        (torch.from_numpy(BGR).permute(2, 0, 1), "BGR"),
    ]
    expected = torch.from_numpy(RGB if wanted == "RGB" else BGR).permute(2, 0, 1).float()
    for image, order in given:
        tensor, size_hw = prepare(image, order, wanted, as_it_is)
        assert torch.equal(tensor, expected)
        assert size_hw == (61, 97)
    floats = prepare(torch.from_numpy(RGB).permute(2, 0, 1).double(), "RGB", wanted, as_it_is)
    assert torch.equal(floats.tensor, expected)


def test_sizes_and_pixels_are_those_of_the_framework() -> None:
    cfg = load_config("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml")
    for short, longest in [(40, 80), (97, 1000), (61, 97), (33, 50)]:
        cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = short, longest
        expected = prepare_image(BGR, cfg)["image"]
        assert torch.equal(
            prepare(RGB, "RGB", "BGR", fit_shortest_edge(short, longest)).tensor, expected
        )


def test_floats_are_resized_almost_as_bytes() -> None:
    floats = torch.from_numpy(RGB).permute(2, 0, 1).float()
    found = prepare(floats, "RGB", "RGB", FIT)
    assert found.image_size == (61, 97)
    difference = (found.tensor - prepare(RGB, "RGB", "RGB", FIT).tensor).abs()
    assert float(difference.max()) <= 1.0  # Pillow rounds to whole values, once for each direction
    assert float(found.tensor.max()) <= 255


def test_rotation_of_exif_is_applied_to_pillow_images_as_to_files(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RGB).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as image:
        opened = prepare(image, None, "RGB", as_it_is)
    assert opened.image_size == (97, 61)
    assert torch.equal(
        opened.tensor, prepare(tmp_path / "turned.png", None, "RGB", as_it_is).tensor
    )


def test_grey_and_transparent_pillow_images_are_taken() -> None:
    for mode in ("L", "RGBA", "P", "1"):
        assert prepare(Image.new(mode, (7, 5)), None, "RGB", as_it_is).tensor.shape == (3, 5, 7)


@pytest.mark.parametrize(
    ("image", "order", "error", "message"),
    [
        (RGB, None, ValueError, "does not say the order of its channels; give channel_order 'RGB'"),
        (torch.zeros(3, 4, 5), None, ValueError, "does not say the order of its channels"),
        (RGB[:, :, 0], "RGB", ValueError, r"An array must be one \(H, W, 3\).*is \(61, 97\)"),
        (RGB.transpose(2, 0, 1), "RGB", ValueError, r"one \(H, W, 3\) image.*\(3, 61, 97\)"),
        (torch.zeros(4, 5, 3), "RGB", ValueError, r"A tensor must be one \(3, H, W\).*\(4, 5, 3\)"),
        (torch.zeros(1, 3, 4, 5), "RGB", ValueError, r"shape is \(1, 3, 4, 5\)"),
        (RGB[:0], "RGB", ValueError, r"shape is \(0, 97, 3\)"),
        (RGB.astype(np.float32), "RGB", TypeError, "type float32, not uint8; an array is"),
        (torch.zeros(3, 4, 5, dtype=torch.int64), "RGB", TypeError, "type int64, not uint8."),
        (torch.full((3, 4, 5), -1.0), "RGB", ValueError, r"values lie in -1..-1, but networks"),
        (torch.full((3, 4, 5), 256.0), "RGB", ValueError, r"lie in 256..256"),
        (torch.full((3, 4, 5), torch.nan), "RGB", ValueError, r"lie in nan..nan"),
        (
            7,
            "RGB",
            TypeError,
            "An image is a path, a Pillow image, an array or a tensor, not a int",
        ),
        ("nowhere.png", None, FileNotFoundError, "No image file at 'nowhere.png'"),
    ],
    ids=str,
)
def test_bad_images_are_named(image: Any, order: str, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        prepare(image, order, "RGB", as_it_is)
