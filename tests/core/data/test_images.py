"""Reading images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from d2seg.core.data.detection_utils import convert_image_to_rgb, read_image

RGB = np.array([[[255, 0, 0], [0, 255, 0], [10, 20, 30]], [[0, 0, 255]] * 3], np.uint8)
ORIENTATION = 0x0112


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.fromarray(RGB).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def test_channel_orders(picture: Path) -> None:
    assert read_image(picture).tolist() == RGB.tolist()
    assert read_image(picture, "RGB").tolist() == RGB.tolist()
    assert read_image(str(picture), format="BGR").tolist() == RGB[..., ::-1].tolist()
    assert read_image(picture, "L").shape == (2, 3, 1)


@pytest.mark.parametrize("format", ["RGB", "BGR", "YUV-BT.601"])
def test_every_order_turns_back_into_rgb(picture: Path, format: str) -> None:
    assert convert_image_to_rgb(read_image(picture, format), format).tolist() == RGB.tolist()


def test_grey_turns_into_rgb(picture: Path) -> None:
    grey = read_image(picture, "L")
    rgb = convert_image_to_rgb(grey, "L")
    assert rgb.tolist() == np.repeat(grey, 3, axis=2).tolist()
    assert convert_image_to_rgb(grey[..., 0], "L").tolist() == rgb.tolist()


def test_yuv_of_white_has_no_colour(tmp_path: Path) -> None:
    Image.new("RGB", (3, 2), "white").save(tmp_path / "white.png")
    yuv = read_image(tmp_path / "white.png", "YUV-BT.601")
    assert yuv.dtype == np.float32
    np.testing.assert_allclose(yuv[0, 0], [1.0, 0.0, 0.0], atol=1e-4)


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [(1, RGB), (2, RGB[:, ::-1]), (3, RGB[::-1, ::-1]), (6, np.rot90(RGB, -1)), (8, np.rot90(RGB))],
)
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, upright: np.ndarray) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(RGB).save(tmp_path / "turned.png", exif=exif)
    assert read_image(tmp_path / "turned.png", "RGB").tolist() == upright.tolist()


def test_cutting_off_16_bits_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Image.fromarray(np.array([[5, 200]], np.uint16)).save(tmp_path / "dark.png")
    Image.fromarray(np.array([[5, 4000]], np.uint16)).save(tmp_path / "deep.png")
    assert read_image(tmp_path / "dark.png", "L")[..., 0].tolist() == [[5, 200]]
    assert read_image(tmp_path / "deep.png").tolist() == [[5, 4000]]
    assert not caplog.records
    assert read_image(tmp_path / "deep.png", "L")[..., 0].tolist() == [[5, 255]]
    assert "deep.png' has values above 255" in caplog.text


def test_what_is_not_an_image_is_said_in_one_sentence(picture: Path) -> None:
    folder = picture.parent
    with pytest.raises(FileNotFoundError, match=r"no image file '.*missing\.png'"):
        read_image(folder / "missing.png", "BGR")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        read_image(folder, "BGR")
    (folder / "text.png").write_text("not an image")
    with pytest.raises(ValueError, match=r"text\.png' is not an image"):
        read_image(folder / "text.png", "BGR")
    (folder / "half.png").write_bytes(picture.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"half\.png' cannot be read"):
        read_image(folder / "half.png", "BGR")


def test_an_unknown_format_lists_the_known_ones(picture: Path) -> None:
    with pytest.raises(ValueError, match="'HSV' is unknown; use one of BGR, RGB, L"):
        read_image(picture, "HSV")
    with pytest.raises(ValueError, match="'HSV' is unknown"):
        convert_image_to_rgb(RGB, "HSV")


def test_postscript_is_no_image(tmp_path: Path) -> None:
    """Pillow would have Ghostscript run it."""
    path = tmp_path / "picture.png"
    path.write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 20\n%%EndComments\nshowpage\n"
    )
    with Image.open(path) as image:
        assert image.format == "EPS"
    with pytest.raises(ValueError, match=r"picture.png' is not an image in any format"):
        read_image(path)


def test_an_image_of_too_many_pixels(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2)
    with pytest.raises(ValueError, match=r"picture.png' is too large .*set PIL.Image.MAX_IMAGE"):
        read_image(picture)


@pytest.mark.parametrize("mode", ["1", "CMYK", "I;16", "L", "LA", "P", "RGB", "RGBA", "YCbCr"])
@pytest.mark.parametrize("orientation", [None, 6])
def test_every_mode_is_read_as_pillow_converts_it(
    tmp_path: Path, mode: str, orientation: int | None
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (5, 8, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    image = image.convert("I").convert(mode) if mode == "I;16" else image.convert(mode)
    exif = Image.Exif()
    if orientation is not None:
        exif[ORIENTATION] = orientation
    suffix = "tif" if mode in ("CMYK", "YCbCr") else "png"
    image.save(tmp_path / f"image.{suffix}", exif=exif)
    with Image.open(tmp_path / f"image.{suffix}") as stored:
        expected = np.array(ImageOps.exif_transpose(stored).convert("RGB"))
    for order, wanted in (("RGB", expected), ("BGR", expected[..., ::-1])):
        found = read_image(tmp_path / f"image.{suffix}", order)
        assert found.flags.writeable
        assert found.flags.c_contiguous
        assert np.array_equal(found, wanted)
