import copy
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from d2seg import cli
from d2seg.report.evaluation import write_evaluation_report
from tests.report.evaluation.scenes import (
    BELOW,
    HEIGHT,
    LEFT,
    MIDDLE,
    PET_DETECTIONS,
    PETS,
    RIGHT,
    WIDTH,
    dataset,
    detection,
    ground_truth,
    write_images,
)


class Parsed(HTMLParser):
    """Collects addresses, ids and text, and fails on tags that are not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.cells: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.addresses += [values[key] or "" for key in ("src", "href") if key in values]
        self.ids += [values["id"] or ""] if "id" in values else []
        if tag not in {"meta", "link", "img"}:
            self.open.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag == "path"

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open and self.open[-1] == "td":
            self.cells[-1] += data


def write(
    folder: Path, scene: dict[str, Any], found: list[dict[str, Any]], **options: Any
) -> tuple[Parsed, dict[str, Any]]:
    """Write a report and read it back; the images are there unless ``image_root`` is given."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "truth.json").write_text(json.dumps(scene))
    write_images(folder / "images", len(scene["images"]))
    paths = {"ground_truth": folder / "truth.json", "image_root": folder / "images"}
    page = write_evaluation_report(folder / "out", detections=found, **{**paths, **options})
    assert page == folder / "out" / "index.html"
    report = json.loads(page.with_name("report.json").read_text())
    return Parsed(page.read_text()), report


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_the_report_of_three_pets(tmp_path: Path, iou_type: str) -> None:
    page, report = write(
        tmp_path, PETS, PET_DETECTIONS, iou_type=iou_type, title="Pets", score_threshold=0.5
    )
    assert "Pets" in page.text
    assert "4 detections against 3 annotated objects of 2 classes in 1 image." in page.text
    assert report["confusion_matrix"]["counts"] == [[1, 0, 1], [1, 0, 0], [0, 1, 0]]
    assert report["confusion_matrix"]["classes"] == ["cat", "dog", "background"]
    assert report["threshold"] == {
        "score": 0.5,
        "best_f1": False,
        "iou": 0.5,
        "precision": pytest.approx(1 / 3),
        "recall": pytest.approx(1 / 3),
        "f1": pytest.approx(1 / 3),
    }
    # Cats: of precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1. Dogs: none.
    cats = 100 * (51 + 50 * 2 / 3) / 101
    assert report["average_precision"]["AP50"] == pytest.approx(cats / 2)
    assert [one["AP"] for one in report["classes"]] == pytest.approx([cats, 0])
    assert [one["recall"] for one in report["classes"]] == [50, 0]
    assert report["images"] == [
        {
            "id": 1,
            "file_name": "1.png",
            "f1": pytest.approx(1 / 3),
            "correct": 1,
            "wrong_class": 1,
            "missed": 1,
            "false_positives": 1,
        }
    ]
    assert "F1 33%: 1 correct, 1 missed, 1 false positive, 1 of another class" in page.text
    assert sum(report["score_histogram"]["correct"]) == 2
    assert sum(report["score_histogram"]["not_correct"]) == 2


def test_the_page_is_whole_and_stands_alone(tmp_path: Path) -> None:
    page, report = write(tmp_path, PETS, PET_DETECTIONS)
    inside = [item for item in page.addresses if not item.startswith(("data:", "#"))]
    for address in inside:
        assert (tmp_path / "out" / address).is_file(), address
    anchors = {item[1:] for item in page.addresses if item.startswith("#")}
    assert anchors == set(page.ids)
    html = (tmp_path / "out" / "index.html").read_text()
    assert "url(" not in html
    assert "<script" not in html
    assert "prefers-color-scheme: dark" in html
    pictures = [report["worst_images"][0][f"{w}_picture"] for w in ("ground_truth", "detections")]
    assert set(pictures) <= set(inside)
    for picture in pictures:
        with Image.open(tmp_path / "out" / picture) as image:
            assert image.size == (WIDTH * 15, HEIGHT * 15)
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == {"index.html", "report.json", "pictures"}  # no temporary files


def test_the_best_threshold_is_said(tmp_path: Path) -> None:
    page, report = write(tmp_path, PETS, PET_DETECTIONS)
    # F1 is 2/4, 2/5, 2/6 and, with all four, 4/7.
    assert report["threshold"]["score"] == 0.3
    assert report["threshold"]["f1"] == pytest.approx(4 / 7)
    assert "from a score of 0.3 on (where F1 over all classes is highest)" in page.text


