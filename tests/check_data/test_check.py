import json
from pathlib import Path

import pytest
from PIL import Image

from d2seg.check_data import Expectations, check_dataset
from d2seg.check_data.image_files import examine_file
from tests.check_data.conftest import HEIGHT, WIDTH, DataFolder
from tests.check_data.defects import (
    FIXABLE,
    FOR_PEOPLE,
    NOT_COCO,
    Seed,
    save_with_orientation,
    truncate,
)
from tests.conftest import ROOT

NUCLEI = ROOT / "tests" / "data" / "nuclei"
DEFECTS = FIXABLE | FOR_PEOPLE


def test_nothing_is_found_in_clean_data(folder: DataFolder) -> None:
    assert folder.check(Expectations(num_classes=2)).findings == []


def test_nothing_is_found_in_the_nuclei() -> None:
    report = check_dataset(str(NUCLEI / "instances_val.json"), str(NUCLEI / "images"))
    assert report.findings == []
    assert report.passed
    assert report.conclusion().endswith(
        "85 images, 2270 annotations, 1 category; 0 errors, 0 warnings, 0 notes. "
        "It can be trained on."
    )


@pytest.mark.parametrize(("seed", "severity", "kind"), DEFECTS.values(), ids=DEFECTS)
def test_a_seeded_defect_is_found(folder: DataFolder, seed: Seed, severity: str, kind: str) -> None:
    seed(folder)
    report = folder.check()
    found = [f for f in report.findings if (f.severity, f.kind) == (severity, kind)]
    assert found, {(f.severity, f.kind) for f in report.findings}
    assert found[0].sentence.rstrip().endswith((".", "?"))
    assert report.passed == all(f.severity != "error" for f in report.findings)


@pytest.mark.parametrize(("text", "complaint"), NOT_COCO.values(), ids=NOT_COCO)
def test_a_file_that_is_not_coco_is_one_error(
    folder: DataFolder, text: str, complaint: str
) -> None:
    folder.json.write_text(text)
    report = check_dataset(str(folder.json), str(folder.images))
    assert [(f.severity, f.kind) for f in report.findings] == [("error", "not a COCO file")]
    assert complaint in report.findings[0].sentence
    assert "not read" in report.conclusion()


def test_a_list_of_images_needs_no_annotations(folder: DataFolder) -> None:
    del folder.content["annotations"]
    assert folder.kinds() == {("note", "no annotations"), ("warning", "no annotations")}


def test_a_missing_folder_is_named(folder: DataFolder) -> None:
    folder.json.write_text(json.dumps(folder.content))
    with pytest.raises(FileNotFoundError, match="There is no image folder '.*nowhere'."):
        check_dataset(str(folder.json), str(folder.images / "nowhere"))


def test_photos_with_a_preview_are_one_picture(folder: DataFolder) -> None:
    with Image.open(folder.images / "a.png") as image:
        image.save(folder.images / "a.jpg", "MPO", save_all=True, append_images=[image])
    folder.content["images"][0]["file_name"] = "a.jpg"
    assert folder.check().findings == []


def test_the_wrong_folder_is_one_finding(folder: DataFolder) -> None:
    for path in folder.images.iterdir():
        path.unlink()
    (finding,) = folder.check().findings
    assert finding.kind == "all files missing"
    assert finding.sentence.startswith("None of 3 images, such as 'a.png', is in '")


def test_lvis_knows_no_crowds(folder: DataFolder) -> None:
    del folder.annotation()["iscrowd"]
    folder.content["images"][0]["neg_category_ids"] = [2]
    assert folder.check().findings == []


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="There is no annotation file '.*gone.json'."):
        check_dataset(str(tmp_path / "gone.json"), str(tmp_path))


def test_findings_name_image_and_annotation(folder: DataFolder) -> None:
    folder.annotation(bbox=[5, 5, 0, 9])
    (finding, *_) = folder.check().findings
    assert (finding.image, finding.image_id, finding.annotation_ids) == ("a.png", 1, (1,))
    assert finding.sentence == (
        "Annotation 1 of 'a.png' has the box [5, 5, 0, 9], whose width or height is not above 0."
    )


def test_rotation_is_said_in_words(folder: DataFolder) -> None:
    save_with_orientation(6)(folder)
    (finding,) = folder.check().findings
    assert finding.sentence == (
        "'a.jpg' is stored as 60 x 40 and turned to 40 x 60 by its EXIF orientation 6 when it is "
        "loaded; the file gives the size before."
    )


