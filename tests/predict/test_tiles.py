"""Images cut into tiles: what is found is as if they had not been cut."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from d2seg.assets import DEMO_CONFIG_FILE
from d2seg.images import load_image
from d2seg.predict import Predictor
from d2seg.predict.masks import ImageMasks
from d2seg.predict.prediction import Prediction
from d2seg.predict.tiles import Tiles
from tests.conftest import ROOT
from tests.predict.conftest import Stored
from tests.reference import deterministic

NUCLEI = ROOT / "tests" / "data" / "nuclei" / "images"


def ellipses(seed: int, size_hw: tuple[int, int], number: int) -> np.ndarray:
    """Paint (H, W, 3) uint8; object k has the grey value k + 1.

    None covers another: two tiles could see parts of it that do not touch, which nothing joins.
    """
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]]
    painted = np.zeros(size_hw, np.uint8)
    for value in range(1, number + 1):
        y, x = generator.uniform(0, size_hw)
        radius_y, radius_x = generator.uniform(3, 30, 2)
        inside = ((rows - y) / radius_y) ** 2 + ((columns - x) / radius_x) ** 2 < 1
        if not painted[inside].any():
            painted[inside] = value
    return np.repeat(painted[:, :, None], 3, axis=2)


def find_values(images: Sequence[np.ndarray], keypoints: bool = False) -> list[Prediction]:
    """Find each grey value; its object has its own score, and the class of its parity."""
    return [_find(image[:, :, 0], keypoints) for image in images]


def _find(image: np.ndarray, keypoints: bool) -> Prediction:
    values = [value for value in np.unique(image).tolist() if value]
    masks = torch.from_numpy(np.stack([image == value for value in [*values, 0]])[:-1])
    size_hw = (image.shape[0], image.shape[1])
    boxes = []
    for mask in masks.numpy():
        rows, columns = np.nonzero(mask)
        boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    corners = torch.tensor(np.array(boxes, np.float32).reshape(-1, 4))
    return Prediction(
        boxes=corners,
        scores=torch.tensor([value / 256 for value in values]),
        classes=torch.tensor([value % 2 for value in values], dtype=torch.int64),
        class_names=("even", "odd"),
        image_size=size_hw,
        keypoints=torch.nn.functional.pad(corners[:, None, :2], (0, 1)) if keypoints else None,
        mask_source=ImageMasks.from_pixels(masks, size_hw),
    )


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 10_000),
    size_hw=st.tuples(st.integers(40, 160), st.integers(40, 160)),
    tile_hw=st.tuples(st.integers(40, 80), st.integers(40, 80)),
    overlap=st.sampled_from([0.2, 0.3, 0.5]),
)
def test_tiles_cover_the_image_and_overlap(
    seed: int, size_hw: tuple[int, int], tile_hw: tuple[int, int], overlap: float
) -> None:
    boxes = np.array(list(Tiles(tile_hw, overlap).boxes_xyxy(size_hw)))
    seen = np.zeros(size_hw, int)
    for left, top, right, bottom in boxes.tolist():
        assert (bottom - top, right - left) == (
            min(tile_hw[0], size_hw[0]),
            min(tile_hw[1], size_hw[1]),
        )
        seen[top:bottom, left:right] += 1
    assert seen.min() == 1
    for starts, tile in (
        (np.unique(boxes[:, 1]), tile_hw[0]),
        (np.unique(boxes[:, 0]), tile_hw[1]),
    ):
        assert (np.diff(starts) <= tile * (1 - overlap) + 1).all()


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), batch_size=st.sampled_from([1, 3]))
def test_objects_are_found_once_and_whole(seed: int, batch_size: int) -> None:
    image = ellipses(seed, (150, 230), 1 + seed % 3)
    (whole,) = find_values([image])
    found = Tiles((60, 90), 0.4).run(find_values, image, batch_size)
    best_first = whole.scores.argsort(descending=True)
    expected = whole[best_first]
    assert found.image_size == (150, 230)
    assert found.scores.tolist() == expected.scores.tolist()
    assert found.boxes.tolist() == expected.boxes.tolist()
    assert torch.equal(found.classes, expected.classes)
    assert torch.equal(found.masks(), expected.masks())


def test_an_object_across_four_tiles_is_united() -> None:
    image = np.zeros((100, 160, 3), np.uint8)
    image[20:90, 10:150] = 7
    found = Tiles((60, 100), 0.25).run(find_values, image, 2)
    assert found.boxes.tolist() == [[10.0, 20.0, 150.0, 90.0]]
    assert int(found.masks().sum()) == 70 * 140


def test_neighbours_of_one_class_stay_apart() -> None:
    image = np.zeros((60, 200, 3), np.uint8)
    image[10:50, 20:95] = 3
    image[10:50, 95:180] = 5
    found = Tiles((60, 100), 0.5).run(find_values, image, 4)
    assert sorted(found.boxes.tolist()) == [[20.0, 10.0, 95.0, 50.0], [95.0, 10.0, 180.0, 50.0]]


def test_classes_stay_apart() -> None:
    image = np.zeros((60, 160, 3), np.uint8)
    image[20:40, 60:90] = 4
    image[30:40, 60:90] = 5  # another class, at the same place but for a part
    found = Tiles((60, 100), 0.5).run(find_values, image, 4)
    assert sorted(found.names) == ["even", "odd"]


def test_without_masks_boxes_are_joined_and_keypoints_moved() -> None:
    def find(images: Sequence[np.ndarray]) -> list[Prediction]:
        found = find_values(images, keypoints=True)
        return [Prediction(**{**vars(one), "mask_source": None}) for one in found]

    image = np.zeros((50, 300, 3), np.uint8)
    image[5:20, 80:110] = 2
    image[15:45, 240:290] = 6
    found = Tiles((50, 120), 0.4).run(find, image, 1)
    assert found.boxes.tolist() == [[240.0, 15.0, 290.0, 45.0], [80.0, 5.0, 110.0, 20.0]]
    assert found.keypoints is not None
    assert found.keypoints[:, 0].tolist() == [[240.0, 15.0, 0.0], [80.0, 5.0, 0.0]]


@pytest.mark.parametrize("size_hw", [(40, 100), (60, 90)])
def test_small_images_are_not_cut(size_hw: tuple[int, int]) -> None:
    sizes = []

    def find(images: Sequence[np.ndarray]) -> list[Prediction]:
        sizes.extend([image.shape[:2] for image in images])
        return find_values(images)

    Tiles((60, 100), 0.25).run(find, ellipses(1, size_hw, 2), 8)
    assert sizes == [size_hw]


def test_nothing_in_any_tile() -> None:
    found = Tiles((30, 40), 0.25).run(find_values, np.zeros((70, 50, 3), np.uint8), 2)
    assert len(found) == 0
    assert found.masks().shape == (0, 70, 50)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"tile_hw": (0, 5)},
            r"tile_hw \(--tile\) is \(0, 5\), but must be a positive height and width",
        ),
        (
            {"tile_hw": (9, 9), "tile_overlap": 0.95},
            r"tile_overlap \(--tile-overlap\) is 0.95, but must lie in 0..0.9",
        ),
    ],
)
def test_bad_tiles_are_named(stored: Stored, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Predictor(stored.cfg, **options)


def test_a_predictor_runs_tiles_of_the_image(stored: Stored) -> None:
    image = deterministic.image(4, 120, 300)
    plain, cut = Predictor(stored.cfg), Predictor(stored.cfg, tile_hw=(120, 160), tile_overlap=0.2)
    assert len(cut(image[:, :160], "BGR")) == len(plain(image[:, :160], "BGR"))
    found = cut(image, "BGR")
    assert found.image_size == (120, 300)
    assert len(found) > len(plain(image, "BGR"))
    as_float = torch.from_numpy(image.copy()).permute(2, 0, 1).float()
    assert torch.equal(cut(as_float, "BGR").boxes, found.boxes)


@pytest.mark.slow
def test_tiles_of_a_large_image_find_what_its_parts_have(record_property: Any) -> None:
    pictures = [load_image(path, "RGB") for path in sorted(NUCLEI.glob("*.png"))]
    pictures = [picture for picture in pictures if picture.shape[:2] == (256, 256)][10:12]
    mosaic = np.concatenate(pictures, axis=1)
    plain = Predictor(DEMO_CONFIG_FILE, score_threshold=0.5)
    expected = []
    for column, picture in enumerate(pictures):
        runs = plain(picture, "RGB").masks().numpy()
        whole = np.zeros((len(runs), 256, 512), np.uint8)
        whole[:, :, column * 256 : column * 256 + 256] = runs
        expected += [coco_mask.encode(np.asfortranarray(one)) for one in whole]
    found = Predictor(DEMO_CONFIG_FILE, score_threshold=0.5, tile_hw=(256, 256))(mosaic, "RGB")
    iou = coco_mask.iou(found.rle(), expected, [0] * len(expected))
    again = int((iou.max(0) > 0.5).sum())
    assert again >= len(expected) - 1
    assert len(found) <= len(expected) + 3  # at the seam, and objects that only a tile shows whole
    alone = len(plain(mosaic, "RGB"))
    record_property("objects of two images side by side", f"{again} of {len(expected)} by tiles")
    record_property("without tiles", alone)
