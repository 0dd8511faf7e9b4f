"""Task ``data``: from image files and annotations to training batches, part by part."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pycocotools.mask as mask_util
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.v2 import functional as F

from d2seg.benchmark.comparison import Comparison, compare
from d2seg.benchmark.data_work import Records
from d2seg.benchmark.rounds import Contestant, Rounds, time_rounds
from d2seg.framework import (
    FRAMEWORK,
    CfgNode,
    DatasetFromList,
    DatasetMapper,
    ResizeShortestEdge,
    ResizeTransform,
    annotations_to_instances,
    read_image,
    transform_instance_annotations,
)
from d2seg.postprocess import shortest_edge_size
from d2seg.train.loader import TrainLoader
from d2seg.train.mapper import build_train_mapper

TORCHVISION = "torchvision"
PILLOW, COCO, BOTH = "Pillow", "pycocotools", "Pillow and pycocotools"
"""What the framework is compared with: the calls that a plain mapper makes."""

TORCHVISION_READS = (".jpg", ".jpeg", ".png", ".webp")
WORKERS = (0, 1, 2)
LOADED_IMAGES = 128
"""Which the whole loader loads in a round. Its workers are started before it, as in a training."""

PREFETCHED = 2
"""Batches that each worker of torch's loader has ready when they are not fetched."""

Work = Callable[[dict[str, Any]], Any]
"""From what belongs to one image to a result."""


class Part(NamedTuple):
    """One part of the work.

    Attributes:
        name: What is done.
        inputs: For each image what all contestants start from.
        contestants: Name to what they do; the first is compared with. They do equal work.
    """

    name: str
    inputs: list[dict[str, Any]]
    contestants: dict[str, Work]


def list_parts(records: Records, cfg: CfgNode) -> list[Part]:
    """Prepare the work on single images.

    Args:
        records: The images.
        cfg: Gives ``INPUT.MIN_SIZE_TEST`` and ``MAX_SIZE_TEST``, to which images are resized.

    Returns:
        Reading to pixels, resizing, bitmaps of polygons (where there are any), bitmaps of RLEs,
        which are resized with their image, and all of it: the mapper.
    """
    items = [_item(record, cfg) for record in records]
    reading: dict[str, Work] = {PILLOW: _read_plainly, FRAMEWORK: _read}
    if all(Path(one["path"]).suffix.lower() in TORCHVISION_READS for one in items):
        reading[TORCHVISION] = _read_by_torchvision
    with_polygons = [one for one in items if one["outlined"]]
    parts = [
        Part("read", items, reading),
        Part(
            "resize",
            items,
            {PILLOW: _resize_plainly, FRAMEWORK: _resize, TORCHVISION: _resize_by_torchvision},
        ),
        Part("polygons to bitmaps", with_polygons, {COCO: _draw_plainly, FRAMEWORK: _draw}),
        Part("RLE to resized bitmaps", items, {BOTH: _decode_plainly, FRAMEWORK: _decode}),
        Part("whole mapper", items, {BOTH: _map_plainly, FRAMEWORK: _own_mapper(cfg)}),
    ]
    return [part for part in parts if part.inputs]


def benchmark_data(
    records: Records,
    cfg: CfgNode,
    rounds: Rounds,
    batch_size: int = 1,
    after_round: Callable[[int], None] = lambda done: None,
) -> dict[str, list[Comparison]]:
    """Compare how long the parts of loading take, and the whole loader by its workers.

    Args:
        records: The images.
        cfg: Of a training; its mapper is used by the loader.
        rounds: How often each is timed.
        batch_size: Of the loader.
        after_round: Is told how many rounds of a part are done.

    Returns:
        Part to one comparison for each contestant, the baseline first.

    Raises:
        ValueError: The batch size is below 1, or an image cannot be used.
    """
    if batch_size < 1:
        raise ValueError(f"The batch size must be at least 1, got {batch_size}.")
    found = {}
    for part in list_parts(records, cfg):
        contestants = [
            Contestant(name, _on_all(work, part.inputs)) for name, work in part.contestants.items()
        ]
        times = time_rounds(contestants, rounds, after_round=after_round)
        found[part.name] = compare(times, contestants[0].name, len(part.inputs))
    num_batches = -(-LOADED_IMAGES // batch_size)
    loaders = [_loader(records, cfg, batch_size, workers, num_batches) for workers in WORKERS]
    times = time_rounds(loaders, rounds, after_round=after_round)
    found["whole loader"] = compare(times, loaders[0].name, num_batches * batch_size)
    return found


def _on_all(work: Work, inputs: Sequence[dict[str, Any]]) -> Callable[[], None]:
    def run() -> None:
        for one in inputs:
            work(one)

    return run


def _loader(
    records: Records, cfg: CfgNode, batch_size: int, workers: int, num_batches: int
) -> Contestant:
    held: Any = DatasetFromList(records, copy=False)
    mapper = build_train_mapper(cfg, held)
    loader = TrainLoader(held, mapper, batch_size, seed=0, num_workers=workers)
    batches: Any = None

    @contextmanager
    def working() -> Iterator[None]:
        """Start the workers, and take what they had ready; nothing works while others are timed."""
        nonlocal batches
        batches = iter(loader)
        try:
            for _ in range(1 + PREFETCHED * workers):
                next(batches)
            yield
        finally:
            batches.close()

    def run() -> None:
        for _ in itertools.islice(batches, num_batches):
            pass

    return Contestant(f"{workers} worker{'s' * (workers != 1)}", run, working)


def _item(record: dict[str, Any], cfg: CfgNode) -> dict[str, Any]:
    """Collect what the parts start from; RLEs are made from polygons where there are none."""
    size_hw = (record["height"], record["width"])
    objects = record["annotations"]
    image = read_image(record["file_name"], "BGR")
    return {
        "path": record["file_name"],
        "image": image,
        "planes": torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))),
        "size_hw": size_hw,
        "new_hw": shortest_edge_size(size_hw, cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST),
        "annotations": objects,
        "outlined": [one for one in objects if isinstance(one["segmentation"], list)],
        "rles": [_as_rle(one["segmentation"], size_hw) for one in objects],
        "record": record,
    }


