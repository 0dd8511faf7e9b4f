#!/usr/bin/env python
"""Make the label maps of stuff that Panoptic FPN is trained on, from COCO's panoptic annotations.

    prepare_panoptic_fpn.py --json panoptic.json --panoptic panoptic_train --output stuff_train

A label map has 0 where a thing is, 1 and on for the categories of stuff in the order of their ids,
and 255 where nothing is annotated (arXiv:1901.02446).
"""

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from d2seg.cli import USER_ERRORS, describe_error
from d2seg.core.runtime.files import replace_when_complete
from d2seg.core.runtime.untrusted.images import open_image

THING, UNLABELED = 0, 255


def label_of_category(categories: Sequence[dict[str, Any]]) -> dict[int, int]:
    """Return the value in a label map of each category id.

    Args:
        categories: Of a panoptic JSON file, with ``id`` and ``isthing``.

    Raises:
        ValueError: There is more stuff than a label map of 8 bits has room for.
    """
    stuff = sorted(category["id"] for category in categories if not category["isthing"])
    if len(stuff) >= UNLABELED:
        raise ValueError(
            f"Label maps have room for {UNLABELED - 1} categories of stuff, not {len(stuff)}."
        )
    labels = {category["id"]: THING for category in categories}
    return {**labels, **{id_: label for label, id_ in enumerate(stuff, start=1)}}


def make_label_map(
    panoptic: np.ndarray, segments: Sequence[dict[str, Any]], labels: dict[int, int]
) -> np.ndarray:
    """Return the label map (H, W) uint8 of an image.

    Args:
        panoptic: (H, W, 3) uint8, RGB; R + 256 G + 65536 B is the id of a segment.
        segments: ``segments_info`` of the image.
        labels: See `label_of_category`.
    """
    ids = panoptic.astype(np.uint32) @ np.array([1, 256, 256**2], dtype=np.uint32)
    label_map = np.full(ids.shape, UNLABELED, dtype=np.uint8)
    for segment in segments:
        label_map[ids == segment["id"]] = labels[segment["category_id"]]
    return label_map


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a label map for every annotated image."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--json", required=True, type=Path, help="COCO's panoptic JSON file")
    parser.add_argument("--panoptic", required=True, type=Path, help="folder of its PNG files")
    parser.add_argument("--output", required=True, type=Path, help="folder for the label maps")
    args = parser.parse_args(arguments)

    content = json.loads(args.json.read_text(encoding="utf-8"))
    labels = label_of_category(content["categories"])

    def convert(annotation: dict[str, Any]) -> None:
        with open_image(args.panoptic / annotation["file_name"]) as image:
            panoptic = np.asarray(image.convert("RGB"))
        label_map = make_label_map(panoptic, annotation["segments_info"], labels)
        with replace_when_complete(args.output / annotation["file_name"]) as temporary:
            Image.fromarray(label_map).save(temporary)

    with ThreadPoolExecutor() as pool:
        done = len(list(pool.map(convert, content["annotations"])))
    print(f"{args.output}/: {done} label map(s), {max(labels.values())} categories of stuff")


if __name__ == "__main__":
    try:
        main()
    except USER_ERRORS as error:
        sys.exit(f"error: {describe_error(error)}")
