"""Defects to seed, and what is to be found of each."""

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from tests.check_data.conftest import HEIGHT, WIDTH, DataFolder

Seed = Callable[[DataFolder], object]

ERROR, WARNING, NOTE = "error", "warning", "note"
ORIENTATION = 0x0112


def change(section: str, index: int, **values: Any) -> Seed:
    return lambda folder: folder.content[section][index].update(values)


def remove(section: str, index: int, key: str) -> Seed:
    return lambda folder: folder.content[section][index].pop(key)


def append(section: str, index: int, **values: Any) -> Seed:
    """Append a copy of an entry with other values."""

    def seed(folder: DataFolder) -> None:
        entry = copy.deepcopy(folder.content[section][index])
        folder.content[section].append({**entry, **values})

    return seed


def both(*seeds: Seed) -> Seed:
    def seed(folder: DataFolder) -> None:
        for one in seeds:
            one(folder)

    return seed


def truncate(folder: DataFolder) -> None:
    path = folder.images / "a.png"
    path.write_bytes(path.read_bytes()[:3000])


def save_with_orientation(orientation: int, suffix: str = ".jpg") -> Seed:
    """Store the first image as a photo that is to be turned when it is loaded."""

    def seed(folder: DataFolder) -> None:
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        with Image.open(folder.images / "a.png") as image:
            image.save(folder.images / f"a{suffix}", exif=exif)
        folder.content["images"][0]["file_name"] = f"a{suffix}"

    return seed


def save_deep(folder: DataFolder) -> None:
    pixels = np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH)
    Image.fromarray(pixels).save(folder.images / "a.png")


def save_stack(folder: DataFolder) -> None:
    page = Image.new("L", (WIDTH, HEIGHT))
    page.save(folder.images / "a.tif", save_all=True, append_images=[page, page])
    folder.content["images"][0]["file_name"] = "a.tif"


def copy_image(folder: DataFolder) -> None:
    (folder.images / "d.png").write_bytes((folder.images / "a.png").read_bytes())
    append("images", 0, id=4, file_name="d.png")(folder)


def boxes_as(convert: Callable[[list[float]], list[float]]) -> Seed:
    """Convert all boxes of a data set that has no masks."""

    def seed(folder: DataFolder) -> None:
        for number, annotation in enumerate(folder.content["annotations"]):
            annotation["bbox"] = convert([30 + number, 20, 25, 18])
            annotation["area"] = 1
            del annotation["segmentation"]

    return seed


def with_keypoints(*names: str, **values: Any) -> Seed:
    """Give the category 'fibre' keypoints, and its annotation the values."""
    return both(
        change("categories", 1, keypoints=list(names)),
        change("annotations", 1, **{"keypoints": [1, 2, 2, 3, 4, 1], "num_keypoints": 2, **values}),
    )


def rle(counts: Any, height: int = HEIGHT, width: int = WIDTH) -> Seed:
    return change("annotations", 2, segmentation={"size": [height, width], "counts": counts})


EMPTY = [HEIGHT * WIDTH]

