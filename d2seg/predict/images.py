"""From whatever a user calls an image to the tensor that a network takes."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from d2seg.core.ops.resize import shortest_edge_size_below
from d2seg.framework import convert_PIL_to_numpy
from d2seg.images import load_image
from d2seg.inputs import Source
from d2seg.postprocess import shortest_edge_size

ImageLike = str | os.PathLike[str] | Source | Image.Image | np.ndarray | Tensor
"""A file; a picture or frame of :mod:`d2seg.inputs`; a Pillow image; (H, W, 3) uint8 array; or a
(3, H, W) tensor, uint8 or float in 0..255."""

SizeHW = tuple[int, int]
"""Height and width in pixels."""

Fit = Callable[[SizeHW], SizeHW]
"""From the size of an image to the size that a network wants it in."""

ORDERS = ("RGB", "BGR")


class NetworkInput(NamedTuple):
    """An image as a network takes it.

    Attributes:
        tensor: (3, h, w) float32, 0..255.
        image_size: Height and width of the image before it was resized.
    """

    tensor: Tensor
    image_size: SizeHW


def as_it_is(size_hw: SizeHW) -> SizeHW:
    """Leave the size of an image alone."""
    return size_hw


def fit_shortest_edge_below(short: int, longest: int) -> Fit:
    """Return what computes the same with sizes rounded down; arguments as `fit_shortest_edge`."""
    return lambda size_hw: shortest_edge_size_below(*size_hw, short, longest) if short else size_hw


def fit_shortest_edge(short: int, longest: int) -> Fit:
    """Return what computes the size that detectron2 tests an image in.

    Args:
        short: Wanted length of the shorter edge, in pixels; 0 leaves images as they are.
        longest: Limit of the longer edge.
    """
    if short <= 0:
        return as_it_is
    return lambda size_hw: shortest_edge_size(size_hw, short, longest)


def fit_window(height: int, width: int) -> Fit:
    """Return what computes the largest size of an image's aspect ratio that fits a window.

    Args:
        height: Of the window, in pixels.
        width: Likewise.

    Raises:
        ValueError: One of them is not positive.
    """
    _check_window(height, width)

    def fit(size_hw: SizeHW) -> SizeHW:
        scale = min(height / size_hw[0], width / size_hw[1])
        return max(round(size_hw[0] * scale), 1), max(round(size_hw[1] * scale), 1)

    return fit


def stretch(height: int, width: int) -> Fit:
    """Return what gives every image one size, whatever its aspect ratio; arguments likewise."""
    _check_window(height, width)
    return lambda size_hw: (height, width)


def limit(fit: Fit, limit_hw: SizeHW) -> Fit:
    """Return what computes the same sizes, and refuses those that exceed a limit.

    Args:
        fit: Computes a size.
        limit_hw: Largest height and width.
    """

    def limited(size_hw: SizeHW) -> SizeHW:
        wanted = fit(size_hw)
        if wanted[0] > limit_hw[0] or wanted[1] > limit_hw[1]:
            raise ValueError(
                f"An image of {size_hw[0]} x {size_hw[1]} (height x width) becomes {wanted[0]} x "
                f"{wanted[1]}, but this file takes at most {limit_hw[0]} x {limit_hw[1]}; leave "
                "the resizing to it, or fit images into such a window."
            )
        return wanted

    return limited


def prepare(
    image: ImageLike,
    given_order: str | None,
    wanted_order: str,
    fit: Fit,
    interpolate: bool = False,
) -> NetworkInput:
    """Read an image, bring its channels into order and resize it.

    Args:
        image: See :data:`ImageLike`.
        given_order: Order of the channels of an array or a tensor; files and Pillow images know
            theirs.
        wanted_order: Order that the network takes, ``RGB`` or ``BGR``.
        fit: Computes the size to resize it to.
        interpolate: Resize by plain interpolation, without smoothing.

    Raises:
        TypeError: It is none of these, or its numbers are of another type.
        ValueError: It has another shape, is empty, has values outside of 0..255, or its order of
            channels is not stated.
        FileNotFoundError: There is no such file.
    """
    if isinstance(image, Tensor) and image.is_floating_point():
        pixels = _check_values(_check_shape(image, channels_first=True)).detach().cpu().float()
        pixels = pixels.flip(0) if _must_flip(given_order, wanted_order) else pixels
        size_hw = (pixels.shape[1], pixels.shape[2])
        return NetworkInput(_resize_float(pixels, fit(size_hw), not interpolate), size_hw)
    array = to_array(image, given_order, wanted_order)
    size_hw = (array.shape[0], array.shape[1])
    resized = array if interpolate else _resize_array(array, fit(size_hw))
    tensor = torch.from_numpy(np.ascontiguousarray(resized.transpose(2, 0, 1))).float()
    if interpolate:
        tensor = _resize_float(tensor, fit(size_hw), smooth=False)
    return NetworkInput(tensor, size_hw)


def as_bytes(image: ImageLike) -> ImageLike:
    """Round a tensor of floats in 0..255 to uint8; leave everything else alone.

    Raises:
        ValueError: It has values outside of 0..255.
    """
    if isinstance(image, Tensor) and image.is_floating_point() and image.numel():
        return _check_values(image).round().to(torch.uint8)
    return image


def check_order(order: str | None) -> None:
    """Refuse an order of channels that is neither RGB nor BGR; None passes.

    Raises:
        ValueError: Names the order.
    """
    if order is not None and order not in ORDERS:
        raise ValueError(f"channel_order is '{order}'; use RGB or BGR.")


def to_array(image: ImageLike, given_order: str | None, wanted_order: str) -> np.ndarray:
    """Read an image and bring its channels into order.

    Args:
        image: See :data:`ImageLike`; a tensor must be of type uint8.
        given_order: As of :func:`prepare`, like what is raised.
        wanted_order: ``RGB`` or ``BGR``.

    Returns:
        (H, W, 3) uint8.
    """
    if isinstance(image, (str, os.PathLike)):
        return load_image(Path(image).expanduser(), wanted_order)
    if isinstance(image, Source):
        return image.read(wanted_order)
    if isinstance(image, Image.Image):
        upright = ImageOps.exif_transpose(image)
        array: np.ndarray = convert_PIL_to_numpy(upright, wanted_order)
        return array
    if isinstance(image, Tensor):
        array = _check_shape(image, channels_first=True).detach().cpu().permute(1, 2, 0).numpy()
    elif isinstance(image, np.ndarray):
        array = _check_shape(image, channels_first=False)
    else:
        raise TypeError(
            f"An image is a path, a Pillow image, an array or a tensor, not a "
            f"{type(image).__name__}."
        )
    if array.dtype != np.uint8:
        hint = "" if isinstance(image, Tensor) else "; an array is (H, W, 3) uint8 in 0..255"
        raise TypeError(f"The image's numbers are of type {array.dtype}, not uint8{hint}.")
    return array[:, :, ::-1] if _must_flip(given_order, wanted_order) else array


def _check_window(height: int, width: int) -> None:
    if height < 1 or width < 1:
        raise ValueError(f"A size must be a positive height and width, but is {height} x {width}.")


def _check_shape(image: Any, *, channels_first: bool) -> Any:
    shape = tuple(image.shape)
    wanted = "(3, H, W)" if channels_first else "(H, W, 3)"
    if len(shape) != 3 or shape[0 if channels_first else 2] != 3 or 0 in shape:
        what = "A tensor" if channels_first else "An array"
        raise ValueError(f"{what} must be one {wanted} image, but its shape is {shape}.")
    return image


def _check_values(image: Tensor) -> Tensor:
    low, high = (float(value) for value in image.aminmax())
    if not (low >= 0 and high <= 255):  # written so that NaN does not pass
        raise ValueError(
            f"The image's values lie in {low:g}..{high:g}, but networks take raw values 0..255."
        )
    return image


def _must_flip(given_order: str | None, wanted_order: str) -> bool:
    if given_order is None:
        raise ValueError(
            "An array or a tensor does not say the order of its channels; give channel_order 'RGB' "
            "or 'BGR' (OpenCV's)."
        )
    return given_order != wanted_order


def _resize_array(array: np.ndarray, size_hw: SizeHW) -> np.ndarray:
    if array.shape[:2] == size_hw:
        return array
    picture = Image.fromarray(np.ascontiguousarray(array))  # the order does not matter here
    return np.asarray(picture.resize((size_hw[1], size_hw[0]), Image.Resampling.BILINEAR))


def _resize_float(image: Tensor, size_hw: SizeHW, smooth: bool) -> Tensor:
    if tuple(image.shape[1:]) == size_hw:
        return image
    resized = F.interpolate(
        image[None], size_hw, mode="bilinear", align_corners=False, antialias=smooth
    )
    return resized[0].clamp(0, 255)
