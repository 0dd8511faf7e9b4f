"""ONNX files in onnxruntime, and what OpenVINO makes of them, against the eager model."""

from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch

from d2seg import cli
from d2seg.assets import DEMO_CONFIG_FILE
from d2seg.export import export_model, read_description
from d2seg.export.batched.verify import compare_batch
from d2seg.export.images import SHIPPED_IMAGES
from d2seg.export.onnx.file import count_operators, load_onnx
from d2seg.export.openvino.file import load_openvino
from d2seg.export.parity import ImageParity
from d2seg.postprocess import pad_images, slice_batch
from d2seg.predict import Predictor
from tests.export.graph_models import many_pictures, mixed_batches, onnx_file, openvino_file
from tests.export.models import pictures, thin_config, thin_model
from tests.export.test_export_model import write_pictures

MASKS = "masks and keypoints"


def check(rows: list[ImageParity]) -> int:
    """Require that both sides found the same; return how much that was."""
    for row in rows:
        # Whose scores are equal up to noise may compete for the last place.
        assert row.num_matched >= max(row.num_eager, row.num_file) - 1, row
        assert row.num_eager == row.num_file
        assert row.score_difference < 1e-4
    return sum(row.num_matched for row in rows)


def check_batches(model: Any, run: Any) -> None:
    """Compare images of five sizes, one with nothing in it, and mixed batches."""
    rows = [compare_batch(model, run, batch) for batch in mixed_batches()]
    assert check([row for batch in rows for row in batch]) > 60
    assert [row.num_eager for row in rows[5]] == [0]  # the image with nothing in it
    assert rows[7][1].num_eager == 0  # and in a batch with others


def test_single_image_finds_what_the_model_finds() -> None:
    path, _, model = onnx_file(MASKS, "single")
    run = load_onnx(path)
    rows = [compare_batch(model, run, [image])[0] for image in many_pictures()]
    assert check(rows) > 60
    assert rows[-1].num_file == 0
    assert run.names == ["boxes", "classes", "masks", "keypoints", "scores", "image_size"]
    outputs = run(many_pictures()[-1])
    assert [(tuple(one.shape), str(one.dtype)) for one in outputs] == [
        ((0, 4), "torch.float32"),
        ((0,), "torch.int64"),
        ((0, 1, 28, 28), "torch.float32"),
        ((0, 4, 3), "torch.float32"),
        ((0,), "torch.float32"),
        ((2,), "torch.int64"),
    ]
    assert outputs[-1].tolist() == [64, 90]


def test_file_holds_standard_operators_names_and_its_description() -> None:
    path, cfg, _ = onnx_file(MASKS, "single")
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    assert [(one.domain, one.version) for one in proto.opset_import if not one.domain] == [("", 18)]
    assert not proto.functions
    operators = count_operators(proto)
    assert not any("::" in name for name in operators)
    assert operators["NonMaxSuppression"] == 2
    assert operators["RoiAlign"] == 8  # four levels, for boxes, and for masks with keypoints
    assert (operators["Loop"], operators.get("If", 0)) == (1, 0)  # over objects, for keypoints
    shapes = {
        one.name: [size.dim_param or size.dim_value for size in one.type.tensor_type.shape.dim]
        for one in [*proto.graph.input, *proto.graph.output]
    }
    description = read_description(path)
    schemas = [*description.inputs, *description.outputs]
    assert shapes == {schema.name: schema.shape for schema in schemas}
    assert shapes["image"] == [3, "H", "W"]
    assert shapes["keypoints"] == ["N", 4, 3]
    assert (description.format, description.operators) == ("onnx", "onnx")
    assert description.config == cfg.dump()
    assert b"site-packages" not in path.read_bytes()  # nor any other path of this machine


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [MASKS, "Mask R-CNN C4", "Cascade Mask R-CNN", "Faster R-CNN", "RetinaNet"]
)
def test_batches_of_every_family(name: str) -> None:
    path, _, model = onnx_file(name, "batched")
    check_batches(model, load_onnx(path))
    check_batches(model, load_openvino(openvino_file(name, "batched").path))


