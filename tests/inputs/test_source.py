from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from d2seg.inputs import Source
from d2seg.inputs.source import LONGEST_NAME, file_safe


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("cell 1.v2", "cell 1.v2"),
        ("train/day 1/0001", "train_day 1_0001"),
        (r"train\0001", "train_0001"),
        ('a:b*c?"<>|\n', "a_b_c______"),
        ("../images/1", "images_1"),
        (".hidden", "hidden"),
        ("end. .", "end"),
        ("CON", "_CON"),
        ("com1.left", "_com1.left"),
        ("console", "console"),
        ("...", "_"),
        ("", "_"),
        ("cafe\u0301", "caf\u00e9"),
    ],
)
def test_file_safe_changes_what_some_system_forbids(text: str, name: str) -> None:
    assert file_safe(text) == name


def test_file_safe_keeps_the_end_of_a_long_name() -> None:
    name = file_safe("ä" * 200 + "_0001")
    assert name.endswith("ä_0001")
    assert LONGEST_NAME - 1 <= len(name.encode()) <= LONGEST_NAME


def test_a_picture_is_read_upright_in_the_order_asked_for(tmp_path: Path) -> None:
    pixels = np.zeros((2, 3, 3), dtype=np.uint8)
    pixels[0, 0] = (10, 20, 30)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown a quarter turn clockwise
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    image = Source("a", tmp_path / "a.png").read("BGR")
    assert image.shape == (3, 2, 3)
    assert image[0, 1].tolist() == [30, 20, 10]


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(ValueError, match="a.png' cannot be read as an image"):
        Source("a", tmp_path / "a.png").read()
