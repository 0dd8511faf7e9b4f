"""Find and read the images that the tools are pointed at."""

import glob
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from d2seg.framework import CfgNode, build_augmentation, read_image

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Suffixes that make a file in a folder an image; a file that is named itself may have any."""

CHANNEL_ORDERS = ("BGR", "RGB", "L", "YUV-BT.601")
"""What ``INPUT.FORMAT`` may be."""


def find_images(
    inputs: Sequence[str | Path], suffixes: Sequence[str] = IMAGE_SUFFIXES
) -> list[Path]:
    """List the images behind files, folders and glob patterns.

    A folder stands for the images directly inside it, sorted by name; a pattern (``*``, ``?``,
    ``[...]``, ``**``) for the images it matches, sorted. Hidden files are passed over. A file that
    is named itself is taken whatever its suffix. Nothing is listed twice.

    Args:
        inputs: At least one file, folder or pattern; ``~`` is the home folder.
        suffixes: What makes a file in a folder an image, in lower case.

    Returns:
        Paths in the order of ``inputs``, at least one.

    Raises:
        FileNotFoundError: A path does not exist.
        ValueError: A folder or a pattern has no image, or ``inputs`` is empty.
    """
    if not inputs:
        raise ValueError("No input was given; name at least one image, folder or glob pattern.")
    found = (path for item in inputs for path in _expand(Path(item).expanduser(), suffixes))
    return list(dict.fromkeys(found))


def load_image(path: str | Path, channel_order: str = "BGR") -> np.ndarray:
    """Read an image as a model wants it.

    Args:
        path: An image file; its EXIF rotation is applied.
        channel_order: ``BGR``, ``RGB`` or another value of ``INPUT.FORMAT``.

    Returns:
        (H, W, 3) uint8 pixels, channels in the order asked for.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The channel order is unknown, or the file is not an image, is damaged, or larger
            than Pillow opens.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No image file at '{path}'.")
    if channel_order not in CHANNEL_ORDERS:
        raise ValueError(
            f"The channel order '{channel_order}' is unknown; use one of "
            f"{', '.join(CHANNEL_ORDERS)}."
        )
    try:
        image: np.ndarray = read_image(str(path), format=channel_order)
    # Pillow reports a damaged file as any of these, depending on the format and where it broke.
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        if isinstance(error.__cause__, Image.DecompressionBombError):
            raise
        raise ValueError(
            f"'{path}' cannot be read as an image (is it damaged or another kind of file?)."
        ) from error
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"'{path}' is too large ({error}); cut it into parts, or set "
            "PIL.Image.MAX_IMAGE_PIXELS."
        ) from error
    return np.ascontiguousarray(image)


def prepare_image(image: np.ndarray, cfg: CfgNode) -> dict[str, Any]:
    """Resize an image as ``DefaultPredictor`` does and wrap it as one input of the model.

    Args:
        image: (H, W, 3) uint8, channels in ``cfg.INPUT.FORMAT`` order.
        cfg: Gives ``INPUT.MIN_SIZE_TEST``, ``INPUT.MAX_SIZE_TEST`` and ``INPUT.RESIZE_TEST``.

    Returns:
        ``image``: (3, h, w) float32 tensor, 0..255; ``height``, ``width``: H and W.

    Raises:
        ValueError: The image is so thin that nothing would be left of it.
    """
    height, width = image.shape[:2]
    short_edge = cfg.INPUT.MIN_SIZE_TEST
    (resize,) = build_augmentation(cfg, is_train=False)
    try:
        resized = resize.get_transform(image).apply_image(image)
    except ValueError as error:
        raise ValueError(
            f"An image of {width} x {height} pixels cannot be resized to a short edge of "
            f"{short_edge}, at most {cfg.INPUT.MAX_SIZE_TEST} long ({error})."
        ) from error
    tensor = torch.from_numpy(np.ascontiguousarray(resized.transpose(2, 0, 1))).float()
    return {"image": tensor, "height": height, "width": width}


def unique_stems(paths: Iterable[Path]) -> list[str]:
    """Name one output per path after its stem, numbering repeats (``cell``, ``cell_2``).

    Names differ also where the file system ignores case.
    """
    taken: set[str] = set()
    return [unique_name(path.stem, taken) for path in paths]


def unique_name(wanted: str, taken: set[str]) -> str:
    """Return a name, numbered (``cell_2``) if it or its like in another case is taken.

    Args:
        wanted: The name as it should be.
        taken: Names in ``str.casefold``; the returned one is added.
    """
    name, number = wanted, 1
    while name.casefold() in taken:
        number += 1
        name = f"{wanted}_{number}"
    taken.add(name.casefold())
    return name


def _expand(path: Path, suffixes: Sequence[str]) -> list[Path]:
    if path.is_file():
        return [path]
    if path.is_dir():
        return _require_images(path.iterdir(), f"The folder '{path}' has", suffixes)
    if glob.has_magic(str(path)):
        matches = (Path(match) for match in glob.glob(str(path), recursive=True))
        return _require_images(matches, f"The pattern '{path}' matches", suffixes)
    raise FileNotFoundError(f"No file or folder '{path}'.")


def _require_images(paths: Iterable[Path], subject: str, suffixes: Sequence[str]) -> list[Path]:
    images = sorted(path for path in paths if _looks_like_image(path, suffixes))
    if not images:
        raise ValueError(f"{subject} no image; looked for {', '.join(suffixes)}.")
    return images


def _looks_like_image(path: Path, suffixes: Sequence[str]) -> bool:
    hidden = path.name.startswith(".")
    return path.suffix.lower() in suffixes and not hidden and path.is_file()
