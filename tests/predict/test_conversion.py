"""Predictions in the forms of other libraries, by hand-computed values."""

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from d2seg.predict import coco_dataset
from d2seg.predict.masks import BoxMasks, ImageMasks, Masks
from d2seg.predict.prediction import Prediction

SIZE_HW = (20, 50)
BOXES = torch.tensor([[10.0, 4.0, 30.0, 9.0], [0.0, 2.0, 21.0, 19.0]])


def prediction(**changes: Any) -> Prediction:
    values: dict[str, Any] = {
        "boxes": BOXES,
        "scores": torch.tensor([0.75, 0.5]),
        "classes": torch.tensor([1, 0]),
        "class_names": ("cat", "dog"),
        "image_size": SIZE_HW,
        "mask_source": BoxMasks(torch.ones(2, 28, 28), BOXES, SIZE_HW),
    }
    return Prediction(**values | changes)


def random_masks(seed: int, number: int, as_runs: bool) -> Masks:
    """Masks of which some are empty, and some reach the edges of the image or beyond them."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(number, 2, 2, generator=generator) * torch.tensor([60.0, 30.0]) - 5
    boxes = torch.cat([corners.amin(1), corners.amax(1)], 1)
    probs = torch.rand(number, 5, 5, generator=generator)
    masks = BoxMasks(probs, boxes, SIZE_HW)
    return ImageMasks.from_pixels(masks.paste(0.5), SIZE_HW) if as_runs else masks


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1000), as_runs=st.booleans())
def test_windows_hold_all_pixels_of_the_masks(seed: int, as_runs: bool) -> None:
    masks = random_masks(seed, 4, as_runs)
    pasted = torch.zeros(4, *SIZE_HW, dtype=torch.bool)
    for row, (pixels, (left, top)) in enumerate(masks.windows(0.5)):
        assert pixels.dtype == torch.bool
        pasted[row, top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    assert torch.equal(pasted, masks.paste(0.5))


def test_pycocotools_loads_data_set_and_results(tmp_path: Path) -> None:
    dataset = coco_dataset(["a.png", "b.png"], [SIZE_HW, (40, 60)], ["cat", "dog"])
    (tmp_path / "images.json").write_text(json.dumps(dataset))
    (tmp_path / "instances.json").write_text(json.dumps(prediction().to_coco(1)))
    with contextlib.redirect_stdout(io.StringIO()):
        loaded = COCO(str(tmp_path / "images.json")).loadRes(str(tmp_path / "instances.json"))
    annotations = loaded.loadAnns(loaded.getAnnIds(imgIds=[1]))
    assert [annotation["area"] for annotation in annotations] == [100, 357]
    assert loaded.loadCats([2])[0]["name"] == "dog"
    assert loaded.loadImgs([2])[0]["width"] == 60


def test_polygons_run_along_the_edges_of_pixels() -> None:
    (first,), (second,) = prediction().to_polygons()
    assert sorted(map(tuple, first.reshape(-1, 2))) == [(10, 4), (10, 9), (30, 4), (30, 9)]
    assert (second.reshape(-1, 2).min(0).tolist(), second.reshape(-1, 2).max(0).tolist()) == (
        [0, 2],
        [21, 19],
    )


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000), as_runs=st.booleans())
def test_polygons_enclose_the_pixels(seed: int, as_runs: bool) -> None:
    masks = random_masks(seed, 3, as_runs)
    found = prediction(mask_source=masks)
    for parts, pixels in zip(found.to_polygons(), masks.paste(0.5).numpy(), strict=True):
        drawn = np.zeros(SIZE_HW, dtype=bool)
        for part in parts:
            runs = coco_mask.frPyObjects([part.tolist()], *SIZE_HW)
            drawn |= coco_mask.decode(runs)[:, :, 0].astype(bool)
        # Holes are filled, and nothing else differs.
        assert not (pixels & ~drawn).any()
        assert bool(parts) == bool(pixels.any())


def test_torchvision_counts_classes_from_one() -> None:
    keypoints = torch.zeros(2, 4, 3)
    output = prediction(keypoints=keypoints).to_torchvision()
    assert list(output) == ["boxes", "labels", "scores", "masks", "keypoints"]
    assert output["labels"].tolist() == [2, 1]
    assert output["labels"].dtype == torch.int64
    assert (output["masks"].shape, output["masks"].dtype) == ((2, 20, 50), torch.bool)
    assert output["masks"].sum((1, 2)).tolist() == [100, 357]


@pytest.mark.parametrize("as_runs", [False, True])
def test_soft_masks_are_those_of_a_torchvision_model(as_runs: bool) -> None:
    masks = random_masks(3, 2, as_runs)
    soft = prediction(mask_source=masks).to_torchvision(soft=True)["masks"]
    assert (soft.shape, soft.dtype) == ((2, 1, 20, 50), torch.float32)
    assert 0 <= float(soft.min()) <= float(soft.max()) <= 1
    # Which were rounded to 1/255, so that a pixel at the threshold may change sides.
    assert int(((soft[:, 0] >= 0.5) != masks.paste(0.5)).sum()) <= 2


def test_supervision_has_the_same_pixels_in_little_memory() -> None:
    sv = pytest.importorskip("supervision")
    found = prediction(mask_source=random_masks(5, 2, False))
    detections = found.to_supervision()
    assert isinstance(detections, sv.Detections)
    assert isinstance(detections.mask, sv.CompactMask)
    assert np.array_equal(detections.mask.to_dense(), found.masks().numpy())
    assert np.array_equal(detections.xyxy, BOXES.numpy())
    assert detections.confidence.tolist() == [0.75, 0.5]
    assert detections.class_id.tolist() == [1, 0]
    assert detections.data["class_name"].tolist() == ["dog", "cat"]
    assert prediction(mask_source=None).to_supervision().mask is None


def test_a_table_has_a_row_for_each_object() -> None:
    pytest.importorskip("pandas")
    table = prediction().to_dataframe()
    assert list(table) == ["name", "class", "score", "left", "top", "right", "bottom", "area"]
    assert table.iloc[0].tolist() == ["dog", 1, 0.75, 10.0, 4.0, 30.0, 9.0, 100]
    assert "area" not in prediction(mask_source=None).to_dataframe()


def test_nothing_found_in_every_form() -> None:
    found = prediction(keypoints=torch.zeros(2, 4, 3))[:0]
    assert found.to_polygons() == []
    assert found.to_torchvision()["masks"].shape == (0, 20, 50)
    assert found.to_torchvision(soft=True)["masks"].shape == (0, 1, 20, 50)
    pytest.importorskip("supervision")
    pytest.importorskip("pandas")
    assert len(found.to_supervision()) == len(found.to_dataframe()) == 0
    assert "area" in found.to_dataframe()


@pytest.mark.parametrize(
    ("package", "method"), [("supervision", "to_supervision"), ("pandas", "to_dataframe")]
)
def test_missing_packages_are_named(
    monkeypatch: pytest.MonkeyPatch, package: str, method: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf'{method}\(\) needs .* {package}: pip .*d2seg\[viz\]"'):
        getattr(prediction(), method)()