def test_names_are_escaped(tmp_path: Path) -> None:
    names = ['<script>alert("c")</script>', "dog & 'cat'"]
    scene = dataset([(1, 1, LEFT), (1, 2, MIDDLE)], names)
    scene["images"][0]["file_name"] = "<img src=x>.png"
    page, report = write(
        tmp_path, scene, [detection(1, 1, 0.9, MIDDLE)], title="<b>bold</b>", iou_type="segm"
    )
    assert page.text.count(names[0]) > 2
    assert names[1] in page.text
    assert "<b>bold</b>" in page.text
    assert "<img src=x>.png" in page.text
    assert "x" not in page.addresses
    assert "<script" not in (tmp_path / "out" / "index.html").read_text()
    assert report["confusion_matrix"]["classes"][:2] == names


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_without_detections(tmp_path: Path, iou_type: str) -> None:
    page, report = write(tmp_path, PETS, [], iou_type=iou_type)
    assert "There are no detections." in page.text
    assert report["average_precision"]["AP"] == 0
    assert report["confusion_matrix"]["counts"] == [[0, 0, 2], [0, 0, 1], [0, 0, 0]]
    assert report["threshold"]["precision"] is None
    assert "F1 0%: 3 missed" in page.text


def test_without_objects(tmp_path: Path) -> None:
    page, report = write(tmp_path, dataset([]), [detection(1, 1, 0.9, LEFT)])
    assert "There are no annotated objects" in page.text
    assert set(report["average_precision"].values()) == {None}
    assert report["confusion_matrix"]["counts"][2] == [1, 0, 0]
    assert report["warnings"] == ["There are no annotated objects, so nothing can be measured."]
    assert set(report["precision_recall"]["mean_by_iou"]["0.50"]) == {None}
    assert "IoU 0.50: AP \N{EN DASH}" in page.text
    assert "precision of all detections" in page.text


def test_without_images_and_classes(tmp_path: Path) -> None:
    page, report = write(tmp_path, dataset([], [], images=0), [])
    assert "There is no image with an error." in page.text
    assert report["confusion_matrix"]["counts"] == [[0]]
    assert report["images"] == []


def test_one_class_needs_no_class_table(tmp_path: Path) -> None:
    scene = dataset([(1, 1, LEFT)], ["cat"])
    page, report = write(tmp_path, scene, [detection(1, 1, 0.9, LEFT)])
    assert report["average_precision"]["AP"] == pytest.approx(100)
    assert "By class" not in page.text
    assert "There is no image with an error." in page.text