FIXABLE: dict[str, tuple[Seed, str, str]] = {
    "image is no object": (lambda f: f.content["images"].append(7), ERROR, "malformed entry"),
    "image without id": (remove("images", 0, "id"), ERROR, "malformed entry"),
    "image without name": (remove("images", 0, "file_name"), ERROR, "malformed entry"),
    "width as text": (change("images", 0, width="60"), ERROR, "malformed entry"),
    "category without name": (remove("categories", 0, "name"), ERROR, "malformed entry"),
    "annotation without image": (remove("annotations", 0, "image_id"), ERROR, "malformed entry"),
    "numbers with a fraction": (
        both(
            change("images", 0, id=1.0, width=60.0),
            change("categories", 0, id=1.0),
            change("annotations", 0, id=1.0, image_id=1.0, category_id=1.0),
        ),
        ERROR,
        "malformed entry",
    ),
    "annotation without id": (remove("annotations", 0, "id"), ERROR, "malformed entry"),
    "no box": (remove("annotations", 0, "bbox"), ERROR, "malformed entry"),
    "box of three": (change("annotations", 0, bbox=[1, 2, 3]), ERROR, "malformed entry"),
    "box of texts": (change("annotations", 0, bbox=["1", 2, 3, 4]), ERROR, "malformed entry"),
    "flat polygon": (
        change("annotations", 0, segmentation=[10, 5, 40, 5, 40, 25, 10, 25]),
        ERROR,
        "malformed entry",
    ),
    "iscrowd 2": (change("annotations", 0, iscrowd=2), ERROR, "malformed entry"),
    "RLE without size": (change("annotations", 2, segmentation={}), ERROR, "malformed entry"),
    "NaN box": (change("annotations", 0, bbox=[1, 2, float("nan"), 4]), ERROR, "unusable number"),
    "infinite polygon": (
        change("annotations", 0, segmentation=[[0, 0, 9, 9, float("inf"), 0]]),
        ERROR,
        "unusable number",
    ),
    "huge number": (change("annotations", 0, area=10**400), ERROR, "unusable number"),
    "image id twice": (append("images", 0, file_name="b.png"), ERROR, "image id used twice"),
    "annotation id twice": (
        append("annotations", 0, image_id=2),
        ERROR,
        "annotation id used twice",
    ),
    "annotation id 0": (change("annotations", 0, id=0), WARNING, "annotation id 0"),
    "category listed twice": (append("categories", 0), ERROR, "category id used twice"),
    "unknown image": (append("annotations", 0, id=4, image_id=9), ERROR, "unknown image"),
    "unknown category": (append("annotations", 0, id=4, category_id=9), ERROR, "unknown category"),
    "missing file": (append("images", 0, id=4, file_name="gone.png"), ERROR, "file missing"),
    "truncated file": (truncate, ERROR, "file unreadable"),
    "text as image": (lambda f: (f.images / "a.png").write_text("x"), ERROR, "file unreadable"),
    "other size": (change("images", 0, width=WIDTH + 10), ERROR, "size differs from the file"),
    "size before rotation": (save_with_orientation(6), ERROR, "size before EXIF rotation"),
    "file twice": (append("images", 0, id=4), WARNING, "file listed twice"),
    "copied file": (copy_image, WARNING, "same image twice"),
    "box of width 0": (change("annotations", 0, bbox=[5, 5, 0, 9]), ERROR, "box without area"),
    "negative box": (change("annotations", 0, bbox=[5, 5, 9, -9]), ERROR, "box without area"),
    "box elsewhere": (change("annotations", 0, bbox=[70, 5, 9, 9]), ERROR, "box outside the image"),
    "box beyond": (change("annotations", 1, bbox=[-3, 0, 23, 30]), WARNING, "box beyond the image"),
    "box of another": (
        change("annotations", 0, bbox=[45, 30, 9, 9]),
        ERROR,
        "box differs from the mask",
    ),
    "loose box": (
        change("annotations", 0, bbox=[5, 5, 35, 20]),
        WARNING,
        "box differs from the mask",
    ),
    "no area": (remove("annotations", 0, "area"), ERROR, "area missing"),
    "area 0": (change("annotations", 0, area=0), WARNING, "area differs"),
    "wrong area": (change("annotations", 0, area=6000), WARNING, "area differs"),
    "same annotation": (append("annotations", 0, id=4), WARNING, "annotation twice"),
    "two points": (
        change("annotations", 0, segmentation=[[1, 1, 5, 5]]),
        ERROR,
        "degenerate polygon",
    ),
    "odd polygon": (
        change("annotations", 0, segmentation=[[1, 1, 5, 5, 9]]),
        ERROR,
        "degenerate polygon",
    ),
    "flat polygon beside": (
        lambda f: f.content["annotations"][0]["segmentation"].append([1, 1, 5, 5, 9, 9]),
        WARNING,
        "degenerate polygon",
    ),
    "mask elsewhere": (
        change("annotations", 0, segmentation=[[70, 0, 80, 0, 80, 10]]),
        ERROR,
        "mask outside the image",
    ),
    "mask beyond": (
        change("annotations", 0, segmentation=[[50, 5, 90, 5, 90, 25, 50, 25]]),
        WARNING,
        "mask beyond the image",
    ),
    "short RLE": (rle([5, 5]), ERROR, "broken RLE"),
    "negative RLE": (rle([HEIGHT * WIDTH + 5, -5]), ERROR, "broken RLE"),
    "RLE of other characters": (rle("!!"), ERROR, "broken RLE"),
    "RLE that breaks off": (rle("P"), ERROR, "broken RLE"),
    "RLE of huge numbers": (rle("o" * 40 + "1"), ERROR, "broken RLE"),
    "RLE of a negative size": (
        rle([HEIGHT * WIDTH], height=-HEIGHT, width=-WIDTH),
        ERROR,
        "broken RLE",
    ),
    "RLE beyond memory": (rle([10**20]), ERROR, "broken RLE"),
    "absurd polygon": (
        change("annotations", 0, segmentation=[[0, 0, 1e300, 0, 1e300, 1e300]]),
        ERROR,
        "unusable number",
    ),
    "absurd width": (change("images", 0, width=10**400), ERROR, "malformed entry"),
    "empty RLE": (rle(EMPTY), ERROR, "empty mask"),
    "transposed RLE": (
        rle([5, 9, HEIGHT * WIDTH - 14], height=WIDTH, width=HEIGHT),
        ERROR,
        "RLE of another size",
    ),
    "no iscrowd": (remove("annotations", 0, "iscrowd"), ERROR, "iscrowd missing"),
    "too few keypoints": (
        with_keypoints("head", "tail", keypoints=[1, 2, 2]),
        ERROR,
        "keypoints of another number",
    ),
    "visibility 3": (
        with_keypoints("head", "tail", keypoints=[1, 2, 3, 3, 4, 1]),
        ERROR,
        "keypoint visibility",
    ),
    "no num_keypoints": (
        with_keypoints("head", "tail", num_keypoints=None),
        ERROR,
        "num_keypoints missing",
    ),
    "wrong num_keypoints": (
        with_keypoints("head", "tail", num_keypoints=1),
        WARNING,
        "num_keypoints differs",
    ),
    "NaN keypoint": (
        with_keypoints("head", "tail", keypoints=[1, 2, 2, float("nan"), 4, 1]),
        ERROR,
        "unusable number",
    ),
    "no keypoints": (
        with_keypoints("head", "tail", keypoints=None),
        WARNING,
        "keypoints missing",
    ),
}
"""What --fix removes: how to seed it, and what is found before."""

