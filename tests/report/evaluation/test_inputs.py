import copy
import json
from pathlib import Path
from typing import Any

import pytest
from pycocotools.coco import COCO

from d2seg.report.evaluation.inputs import (
    guess_iou_type,
    index_detections,
    read_detections,
    read_ground_truth,
)
from tests.report.evaluation.scenes import (
    HEIGHT,
    LEFT,
    PET_DETECTIONS,
    PETS,
    WIDTH,
    dataset,
    detection,
    ground_truth,
)


def changed(item: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A copy with other values; None takes a key away."""
    merged = {**copy.deepcopy(item), **changes}
    return {key: value for key, value in merged.items() if value is not None}


def test_files_and_objects_give_the_same(tmp_path: Path) -> None:
    (tmp_path / "pets.json").write_text(json.dumps(PETS))
    (tmp_path / "found.json").write_text(json.dumps(PET_DETECTIONS))
    from_file = read_ground_truth(tmp_path / "pets.json", "segm")
    assert from_file.dataset == read_ground_truth(ground_truth([]), "segm").dataset | {
        "annotations": PETS["annotations"]
    }
    assert read_detections(str(tmp_path / "found.json")) == PET_DETECTIONS


def test_an_annotation_without_iscrowd_is_no_crowd() -> None:
    source = COCO()
    source.dataset = dataset([(1, 1, LEFT)])
    del source.dataset["annotations"][0]["iscrowd"]
    assert read_ground_truth(source, "segm").anns[1]["iscrowd"] == 0
    assert "iscrowd" not in source.dataset["annotations"][0]


def test_masks_may_be_uncompressed_and_their_boxes_do_not_count() -> None:
    counts = [0, 10, HEIGHT * WIDTH - 10]
    mask = {"size": [HEIGHT, WIDTH], "counts": counts}
    item = detection(1, 1, 0.9, LEFT) | {"segmentation": mask}
    indexed = index_detections([item], ground_truth([]), "segm")
    assert indexed.anns[1]["area"] == 10
    assert indexed.anns[1]["bbox"].tolist() == [0, 0, 1, 10]
    assert item["segmentation"] == {"size": [HEIGHT, WIDTH], "counts": counts}
    assert set(item) == {"image_id", "category_id", "score", "bbox", "segmentation"}


def test_masks_are_compared_where_there_are_any() -> None:
    assert guess_iou_type(PET_DETECTIONS) == "segm"
    assert guess_iou_type([changed(item, segmentation=None) for item in PET_DETECTIONS]) == "bbox"
    assert guess_iou_type([]) == "bbox"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"score": None}, r"Detection 0 has no 'score'; it has bbox, category_id, image_id, seg"),
        ({"segmentation": None}, "Detection 0 has no 'segmentation'"),
        ({"score": float("nan")}, "Detection 0 has the score nan; a finite number is needed"),
        ({"score": "0.9"}, "Detection 0 has the score '0.9'; a finite number"),
        ({"image_id": 7}, "Detection 0 is of image id 7, which is not annotated"),
        ({"category_id": 0}, "category_id 0; the annotations have 1, 2. .* not the model's class"),
        ({"segmentation": [[0, 0, 1, 1, 2, 2]]}, "mask of detection 0 must be RLE"),
        (
            {"segmentation": {"size": [WIDTH, HEIGHT], "counts": "x"}},
            r"of height and width \[60, 40\], but its image is of \[40, 60\]",
        ),
    ],
)
def test_detections_that_do_not_fit_are_refused(changes: dict[str, Any], complaint: str) -> None:
    item = changed(detection(1, 1, 0.9, LEFT), **changes)
    with pytest.raises(ValueError, match=complaint):
        index_detections([item], ground_truth([]), "segm")


def test_a_box_has_four_numbers() -> None:
    item = detection(1, 1, 0.9, LEFT) | {"bbox": [1, 2, 3]}
    with pytest.raises(ValueError, match=r"bbox \[1, 2, 3\]; x, y, width and height are needed"):
        index_detections([item], ground_truth([]), "bbox")


@pytest.mark.parametrize(
    ("part", "changes", "complaint"),
    [
        ("annotations", {"area": None}, "Annotation 0 of '.*pets.json' has no 'area'"),
        ("annotations", {"segmentation": None}, "Annotation 0 of '.*' has no 'segmentation'"),
        ("annotations", {"segmentation": []}, "annotation with id 1 has no polygon"),
        ("annotations", {"segmentation": [[0, 0, 5, 5]]}, "one with fewer than three points"),
        ("images", {"height": None}, "Image 0 of '.*pets.json' has no 'height'"),
        ("categories", {"name": None}, "Category 0 of '.*pets.json' has no 'name'"),
    ],
)
def test_annotations_that_cannot_be_measured_are_refused(
    tmp_path: Path, part: str, changes: dict[str, Any], complaint: str
) -> None:
    broken = {**PETS, part: [changed(PETS[part][0], **changes), *PETS[part][1:]]}
    (tmp_path / "pets.json").write_text(json.dumps(broken))
    with pytest.raises(ValueError, match=complaint):
        read_ground_truth(tmp_path / "pets.json", "segm")


def test_boxes_need_no_masks(tmp_path: Path) -> None:
    boxes = [changed(item, segmentation=None) for item in PETS["annotations"]]
    (tmp_path / "pets.json").write_text(json.dumps({**PETS, "annotations": boxes}))
    assert len(read_ground_truth(tmp_path / "pets.json", "bbox").anns) == 3


def test_files_of_another_kind_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[1, 2]")
    (tmp_path / "b.json").write_text("not JSON")
    (tmp_path / "c.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="need images, categories, annotations; '.*a.json'"):
        read_ground_truth(tmp_path / "a.json", "segm")
    with pytest.raises(ValueError, match="list of dicts .*; '.*a.json' is not"):
        read_detections(tmp_path / "a.json")
    with pytest.raises(ValueError, match=r"dict is not.*/coco_instances_results.json"):
        read_detections({"predictions": []})  # type: ignore[arg-type]
    for name in ("b.json", "c.json"):
        with pytest.raises(ValueError, match=f"{name}' is not JSON"):
            read_detections(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="No file at '.*d.json'"):
        read_detections(tmp_path / "d.json")
