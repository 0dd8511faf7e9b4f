#!/usr/bin/env python
"""Cluster the annotated objects of a data set by their features, and compare with the categories.

    cluster_features.py --config-file config.yaml --json val.json --image-root val --output clusters

The features are those of the annotated boxes, not of detections. The output folder gets
clusters.png (a row of objects for each cluster), objects.csv and agreement.json.
Needs scikit-learn.
"""

import argparse
import csv
import io
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from pycocotools.coco import COCO

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from d2seg.cli import USER_ERRORS, describe_error
from d2seg.cli.arguments import add_config_file, add_overrides, move_overrides
from d2seg.cli.progress import track
from d2seg.config import load_config
from d2seg.core.runtime.files import PathManager, replace_when_complete
from d2seg.features import FeatureExtractor
from d2seg.features.clustering import (
    Agreement,
    chance_agreement,
    find_clusters,
    measure_agreement,
    unit_vectors,
)
from d2seg.features.pictures import feature_grid, object_crops
from d2seg.framework import CfgNode, DetectionCheckpointer, build_model
from d2seg.images import load_image, prepare_image
from d2seg.postprocess import rescale_boxes

SHOWN, CAPTION_PIXELS = 12, 18
"""Objects in the row of a cluster, and the height of the line above it."""


class Annotated(NamedTuple):
    """An annotated object; its box is XYXY pixels of the image."""

    image: str
    annotation_id: int
    category: str
    box_xyxy: tuple[float, float, float, float]


def read_objects(json_file: str, min_side: float, min_objects: int) -> list[list[Annotated]]:
    """Return the objects of each image that has any.

    Args:
        json_file: COCO-format annotations. Crowds are left out.
        min_side: Objects with a shorter side below so many pixels are left out.
        min_objects: Of the rest, categories with fewer objects are left out.

    Raises:
        ValueError: Fewer than two categories are left.
    """
    with redirect_stdout(io.StringIO()):  # pycocotools says how long it took
        coco = COCO(PathManager.get_local_path(json_file))
    groups = [list(_objects_of(coco, image, min_side)) for image in coco.imgs.values()]
    counts = Counter(one.category for group in groups for one in group)
    kept = {category for category, number in counts.items() if number >= min_objects}
    if len(kept) < 2:
        raise ValueError(
            f"'{json_file}' has {len(kept)} categories with at least {min_objects} object(s) of "
            f"{min_side:g} pixels or more; two are needed. Lower --min-objects or --min-side."
        )
    groups = [[one for one in group if one.category in kept] for group in groups]
    return [group for group in groups if group]


def _objects_of(coco: COCO, image: Mapping[str, Any], min_side: float) -> Iterator[Annotated]:
    for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]], iscrowd=False)):
        left, top, width, height = annotation["bbox"]
        if min(width, height) >= max(min_side, 1):
            category = coco.cats[annotation["category_id"]]["name"]
            box = (left, top, left + width, top + height)
            yield Annotated(image["file_name"], annotation["id"], category, box)


