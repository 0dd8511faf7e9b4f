"""Objects of one mapped image on top of another."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from d2seg.framework import BitMasks, Boxes, Instances
from d2seg.train.copy_paste import CopyPasteMapper, paste_objects

Box = tuple[int, int, int, int]


def mapped(size_hw: tuple[int, int], boxes_xyxy: list[Box], name: str = "image.png") -> Any:
    """An image of random pixels with rectangles as objects; the class of each is its position."""
    masks = torch.zeros((len(boxes_xyxy), *size_hw), dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes_xyxy, strict=True):
        mask[y0:y1, x0:x1] = True
    instances = Instances(size_hw)
    instances.gt_boxes = Boxes(torch.tensor(boxes_xyxy, dtype=torch.float32).reshape(-1, 4))
    instances.gt_classes = torch.arange(len(boxes_xyxy))
    if boxes_xyxy:  # without objects mappers leave the field out
        instances.gt_masks = BitMasks(masks)
    pixels = torch.randint(0, 256, (3, *size_hw), dtype=torch.uint8)
    return {"file_name": name, "image": pixels, "instances": instances}


def extents(masks: Tensor) -> list[list[float]]:
    """Boxes around masks, one pixel after the other."""
    boxes = []
    for mask in masks.numpy():
        ys, xs = np.nonzero(mask)
        boxes.append([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
    return boxes


def paste_all(target: Any, source: Any, **options: Any) -> Any:
    """Paste every object: draw until the random subset is the whole."""
    wanted = source["instances"].gt_classes + 100
    source = {**source, "instances": copy.deepcopy(source["instances"])}
    source["instances"].gt_classes = wanted
    for _ in range(200):
        result = paste_objects(target, source, **options)
        if set(wanted.tolist()) <= set(result["instances"].gt_classes.tolist()):
            return result
    raise AssertionError("no draw took all objects")


def test_pixels_masks_and_boxes() -> None:
    target = mapped((30, 40), [(2, 2, 12, 12), (20, 10, 36, 28)])
    source = mapped((30, 40), [(8, 6, 18, 16), (30, 0, 40, 5)], "other.png")
    result = paste_all(target, source)
    covered = source["instances"].gt_masks.tensor.any(dim=0)
    expected = torch.where(covered, source["image"], target["image"])
    assert torch.equal(result["image"], expected)
    masks = result["instances"].gt_masks.tensor
    assert torch.equal(masks[2:], source["instances"].gt_masks.tensor)
    assert torch.equal(masks[:2], target["instances"].gt_masks.tensor & ~covered)
    assert masks.sum(dim=0).max() == 1
    assert result["instances"].gt_boxes.tensor.tolist() == extents(masks)
    assert result["instances"].gt_classes.tolist() == [0, 1, 100, 101]
    assert result["instances"].image_size == (30, 40)
    assert result["pasted_from"] == "other.png" and result["file_name"] == "image.png"


def test_boxes_shrink_to_what_is_left() -> None:
    target = mapped((20, 30), [(0, 0, 20, 10)])
    result = paste_objects(target, mapped((20, 30), [(0, 0, 15, 20)]))
    assert result["instances"].gt_boxes.tensor.tolist() == [[15, 0, 20, 10], [0, 0, 15, 20]]


def test_objects_that_lost_nearly_all_are_dropped() -> None:
    boxes: list[Box] = [
        (0, 0, 10, 10),  # wholly covered
        (0, 10, 13, 13),  # 9 pixels left of 39
        (0, 20, 12, 25),  # 10 pixels left of 60
        (0, 30, 10, 90),  # wholly covered
        (10, 30, 11, 60),  # next to the pasted object
        (30, 90, 32, 92),  # 4 pixels, but all of them there
        (0, 100, 11, 200),  # 100 pixels left, but only a share of 1 / 11
    ]
    result = paste_objects(mapped((200, 40), boxes), mapped((200, 40), [(0, 0, 10, 200)]))
    assert result["instances"].gt_classes.tolist() == [2, 4, 5, 0]
    assert result["instances"].gt_masks.area().tolist() == [10, 30, 4, 2000]


def test_the_inputs_stay_as_they_were() -> None:
    target, source = mapped((20, 30), [(0, 0, 9, 9)]), mapped((20, 30), [(5, 5, 16, 12)])
    target["sem_seg"], source["sem_seg"] = torch.zeros(20, 30), torch.ones(20, 30)
    before = copy.deepcopy((target, source))
    result = paste_objects(target, source)
    assert result["image"] is not target["image"]
    for old, new in zip(before, (target, source), strict=True):
        assert old.keys() == new.keys()
        assert torch.equal(old["image"], new["image"])
        assert torch.equal(old["sem_seg"], new["sem_seg"])
        assert torch.equal(old["instances"].gt_masks.tensor, new["instances"].gt_masks.tensor)


@pytest.mark.parametrize("size_hw", [(50, 20), (20, 50), (60, 70), (15, 12)])
@pytest.mark.parametrize("sigma", [0.0, 2.0])
def test_images_of_different_sizes(size_hw: tuple[int, int], sigma: float) -> None:
    """The part that both have is pasted; objects beyond it are cut or left out."""
    height, width = size_hw
    target = mapped((30, 40), [])
    everything = [(0, 0, width, height), (width - 3, height - 3, width, height)]
    source = mapped(size_hw, everything[:1] if height > 30 or width > 40 else everything)
    result = paste_all(target, source, blend_sigma=sigma)
    both_h, both_w = min(height, 30), min(width, 40)
    assert result["image"].shape == (3, 30, 40)
    assert torch.equal(result["image"][:, :both_h, :both_w], source["image"][:, :both_h, :both_w])
    outside = torch.ones(30, 40, dtype=torch.bool)
    outside[:both_h, :both_w] = False
    assert torch.equal(result["image"][:, outside], target["image"][:, outside])
    assert result["instances"].gt_boxes.tensor[0].tolist() == [0, 0, both_w, both_h]
    assert result["instances"].gt_masks.tensor.shape[1:] == (30, 40)


def test_objects_beyond_the_target_are_not_chosen() -> None:
    source = mapped((30, 60), [(45, 0, 60, 30), (39, 0, 60, 30), (30, 5, 50, 25)])
    target = mapped((30, 40), [])
    for _ in range(20):
        instances = paste_objects(target, source)["instances"]
        assert instances.gt_classes.tolist() == [2]  # 30 of 630 pixels of the second remain
        assert instances.gt_boxes.tensor.tolist() == [[30, 5, 40, 25]]
    assert paste_objects(target, mapped((30, 60), [(45, 0, 60, 30)])) is target


def test_nothing_to_paste_and_nothing_to_paste_on() -> None:
    empty, full = mapped((20, 30), []), mapped((20, 30), [(1, 2, 11, 15)])
    assert paste_objects(full, empty) is full
    assert paste_objects(empty, mapped((9, 9), [])) is empty
    result = paste_objects(empty, full)["instances"]
    assert result.gt_boxes.tensor.tolist() == [[1, 2, 11, 15]]
    assert torch.equal(result.gt_masks.tensor, full["instances"].gt_masks.tensor)


@pytest.mark.parametrize(("max_objects", "most"), [(0, 4), (1, 1), (3, 3), (9, 4)])
def test_any_number_of_objects_and_each_of_them(max_objects: int, most: int) -> None:
    target = mapped((20, 40), [])
    source = mapped((20, 40), [(x, 0, x + 9, 20) for x in (0, 10, 20, 30)])
    drawn = [
        paste_objects(target, source, max_objects=max_objects)["instances"].gt_classes.tolist()
        for _ in range(60)
    ]
    assert all(classes == sorted(set(classes)) for classes in drawn)
    assert {len(classes) for classes in drawn} == set(range(1, most + 1))
    assert {label for classes in drawn for label in classes} == {0, 1, 2, 3}


def test_soft_edges_fade_as_a_gaussian_does() -> None:
    target, source = mapped((40, 80), []), mapped((40, 80), [(40, 0, 80, 40)])
    target["image"], source["image"] = torch.zeros(1, 40, 80), torch.full((1, 40, 80), 1000.0)
    result = paste_objects(target, source, blend_sigma=3.0)
    profile = result["image"][0, 20] / 1000
    expected = [0.5 * (1 + math.erf((x + 0.5 - 40) / 3 / math.sqrt(2))) for x in range(80)]
    # Pillow approximates the Gaussian by boxes and rounds to 1 / 255.
    assert profile.tolist() == pytest.approx(expected, abs=0.02)
    assert profile[:28].max() == 0 and profile[52:].min() == 1
    assert result["instances"].gt_boxes.tensor.tolist() == [[40, 0, 80, 40]]


def test_labels_go_with_the_pixels() -> None:
    target, source = mapped((20, 30), []), mapped((25, 28), [(5, 5, 15, 15)])
    target["sem_seg"] = torch.full((20, 30), 3)
    covered = torch.zeros(20, 30, dtype=torch.bool)
    covered[5:15, 5:15] = True
    unknown = paste_objects(target, source, ignore_label=254)["sem_seg"]
    assert torch.equal(unknown, torch.where(covered, 254, 3))
    source["sem_seg"] = torch.full((25, 28), 7)
    result = paste_objects(target, source, blend_sigma=2.0)["sem_seg"]
    assert torch.equal(result, torch.where(covered, 7, 3)) and result.dtype == torch.int64
    del target["sem_seg"]
    assert "sem_seg" not in paste_objects(target, source)


def identity(image: dict[str, Any]) -> dict[str, Any]:
    return dict(image)


def test_another_image_is_drawn() -> None:
    images = [mapped((20, 30), [(i, 0, 15, 15)], f"{i}.png") for i in range(4)]
    mapper = CopyPasteMapper(identity, images, 1.0)
    sources = [mapper(images[1])["pasted_from"] for _ in range(60)]
    assert set(sources) == {"0.png", "2.png", "3.png"}
    alone = CopyPasteMapper(identity, images[:1], 1.0)
    assert alone(images[0])["pasted_from"] == "0.png"


def test_how_often_it_is_pasted() -> None:
    images = [mapped((20, 30), [(0, 0, 15, 15)], f"{i}.png") for i in range(2)]

    def count(probability: float) -> int:
        mapper = CopyPasteMapper(identity, images, probability)
        return sum("pasted_from" in mapper(images[0]) for _ in range(200))

    assert count(0.0) == 0 and count(1.0) == 200
    assert 30 <= count(0.25) <= 70


def test_images_without_annotations_stay_as_they_are() -> None:
    annotated = mapped((20, 30), [(0, 0, 15, 15)], "a.png")
    bare = {"file_name": "b.png", "image": torch.zeros(3, 20, 30)}
    mapper = CopyPasteMapper(identity, [annotated, bare], 1.0)
    assert mapper(bare) == bare
    assert mapper(annotated).keys() == annotated.keys()
