"""A small clean data set to seed defects into."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from d2seg.check_data import Expectations, Report, check_dataset

WIDTH, HEIGHT = 60, 40

Content = dict[str, Any]


class DataFolder:
    """Three images and their annotations: a rectangle, a triangle, and a crowd as RLE."""

    def __init__(self, folder: Path) -> None:
        self.images = folder / "images"
        self.images.mkdir()
        self.json = folder / "instances.json"
        for index, name in enumerate("abc"):
            pixels = np.random.RandomState(index).randint(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
            Image.fromarray(pixels).save(self.images / f"{name}.png")
        self.content: Content = clean_content()

    def check(self, expected: Expectations | None = None, decode: bool = True) -> Report:
        """Write the JSON file and check it."""
        self.json.write_text(json.dumps(self.content))
        return check_dataset(str(self.json), str(self.images), expected or Expectations(), decode)

    def kinds(self, expected: Expectations | None = None) -> set[tuple[str, str]]:
        """Return severity and kind of everything that is found."""
        return {(finding.severity, finding.kind) for finding in self.check(expected).findings}

    def annotation(self, **changes: Any) -> Content:
        """Change the first annotation, and return it."""
        self.content["annotations"][0].update(changes)
        first: Content = self.content["annotations"][0]
        return first


def clean_content() -> Content:
    """Return annotations without any defect."""
    images = [
        {"id": number, "file_name": f"{name}.png", "width": WIDTH, "height": HEIGHT}
        for number, name in enumerate("abc", start=1)
    ]
    counts = [HEIGHT * 10 + 5, 20, HEIGHT * WIDTH - HEIGHT * 10 - 25]
    annotations = [
        {
            **{"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0},
            **{"bbox": [10, 5, 30, 20], "area": 600},
            "segmentation": [[10, 5, 40, 5, 40, 25, 10, 25]],
        },
        {
            **{"id": 2, "image_id": 2, "category_id": 2, "iscrowd": 0},
            **{"bbox": [0, 0, 20, 30], "area": 300},
            "segmentation": [[0, 0, 20, 0, 0, 30]],
        },
        {
            **{"id": 3, "image_id": 3, "category_id": 1, "iscrowd": 1},
            **{"bbox": [10, 5, 1, 20], "area": 20},
            "segmentation": {"size": [HEIGHT, WIDTH], "counts": counts},
        },
    ]
    categories = [{"id": 1, "name": "cell"}, {"id": 2, "name": "fibre"}]
    return {"images": images, "categories": categories, "annotations": annotations}


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    """A clean data set on disk, to be changed."""
    return DataFolder(tmp_path)
