"""What is on the page of features."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from d2seg.features.preview.gallery import gallery
from d2seg.features.preview.heat import css_colors
from d2seg.features.preview.maps import KeptMaps, MapPicture
from d2seg.features.preview.objects import KeptObjects
from d2seg.pages import picture_uri

TILE_SIDE = 240
"""CSS pixels, of the picture of a square image."""


class ShownImage(NamedTuple):
    """An image with heat maps: name, height and width in pixels, a small copy as a data URI."""

    name: str
    size_hw: tuple[int, ...]
    uri: str


class LevelFigure(NamedTuple):
    """A map over its image; the width and height of the pictures are in percent of the image's."""

    level: str
    what: str
    width: str
    height: str
    colors_uri: str
    strength_uri: str
    low: str
    high: str


class ImageFigure(NamedTuple):
    """An image and its maps; each picture is at least ``tile_width`` CSS pixels wide."""

    name: str
    size_hw: tuple[int, ...]
    uri: str
    tile_width: int
    levels: list[LevelFigure]


def page_values(
    images: Sequence[ShownImage],
    maps: KeptMaps,
    objects: KeptObjects,
    added: int,
    description: Mapping[str, Any],
) -> dict[str, Any]:
    """Lay out the page.

    Args:
        images: Those with heat maps; image i is the i-th that was added.
        maps: Their maps.
        objects: The objects of all images.
        added: How many images were added.
        description: That of one image, for the names of the model and the tensors.

    Returns:
        What ``preview.html`` shows.
    """
    shown = images if maps.levels else []
    pictures = maps.pictures(range(len(shown)))
    figures = [_image_figure(image, pictures[index]) for index, image in enumerate(shown)]
    rows = gallery(objects.kept)
    return {
        "title": "Features",
        "figures": [
            (f"{added:,}", "images"),
            (f"{len(maps.levels)}", "feature levels"),
            (f"{objects.seen:,}", "objects"),
        ],
        "facts": _facts(description),
        "images": figures,
        "maps_note": _maps_note(maps, len(shown), added),
        "heat_colors": css_colors(),
        "rows": rows,
        "gallery_note": _gallery_note(objects, len(rows), added),
    }


def _image_figure(image: ShownImage, pictures: Sequence[MapPicture]) -> ImageFigure:
    """Lay out an image; a tall one in narrower tiles, so that all images take similar areas."""
    height, width = image.size_hw
    tile_width = min(max(TILE_SIDE * math.sqrt(width / height), TILE_SIDE / 2), TILE_SIDE * 2)
    return ImageFigure(*image, round(tile_width), [_level_figure(picture) for picture in pictures])


def _level_figure(picture: MapPicture) -> LevelFigure:
    height, width = (f"{100 * part:.4g}%" for part in picture.covers_hw)
    low, high = (f"{value:.3g}" for value in picture.strength_range)
    return LevelFigure(
        picture.level,
        picture.what,
        width,
        height,
        picture_uri(picture.colors, exact=True),
        picture_uri(picture.strength, exact=True),
        low,
        high,
    )


def _facts(description: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Say what the features are of; file names without their folders, for the page travels."""
    model = description.get("model", {})
    facts = {
        "Config": Path(model.get("config_file", "")).name,
        "Weights": Path(model["weights"]).name or "none: random" if "weights" in model else "",
        "Tensors": ", ".join(description.get("tensors", {})),
    }
    return [(label, value) for label, value in facts.items() if value]


def _maps_note(maps: KeptMaps, shown: int, added: int) -> str:
    if not added:
        return "No image was read."
    if not maps.levels:
        return (
            "None of the tensors is a map of the image; with backbone, or one of its levels, among "
            "the stages it is shown here."
        )
    note = f"The first {shown} of {added:,} images are shown. " if shown < added else ""
    if maps.left_out:
        note += f"Left out, for there are too many maps: {', '.join(maps.left_out)}. "
    return note


def _gallery_note(objects: KeptObjects, shown: int, added: int) -> str:
    if not objects.source:
        return (
            "None of the tensors has a row for each object; with box_head, box_pooler or "
            "mask_pooler among the stages this section shows which objects are alike."
        )
    if objects.seen == 0:
        return f"No object was found in {'the image' if added == 1 else f'{added:,} images'}."
    if objects.seen == 1:
        return "Only one object was found, which has no neighbours."
    number = f"all {objects.seen:,} objects"
    if len(objects.kept) < objects.seen:
        which = "first" if objects.kept[0].score is None else "best-scored"
        number = f"the {len(objects.kept):,} {which} objects of {objects.seen:,}"
    return f"Compared by {objects.source}: {number}. {shown} of them are looked up here."
