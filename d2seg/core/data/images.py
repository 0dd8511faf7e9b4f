"""Reading images in the channel order a model wants, and checking their size."""

import logging
import os
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from d2seg.core.runtime.files import PathManager
from d2seg.core.runtime.untrusted.images import open_image

logger = logging.getLogger(__name__)

IMAGE_FORMATS = ("BGR", "RGB", "L", "YUV-BT.601")
"""The channel orders that ``cfg.INPUT.FORMAT`` may name."""

_YUV_FROM_RGB = np.array(
    [[0.299, 0.587, 0.114], [-0.14713, -0.28886, 0.436], [0.615, -0.51499, -0.10001]]
)
_RGB_FROM_YUV = np.array([[1.0, 0.0, 1.13983], [1.0, -0.39465, -0.58060], [1.0, 2.03211, 0.0]])


class SizeMismatchError(ValueError):
    """An image is not as large as its annotations say."""


def read_image(file_name: str | os.PathLike[str], format: str | None = None) -> np.ndarray:
    """Read an image file, turned upright as its EXIF orientation says.

    Args:
        file_name: A path or an address the PathManager knows.
        format: ``BGR``, ``RGB``, ``L`` or ``YUV-BT.601``; None keeps what the file holds.

    Returns:
        (H, W, C) uint8 in 0..255; one channel for ``L``; float32 for ``YUV-BT.601``. With None the
        array as the file has it, which is (H, W) for grey images.

    Raises:
        ValueError: The format is unknown, or the file is not an image, is damaged or too large.
        FileNotFoundError: There is no such file.
        IsADirectoryError: It is a folder.
    """
    _require_format(format)
    path = PathManager.get_local_path(os.fspath(file_name))
    if os.path.isdir(path):
        raise IsADirectoryError(f"'{file_name}' is a folder; give the path of an image file.")
    if not os.path.exists(path):
        raise FileNotFoundError(f"There is no image file '{file_name}'.")
    try:
        with open_image(path) as image:
            if format is not None and _exceeds_8_bits(image):
                logger.warning(
                    "'%s' has values above 255, which are cut off; scale it to 8 bits.", file_name
                )
            ImageOps.exif_transpose(image, in_place=True)
            return convert_PIL_to_numpy(image, format)
    except UnidentifiedImageError as error:
        raise ValueError(
            f"'{file_name}' is not an image in any format that Pillow reads."
        ) from error
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"The image '{file_name}' is too large ({error}); cut it into parts, or set "
            "PIL.Image.MAX_IMAGE_PIXELS."
        ) from error
    except (OSError, SyntaxError) as error:  # Pillow reports damage in either way
        raise ValueError(f"The image '{file_name}' cannot be read: {error}.") from error


def convert_PIL_to_numpy(image: Image.Image, format: str | None) -> np.ndarray:
    """Turn a Pillow image into an array, as ``read_image`` does.

    Args:
        image: Of any mode.
        format: ``BGR``, ``RGB``, ``L`` or ``YUV-BT.601``; None keeps what the image holds.

    Returns:
        (H, W, C) uint8 in 0..255; one channel for ``L``; float32 for ``YUV-BT.601``. With None the
        array as the image has it.

    Raises:
        ValueError: The format is unknown.
    """
    _require_format(format)
    if format is None:
        return np.array(image)
    if format == "L":
        return np.array(image.convert("L"))[:, :, None]
    if image.mode != "RGB":
        image = image.convert("RGB")
    # Pillow brings the channels into order while it copies them.
    packed = bytearray(image.tobytes("raw", "BGR" if format == "BGR" else "RGB"))
    rgb = np.frombuffer(packed, dtype=np.uint8).reshape(image.height, image.width, 3)
    if format == "YUV-BT.601":
        return (rgb / 255.0 @ _YUV_FROM_RGB.T).astype(np.float32)
    return rgb


def convert_image_to_rgb(image: np.ndarray, format: str) -> np.ndarray:
    """Turn an image of ``read_image`` into RGB, for drawing.

    Args:
        image: (H, W, C), or (H, W) for ``L``.
        format: Its channel order.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        ValueError: The format is unknown.
    """
    _require_format(format)
    image = np.asarray(image)
    if format == "BGR":
        image = image[..., ::-1]
    elif format == "L":
        image = np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2)
    elif format == "YUV-BT.601":
        image = np.rint(np.clip(image @ _RGB_FROM_YUV.T, 0.0, 1.0) * 255.0)
    return np.ascontiguousarray(image.astype(np.uint8))


def check_image_size(dataset_dict: dict[str, Any], image: np.ndarray) -> None:
    """Compare an image with the size that its data set gives; fill in a size that is missing.

    Args:
        dataset_dict: ``width`` and ``height`` are set if it does not have them.
        image: (H, W) or (H, W, C).

    Raises:
        SizeMismatchError: They differ.
    """
    height, width = image.shape[:2]
    expected = (dataset_dict.get("width", width), dataset_dict.get("height", height))
    if expected != (width, height):
        raise SizeMismatchError(
            f"The image '{dataset_dict.get('file_name', 'without a name')}' is {width} x {height} "
            f"pixels (width x height), but its annotations are for {expected[0]} x {expected[1]}. "
            "If it was turned by its EXIF orientation, annotate the upright image."
        )
    dataset_dict.setdefault("width", width)
    dataset_dict.setdefault("height", height)


def _exceeds_8_bits(image: Image.Image) -> bool:
    """Tell whether a grey image of integers (mode I, I;16) or floats (F) loses its bright parts."""
    return image.mode[0] in "IF" and bool(np.asarray(image).max() > 255)


def _require_format(format: str | None) -> None:
    if format is not None and format not in IMAGE_FORMATS:
        raise ValueError(
            f"Image format '{format}' is unknown; use one of {', '.join(IMAGE_FORMATS)}."
        )
