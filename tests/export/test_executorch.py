"""ExecuTorch files: written, described, run and compared. Slow, and only where ExecuTorch is."""

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from d2seg.export import ParityError, ParityReport, export_model, read_description
from d2seg.export.deployable import DeployableRCNN
from d2seg.export.description import ModelDescription
from d2seg.export.executorch import find_flatc, load_pte, read_pte_description
from d2seg.export.static import export as static_export
from d2seg.export.static.deployable import StaticRCNN
from d2seg.export.static.runner import Letterboxed
from tests.core.modeling.thin import _HEADS as HEADS
from tests.core.modeling.thin import ARCHITECTURES
from tests.core.modeling.thin import thin_config as family_config
from tests.core.modeling.thin import thin_model as family_model
from tests.export.models import pictures, thin_config, thin_model
from tests.export.test_export_model import write_pictures

needs_executorch = pytest.mark.skipif(
    importlib.util.find_spec("executorch") is None, reason="executorch is not installed"
)
quiet = pytest.mark.filterwarnings("ignore")  # deprecations within executorch and torchao


def small_config() -> Any:
    """A model whose file is written quickly."""
    return thin_config(
        MODEL__RPN__PRE_NMS_TOPK_TEST=100,
        MODEL__RPN__POST_NMS_TOPK_TEST=50,
        INPUT__MIN_SIZE_TEST=64,
    )


@needs_executorch
@quiet
@pytest.mark.slow
def test_file_is_written_verified_and_described(tmp_path: Path, record_property: Any) -> None:
    cfg = small_config()
    images = [write_pictures(tmp_path / "images")]
    report = export_model(
        thin_model(cfg),
        cfg,
        tmp_path,
        format="pte",
        input_order="RGB",
        images=images,
        canvas_hw=(64, 96),
    )
    assert report.passed
    path = tmp_path / "mobile.pte"
    description = read_description(path)
    assert description.input_order == "RGB"
    assert description.weights == "fp32"
    assert description.inputs[0].shape == [3, 64, 96]
    run = load_pte(path)
    assert run.description == description
    outputs = dict(zip([one.name for one in description.outputs], run(pictures()[0]), strict=True))
    assert outputs["image_size"].tolist() == [97, 150]
    assert len(outputs["boxes"]) == int(outputs["count"])
    record_property("pte", f"{path.stat().st_size / 1e6:.1f} MB\n{report.table()}")


FAMILIES: dict[str, dict[str, Any]] = {
    "Cascade R-CNN with masks and keypoints": {
        **ARCHITECTURES["cascade"],
        **ARCHITECTURES["keypoints"],
        "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS": 17,
    },
    "Mask R-CNN C4": ARCHITECTURES["c4"],
    "RetinaNet": ARCHITECTURES["retinanet_bn"],
}
"""Between them they have every part that a model can have; tests/export/static has them all."""


@needs_executorch
@quiet
@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_runs_in_executorch(name: str, tmp_path: Path, record_property: Any) -> None:
    opts = {
        **HEADS,
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.25,
        "MODEL.RPN.PRE_NMS_TOPK_TEST": 100,
        "MODEL.RPN.POST_NMS_TOPK_TEST": 50,
        **FAMILIES[name],
    }
    images = [write_pictures(tmp_path / "images")]
    report = export_model(
        family_model(opts),
        family_config(opts),
        tmp_path,
        format="pte",
        images=images,
        canvas_hw=(64, 96),
    )
    assert report.passed
    assert sum(image.num_matched for image in report.images) > 150
    record_property(name, f"\n{report.table()}")


@pytest.fixture
def tampered(tmp_path: Path) -> type[StaticRCNN]:
    """A static model that refines boxes too little; beside an earlier file."""

    class Tampered(StaticRCNN):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.detector.boxes.heads[0].weights = [12.0, 12.0, 6.0, 6.0]

    (tmp_path / "mobile.pte").write_text("an earlier file")
    return Tampered


def export_small(tmp_path: Path, **options: Any) -> ParityReport:
    cfg, images = small_config(), [write_pictures(tmp_path / "images")]
    options |= {"images": images, "canvas_hw": (64, 96)}
    return export_model(thin_model(cfg), cfg, tmp_path, format="pte", **options)


