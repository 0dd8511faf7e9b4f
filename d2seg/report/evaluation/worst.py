"""The images on which the model does worst, and their pictures."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from pycocotools.coco import COCO

from d2seg.core.runtime.files import replace_when_complete
from d2seg.images import load_image
from d2seg.report.evaluation.drawing import draw_judged_image, grey_picture
from d2seg.report.evaluation.matching import JudgedImage, Verdict
from d2seg.visualize import stretch_contrast

PICTURE_FOLDER = "pictures"
COUNTED = (Verdict.CORRECT, Verdict.CONFUSED, Verdict.MISSED, Verdict.FALSE)


class WorstImage(NamedTuple):
    """An image on the page; the pictures are paths below the page's folder.

    ``problem`` says why there is no photograph in the pictures; it is empty when there is one.
    """

    judged: JudgedImage
    name: str
    objects_picture: str
    detections_picture: str
    problem: str


def rank_images(images: Iterable[JudgedImage]) -> list[JudgedImage]:
    """Return the images with errors: lowest F1 first; where that is equal, most errors first."""
    flawed = [image for image in images if image.errors]
    return sorted(flawed, key=lambda image: (image.f1, -image.errors, image.image_id))


def write_worst_images(
    folder: Path,
    images: Sequence[JudgedImage],
    ground_truth: COCO,
    image_root: Path,
    iou_type: str,
) -> list[WorstImage]:
    """Draw images into ``folder``; one that cannot be read is drawn on grey.

    Args:
        folder: The page's folder; the pictures go into one below it.
        images: Those to draw, in this order.
        ground_truth: For file names, sizes and class names.
        image_root: The folder that the file names start from.
        iou_type: ``segm`` draws masks, ``bbox`` boxes.
    """
    names = {id_: category["name"] for id_, category in ground_truth.cats.items()}
    written = []
    for rank, judged in enumerate(images, start=1):
        image = ground_truth.imgs[judged.image_id]
        photograph, problem = _read_image(image, image_root)
        pictures = draw_judged_image(photograph, judged, names, iou_type)
        paths = [
            f"{PICTURE_FOLDER}/{rank:02d}_{what}.jpg" for what in ("ground_truth", "detections")
        ]
        for path, picture in zip(paths, pictures, strict=True):
            _write_jpeg(folder / path, picture)
        written.append(WorstImage(judged, image["file_name"], paths[0], paths[1], problem))
    return written


def _read_image(image: Mapping[str, Any], root: Path) -> tuple[np.ndarray, str]:
    """Return an image (RGB) with good contrast, or a grey one and what is wrong with the file."""
    size_hw = (image["height"], image["width"])
    path = root / image["file_name"]
    try:
        pixels = load_image(path, "RGB")
    except (OSError, ValueError) as error:
        return grey_picture(size_hw), f"{error} It is drawn on grey."
    if pixels.shape[:2] != size_hw:
        found = f"{pixels.shape[1]} x {pixels.shape[0]}"
        wanted = f"{size_hw[1]} x {size_hw[0]}"
        return (
            grey_picture(size_hw),
            f"'{path}' has {found} pixels, the annotations say {wanted}. It is drawn on grey.",
        )
    return stretch_contrast(pixels), ""


def _write_jpeg(path: Path, picture: np.ndarray) -> None:
    with replace_when_complete(path) as temporary:
        # Thin coloured lines blur with subsampled colours.
        Image.fromarray(picture).save(temporary, format="JPEG", quality=88, subsampling=0)