def describe_objects(
    group: Sequence[Annotated], image_root: Path, extractor: FeatureExtractor, cfg: CfgNode
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the vectors (N, D) of the N objects of an image, and a picture of each.

    Args:
        group: The objects.
        image_root: The folder of the image.
        extractor: Of one stage with a row for each object.
        cfg: The config of the extractor's model.

    Raises:
        ValueError: The stage has no such rows.
    """
    image = load_image(image_root / group[0].image, cfg.INPUT.FORMAT)
    model_input = prepare_image(image, cfg)
    boxes = torch.tensor([one.box_xyxy for one in group], dtype=torch.float32)
    scaled = rescale_boxes(boxes, image.shape[:2], model_input["image"].shape[1:])
    (stage,) = extractor.stages
    features = extractor.extract([model_input], boxes=[scaled])[0].get(stage)
    if features is None or len(features) != len(group):
        raise ValueError(
            f"The stage '{stage}' has no row for each object; use one that has, such as box_head."
        )
    rgb = image if cfg.INPUT.FORMAT == "RGB" else image[..., ::-1]
    return unit_vectors(features), object_crops(np.ascontiguousarray(rgb), boxes)


def draw_clusters(
    objects: Sequence[Annotated],
    crops: Sequence[np.ndarray],
    vectors: np.ndarray,
    clusters: np.ndarray,
) -> Image.Image:
    """Draw a row for each cluster: its most frequent categories, and the objects at its centre."""
    rows = []
    for cluster in range(clusters.max() + 1):
        members = np.flatnonzero(clusters == cluster)
        closeness = vectors[members] @ vectors[members].mean(axis=0)
        nearest = members[np.argsort(-closeness, kind="stable")][:SHOWN].tolist()
        pictures = [crops[index] for index in nearest]
        pictures += [np.full_like(pictures[0], 255)] * (SHOWN - len(pictures))
        caption = _caption([objects[index].category for index in members.tolist()])
        rows.append((caption, feature_grid(pictures, SHOWN)))
    return _stack(rows)


def _caption(categories: Sequence[str]) -> str:
    counts = Counter(categories).most_common()
    named = ", ".join(f"{number} {category}" for category, number in counts[:6])
    return f"{len(categories)} objects: {named}{', ...' if len(counts) > 6 else ''}"


def _stack(rows: Sequence[tuple[str, np.ndarray]]) -> Image.Image:
    """Put captioned pictures of equal size below each other."""
    height, width = rows[0][1].shape[:2]
    step = height + 2 * CAPTION_PIXELS
    sheet = Image.new("RGB", (width, len(rows) * step), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(CAPTION_PIXELS - 5)
    for index, (caption, picture) in enumerate(rows):
        draw.text((0, index * step), caption, "black", font)
        sheet.paste(Image.fromarray(picture), (0, index * step + CAPTION_PIXELS))
    return sheet


def write_csv(path: Path, objects: Sequence[Annotated], clusters: np.ndarray) -> None:
    """Write a line for each object."""
    columns = ["image", "annotation_id", "category", "cluster", "x0", "y0", "x1", "y1"]
    with (
        replace_when_complete(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(columns)
        for one, cluster in zip(objects, clusters.tolist(), strict=True):
            writer.writerow([one.image, one.annotation_id, one.category, cluster, *one.box_xyxy])


def print_agreement(found: Agreement, chance: Agreement) -> None:
    """Print a line for each measure, beside what chance gives."""
    print(f"{'':<28} {'found':>6} {'chance':>7}")
    for name, value in found._asdict().items():
        print(f"{name.replace('_', ' '):<28} {value:6.3f} {getattr(chance, name):7.3f}")


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add_config_file(parser)
    parser.add_argument("--json", required=True, metavar="FILE", help="COCO annotations")
    parser.add_argument(
        "--image-root", required=True, type=Path, metavar="DIR", help="folder of the images"
    )
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="output folder")
    parser.add_argument(
        "--stage",
        default="box_head",
        help="features with a row for each object; pooled ones are averaged (default: box_head)",
    )
    parser.add_argument(
        "--clusters", type=int, metavar="K", help="(default: the number of categories)"
    )
    parser.add_argument(
        "--min-side", type=float, default=16, metavar="PIXELS", help="of objects (default: 16)"
    )
    parser.add_argument(
        "--min-objects", type=int, default=1, metavar="N", help="of a category (default: 1)"
    )
    add_overrides(parser)
    args = parser.parse_args(arguments)
    move_overrides(args)
    return args


def main(arguments: Sequence[str] | None = None) -> None:
    """Extract, cluster, compare and write."""
    args = parse_arguments(arguments)
    cfg = load_config(args.config_file, args.opts)
    groups = read_objects(args.json, args.min_side, args.min_objects)
    torch.manual_seed(0)  # for random weights
    model = build_model(cfg)
    extractor = FeatureExtractor(model, [args.stage])
    if not cfg.MODEL.WEIGHTS:
        print("MODEL.WEIGHTS is empty: these are the features of random weights.")
    DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)

    parts = [
        describe_objects(group, args.image_root, extractor, cfg)
        for group in track(groups, "features")
    ]
    vectors = np.concatenate([part[0] for part in parts])
    crops = [crop for part in parts for crop in part[1]]
    objects = [one for group in groups for one in group]
    categories, images = [one.category for one in objects], [one.image for one in objects]

    clusters = find_clusters(vectors, args.clusters or len(set(categories)))
    found = measure_agreement(vectors, clusters, categories, images)
    chance = chance_agreement(vectors, clusters, categories, images)
    print(
        f"{len(objects)} objects of {len(set(categories))} categories in {len(groups)} images, "
        f"{clusters.max() + 1} clusters of {args.stage} ({vectors.shape[1]} numbers each)"
    )
    print_agreement(found, chance)

    write_csv(args.output / "objects.csv", objects, clusters)
    with replace_when_complete(args.output / "agreement.json") as temporary:
        result = {"stage": args.stage, "found": found._asdict(), "chance": chance._asdict()}
        temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    with replace_when_complete(args.output / "clusters.png") as temporary:
        draw_clusters(objects, crops, vectors, clusters).save(temporary)
    print(f"{args.output}/: clusters.png, objects.csv, agreement.json")


if __name__ == "__main__":
    try:
        main()
    except USER_ERRORS as error:
        sys.exit(f"error: {describe_error(error)}")
