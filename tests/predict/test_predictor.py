"""A predictor finds the same whatever the model is stored in."""

import contextlib
import io
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchvision.ops import box_iou

import d2seg
from d2seg.assets import DEMO_CONFIG_FILE, DEMO_IMAGES
from d2seg.config import load_config
from d2seg.export import export_model
from d2seg.framework import DefaultPredictor
from d2seg.images import find_images, load_image
from d2seg.inputs import find_sources
from d2seg.predict import Prediction, Predictor, fit_shortest_edge, fit_window, stretch
from d2seg.predict.model_backend import ModelBackend
from tests.conftest import ROOT, RunPython
from tests.core.modeling.thin import thin_architecture
from tests.export.models import thin_model
from tests.export.static.test_runner import letterboxed
from tests.inputs.pictures import write_video
from tests.predict.conftest import Stored
from tests.reference import deterministic

NUCLEI = ROOT / "tests" / "data" / "nuclei"
IMAGES = [deterministic.image(seed, *size) for seed, size in enumerate([(97, 150), (130, 70)])]
"""BGR."""


def assert_same(first: Prediction, second: Prediction) -> None:
    """Compare predictions that float noise may not reorder, since their scores are far apart."""
    assert len(first) == len(second) > 0
    assert first.image_size == second.image_size
    assert first.class_names == second.class_names
    assert torch.equal(first.classes, second.classes)
    assert float((first.boxes - second.boxes).abs().max()) < 0.01
    assert float((first.scores - second.scores).abs().max()) < 1e-3
    ours, theirs = first.masks(), second.masks()
    union = (ours | theirs).sum((1, 2))
    assert float(((ours & theirs).sum((1, 2)) / union.clamp(min=1))[union > 0].min()) > 0.98


@pytest.fixture(scope="module")
def from_config(stored: Stored) -> Predictor:
    return Predictor(stored.config_file, stored.weights)


def test_a_config_finds_what_the_default_predictor_finds(
    stored: Stored, from_config: Predictor
) -> None:
    expected = DefaultPredictor(stored.cfg)
    for image in IMAGES:
        instances = expected(image)["instances"]
        found = from_config(image, "BGR").to_instances()
        assert len(instances) > 0
        assert found.image_size == instances.image_size == image.shape[:2]
        for name, value in instances.get_fields().items():
            other = found.get(name)
            same = torch.equal(getattr(value, "tensor", value), getattr(other, "tensor", other))
            assert same, name


@pytest.mark.parametrize("kind", ["ptl", "ts"])
def test_a_file_finds_what_its_model_finds(
    stored: Stored, from_config: Predictor, kind: str
) -> None:
    from_file = Predictor(getattr(stored, kind))
    assert from_file.input_order == "RGB" != from_config.input_order
    for image in IMAGES:
        assert_same(from_file(image, "BGR"), from_config(image, "BGR"))
        assert not from_file(image, "BGR").boxes.requires_grad


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the package calls its interfaces experimental
def test_an_executorch_file_finds_what_its_model_finds(stored: Stored, tmp_path: Path) -> None:
    pytest.importorskip("executorch")
    model = Predictor(stored.cfg)
    # On this canvas the images below are as large as the model wants them, and padded the same.
    export_model(thin_model(stored.cfg), stored.cfg, tmp_path, "pte", canvas_hw=(96, 160))
    from_file = Predictor(tmp_path / "mobile.pte")
    for size_hw in [(97, 150), (100, 160)]:
        image = deterministic.image(3, *size_hw)
        assert_same(from_file(image, "BGR"), model(image, "BGR"))
    larger = Predictor(tmp_path / "mobile.pte", resize=fit_window(200, 200))
    with pytest.raises(ValueError, match="becomes 125 x 200, but this file takes at most 96 x 160"):
        larger(image, "BGR")