def _as_rle(segmentation: Any, size_hw: tuple[int, int]) -> dict[str, Any]:
    if isinstance(segmentation, list):
        rle = mask_util.merge(mask_util.frPyObjects(segmentation, *size_hw))
    elif isinstance(segmentation["counts"], list):
        rle = mask_util.frPyObjects(segmentation, *size_hw)
    else:
        return dict(segmentation)
    return {"size": list(size_hw), "counts": rle["counts"].decode()}


def _read(one: dict[str, Any]) -> np.ndarray:
    return read_image(one["path"], "BGR")


def _read_plainly(one: dict[str, Any]) -> np.ndarray:
    with Image.open(one["path"]) as image:
        rgb = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    return np.ascontiguousarray(rgb[:, :, ::-1])


def _read_by_torchvision(one: dict[str, Any]) -> Tensor:
    return decode_image(one["path"], ImageReadMode.RGB, apply_exif_orientation=True)


def _resize(one: dict[str, Any]) -> np.ndarray:
    resized: np.ndarray = ResizeTransform(*one["size_hw"], *one["new_hw"]).apply_image(one["image"])
    return resized


def _resize_plainly(one: dict[str, Any]) -> np.ndarray:
    height, width = one["new_hw"]
    picture = Image.fromarray(one["image"]).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture)


def _resize_by_torchvision(one: dict[str, Any]) -> Tensor:
    return F.resize(one["planes"], list(one["new_hw"]), antialias=True)


def _draw(one: dict[str, Any]) -> Tensor:
    return _bitmaps(one["outlined"], one["size_hw"])


def _draw_plainly(one: dict[str, Any]) -> Tensor:
    size_hw = one["size_hw"]
    drawn = [
        mask_util.decode(mask_util.merge(mask_util.frPyObjects(each["segmentation"], *size_hw)))
        for each in one["outlined"]
    ]
    return torch.from_numpy(np.stack(drawn)).bool()


def _decode(one: dict[str, Any]) -> Tensor:
    resize = ResizeTransform(*one["size_hw"], *one["new_hw"])
    annotations = [
        transform_instance_annotations(_outline_only(annotation, rle), resize, one["new_hw"])
        for annotation, rle in zip(one["annotations"], one["rles"], strict=True)
    ]
    return _bitmaps(annotations, one["new_hw"])


def _outline_only(annotation: dict[str, Any], segmentation: Any) -> dict[str, Any]:
    box = {key: annotation[key] for key in ("bbox", "bbox_mode")}
    return {**box, "segmentation": segmentation}


def _decode_plainly(one: dict[str, Any]) -> Tensor:
    decoded = [_resize_mask(mask_util.decode(rle), one["new_hw"]) for rle in one["rles"]]
    return torch.from_numpy(np.stack(decoded)).bool()


def _resize_mask(mask: np.ndarray, new_hw: tuple[int, int]) -> np.ndarray:
    size_wh = (new_hw[1], new_hw[0])
    return np.asarray(Image.fromarray(mask).resize(size_wh, Image.Resampling.NEAREST))


def _bitmaps(annotations: list[dict[str, Any]], size_hw: tuple[int, int]) -> Tensor:
    masks: Tensor = annotations_to_instances(annotations, size_hw, "bitmask").gt_masks.tensor
    return masks


def _map_plainly(one: dict[str, Any]) -> dict[str, Any]:
    """Read, resize and draw by nothing but Pillow, NumPy and pycocotools."""
    new_hw = one["new_hw"]
    resized = _resize_plainly({**one, "image": _read_plainly(one)})
    scale_xy = [new_hw[1] / one["size_hw"][1], new_hw[0] / one["size_hw"][0]]
    masks = []
    for annotation, rle in zip(one["annotations"], one["rles"], strict=True):
        if isinstance(annotation["segmentation"], list):
            scaled = [
                (np.reshape(polygon, (-1, 2)) * scale_xy).reshape(-1).tolist()
                for polygon in annotation["segmentation"]
            ]
            masks.append(mask_util.decode(mask_util.merge(mask_util.frPyObjects(scaled, *new_hw))))
        else:
            masks.append(_resize_mask(mask_util.decode(rle), new_hw))
    planes = torch.from_numpy(np.ascontiguousarray(resized.transpose(2, 0, 1)))
    return {"image": planes, "masks": torch.from_numpy(np.stack(masks)).bool()}


def _own_mapper(cfg: CfgNode) -> Work:
    """Return the framework's mapper, set up to do that work: one size, no flip, bitmaps."""
    mapper = DatasetMapper(
        True,
        augmentations=[ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)],
        image_format="BGR",
        use_instance_mask=True,
        instance_mask_format="bitmask",
    )

    return lambda one: mapper(one["record"])