@pytest.mark.slow
def test_padded_outputs_in_plain_onnxruntime() -> None:
    """The layout, and the cutting, of seeds/003: code in the style of that document."""
    path, _, model = onnx_file(MASKS, "batched")
    images, sizes = pad_images([many_pictures()[4], many_pictures()[5], many_pictures()[0]])
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    outputs = session.run(names, {"images": images.numpy(), "image_sizes": sizes.numpy()})
    assert dict(zip(names, [value.shape for value in outputs], strict=True)) == {
        "detections_per_batch": (3, 1),
        "boxes": (3, 40, 4),
        "labels": (3, 40),
        "scores": (3, 40),
        "masks": (3, 40, 1, 28, 28),
        "keypoints": (3, 40, 4, 3),
    }
    sliced = slice_batch(dict(zip(names, outputs, strict=True)))
    counts = []
    for (preds, boxes, labels, scores, masks, _), found in zip(
        zip(*outputs, strict=True), sliced, strict=True
    ):
        count = int(preds[0])
        counts.append(count)
        assert not boxes[count:].any()
        assert not labels[count:].any()
        assert not scores[count:].any()
        assert not masks[count:].any()
        assert (scores[:count] > 0.9).all()
        assert (found["boxes"] == boxes[:count]).all()
        assert found["masks"].shape == (count, 1, 28, 28)
    assert counts[0] > 0
    assert counts[1] == 0
    eager = model.inference([{"image": many_pictures()[4]}], do_postprocess=False)[0]
    assert abs(counts[0] - len(eager)) <= 2  # padded in the batch, alone here


@pytest.mark.slow
def test_segmentoly_names() -> None:
    path, _, model = onnx_file("Mask R-CNN C4", "segmentoly")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    image = pictures()[0]
    inputs = {"im_data": image[None].numpy(), "im_info": [[97.0, 150.0, 1.0]]}
    names = [output.name for output in session.get_outputs()]
    assert names == ["boxes", "classes", "scores", "batch_ids", "raw_masks"]
    found = dict(zip(names, session.run(names, inputs), strict=True))
    assert found["classes"].min() >= 1  # 0 is the background
    assert found["raw_masks"].shape[1:] == (6, 14, 14)
    assert not found["batch_ids"].any()
    run = load_onnx(path)
    assert check([compare_batch(model, run, [one])[0] for one in many_pictures()]) > 60


@pytest.mark.slow
def test_full_masks() -> None:
    path, _, model = onnx_file("Mask R-CNN C4", "batched", full_masks=True)
    run = load_onnx(path)
    assert read_description(path).outputs[4].shape == ["B", 40, 1, "H", "W"]
    assert (
        check([row for batch in mixed_batches() for row in compare_batch(model, run, batch)]) > 60
    )
    found = Predictor(path)(pictures()[0], "BGR")
    assert found.masks().shape[1:] == (97, 150)


def test_predictor_runs_the_file(tmp_path: Path) -> None:
    path, cfg, model = onnx_file(MASKS, "single")
    expected = Predictor(cfg)
    expected._backend.model = model
    images = [(image.byte().permute(1, 2, 0).numpy()) for image in pictures()[:2]]
    for first, second in zip(expected(images, "BGR"), Predictor(path)(images, "BGR"), strict=True):
        torch.testing.assert_close(first.scores, second.scores, atol=1e-4, rtol=0)
        assert first.image_size == second.image_size
        assert (first.masks() != second.masks()).float().mean() < 1e-3
        assert second.keypoints is not None


def test_somebody_elses_file_is_refused(tmp_path: Path) -> None:
    info = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    other = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([node], "g", [info], [other])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "other.onnx")
    sentence = "'description.json' is missing in its metadata_props.*inputs .x. and outputs .y."
    with pytest.raises(ValueError, match=sentence):
        Predictor(tmp_path / "other.onnx")
    for content in (b"", b"no protobuf at all"):
        (tmp_path / "broken.onnx").write_bytes(content)
        with pytest.raises(ValueError, match="broken.onnx' is not an ONNX file"):
            read_description(tmp_path / "broken.onnx")
    with pytest.raises(FileNotFoundError):
        Predictor(tmp_path / "missing.onnx")


