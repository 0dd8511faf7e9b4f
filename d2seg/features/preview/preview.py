"""Collect what a page of features shows while a run goes on, and write it at the end."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from d2seg.features.preview.maps import KeptMaps
from d2seg.features.preview.objects import KeptObjects
from d2seg.features.preview.page import ShownImage, page_values
from d2seg.pages import picture_uri, write_html
from d2seg.visualize import stretch_contrast

PHOTO_PIXELS = 480


class Preview:
    """A page that shows the features of images: heat maps of levels, and objects that are alike.

    It keeps small copies of what it shows and nothing else, however many images are added.

    Args:
        folder: Where to write; it is made if needed.
        most_images: Show heat maps of this many images, the first that are added.
        most_objects: Look for neighbours among this many objects, those of the highest score.

    Raises:
        ValueError: ``most_images`` is negative, or ``most_objects`` below 2.
    """

    def __init__(self, folder: str | Path, most_images: int = 8, most_objects: int = 2000) -> None:
        _check_number("most_images", most_images, 0)
        _check_number("most_objects", most_objects, 2)
        self.folder = Path(folder)
        self.most_images = most_images
        self._images: list[ShownImage] = []
        self._maps = KeptMaps()
        self._objects = KeptObjects(most_objects)
        self._added = 0
        self._description: Mapping[str, Any] = {}

    def add(
        self,
        name: str,
        image_rgb: np.ndarray,
        tensors: Mapping[str, Tensor],
        description: Mapping[str, Any],
    ) -> None:
        """Take what the page needs of one image.

        Args:
            name: The image's name on the page.
            image_rgb: (H, W, 3) uint8, the original; not modified.
            tensors: Its features by name, on any device; not modified. Boxes are XYXY pixels of the
                network input.
            description: As in its feature file: ``image`` with ``network_size_hw``, ``tensors``
                with ``stride`` and ``rows``, and ``class_names``.

        Raises:
            ValueError: The image is not (H, W, 3) uint8, the description lacks
                ``network_size_hw``, or the rows of an object tensor are not one per box.
        """
        _check_input(name, image_rgb, description)
        photo = _Photo(image_rgb)
        if self._added < self.most_images:
            self._show(name, photo, tensors, description)
        self._objects.add((self._added, name), lambda: photo.visible, tensors, description)
        self._description = self._description or description
        self._added += 1

    def write(self) -> Path:
        """Write ``index.html``, one file with its pictures inside, and return its path.

        Without images, maps or objects the page says so.
        """
        path = self.folder / "index.html"
        values = page_values(
            self._images, self._maps, self._objects, self._added, self._description
        )
        write_html(path, __package__, "preview.html", values)
        return path

    def _show(
        self,
        name: str,
        photo: "_Photo",
        tensors: Mapping[str, Tensor],
        description: Mapping[str, Any],
    ) -> None:
        self._maps.add(self._added, tensors, description)
        uri = picture_uri(photo.visible, longest_side=PHOTO_PIXELS)
        self._images.append(ShownImage(name, photo.pixels.shape[:2], uri))


class _Photo:
    """An image, with its contrast stretched when that is asked for."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    @cached_property
    def visible(self) -> np.ndarray:
        return stretch_contrast(self.pixels)


def _check_number(name: str, number: int, least: int) -> None:
    if number < least:
        raise ValueError(f"{name} must be {least} or more, got {number}.")


def _check_input(name: str, image: np.ndarray, description: Mapping[str, Any]) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(
            f"The image '{name}' must be (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}."
        )
    if "network_size_hw" not in description.get("image", {}):
        raise ValueError(
            f"The description of '{name}' must say image.network_size_hw, the height and width of "
            "the network input."
        )