def test_of_many_classes_the_most_confused_pairs_are_shown(tmp_path: Path) -> None:
    names = [f"kind {number}" for number in range(1, 81)]
    boxes = (LEFT, MIDDLE, RIGHT, BELOW)
    objects = [(1 + number // 4, 1 + number, boxes[number % 4]) for number in range(80)]
    scene = dataset(objects, names, images=20)
    found = [
        detection(image_id, category_id % 80 + 1 if category_id < 4 else category_id, 0.9, box)
        for image_id, category_id, box in objects
    ]
    page, report = write(tmp_path, scene, found)
    counts = report["confusion_matrix"]["counts"]
    assert len(counts) == 81
    assert [counts[0][1], counts[1][2], counts[2][3], counts[5][5]] == [1, 1, 1, 1]
    pairs = ["kind 1", "kind 2", "1", "100.0", "kind 2", "kind 3", "1", "100.0"]
    assert pairs in [page.cells[start : start + 8] for start in range(len(page.cells))]
    assert "The other 60 classes" in page.text
    assert "the 75 other classes" in page.text


def test_missing_and_unfit_images_are_drawn_on_grey_and_named(tmp_path: Path) -> None:
    scene = dataset([(1, 1, LEFT), (2, 1, LEFT), (3, 1, LEFT)], images=3)
    write_images(tmp_path / "other", 1)
    (tmp_path / "other" / "2.png").write_text("no image")
    Image.new("RGB", (HEIGHT, WIDTH)).save(tmp_path / "other" / "3.png")
    page, report = write(tmp_path, scene, [], image_root=tmp_path / "other")
    assert "2 of the 3 pictures on the page are drawn on grey" in page.text
    problems = [image["problem"] for image in report["worst_images"]]
    assert problems[0] is None
    assert "cannot be read as an image" in problems[1]
    assert "has 40 x 60 pixels, the annotations say 60 x 40" in problems[2]
    page, report = write(tmp_path, scene, [], image_root=tmp_path / "nowhere", max_pictures=1)
    assert "No image file at" in report["worst_images"][0]["problem"]
    assert len(report["worst_images"]) == 1


def test_an_annotation_with_the_id_0_is_pointed_out(tmp_path: Path) -> None:
    scene = copy.deepcopy(PETS)
    scene["annotations"][0]["id"] = 0
    page, _ = write(tmp_path, scene, PET_DETECTIONS)
    assert "An annotation has the id 0." in page.text


def test_arguments_are_not_modified(tmp_path: Path) -> None:
    truth, found = ground_truth([(1, 1, LEFT)]), copy.deepcopy(PET_DETECTIONS)
    polygon = [[0.0, 0.0, 10.0, 0.0, 10.0, 10.0, 0.0, 10.0]]
    truth.dataset["annotations"][0]["segmentation"] = polygon
    before = copy.deepcopy(truth.dataset)
    write_evaluation_report(tmp_path, ground_truth=truth, detections=found, image_root=tmp_path)
    assert truth.dataset == before
    assert found == PET_DETECTIONS


def test_arguments_out_of_range_are_refused(tmp_path: Path) -> None:
    common: dict[str, Any] = {"ground_truth": "a", "detections": [], "image_root": tmp_path}
    with pytest.raises(ValueError, match="iou_type must be one of bbox, segm; found 'keypoints'"):
        write_evaluation_report(tmp_path, **common, iou_type="keypoints")
    with pytest.raises(ValueError, match="max_pictures must be 0 or more; found -1"):
        write_evaluation_report(tmp_path, **common, max_pictures=-1)


def test_the_command_writes_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "truth.json").write_text(json.dumps(PETS))
    (tmp_path / "found.json").write_text(json.dumps(PET_DETECTIONS))
    write_images(tmp_path / "images", 1)
    places = {"--json": "truth.json", "--detections": "found.json", "--images": "images"}
    options = [part for name, path in places.items() for part in (name, str(tmp_path / path))]
    arguments = ["report", *options, "--output", str(tmp_path / "out"), "--pictures", "0"]
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "segm AP50  41.749" in printed
    assert f"Open {tmp_path / 'out' / 'index.html'} in a browser." in printed
    assert not (tmp_path / "out" / "pictures").exists()
    assert cli.main([*arguments[:-2], "--iou-type", "bbox", "--score-threshold", "0.8"]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["iou_type"], report["threshold"]["score"]) == ("bbox", 0.8)


@pytest.mark.parametrize(("score", "threshold"), [(0.9, None), (0.9, 0.5)])
def test_detections_of_other_images_are_suspected(
    tmp_path: Path, score: float, threshold: float | None
) -> None:
    found = [detection(1, 1, score, RIGHT)]
    beyond = [{**detection(1, 1, score, RIGHT), "bbox": [50, 30, 12, 5]}]
    scene = dataset([(1, 1, LEFT)])
    page, report = write(tmp_path, scene, found, score_threshold=threshold)
    assert "Only 0 of the annotated objects (1) were found, even at IoU 0.5" in page.text
    assert len(report["warnings"]) == 1
    page, _ = write(tmp_path, scene, beyond, iou_type="bbox", score_threshold=threshold)
    assert "1 detection went beyond the edge of the image" in page.text


def test_the_command_says_what_does_not_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "truth.json").write_text(json.dumps(PETS))
    (tmp_path / "found.json").write_text(json.dumps([detection(1, 2, 0.5, BELOW)]))
    (tmp_path / "empty").mkdir()
    arguments = ["report", "--json", str(tmp_path / "truth.json"), "--output", str(tmp_path / "o")]
    arguments += ["--detections", str(tmp_path / "found.json"), "--images"]
    assert cli.main([*arguments, str(tmp_path / "nofolder")]) == 1
    assert "There is no image folder '" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
    assert cli.main([*arguments, str(tmp_path / "empty")]) == 0
    assert "warning: 1 of the 1 pictures on the page are drawn on grey" in capsys.readouterr().err