FOR_PEOPLE: dict[str, tuple[Seed, str, str]] = {
    "two categories of one id": (
        append("categories", 0, name="nucleus"),
        ERROR,
        "category id used twice",
    ),
    "gap": (
        both(change("categories", 1, id=5), change("annotations", 1, category_id=5)),
        NOTE,
        "category ids with gaps",
    ),
    "two categories of one name": (
        change("categories", 1, name="cell"),
        WARNING,
        "category name used twice",
    ),
    "unused category": (
        append("categories", 0, id=3, name="x"),
        NOTE,
        "category without annotations",
    ),
    "no category": (lambda f: f.content.update(categories=[]), ERROR, "categories and NUM_CLASSES"),
    "no image": (lambda f: f.content.update(images=[]), ERROR, "no images"),
    "no annotation": (lambda f: f.content.update(annotations=[]), WARNING, "no annotations"),
    "outside the folder": (
        change("images", 0, file_name="../images/../../a.png"),
        WARNING,
        "file outside the image folder",
    ),
    "turned photo": (
        both(save_with_orientation(6), change("images", 0, width=HEIGHT, height=WIDTH)),
        NOTE,
        "EXIF orientation",
    ),
    "photo upside down": (save_with_orientation(3), WARNING, "EXIF orientation"),
    "16 bits": (save_deep, WARNING, "more than 8 bits"),
    "stack": (save_stack, WARNING, "several pictures in a file"),
    "image without annotations": (
        lambda f: f.content["annotations"].pop(),
        NOTE,
        "image without annotations",
    ),
    "fractions": (
        boxes_as(lambda b: [value / 60 for value in b]),
        ERROR,
        "boxes in another format",
    ),
    "corners": (
        boxes_as(lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]),
        ERROR,
        "boxes in another format",
    ),
    "one without mask": (remove("annotations", 0, "segmentation"), WARNING, "mask missing"),
    "RLE that is no crowd": (change("annotations", 2, iscrowd=0), NOTE, "masks as RLE"),
    "crowd of polygons": (change("annotations", 0, iscrowd=1), WARNING, "crowd of polygons"),
    "keypoints without names": (with_keypoints(), NOTE, "keypoints without names"),
    "keypoint elsewhere": (
        with_keypoints("head", "tail", keypoints=[1, 2, 2, 99, 4, 1]),
        WARNING,
        "keypoint outside the image",
    ),
}
"""What a person has to decide about, or may leave as it is."""

NOT_COCO = {
    "a list": ("[]", "holds a list, not an object with the lists images, categories"),
    "not JSON": ('{"images": [', "is not a JSON file: "),
    "no categories": (json.dumps({"images": [], "annotations": []}), "no list 'categories'"),
    "too deep": ("[" * 100_000, "is not a JSON file: "),
}
