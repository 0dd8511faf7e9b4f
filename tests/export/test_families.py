"""Every family of models as a file, against the eager model."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from d2seg.export.deployable import DeployableRCNN
from d2seg.export.eager import Detections, detect_eagerly
from d2seg.export.parity import compare_detections
from d2seg.export.schema import output_schema
from d2seg.export.torchscript import RunFile, inspect_file, load_lite, save_torchscript
from tests.core.modeling.thin import _HEADS as HEADS
from tests.core.modeling.thin import ARCHITECTURES, thin_config, thin_model
from tests.export.models import pictures
from tests.export.test_torchscript import KNOWN

LOW = {"MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.25, "MODEL.RETINANET.SCORE_THRESH_TEST": 0.01}
FAMILIES: dict[str, dict[str, Any]] = {
    "Faster R-CNN": {"MODEL.MASK_ON": False},
    "Faster R-CNN C4": {**ARCHITECTURES["c4"], "MODEL.MASK_ON": False},
    "Mask R-CNN C4": ARCHITECTURES["c4"],
    "Mask R-CNN C4, no classes in boxes and masks": {
        **ARCHITECTURES["c4"],
        "MODEL.RESNETS.DEPTH": 50,
        "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": True,
        "MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK": True,
    },
    "Mask R-CNN DC5": ARCHITECTURES["dc5"],
    "Keypoint R-CNN": {**ARCHITECTURES["keypoints"], "MODEL.MASK_ON": False},
    "masks and keypoints": ARCHITECTURES["keypoints"],
    "Cascade Mask R-CNN": ARCHITECTURES["cascade"],
    "Cascade R-CNN with keypoints": {
        **ARCHITECTURES["cascade"],
        "MODEL.KEYPOINT_ON": True,
        "MODEL.MASK_ON": False,
    },
    "deformable, modulated, groups": ARCHITECTURES["deformable"],
    "deformable, group norm": {
        **ARCHITECTURES["deformable"],
        "MODEL.RESNETS.DEFORM_MODULATED": False,
        "MODEL.RESNETS.STRIDE_IN_1X1": False,
        "MODEL.RESNETS.NORM": "GN",
        "MODEL.RESNETS.STEM_OUT_CHANNELS": 32,
        "MODEL.RESNETS.RES2_OUT_CHANNELS": 32,
        "MODEL.RESNETS.WIDTH_PER_GROUP": 32,
        "MODEL.MASK_ON": False,
    },
    "RetinaNet": ARCHITECTURES["retinanet"],
    "RetinaNet, batch norm": {**ARCHITECTURES["retinanet_bn"], "MODEL.RETINANET.NUM_CONVS": 2},
    "RetinaNet, group norm": {
        **ARCHITECTURES["retinanet"],
        "MODEL.RETINANET.NORM": "GN",
        "MODEL.FPN.OUT_CHANNELS": 64,
    },
}

VARIANTS = (
    "Faster R-CNN C4",
    "Mask R-CNN C4, no classes in boxes and masks",
    "Cascade R-CNN with keypoints",
    "deformable, group norm",
    "RetinaNet, group norm",
)
"""Tested with the slow tests: each shares its parts with families that are not."""


def family(name: str, **overrides: Any) -> tuple[Any, Any]:
    """Return a config and its model with deterministic weights; keys with ``__`` for dots."""
    own = {key.replace("__", "."): value for key, value in overrides.items()}
    opts = {**HEADS, **LOW, **FAMILIES[name], **own}
    return thin_config(opts), thin_model(opts)


def save(model: Any, path: Path, **options: Any) -> RunFile:
    """Write a model as a file and load it again."""
    save_torchscript(DeployableRCNN(model, **options), path, {})
    return load_lite(path)


def compare(model: Any, cfg: Any, run: RunFile, image: Tensor) -> int:
    """Compare all outputs on one image; return how many objects there were."""
    names = [output.name for output in output_schema(cfg)]
    found = Detections.from_outputs(names, run(image))
    parity = compare_detections(
        (image.shape[1], image.shape[2]), detect_eagerly(model, image), found
    )
    assert parity.num_matched == parity.num_eager == parity.num_file
    assert (parity.box_difference, parity.score_difference) < (2e-3, 1e-4)
    assert (parity.mask_difference, parity.keypoint_difference or 0.0) < (1e-3, 5e-3)
    return parity.num_eager


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in VARIANTS else ()) for name in FAMILIES],
)
def test_file_finds_what_the_eager_model_finds(name: str, tmp_path: Path) -> None:
    cfg, model = family(name)
    module = DeployableRCNN(model)
    save_torchscript(module, tmp_path / "model.ptl", {})
    run = load_lite(tmp_path / "model.ptl")
    assert sum(compare(model, cfg, run, image) for image in pictures()) > 40
    _check_schema(cfg, run(pictures()[0]))
    facts = inspect_file(tmp_path / "model.ptl")
    assert set(facts.operators) <= set(KNOWN.read_text().splitlines())
    assert facts.bytecode_version == 8
    # What is shared, by masks with boxes or by levels, is in the file once.
    values = {value.data_ptr(): value.numel() for value in module.state_dict().values()}
    assert facts.megabytes < sum(values.values()) * 4e-6 + 0.3


def _check_schema(cfg: Any, outputs: tuple[Tensor, ...]) -> None:
    schema = output_schema(cfg)
    for entry, output in zip(schema, outputs, strict=True):
        expected = [len(outputs[0]) if size == "N" else size for size in entry.shape]
        assert list(output.shape) == expected, entry.name
        assert str(output.dtype) == f"torch.{entry.dtype}"


@pytest.mark.parametrize("name", ["Mask R-CNN C4", "masks and keypoints", "Cascade Mask R-CNN"])
@pytest.mark.parametrize("what", ["no detections", "no proposals"])
def test_nothing_found_has_the_same_types(name: str, what: str, tmp_path: Path) -> None:
    keys = {
        "no detections": {"MODEL__ROI_HEADS__SCORE_THRESH_TEST": 1.0},
        "no proposals": {"MODEL__PROPOSAL_GENERATOR__MIN_SIZE": 5000},
    }
    cfg, model = family(name, **keys[what])
    run = save(model, tmp_path / "model.ptl")
    outputs = run(pictures()[0])
    assert len(outputs[0]) == 0
    assert outputs[-1].tolist() == [97, 150]
    _check_schema(cfg, outputs)


def test_dense_detector_that_finds_nothing(tmp_path: Path) -> None:
    cfg, model = family("RetinaNet", MODEL__RETINANET__SCORE_THRESH_TEST=1.0)
    outputs = save(model, tmp_path / "model.ptl")(pictures()[0])
    assert [tuple(output.shape) for output in outputs] == [(0, 4), (0,), (0,), (2,)]
    _check_schema(cfg, outputs)


@pytest.mark.parametrize("name", ["Mask R-CNN C4", "masks and keypoints", "RetinaNet"])
def test_degenerate_sizes_work(name: str, tmp_path: Path) -> None:
    cfg, model = family(name)
    run = save(model, tmp_path / "model.ptl")
    generator = torch.Generator().manual_seed(0)
    for size_hw in [(1, 1), (3, 700), (700, 3), (2, 31)]:
        image = torch.rand(3, *size_hw, generator=generator) * 255
        compare(model, cfg, run, image)
    with pytest.raises(Exception, match=r"the image must be one \(3, H, W\) tensor, but is"):
        run(torch.zeros(3, 0, 5))


@pytest.mark.parametrize(
    ("name", "used"),
    [
        ("Mask R-CNN C4", {"torchvision::nms", "torchvision::roi_align"}),
        ("RetinaNet", {"torchvision::nms"}),
    ],
)
def test_torchvision_operators(name: str, used: set[str], tmp_path: Path) -> None:
    cfg, model = family(name)
    run = save(model, tmp_path / "model.ptl", aten_only=False)
    operators = inspect_file(tmp_path / "model.ptl").operators
    assert {one for one in operators if one.startswith("torchvision::")} == used
    assert compare(model, cfg, run, pictures()[0]) > 10


def test_boxes_of_a_dense_detector_end_at_the_image() -> None:
    _, model = family("RetinaNet")
    image = pictures()[0][:, :9]
    raw = model.inference([{"image": image}], do_postprocess=False)[0].pred_boxes.tensor
    assert raw.min() < -1  # the test would say nothing otherwise
    boxes = DeployableRCNN(model)(image)[0]
    assert boxes.min() >= 0
    assert (boxes.amax(dim=0) <= torch.tensor([150, 9, 150, 9])).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