@needs_executorch
def test_fixed_shapes_that_change_the_model_are_refused_before_the_file_is_made(
    tmp_path: Path, tampered: type[StaticRCNN], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(static_export, "StaticRCNN", tampered)
    monkeypatch.delattr(static_export, "save_pte")
    with pytest.raises(ParityError, match="finds other objects than the model"):
        export_small(tmp_path)
    assert (tmp_path / "mobile.pte").read_text() == "an earlier file"


@needs_executorch
def test_a_file_that_differs_is_not_kept(
    tmp_path: Path, tampered: type[StaticRCNN], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def save(model: Any, inputs: Any, path: Path, description: ModelDescription) -> None:
        path.write_text("a new file")
        written.append(description)

    def load(path: Path) -> Letterboxed:
        assert path.read_text() == "a new file"
        dynamic = DeployableRCNN(thin_model(small_config()))
        return Letterboxed(tampered(dynamic, (64, 96)), written[0])

    monkeypatch.setattr(static_export, "save_pte", save)
    monkeypatch.setattr(static_export, "load_pte", load)
    with pytest.raises(ParityError, match="finds other objects than the model"):
        export_small(tmp_path)
    assert (tmp_path / "mobile.pte").read_text() == "an earlier file"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "mobile.pte"]
    assert not export_small(tmp_path, keep_different=True).passed
    assert (tmp_path / "mobile.pte").read_text() == "a new file"


def test_without_executorch_one_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "executorch" else find(name)
    )
    with pytest.raises(ImportError, match=r"pip install \"d2seg\[executorch\]\""):
        export_model(thin_model(), thin_config(), tmp_path, format="pte")
    assert list(tmp_path.iterdir()) == []


def test_without_flatc_one_sentence_says_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="program flatc, which is neither on the PATH"):
        find_flatc()
    (tmp_path / "flatc").write_text("#!/bin/sh\n")
    os.chmod(tmp_path / "flatc", 0o755)
    assert find_flatc() == str(tmp_path / "flatc")


def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pte"
    for content in (b"", b"\x00\x00ET12 nothing", b'{\n  "format": "pte", \0'):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="other.pte' has no description: d2seg did not"):
            read_pte_description(path)
    with pytest.raises(FileNotFoundError):
        read_pte_description(tmp_path / "missing.pte")


def test_what_cannot_have_fixed_shapes_is_refused() -> None:
    for options, reason in (
        ({"full_masks": True}, "full_masks asks for masks in the size of the image"),
        ({"resize": (64, 96)}, "resize_inside asks for images of any size"),
    ):
        with pytest.raises(ValueError, match=reason):
            StaticRCNN(DeployableRCNN(thin_model(), **options), (64, 96))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("format", "options", "message"),
    [
        ("pte", {"weights": "half"}, "'pte' stores its weights as 'fp32' or 'int8', not 'half'"),
        (
            "pte",
            {"optimize": True},
            r"optimize \(--optimize\) prepacks a file of format 'ptl', not of 'pte'",
        ),
        ("pte", {"aten_only": False}, r"\(--ops torchvision\) are for a file of format 'ptl'"),
        ("ptl", {"canvas_hw": (64, 96)}, "takes any size: leave it out"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    format: str, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        export_model(thin_model(), thin_config(), tmp_path, format=format, **options)
    assert list(tmp_path.iterdir()) == []


@needs_executorch
@pytest.mark.parametrize("given", [True, False])
def test_ranges_are_measured_on_calibration_images(
    given: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[Any] = []

    def quantise(model: Any, inputs: Any) -> None:
        measured.extend(tuple(size.tolist()) for _, size in inputs)
        raise InterruptedError

    monkeypatch.setattr(static_export, "quantise", quantise)
    options: dict[str, Any] = {"images": [write_pictures(tmp_path / "images")], "weights": "int8"}
    if given:
        options["calibration"] = [tmp_path / "images" / "1.png"]
    cfg = small_config()
    with pytest.raises(InterruptedError):
        export_model(thin_model(cfg), cfg, tmp_path, "pte", canvas_hw=(64, 96), **options)
    assert measured[:1] == ([(64, 34)] if given else [(62, 96)])
    assert len(measured) == (1 if given else 6)


def test_outputs_are_tensors_without_masks() -> None:
    model = DeployableRCNN(thin_model(thin_config(MODEL__MASK_ON=False)))
    outputs = StaticRCNN(model, (64, 96))(pictures()[0][:, :64, :96], torch.tensor([64, 96]))
    assert [tuple(one.shape) for one in outputs] == [(40, 4), (40,), (40,), (2,), (1,)]
