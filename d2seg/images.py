"""Find and read the images that the tools are pointed at."""

import glob
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from d2seg.framework import CfgNode, ResizeShortestEdge, read_image

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Suffixes that make a file in a folder an image; a file that is named itself may have any."""


def find_images(inputs: Sequence[str | Path]) -> list[Path]:
    """List the images behind files, folders and glob patterns.

    A folder stands for the images directly inside it, sorted by name; a pattern (``*``, ``?``,
    ``[...]``, ``**``) for the images it matches, sorted. Hidden files are passed over. A file that
    is named itself is taken whatever its suffix. Nothing is listed twice.

    Args:
        inputs: At least one file, folder or pattern; ``~`` is the home folder.

    Returns:
        Paths in the order of ``inputs``, at least one.

    Raises:
        FileNotFoundError: A path does not exist.
        ValueError: A folder or a pattern has no image, or ``inputs`` is empty.
    """
    if not inputs:
        raise ValueError("No input was given; name at least one image, folder or glob pattern.")
    found = (path for item in inputs for path in _expand(Path(item).expanduser()))
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
        ValueError: The file is not an image, or is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No image file at '{path}'.")
    try:
        image: np.ndarray = read_image(str(path), format=channel_order)
    # Pillow reports a damaged file as any of these, depending on the format and where it broke.
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ValueError(
            f"'{path}' cannot be read as an image (is it damaged or another kind of file?)."
        ) from error
    return np.ascontiguousarray(image)


def prepare_image(image: np.ndarray, cfg: CfgNode) -> dict[str, Any]:
    """Resize an image as ``DefaultPredictor`` does and wrap it as one input of the model.

    Args:
        image: (H, W, 3) uint8, channels in ``cfg.INPUT.FORMAT`` order.
        cfg: Gives ``INPUT.MIN_SIZE_TEST`` and ``INPUT.MAX_SIZE_TEST``.

    Returns:
        ``image``: (3, h, w) float32 tensor, 0..255; ``height``, ``width``: H and W.
    """
    height, width = image.shape[:2]
    short_edge = cfg.INPUT.MIN_SIZE_TEST
    resize = ResizeShortestEdge([short_edge, short_edge], cfg.INPUT.MAX_SIZE_TEST)
    resized = resize.get_transform(image).apply_image(image)
    tensor = torch.from_numpy(np.ascontiguousarray(resized.transpose(2, 0, 1))).float()
    return {"image": tensor, "height": height, "width": width}


def unique_stems(paths: Iterable[Path]) -> list[str]:
    """Name one output per path after its stem, numbering repeats (``cell``, ``cell_2``).

    Names differ also where the file system ignores case.
    """
    taken: set[str] = set()
    stems = []
    for path in paths:
        stem, number = path.stem, 1
        while stem.casefold() in taken:
            number += 1
            stem = f"{path.stem}_{number}"
        taken.add(stem.casefold())
        stems.append(stem)
    return stems


def _expand(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if path.is_dir():
        return _require_images(path.iterdir(), f"The folder '{path}' has")
    if glob.has_magic(str(path)):
        matches = (Path(match) for match in glob.glob(str(path), recursive=True))
        return _require_images(matches, f"The pattern '{path}' matches")
    raise FileNotFoundError(f"No file or folder '{path}'.")


def _require_images(paths: Iterable[Path], subject: str) -> list[Path]:
    images = sorted(path for path in paths if _looks_like_image(path))
    if not images:
        raise ValueError(f"{subject} no image; looked for {', '.join(IMAGE_SUFFIXES)}.")
    return images


def _looks_like_image(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return path.suffix.lower() in IMAGE_SUFFIXES and not hidden and path.is_file()
