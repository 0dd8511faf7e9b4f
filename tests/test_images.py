import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from d2seg.framework import get_cfg
from d2seg.images import find_images, load_image, prepare_image, unique_stems


def write_image(path: Path, size_hw: tuple[int, int] = (3, 5)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size_hw[1], size_hw[0]), (200, 100, 50)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.png", "a.JPG", "sub/c.png"):
        write_image(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".hidden.png").write_text("no image")
    return tmp_path


def test_a_folder_gives_its_own_images_sorted(folder: Path) -> None:
    assert [path.name for path in find_images([folder])] == ["a.JPG", "b.png"]


def test_a_pattern_gives_the_images_it_matches(folder: Path) -> None:
    found = find_images([f"{folder}/**/*"])
    assert found == [folder / "a.JPG", folder / "b.png", folder / "sub" / "c.png"]


def test_inputs_keep_their_order_and_nothing_comes_twice(folder: Path) -> None:
    found = find_images([folder / "b.png", folder, folder / "sub"])
    assert [path.name for path in found] == ["b.png", "a.JPG", "c.png"]


def test_a_named_file_may_have_any_suffix(folder: Path) -> None:
    assert find_images([folder / "notes.txt"]) == [folder / "notes.txt"]


def test_brackets_in_a_name_are_no_pattern_when_the_file_exists(tmp_path: Path) -> None:
    path = write_image(tmp_path / "cell[1].png")
    assert find_images([path]) == [path]


def test_home_is_expanded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert find_images(["~/b.png"]) == [folder / "b.png"]


def test_an_empty_folder_is_named_with_the_suffixes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"The folder '{tmp_path}' has no image; .*\.png"):
        find_images([tmp_path])


def test_a_pattern_without_match_is_named(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"The pattern '.*\*\.bmp' matches no image"):
        find_images([folder / "*.bmp"])


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No file or folder '.*gone.png'"):
        find_images([tmp_path / "gone.png"])


def test_no_input_at_all() -> None:
    with pytest.raises(ValueError, match="No input was given"):
        find_images([])


@pytest.mark.parametrize(("order", "pixel"), [("RGB", [200, 100, 50]), ("BGR", [50, 100, 200])])
def test_load_image_orders_channels(tmp_path: Path, order: str, pixel: list[int]) -> None:
    image = load_image(write_image(tmp_path / "a.png"), order)
    assert image.shape == (3, 5, 3)
    assert image.dtype == np.uint8
    assert image[2, 4].tolist() == pixel


@pytest.mark.parametrize("content", [b"", b"this is text", b"\x89PNG\r\n\x1a\nbroken"])
def test_load_image_names_a_file_that_is_not_one(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "fake.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="fake.png' cannot be read as an image"):
        load_image(path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp", "bmp"])
def test_load_image_names_a_truncated_file(tmp_path: Path, suffix: str) -> None:
    noise = np.random.RandomState(0).randint(0, 255, (40, 60, 3), dtype=np.uint8)
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: os.path.getsize(path) // 2])
    with pytest.raises(ValueError, match=rf"cut.{suffix}' cannot be read as an image"):
        load_image(path)


def test_load_image_names_one_that_pillow_takes_for_a_bomb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_image(tmp_path / "large.png", (30, 40))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(ValueError, match=r"large\.png' is too large .*1200 pixels.*cut it"):
        load_image(path)


def test_load_image_names_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No image file at '.*gone.png'"):
        load_image(tmp_path / "gone.png")


def test_prepare_image_scales_the_shorter_side() -> None:
    cfg = get_cfg()
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 50, 80
    image = np.zeros((100, 300, 3), dtype=np.uint8)
    image[..., 2] = 255
    prepared = prepare_image(image, cfg)
    # 50 / 100 would make the longer side 150, so that side decides: 80 / 300.
    assert tuple(prepared["image"].shape) == (3, 27, 80)
    assert (prepared["height"], prepared["width"]) == (100, 300)
    assert prepared["image"].amax(dim=(1, 2)).tolist() == [0.0, 0.0, 255.0]


def test_prepare_image_names_a_line() -> None:
    cfg = get_cfg()
    with pytest.raises(ValueError, match="image of 6000 x 1 pixels cannot be resized to a short"):
        prepare_image(np.zeros((1, 6000, 3), np.uint8), cfg)


def test_unique_stems_number_repeats_also_across_case() -> None:
    paths = [Path(name) for name in ("a/x.png", "b/x.jpg", "c/X.png", "x_2.png", "y.png")]
    assert unique_stems(paths) == ["x", "x_2", "X_3", "x_2_2", "y"]


def test_find_images_looks_for_other_suffixes(folder: Path) -> None:
    assert find_images([folder], (".txt",)) == [folder / "notes.txt"]
    with pytest.raises(ValueError, match=r"has no image; looked for \.gif\."):
        find_images([folder], (".gif",))


def test_an_unknown_channel_order_is_no_damage(tmp_path: Path) -> None:
    path = write_image(tmp_path / "good.png")
    with pytest.raises(ValueError, match=r"channel order 'XYZ' is unknown; use one of BGR, RGB"):
        load_image(path, "XYZ")