def test_exchanged_sides_are_said_in_words(folder: DataFolder) -> None:
    folder.content["images"][0].update(width=HEIGHT, height=WIDTH)
    sentences = [f.sentence for f in folder.check().findings if f.severity == "error"]
    assert sentences == [
        "'a.png' is 60 x 40 pixels, not 40 x 60 as the file says: width and height are exchanged."
    ]


@pytest.mark.parametrize("decode", [True, False])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_orientation_is_read_from_every_format(
    folder: DataFolder, suffix: str, decode: bool
) -> None:
    save_with_orientation(8, suffix)(folder)
    facts = examine_file(str(folder.images / f"a{suffix}"), decode)
    assert facts.fault == ""
    assert facts.upright_hw == (WIDTH, HEIGHT)


def test_a_truncated_file_is_only_found_by_decoding(folder: DataFolder) -> None:
    truncate(folder)
    assert not folder.check(decode=True).passed
    assert folder.check(decode=False).findings == []


def test_an_unknown_orientation_is_upright(folder: DataFolder) -> None:
    save_with_orientation(77)(folder)
    assert folder.check().findings == []


@pytest.mark.parametrize(
    ("expected", "severity", "kind"),
    [
        (Expectations(num_classes=1), "error", "categories and NUM_CLASSES"),
        (Expectations(num_classes=80), "warning", "categories and NUM_CLASSES"),
        (Expectations(num_keypoints=17), "error", "keypoints and NUM_KEYPOINTS"),
    ],
)
def test_the_model_is_compared(
    folder: DataFolder, expected: Expectations, severity: str, kind: str
) -> None:
    assert (severity, kind) in folder.kinds(expected)


@pytest.mark.parametrize(
    ("mask_format", "found"),
    [
        (None, {("note", "masks as RLE")}),
        ("polygon", {("error", "masks as RLE")}),
        ("bitmask", set()),
        ("none", set()),
    ],
)
def test_rle_needs_bitmasks(
    folder: DataFolder, mask_format: str | None, found: set[tuple[str, str]]
) -> None:
    folder.content["annotations"][2]["iscrowd"] = 0
    assert folder.kinds(Expectations(mask_format=mask_format)) == found


@pytest.mark.parametrize(
    ("mask_format", "found"),
    [
        (None, {("warning", "mask missing")}),
        ("polygon", {("error", "mask missing")}),
        ("none", set()),
    ],
)
def test_masks_matter_where_they_are_trained(
    folder: DataFolder, mask_format: str | None, found: set[tuple[str, str]]
) -> None:
    del folder.annotation()["segmentation"]
    assert folder.kinds(Expectations(mask_format=mask_format)) == found


def test_boxes_alone_are_enough(folder: DataFolder) -> None:
    for annotation in folder.content["annotations"]:
        del annotation["segmentation"]
    assert folder.check().findings == []


def test_overlapping_polygons_count_once(folder: DataFolder) -> None:
    folder.annotation(segmentation=[[10, 5, 40, 5, 40, 25, 10, 25]] * 2)
    assert folder.check().findings == []


def test_lvis_names_files_by_address(folder: DataFolder) -> None:
    image = folder.content["images"][0]
    del image["file_name"]
    image["coco_url"] = "http://images.cocodataset.org/val/a.png"
    (folder.images / "val").mkdir()
    (folder.images / "a.png").rename(folder.images / "val" / "a.png")
    assert folder.check().findings == []


def test_absolute_names_need_no_folder(folder: DataFolder) -> None:
    for image in folder.content["images"]:
        image["file_name"] = str(folder.images / image["file_name"])
    folder.json.write_text(json.dumps(folder.content))
    assert check_dataset(str(folder.json), "").findings == []


def test_progress_sees_every_image(folder: DataFolder) -> None:
    seen: list[tuple[str, int]] = []

    def progress(items: list[object], what: str) -> list[object]:
        seen.append((what, len(items)))
        return items

    folder.json.write_text(json.dumps(folder.content))
    with (folder.images / "a.png").open("ab") as file:
        file.write(b"longer than the others")
    check_dataset(str(folder.json), str(folder.images), progress=progress)
    assert seen == [("images", 3), ("comparing", 2)]