class FakeSession:
    """A session of an onnxruntime with CUDA."""

    def __init__(self, path: str, options: Any, providers: list[Any]) -> None:
        assert providers[0] == ("CUDAExecutionProvider", {"device_id": "1"})

    def get_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def get_outputs(self) -> list[Any]:
        return []


def test_a_device_is_taken_where_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = onnx_file(MASKS, "single").path
    caplog.clear()  # of what the export said
    assert Predictor(path, device="cuda:1").device == "cpu"
    assert caplog.messages == ["This onnxruntime has no 'cuda:1'; using the CPU."]
    monkeypatch.setattr(onnxruntime, "InferenceSession", FakeSession)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    assert Predictor(path, device="cuda:1").device == "cuda:1"


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    path = onnx_file(MASKS, "single").path
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"onnx and onnxruntime: pip install \"d2seg\[onnx\]\""):
        Predictor(path)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"resize_inside": True},
            r"resize_inside \(--resize-inside\) is for files of format 'ptl'",
        ),
        ({"canvas_hw": (64, 96)}, r"canvas_hw \(--input-size\) is for files of format 'pte'"),
        ({"weights": "half"}, "'onnx' stores its weights as 'fp32', not 'half'"),
        (
            {"optimize": True},
            r"optimize \(--optimize\) prepacks a file of format 'ptl', not of 'onnx'",
        ),
        ({"layout": "list"}, "layout is 'list'; use one of single, batched, segmentoly"),
        ({"layout": "segmentoly", "full_masks": True}, "raw_masks of the boxes; choose one"),
        (
            {"format": "ptl", "layout": "batched"},
            "a file of format 'ptl' takes one image; use onnx",
        ),
    ],
)
def test_options_that_do_not_go_together(
    tmp_path: Path, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        export_model(thin_model(), thin_config(), tmp_path, **{"format": "onnx", **options})
    assert list(tmp_path.iterdir()) == []


def test_a_list_without_end_is_refused(tmp_path: Path) -> None:
    cfg = thin_config(TEST__DETECTIONS_PER_IMAGE=-1)
    images = [write_pictures(tmp_path / "images")]
    with pytest.raises(ValueError, match="TEST.DETECTIONS_PER_IMAGE is -1; set max_detections"):
        export_model(thin_model(cfg), cfg, tmp_path / "out", "onnx", images=images)


@pytest.mark.slow
def test_command_writes_a_verified_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["export", "--config-file", str(DEMO_CONFIG_FILE), "--format", "onnx", "--batched"]
    assert cli.main([*arguments, "--score-threshold", "0.5", "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "kinds of standard operators, opset 18" in printed
    assert "the file in onnxruntime against the model" in printed
    assert printed.count("  same") == 11  # six images alone, and batches of two and of three
    path = tmp_path / "model.onnx"
    assert read_description(path).score_threshold == 0.5
    together = Predictor(path, batch_size=3)(sorted(SHIPPED_IMAGES.iterdir())[:3])
    alone = Predictor(path, batch_size=1)
    for image, found in zip(sorted(SHIPPED_IMAGES.iterdir())[:3], together, strict=True):
        torch.testing.assert_close(found.scores, alone(image).scores, atol=1e-4, rtol=0)
        assert len(found) > 5


def test_command_refuses_what_does_not_go_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["export", "--config-file", str(DEMO_CONFIG_FILE), "--output", str(tmp_path)]
    for options, sentence in (
        (["--ops", "aten"], "--ops is for --format ptl; a file of format onnx has that format's"),
        (["--batched", "--names", "segmentoly"], "segmentoly has one image (im_data); leave --bat"),
    ):
        assert cli.main([*arguments, "--format", "onnx", *options]) == 1
        assert sentence in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