def test_any_form_of_image_gives_the_same(from_config: Predictor, tmp_path: Path) -> None:
    rgb = np.ascontiguousarray(IMAGES[0][:, :, ::-1])
    Image.fromarray(rgb).save(tmp_path / "picture.png")
    expected = from_config(IMAGES[0], "BGR")
    for image in (tmp_path / "picture.png", Image.fromarray(rgb)):
        assert torch.equal(from_config(image).boxes, expected.boxes)
    assert torch.equal(from_config(rgb, "RGB").boxes, expected.boxes)
    # The channels matter: the wrong order finds something else.
    assert not torch.equal(from_config(rgb, "BGR").scores, expected.scores)


def test_a_list_gives_what_its_images_give_one_by_one(from_config: Predictor) -> None:
    images = [IMAGES[0], IMAGES[0][::-1], IMAGES[1], IMAGES[0][:, ::-1]]
    together = from_config(images, "BGR")
    assert [len(one) > 0 for one in together] == [True] * 4
    for found, image in zip(together, images, strict=True):
        assert_same(found, from_config(image, "BGR"))
    assert from_config([], "BGR") == []


def test_images_of_one_size_go_together(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    run = ModelBackend.run

    def count(self: ModelBackend, inputs: Any) -> list[Prediction]:
        sizes.append(len(inputs))
        return run(self, inputs)

    monkeypatch.setattr(ModelBackend, "run", count)
    predictor = Predictor(stored.cfg, batch_size=2)
    predictor([IMAGES[0]] * 3 + [IMAGES[1]] + [IMAGES[0]], "BGR")
    assert sizes == [2, 1, 1, 1]


def test_a_stream_reads_no_further_than_needed(stored: Stored) -> None:
    read: list[int] = []

    def frames() -> Iterator[np.ndarray]:
        for number in range(10):
            read.append(number)
            yield IMAGES[number % 2]

    found = Predictor(stored.ptl).stream(frames(), "BGR")
    assert next(found).image_size == (97, 150)
    assert len(read) <= 2


def test_folders_and_videos_are_streamed(stored: Stored, tmp_path: Path) -> None:
    frames = [np.ascontiguousarray(image[:70, :70, ::-1]) for image in IMAGES]
    write_video(tmp_path / "film.avi", frames)
    Image.fromarray(frames[1]).save(tmp_path / "photo.png")
    predictor = Predictor(stored.ptl)
    found = list(predictor.stream(tmp_path))
    assert len(found) == 3
    several = predictor.stream(find_sources([tmp_path / "film.avi", tmp_path / "photo.png"]))
    assert [len(one) for one in several] == [len(one) for one in found]
    for one, frame in zip(found, [*frames, frames[1]], strict=True):
        assert torch.equal(one.boxes, predictor(frame, "RGB").boxes)


@pytest.mark.parametrize("tile_hw", [None, (64, 64)])
def test_files_and_lists_are_read_by_another_thread(
    stored: Stored, monkeypatch: pytest.MonkeyPatch, tile_hw: tuple[int, int] | None
) -> None:
    predictor = Predictor(stored.config_file, stored.weights, tile_hw=tile_hw)
    readers = set()

    def recorded(path: Path, order: str) -> np.ndarray:
        readers.add(threading.current_thread() is threading.main_thread())
        return load_image(path, order)

    monkeypatch.setattr("d2seg.predict.images.load_image", recorded)
    monkeypatch.setattr("d2seg.inputs.source.load_image", recorded)
    paths = find_images([DEMO_IMAGES])[:3]
    plain = list(predictor.stream(path for path in paths))
    assert readers == {True}
    for images in (paths, find_sources(paths)):
        readers.clear()
        found = list(predictor.stream(images))
        assert readers == {False}
        for one, other in zip(found, plain, strict=True):
            assert len(one) > 0
            assert torch.equal(one.boxes, other.boxes)
            assert torch.equal(one.scores, other.scores)
    readers.clear()
    predictor(paths[0])
    assert readers == {True}


def test_low_scores_are_left_out(stored: Stored, from_config: Predictor) -> None:
    everything = from_config(IMAGES[0], "BGR")
    limit = float(everything.scores.median())
    sure = Predictor(stored.cfg, score_threshold=limit)(IMAGES[0], "BGR")
    assert 0 < len(sure) == int((everything.scores >= limit).sum()) < len(everything)


def test_classes_may_compete(stored: Stored, from_config: Predictor) -> None:
    everything = from_config(IMAGES[0], "BGR")
    alone = Predictor(stored.cfg, nms_threshold=0.3)(IMAGES[0], "BGR")
    expected = []
    for row in range(len(everything)):  # best first
        rest = torch.cat([everything.boxes[:0], *[everything.boxes[i : i + 1] for i in expected]])
        if not (box_iou(everything.boxes[row : row + 1], rest) > 0.3).any():
            expected.append(row)
    assert torch.equal(alone.boxes, everything.boxes[expected])
    assert len(set(everything.classes.tolist())) > 1
    assert len(alone) < len(everything)


@pytest.mark.parametrize(
    ("resize", "sizes"),
    [
        (fit_shortest_edge(48, 100), [(48, 74), (89, 48)]),
        (fit_window(60, 90), [(58, 90), (60, 32)]),
        (stretch(50, 70), [(50, 70), (50, 70)]),
    ],
    ids=["shortest edge", "window", "size"],
)
def test_images_are_resized_as_told(
    stored: Stored, monkeypatch: pytest.MonkeyPatch, resize: Any, sizes: list[tuple[int, int]]
) -> None:
    seen = []
    run = ModelBackend.run

    def note(self: ModelBackend, inputs: Any) -> list[Prediction]:
        seen.extend([tuple(one.tensor.shape[1:]) for one in inputs])
        return run(self, inputs)

    monkeypatch.setattr(ModelBackend, "run", note)
    found = Predictor(stored.cfg, resize=resize)(IMAGES, "BGR")
    assert seen == sizes
    assert [one.image_size for one in found] == [image.shape[:2] for image in IMAGES]
    for one in found:
        assert float(one.boxes[:, 2].max()) <= one.image_size[1]
        assert float(one.boxes[:, 3].max()) <= one.image_size[0]


def test_a_file_takes_other_sizes_too(stored: Stored) -> None:
    found = [
        Predictor(source, resize=fit_window(60, 90))(IMAGES[0], "BGR")
        for source in (stored.cfg, stored.ptl)
    ]
    assert_same(*found)


def test_an_image_larger_than_a_fixed_size_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The module that becomes a .pte, of 128 x 160, in place of a file that takes a minute to write.
    monkeypatch.setattr("d2seg.export.executorch.load_pte", lambda path: letterboxed())
    (file := tmp_path / "mobile.pte").touch()
    whole = Predictor(file)(IMAGES[0], "BGR")
    assert len(whole) > 0
    assert torch.equal(
        Predictor(file, resize=fit_window(128, 160))(IMAGES[0], "BGR").boxes, whole.boxes
    )
    message = (
        r"An image of 130 x 70 \(height x width\) becomes 200 x 108, but this file takes at most "
        "128 x 160; leave the resizing to it"
    )
    with pytest.raises(ValueError, match=message):
        Predictor(file, resize=fit_window(200, 200))(IMAGES[1], "BGR")


def test_a_file_that_resizes_itself_is_given_whole_images_and_not_told_how(
    stored: Stored, from_config: Predictor, tmp_path: Path
) -> None:
    images = find_images([DEMO_IMAGES])[:1]
    export_model(thin_model(stored.cfg), stored.cfg, tmp_path, resize_inside=True, images=images)
    file = tmp_path / "mobile_optimized.ptl"
    for image in IMAGES:
        assert_same(Predictor(file)(image, "BGR"), from_config(image, "BGR"))
    with pytest.raises(ValueError, match="This file resizes images itself; leave resize out"):
        Predictor(file, resize=stretch(10, 20))


def test_a_window_has_a_height_and_a_width() -> None:
    with pytest.raises(ValueError, match="positive height and width, but is 0 x 9"):
        fit_window(0, 9)
    assert fit_window(100, 100)((4, 1000)) == (1, 100)


def test_overrides_and_names(stored: Stored) -> None:
    overrides = ["TEST.DETECTIONS_PER_IMAGE", 3]
    predictor = Predictor(stored.config_file, stored.weights, overrides=overrides)
    assert len(predictor(IMAGES[0], "BGR")) == 3
    assert predictor.class_names == tuple(f"class {index}" for index in range(5))
    assert stored.cfg.TEST.DETECTIONS_PER_IMAGE == 40


def test_the_network_may_take_images_as_they_are(stored: Stored) -> None:
    small = IMAGES[0][:64, :96]
    unchanged = Predictor(stored.cfg, overrides=["INPUT.MIN_SIZE_TEST", 0])
    same = Predictor(stored.cfg, overrides=["INPUT.MIN_SIZE_TEST", 64])
    assert torch.equal(unchanged(small, "BGR").boxes, same(small, "BGR").boxes)


@pytest.mark.parametrize("name", ["c4", "keypoints", "cascade", "retinanet_bn", "panoptic"])
def test_every_family_gives_what_its_model_gives(
    name: str, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = thin_architecture(name, {"MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.25})
    predictor = Predictor(stored.cfg)
    monkeypatch.setattr(predictor._backend, "model", model)
    found = predictor(IMAGES[0], "BGR").to_instances()
    expected = DefaultPredictor(stored.cfg)
    expected.model = model
    instances = expected(IMAGES[0])["instances"]
    assert len(instances) > 0
    assert set(found.get_fields()) == set(instances.get_fields()) - {"pred_keypoint_heatmaps"}
    assert torch.equal(found.pred_boxes.tensor, instances.pred_boxes.tensor)
    for field in ("pred_masks", "pred_keypoints"):
        if found.has(field):
            assert torch.equal(found.get(field), instances.get(field))


def test_a_model_that_finds_no_instances_is_named(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor(stored.cfg)
    monkeypatch.setattr(predictor._backend, "model", thin_architecture("semantic"))
    with pytest.raises(ValueError, match="models that find instances, but this one gives sem_seg"):
        predictor(IMAGES[0], "BGR")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_cpu_serves_where_there_is_no_gpu(
    stored: Stored, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="d2seg"):
        for source in (stored.cfg, stored.ts, stored.ptl):
            predictor = Predictor(source, device="cuda")
            assert predictor.device == "cpu"
            assert len(predictor(IMAGES[0], "BGR")) > 0
    assert [("cuda" in message, "CPU" in message) for message in caplog.messages] == [
        (True, True)
    ] * 3


def test_a_file_needs_nothing_that_builds_or_trains_models(
    stored: Stored, run_python: RunPython
) -> None:
    code = (
        "import sys, numpy as np; from d2seg import Predictor\n"
        f"found = Predictor({str(stored.ptl)!r})(np.zeros((90, 140, 3), np.uint8), 'RGB')\n"
        "print(found.image_size, found.to_coco(1) is not None, found.to_polygons() is not None)\n"
        "names = ('modeling', 'engine', 'solver', 'model_zoo', 'evaluation', 'checkpoint')\n"
        "print([name for name in names if f'd2seg.core.{name}' in sys.modules])"
    )
    done = run_python("-W", "ignore", "-c", code)
    assert done.stdout.splitlines() == ["(90, 140) True True", "[]"], done.stderr


def test_the_package_offers_it_lazily() -> None:
    assert d2seg.Predictor is Predictor


@pytest.mark.parametrize(
    ("source", "options", "error", "message"),
    [
        (
            "model.tflite",
            {},
            ValueError,
            "no kind of model file that is known; use .ptl, .ts, .pte",
        ),
        ("nowhere.ptl", {}, FileNotFoundError, "No model file at 'nowhere.ptl'"),
        ("nowhere.yaml", {}, FileNotFoundError, "'nowhere.yaml' is neither a file nor a published"),
        (7, {}, TypeError, "takes a file, the name of a config or a CfgNode, not a int"),
        ("PTL", {"weights": "w.pth"}, ValueError, "has its own weights and config; give no others"),
        ("PTL", {"overrides": ["A", 1]}, ValueError, "has its own weights and config"),
        ("CFG", {"weights": "nowhere.pth"}, FileNotFoundError, "nowhere.pth"),
        ("CFG", {"overrides": ["MODEL.WEIGHT", "x"]}, KeyError, "MODEL.WEIGHT"),
        ("CFG", {"device": "gpu"}, ValueError, "device is 'gpu'; use cpu, cuda"),
        ("CFG", {"score_threshold": 50}, ValueError, r"score_threshold \(--prob-threshold\) is 50"),
        (
            "CFG",
            {"nms_threshold": 2},
            ValueError,
            r"\(--nms-threshold\) is 2, but an IoU lies in 0..1",
        ),
        (
            "CFG",
            {"batch_size": 0},
            ValueError,
            r"batch_size \(--batch-size\) is 0, but must be 1 or more",
        ),
    ],
    ids=str,
)
def test_bad_arguments_are_named(
    stored: Stored, source: Any, options: dict[str, Any], error: type, message: str
) -> None:
    real = {"PTL": stored.ptl, "CFG": stored.cfg}.get(source, source)
    with pytest.raises(error, match=message):
        Predictor(real, **options)


def test_files_that_are_not_ours_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.ptl").write_text("no model")
    with pytest.raises(ValueError, match="text.ptl' is neither a .ptl nor a .pte"):
        Predictor(tmp_path / "text.ptl")


def test_unknown_orders_are_named(from_config: Predictor) -> None:
    with pytest.raises(ValueError, match="channel_order is 'GBR'; use RGB or BGR"):
        from_config(IMAGES[0], "GBR")


@pytest.fixture(scope="module")
def demo_ptl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    cfg = load_config(DEMO_CONFIG_FILE)
    export_model(DefaultPredictor(cfg).model, cfg, folder, images=find_images([DEMO_IMAGES])[:1])
    return folder / "mobile_optimized.ptl"


@pytest.mark.slow
def test_the_shipped_images(demo_ptl: Path, record_property: Any) -> None:
    expected, from_config = (
        DefaultPredictor(load_config(DEMO_CONFIG_FILE)),
        Predictor(DEMO_CONFIG_FILE),
    )
    from_file = Predictor(demo_ptl)
    count = 0
    for path in find_images([DEMO_IMAGES]):
        found = from_config(path)
        instances = expected(load_image(path, "BGR"))["instances"]
        assert torch.equal(found.boxes, instances.pred_boxes.tensor)
        assert torch.equal(found.masks(), instances.pred_masks)
        assert_same(from_file(path), found)
        count += len(found)
    record_property(
        "demo model and its .ptl", f"{count} of {count} detections, as DefaultPredictor"
    )


@pytest.mark.slow
def test_model_and_file_are_evaluated_equal(demo_ptl: Path, record_property: Any) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(NUCLEI / "instances_val.json"))
    images = [truth.imgs[key] for key in sorted(truth.imgs)[:12]]
    paths = [NUCLEI / "images" / image["file_name"] for image in images]
    ap = {
        source: average_precision(truth, images, Predictor(source), paths)
        for source in (DEMO_CONFIG_FILE, demo_ptl)
    }
    assert ap[demo_ptl] == pytest.approx(ap[DEMO_CONFIG_FILE], abs=1e-3)
    assert ap[demo_ptl] > 0.3
    record_property(
        "AP of masks, model and .ptl", f"{ap[DEMO_CONFIG_FILE]:.4f}, {ap[demo_ptl]:.4f}"
    )


def average_precision(
    truth: COCO, images: list[dict[str, Any]], predictor: Predictor, paths: list[Path]
) -> float:
    """Evaluate masks as ``to_coco`` gives them."""
    results = [
        result
        for image, found in zip(images, predictor.stream(paths), strict=True)
        for result in found.to_coco(image["id"], truth.getCatIds())
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        judge = COCOeval(truth, truth.loadRes(results), "segm")
        judge.params.imgIds = [image["id"] for image in images]
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return float(judge.stats[0])
