import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from d2seg.inputs import find_sources
from tests.conftest import ROOT
from tests.inputs.pictures import write_picture

COCO_MINI = ROOT / "tests" / "data" / "coco_mini"

ANNOTATION = {"id": 5, "image_id": 1, "category_id": 9, "bbox": [1, 2, 3, 4], "iscrowd": 0}


def write_coco(path: Path, **changes: Any) -> Path:
    """Write a COCO file of one image ``a.png``, and the image beside it."""
    content = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "categories": [{"id": 9, "name": "cell"}, {"id": 4, "name": "dish"}],
        "annotations": [ANNOTATION],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**content, **changes}))
    write_picture(path.parent / "a.png")
    return path


def test_boxes_and_classes_are_those_of_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    json_file = COCO_MINI / "instances.json"
    sources = list(find_sources([json_file], with_boxes=True))
    reference = COCO(str(json_file))
    names = {one["id"]: one["name"] for one in reference.dataset["categories"]}
    assert [source.path.name for source in sources] == [
        image["file_name"] for image in reference.dataset["images"]
    ]
    for source, image in zip(sources, reference.dataset["images"], strict=True):
        annotations = reference.loadAnns(reference.getAnnIds(image["id"]))
        boxes = [[x, y, x + w, y + h] for x, y, w, h in (a["bbox"] for a in annotations)]
        assert source.annotated is not None
        found, annotation_ids, class_names, _ = source.annotated
        np.testing.assert_allclose(found, boxes, rtol=1e-6)
        assert found.dtype == np.float32
        assert class_names == tuple(names[one["category_id"]] for one in annotations)
        assert annotation_ids == tuple(one["id"] for one in annotations)
        assert source.read().shape == (image["height"], image["width"], 3)


def test_boxes_are_from_corner_to_corner(tmp_path: Path) -> None:
    (source,) = find_sources([write_coco(tmp_path / "a.json")], with_boxes=True)
    assert source.annotated is not None
    boxes, annotation_ids, class_names, crowds = source.annotated
    assert boxes.tolist() == [[1, 2, 4, 6]]
    assert (annotation_ids, class_names, crowds) == ((5,), ("cell",), 0)


def test_boxes_come_only_when_asked_for() -> None:
    source = next(iter(find_sources([COCO_MINI / "instances.json"])))
    assert source.annotated is None


def test_crowds_are_left_out(tmp_path: Path) -> None:
    json_file = write_coco(tmp_path / "a.json", annotations=[{**ANNOTATION, "iscrowd": 1}])
    (source,) = find_sources([json_file], with_boxes=True)
    assert source.annotated is not None
    assert source.annotated.boxes.shape == (0, 4)
    assert source.annotated[1:] == ((), (), 1)


@pytest.mark.parametrize(
    ("json_file", "image"),
    [
        ("set/a.json", "set/b.png"),
        ("set/a.json", "set/images/b.png"),
        ("set/annotations/a.json", "set/images/b.png"),
        ("set/annotations/instances_val2017.json", "set/val2017/b.png"),
    ],
)
def test_images_are_found_near_the_file(tmp_path: Path, json_file: str, image: str) -> None:
    images = [{"id": 1, "file_name": "gone.png"}, {"id": 2, "file_name": "b.png"}]
    write_coco(tmp_path / json_file, images=images)
    write_picture(tmp_path / image)
    gone, there = find_sources([tmp_path / json_file])
    assert there.path == tmp_path / image
    assert there.read().shape == (6, 10, 3)
    with pytest.raises(FileNotFoundError, match="No image file at '.*gone.png'"):
        gone.read()


def test_an_image_root_is_the_only_place_looked_in(tmp_path: Path) -> None:
    json_file = write_coco(tmp_path / "a.json")
    image = write_picture(tmp_path / "else" / "a.png")
    assert [s.path for s in find_sources([json_file], image_root=tmp_path / "else")] == [image]
    with pytest.raises(FileNotFoundError, match=r"looked in '[^']*nowhere'\. Give"):
        find_sources([json_file], image_root=tmp_path / "nowhere")


def test_folders_tried_are_named(tmp_path: Path) -> None:
    json_file = write_coco(tmp_path / "set" / "a.json", images=[{"file_name": "b.png"}])
    tried = rf"'{tmp_path}/set', '{tmp_path}/set/images', '{tmp_path}/images', '{tmp_path}/a'"
    with pytest.raises(FileNotFoundError, match=rf"None of the 1 images .* in {tried}\. Give"):
        find_sources([json_file])


def test_a_name_is_taken_from_an_address_as_lvis_has_it(tmp_path: Path) -> None:
    images = [{"id": 1, "coco_url": "http://example.org/train2017/000009.png"}]
    json_file = write_coco(tmp_path / "lvis.json", images=images)
    image = write_picture(tmp_path / "images" / "train2017" / "000009.png")
    (source,) = find_sources([json_file])
    assert (source.name, source.path) == ("train2017_000009", image)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "a.json' is not JSON"),
        ("[]", "a.json' has no images; a COCO file has a list of them"),
        ('{"info": {}}', "a.json' has no images; a COCO file has a list of them"),
        ('{"images": []}', "a.json' has no images; its list of them is empty"),
        ('{"images": [{"id": 1}]}', r"the image {'id': 1} has no file_name; d2seg check-data"),
    ],
)
def test_a_file_that_is_not_of_coco_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        find_sources([tmp_path / "a.json"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annotations": None}, "has no annotations; a COCO file has a list"),
        ({"categories": None}, "has no categories; a COCO file has a list"),
        ({"categories": ["cell"]}, "the category 'cell' has no usable id"),
        ({"images": [{"file_name": "a.png"}]}, "the image .* has no usable id"),
        ({"images": [{"id": 1, "file_name": "a.png"}] * 2}, "two of its images have the same id"),
        ({"annotations": [{**ANNOTATION, "id": None}]}, "the annotation .* has no usable id"),
        ({"annotations": [{**ANNOTATION, "image_id": []}]}, "has no usable image_id"),
        ({"annotations": [{**ANNOTATION, "category_id": 1}]}, "5 has the unknown category_id 1"),
        ({"annotations": [{**ANNOTATION, "bbox": None}]}, "5 has the bbox missing, not four"),
        ({"annotations": [{**ANNOTATION, "bbox": [1, 2, 3]}]}, r"has the bbox \[1, 2, 3\], not"),
    ],
)
def test_unusable_entries_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    json_file = write_coco(tmp_path / "a.json", **changes)
    with pytest.raises(ValueError, match=message):
        find_sources([json_file], with_boxes=True)
