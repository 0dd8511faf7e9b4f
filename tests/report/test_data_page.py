import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from d2seg.check_data import Finding, Report, check_dataset
from d2seg.report.data_figures import COLOURS, choose_images, draw_image
from d2seg.report.data_page import write_data_page
from tests.report.test_page import Tags

WIDTH, HEIGHT = 60, 40


def report_of(folder: Path, *annotations: dict[str, object], number: int = 1) -> Report:
    """Check a data set of black images with these annotations."""
    images = []
    for index in range(number):
        name = f"<{index}>.png"
        Image.new("RGB", (WIDTH, HEIGHT), (index, 0, 0)).save(folder / name)
        images.append({"id": index + 1, "file_name": name, "width": WIDTH, "height": HEIGHT})
    content = {
        "images": images,
        "categories": [{"id": 1, "name": "<b>cell</b>"}],
        "annotations": [
            {"id": index, "category_id": 1, "iscrowd": 0, "area": 100, "image_id": 1, **annotation}
            for index, annotation in enumerate(annotations, start=1)
        ],
    }
    (folder / "instances.json").write_text(json.dumps(content))
    return check_dataset(str(folder / "instances.json"), str(folder))


def has_colour(picture: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((np.abs(picture.astype(int) - colour).max(axis=2) < 12).any())


def test_the_page_is_whole_escaped_and_asks_nothing_of_the_network(tmp_path: Path) -> None:
    report = report_of(tmp_path, {"bbox": [5, 5, 0, 10]}, {"bbox": [5, 5, 10, 10]}, number=2)
    page = write_data_page(tmp_path / "report", [report])
    html = page.read_text()
    tags = Tags(html)
    assert tags.open == []
    assert "url(" not in html
    assert "<script" not in html
    assert all(address.startswith(("data:", "#")) for address in tags.addresses)
    assert "&lt;b&gt;cell&lt;/b&gt;" in html
    assert "<0>" not in html
    assert html.count("data:image/jpeg") == 2
    for text in ("Correct the errors before training", "box without area: 1", "Annotation 1 of"):
        assert text in tags.text


def test_several_data_sets_have_sections(tmp_path: Path) -> None:
    report = report_of(tmp_path, {"bbox": [5, 5, 10, 10]})
    between = [Finding("warning", "test images in training", "1 of 1 images.")]
    page = write_data_page(tmp_path / "report", [report, report], between)
    tags = Tags(page.read_text())
    anchors = [item[1:] for item in tags.addresses if item.startswith("#")]
    assert anchors == tags.ids == ["data-1", "data-2", "between"]
    assert "No errors" in tags.text
    assert "1 of 1 images." in tags.text


def test_a_file_that_is_not_coco_has_a_page_too(tmp_path: Path) -> None:
    (tmp_path / "instances.json").write_text("[]")
    report = check_dataset(str(tmp_path / "instances.json"), str(tmp_path))
    page = write_data_page(tmp_path / "report", [report])
    assert "not a COCO file" in Tags(page.read_text()).text


def test_findings_are_written_whole(tmp_path: Path) -> None:
    report = report_of(tmp_path, {"bbox": [5, 5, 0, 10]})
    write_data_page(tmp_path / "report", [report], max_pictures=0)
    content = json.loads((tmp_path / "report" / "findings.json").read_text())
    assert content["between"] == []
    (data_set,) = content["data_sets"]
    assert not data_set["passed"]
    assert data_set["findings"][0] == {
        "severity": "error",
        "kind": "box without area",
        "sentence": report.findings[0].sentence,
        "image": "<0>.png",
        "image_id": 1,
        "annotation_ids": [1],
    }


def test_the_worst_images_come_first(tmp_path: Path) -> None:
    broken, loose = {"bbox": [5, 5, 0, 10]}, {"bbox": [-9, 5, 20, 10]}
    report = report_of(
        tmp_path,
        {**loose, "image_id": 2},
        {**broken, "image_id": 3},
        {**broken, "image_id": 4},
        {**broken, "image_id": 4},
        number=6,
    )
    assert [image.id for image in choose_images(report, 3)] == [4, 3, 2]
    assert [image.id for image in choose_images(report, 9)] == [4, 3, 2, 1, 5, 6]
    assert choose_images(report, 0) == []


def test_doubtful_annotations_are_coloured(tmp_path: Path) -> None:
    good = {"bbox": [30, 20, 10, 10], "segmentation": [[30, 20, 40, 20, 40, 30, 30, 30]]}
    report = report_of(tmp_path, good)
    assert report.data is not None
    clean = draw_image(report, report.data.images[0])
    assert clean is not None
    assert has_colour(clean, COLOURS[None])
    assert not has_colour(clean, COLOURS["error"])
    report = report_of(tmp_path, good, {"bbox": [5, 5, 0, 10]})
    assert report.data is not None
    doubtful = draw_image(report, report.data.images[0])
    assert doubtful is not None
    assert has_colour(doubtful, COLOURS["error"])


def test_what_lies_outside_gets_room(tmp_path: Path) -> None:
    inside = report_of(tmp_path, {"bbox": [5, 5, 10, 10]})
    assert inside.data is not None
    plain = draw_image(inside, inside.data.images[0])
    outside = report_of(tmp_path, {"bbox": [55, 5, 1e12, 10]})
    assert outside.data is not None
    wide = draw_image(outside, outside.data.images[0])
    assert plain is not None
    assert wide is not None
    assert wide.shape[0] > plain.shape[0]
    assert has_colour(wide, COLOURS["warning"])


@pytest.mark.parametrize("counts", [[410, 20, 1970], [5, 5], "!!"])
def test_rle_masks_are_tinted_unless_broken(tmp_path: Path, counts: object) -> None:
    mask = {"size": [HEIGHT, WIDTH], "counts": counts}
    report = report_of(tmp_path, {"bbox": [10, 10, 1, 20], "area": 20, "segmentation": mask})
    assert report.data is not None
    picture = draw_image(report, report.data.images[0])
    assert picture is not None
    tinted = picture[..., 1].astype(int) - picture[..., 0] > 40
    assert tinted.any() == report.passed


def test_a_file_that_vanished_is_not_drawn(tmp_path: Path) -> None:
    report = report_of(tmp_path, {"bbox": [5, 5, 10, 10]})
    (tmp_path / "<0>.png").unlink()
    assert report.data is not None
    assert draw_image(report, report.data.images[0]) is None
    assert "<img" not in write_data_page(tmp_path / "report", [report]).read_text()
