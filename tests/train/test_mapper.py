"""Large-scale jitter and copy-paste on real images, and configs that do not go together."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
import pytest
import torch
from PIL import Image

from d2seg.config import add_d2seg_config
from d2seg.framework import (
    BitMasks,
    CfgNode,
    DatasetCatalog,
    DatasetMapper,
    MetadataCatalog,
    get_cfg,
    register_coco_instances,
)
from d2seg.train.copy_paste import CopyPasteMapper
from d2seg.train.mapper import build_train_mapper

NUCLEI = Path(__file__).parents[1] / "data" / "nuclei"
NAME = "nuclei_for_the_mapper"
PASTE = ("INPUT.COPY_PASTE.ENABLED", True, "INPUT.COPY_PASTE.PROBABILITY", 1.0)
LSJ = ("INPUT.LSJ.ENABLED", True, "INPUT.LSJ.SIZE", 300)


@pytest.fixture(scope="module")
def nuclei() -> Iterator[list[dict[str, Any]]]:
    annotations = str(NUCLEI / "instances_val.json")
    register_coco_instances(NAME, {}, annotations, str(NUCLEI / "images"))
    yield DatasetCatalog.get(NAME)
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


def config(*overrides: Any) -> CfgNode:
    """Masks are on and bitmaps, nothing is random but what the overrides ask for."""
    cfg = get_cfg()
    add_d2seg_config(cfg)
    fixed = ["MODEL.MASK_ON", True, "INPUT.MASK_FORMAT", "bitmask", "INPUT.RANDOM_FLIP", "none"]
    cfg.merge_from_list([*fixed, "INPUT.MIN_SIZE_TRAIN", (200,), *overrides])
    return cfg


def extents(masks: np.ndarray) -> list[list[float]]:
    """Boxes around masks, one after the other."""
    return [[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] for ys, xs in map(np.nonzero, masks)]


def white_image(folder: Path, size_wh: tuple[int, int], **more: Any) -> dict[str, Any]:
    """The entry of an image that is white all over."""
    path = folder / "white.png"
    Image.new("RGB", size_wh, "white").save(path)
    width, height = size_wh
    return {"file_name": str(path), "width": width, "height": height, **more}


def test_keys() -> None:
    cfg = get_cfg()
    add_d2seg_config(cfg)
    jitter, paste = cfg.INPUT.LSJ, cfg.INPUT.COPY_PASTE
    assert jitter == {"ENABLED": False, "SIZE": 1024, "MIN_SCALE": 0.1, "MAX_SCALE": 2.0}
    assert paste == {"ENABLED": False, "PROBABILITY": 0.5, "MAX_OBJECTS": 0, "BLEND": 0.0}


def test_off_by_default(nuclei: list[dict[str, Any]]) -> None:
    cfg = get_cfg()
    add_d2seg_config(cfg)
    mapper = build_train_mapper(cfg, [])
    assert type(mapper) is DatasetMapper
    np.random.seed(5)
    ours = mapper(nuclei[2])
    np.random.seed(5)
    plain = DatasetMapper(cfg, is_train=True)(nuclei[2])
    assert torch.equal(ours["image"], plain["image"])
    boxes, expected = ours["instances"].gt_boxes.tensor, plain["instances"].gt_boxes.tensor
    assert torch.equal(boxes, expected)


@pytest.mark.parametrize("index", [0, 9, 33])
def test_what_is_pasted_is_the_other_image(nuclei: list[dict[str, Any]], index: int) -> None:
    """Without random flips and sizes, both images can be mapped once more to compare."""
    result = build_train_mapper(config(*PASTE), nuclei)(nuclei[index])
    (source_entry,) = [i for i in nuclei if i["file_name"] == result["pasted_from"]]
    plain = DatasetMapper(config(), is_train=True)
    target, source = plain(nuclei[index]), plain(source_entry)
    masks = result["instances"].gt_masks.tensor
    height, width = (
        min(sizes)
        for sizes in zip(target["image"].shape[1:], source["image"].shape[1:], strict=True)
    )
    # The pasted objects come last; each is an object of the source, cut to what both images have.
    candidates = torch.zeros((len(source["instances"]), *masks.shape[1:]), dtype=torch.bool)
    candidates[:, :height, :width] = source["instances"].gt_masks.tensor[:, :height, :width]
    own = target["instances"].gt_masks.tensor
    is_pasted = [any(torch.equal(mask, other) for other in candidates) for mask in masks]
    pasted = masks[sum(not flag for flag in is_pasted) :]
    assert 0 < len(pasted) == sum(is_pasted)
    covered = pasted.any(dim=0)
    seen = covered[:height, :width]
    assert torch.equal(
        result["image"][:, :height, :width][:, seen], source["image"][:, :height, :width][:, seen]
    )
    assert torch.equal(result["image"][:, ~covered], target["image"][:, ~covered])
    # Every object of the target is there without what is covered, or hardly anything is left of it.
    left = {mask.numpy().tobytes() for mask in masks[: -len(pasted)]}
    for whole in own:
        rest = whole & ~covered
        hardly_any = rest.sum() < max(10, 0.1 * whole.sum())
        assert rest.numpy().tobytes() in left or hardly_any
    assert len(left) <= len(own)


@pytest.mark.parametrize("jitter", [(), LSJ])
def test_masks_are_apart_and_boxes_around_them(
    nuclei: list[dict[str, Any]], jitter: tuple[Any, ...]
) -> None:
    cfg = config(*PASTE, *jitter, "INPUT.RANDOM_FLIP", "horizontal")
    mapper = build_train_mapper(cfg, nuclei)
    pasted = 0
    for entry in nuclei[:60:6]:
        result = mapper(entry)
        instances = result["instances"]
        assert isinstance(instances.gt_masks, BitMasks)
        masks = instances.gt_masks.tensor.numpy()
        assert masks.shape == (len(instances.gt_classes), *result["image"].shape[1:])
        assert instances.gt_boxes.tensor.tolist() == extents(masks)
        assert masks.sum(axis=0).max(initial=0) <= 1
        assert masks.any(axis=(1, 2)).all()
        pasted += "pasted_from" in result
    assert pasted >= 8  # jitter may leave the other image without objects


@pytest.mark.parametrize("jitter", [(), LSJ])
def test_the_same_seed_gives_the_same_sample(
    nuclei: list[dict[str, Any]], jitter: tuple[Any, ...]
) -> None:
    mapper = build_train_mapper(config(*PASTE, *jitter), nuclei)
    samples = []
    for seed in (3, 3, 4):
        np.random.seed(seed)
        samples.append(mapper(nuclei[7]))
    first, again, other = samples
    assert first["pasted_from"] == again["pasted_from"]
    assert torch.equal(first["image"], again["image"])
    for name in ("gt_masks", "gt_boxes"):
        held, repeated = (getattr(s["instances"], name).tensor for s in (first, again))
        assert torch.equal(held, repeated)
    assert not torch.equal(first["image"], other["image"])


@pytest.mark.parametrize(("scale", "expected_hw"), [(1.0, (300, 200)), (0.5, (150, 100))])
def test_jitter_scales_to_fit_and_pads(
    tmp_path: Path, scale: float, expected_hw: tuple[int, int]
) -> None:
    cfg = config(*LSJ, "INPUT.LSJ.MIN_SCALE", scale, "INPUT.LSJ.MAX_SCALE", scale)
    cfg.MODEL.PIXEL_MEAN = [10.0, 20.0, 33.0]
    image = build_train_mapper(cfg, [])(white_image(tmp_path, (20, 30)))["image"]
    height, width = expected_hw
    expected = torch.full((3, 300, 300), 21, dtype=torch.uint8)
    expected[:, :height, :width] = 255
    assert torch.equal(image, expected)


def test_jitter_cuts_what_is_larger(nuclei: list[dict[str, Any]]) -> None:
    cfg = config(*LSJ, "INPUT.LSJ.MIN_SCALE", 2.0)
    entry = nuclei[2]
    cut = build_train_mapper(cfg, nuclei)(entry)
    whole = DatasetMapper(config("INPUT.MIN_SIZE_TRAIN", (600,)), is_train=True)(entry)
    assert cut["image"].shape == (3, 300, 300) and whole["image"].shape == (3, 600, 600)
    windows = whole["image"].unfold(1, 300, 1).unfold(2, 300, 1)[0]  # (y, x, 300, 300)
    corners = (windows[:, :, ::50, ::50] == cut["image"][0, ::50, ::50]).all(dim=-1).all(dim=-1)
    matches = [
        (y, x) for y, x in corners.nonzero().tolist() if torch.equal(windows[y, x], cut["image"][0])
    ]
    assert len(matches) == 1
    y, x = matches[0]
    full = whole["instances"].gt_masks.tensor[:, y : y + 300, x : x + 300]
    masks = cut["instances"].gt_masks.tensor
    assert (
        masks.any(dim=0) ^ full.any(dim=0)
    ).float().mean() < 0.002  # cut as polygons, by shapely
    assert cut["instances"].gt_boxes.tensor.tolist() == extents(masks.numpy())


def test_jitter_flips_as_the_config_says(tmp_path: Path) -> None:
    Image.fromarray(np.tile(np.arange(30, dtype=np.uint8), (30, 1))).save(tmp_path / "ramp.png")
    entry = {"file_name": str(tmp_path / "ramp.png"), "width": 30, "height": 30}
    same = ("INPUT.LSJ.MIN_SCALE", 1.0, "INPUT.LSJ.MAX_SCALE", 1.0, "INPUT.LSJ.SIZE", 30)
    rows = {}
    for flip in ("none", "horizontal", "vertical"):
        mapper = build_train_mapper(config(*LSJ, *same, "INPUT.RANDOM_FLIP", flip), [])
        rows[flip] = {int(mapper(entry)["image"][0, 0, 0]) for _ in range(20)}
    assert rows == {"none": {0}, "horizontal": {0, 29}, "vertical": {0}}


def test_jitter_keeps_polygons(nuclei: list[dict[str, Any]]) -> None:
    cfg = config(*LSJ, "INPUT.MASK_FORMAT", "polygon")
    instances = build_train_mapper(cfg, nuclei)(nuclei[5])["instances"]
    assert len(instances) > 0
    for parts, box in zip(instances.gt_masks, instances.gt_boxes.tensor, strict=True):
        points_xy = np.concatenate(parts).reshape(-1, 2)
        bounds = [*points_xy.min(axis=0), *points_xy.max(axis=0)]
        assert box.tolist() == pytest.approx(bounds, rel=1e-6)


def test_jitter_turns_images_as_their_exif_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # turned by 90 degrees
    Image.new("RGB", (30, 20), "white").save(tmp_path / "turned.jpg", exif=exif)
    entry = {"file_name": str(tmp_path / "turned.jpg"), "width": 20, "height": 30}
    cfg = config(*LSJ, "INPUT.LSJ.MIN_SCALE", 1.0, "INPUT.LSJ.MAX_SCALE", 1.0)
    image = build_train_mapper(cfg, [])(entry)["image"]
    assert (image[:, :, :200] > 250).all() and (image[:, :, 200:] < 130).all()


@pytest.mark.parametrize("with_labels", [False, True])
def test_padding_belongs_to_no_object_and_no_class(tmp_path: Path, with_labels: bool) -> None:
    mask = np.zeros((30, 20), dtype=np.uint8, order="F")
    mask[:, 10:] = 1
    annotation = {
        "bbox": [10, 0, 10, 30],
        "bbox_mode": 1,
        "category_id": 0,
        "iscrowd": 0,
        "segmentation": mask_util.encode(mask),
    }
    entry = white_image(tmp_path, (20, 30), annotations=[annotation])
    if with_labels:
        Image.fromarray(mask + 4).save(tmp_path / "labels.png")
        entry["sem_seg_file_name"] = str(tmp_path / "labels.png")
    cfg = config(*LSJ, "INPUT.LSJ.MIN_SCALE", 0.5, "INPUT.LSJ.MAX_SCALE", 0.5)
    cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE = 254
    mapper = build_train_mapper(cfg, [entry])
    assert isinstance(mapper, DatasetMapper)
    # Only where there are labels: frameworks may pad RLE masks with the same value.
    assert mapper.augmentations.augs[-1].seg_pad_value == (254 if with_labels else 0)
    result = mapper(entry)
    assert result["instances"].gt_boxes.tensor.tolist() == [[50, 0, 100, 150]]
    assert result["instances"].gt_masks.area().tolist() == [50 * 150]
    if with_labels:
        expected = torch.full((300, 300), 254)
        expected[:150, :50], expected[:150, 50:100] = 4, 5
        assert torch.equal(result["sem_seg"], expected)


def test_jitter_without_masks(nuclei: list[dict[str, Any]]) -> None:
    instances = build_train_mapper(config(*LSJ, "MODEL.MASK_ON", False), nuclei)(nuclei[5])[
        "instances"
    ]
    assert len(instances) > 0 and not instances.has("gt_masks")
    assert instances.gt_boxes.tensor.min() >= 0 and instances.gt_boxes.tensor.max() <= 300


@pytest.mark.parametrize("jitter", [(), LSJ])
def test_images_without_objects(
    tmp_path: Path, nuclei: list[dict[str, Any]], jitter: tuple[Any, ...]
) -> None:
    empty = white_image(tmp_path, (200, 260), annotations=[])
    cfg = config(*PASTE, *jitter)
    onto_empty = build_train_mapper(cfg, [empty, nuclei[0]])(empty)
    assert len(onto_empty["instances"]) > 0
    assert onto_empty["pasted_from"] == nuclei[0]["file_name"]
    from_empty = build_train_mapper(cfg, [empty, nuclei[0]])(nuclei[0])
    assert "pasted_from" not in from_empty and len(from_empty["instances"]) > 0
    assert len(build_train_mapper(cfg, [empty])(empty)["instances"]) == 0


def test_it_goes_to_worker_processes(nuclei: list[dict[str, Any]]) -> None:
    mapper = build_train_mapper(config(*PASTE, *LSJ), nuclei[:3])
    assert isinstance(mapper, CopyPasteMapper)
    moved = pickle.loads(pickle.dumps(mapper))
    images = []
    for one in (mapper, moved):
        np.random.seed(1)
        images.append(one(nuclei[0])["image"])
    assert torch.equal(*images)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([*PASTE, "INPUT.MASK_FORMAT", "polygon"], "needs INPUT.MASK_FORMAT bitmask; .* 'polygon'"),
        ([*PASTE, "MODEL.MASK_ON", False], "along their masks, but MODEL.MASK_ON is False. Change"),
        ([*PASTE, "MODEL.KEYPOINT_ON", True], "which keypoints it covers, but MODEL.KEYPOINT_ON"),
        ([*PASTE, "MODEL.LOAD_PROPOSALS", True], "no proposals for pasted objects"),
        ([*PASTE, "INPUT.COPY_PASTE.PROBABILITY", 1.5], "PROBABILITY is 0 to 1; found 1.5"),
        ([*PASTE, "INPUT.COPY_PASTE.MAX_OBJECTS", -1], "MAX_OBJECTS is 0 or more; found -1"),
        ([*PASTE, "INPUT.COPY_PASTE.BLEND", -0.5], "BLEND is 0 or more; found -0.5"),
        ([*LSJ, "INPUT.LSJ.SIZE", 0], "SIZE is 0; it is the side of a square"),
        ([*LSJ, "INPUT.LSJ.MIN_SCALE", 0.0], "above 0 and at most MAX_SCALE; found 0.0 and 2.0"),
        ([*LSJ, "INPUT.LSJ.MIN_SCALE", 2.5], "at most MAX_SCALE; found 2.5 and 2.0"),
        ([*LSJ, "INPUT.CROP.ENABLED", True], "set INPUT.CROP.ENABLED or INPUT.LSJ.ENABLED to"),
    ],
)
def test_what_does_not_go_together(overrides: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_train_mapper(config(*overrides), [{"file_name": "a.png"}])


def test_no_images_to_copy_from() -> None:
    with pytest.raises(ValueError, match="needs images to copy objects from; found none"):
        build_train_mapper(config(*PASTE), [])
