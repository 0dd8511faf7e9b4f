"""The deployable module against the eager model, as a module and as a file."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from d2seg.core.layers import Conv2d
from d2seg.export.deployable import DeployableRCNN
from d2seg.export.parity import Detections, compare_detections, detect_eagerly
from d2seg.export.torchscript import load_lite, save_torchscript
from tests.export.models import pictures, thin_config, thin_model

VARIANTS: dict[str, dict[str, Any]] = {
    "basic blocks, frozen batch norm": {},
    "bottlenecks, trainable batch norm": {
        "MODEL__RESNETS__DEPTH": 50,
        "MODEL__RESNETS__RES2_OUT_CHANNELS": 64,
        "MODEL__RESNETS__NORM": "BN",
        "MODEL__RESNETS__STRIDE_IN_1X1": False,
        "MODEL__FPN__NORM": "BN",
    },
    "groups, synchronised batch norm everywhere": {
        "MODEL__RESNETS__DEPTH": 50,
        "MODEL__RESNETS__NUM_GROUPS": 4,
        "MODEL__RESNETS__WIDTH_PER_GROUP": 8,
        "MODEL__RESNETS__RES2_OUT_CHANNELS": 64,
        "MODEL__RESNETS__NORM": "SyncBN",
        "MODEL__FPN__NORM": "SyncBN",
        "MODEL__ROI_BOX_HEAD__NORM": "SyncBN",
        "MODEL__ROI_BOX_HEAD__NUM_CONV": 2,
        "MODEL__ROI_BOX_HEAD__NUM_FC": 1,
        "MODEL__ROI_BOX_HEAD__CONV_DIM": 32,
        "MODEL__ROI_MASK_HEAD__NORM": "SyncBN",
    },
    "group norm": {
        "MODEL__RESNETS__NORM": "GN",
        "MODEL__RESNETS__STEM_OUT_CHANNELS": 32,
        "MODEL__RESNETS__RES2_OUT_CHANNELS": 32,
        "MODEL__FPN__NORM": "GN",
        "MODEL__ROI_MASK_HEAD__NORM": "GN",
    },
    "class-agnostic boxes and masks, averaged pyramid, sampling ratio 2": {
        "MODEL__ROI_BOX_HEAD__CLS_AGNOSTIC_BBOX_REG": True,
        "MODEL__ROI_MASK_HEAD__CLS_AGNOSTIC_MASK": True,
        "MODEL__FPN__FUSE_TYPE": "avg",
        "MODEL__ROI_BOX_HEAD__POOLER_SAMPLING_RATIO": 2,
        "MODEL__ROI_MASK_HEAD__POOLER_TYPE": "ROIAlign",
    },
    "two convolutions in the RPN, other levels and means": {
        "MODEL__RPN__CONV_DIMS": [-1, 16],
        "MODEL__RPN__IN_FEATURES": ["p2", "p3", "p4"],
        "MODEL__ANCHOR_GENERATOR__SIZES": [[8], [16], [32]],
        "MODEL__ANCHOR_GENERATOR__OFFSET": 0.5,
        "MODEL__ROI_HEADS__IN_FEATURES": ["p3", "p4"],
        "MODEL__PIXEL_MEAN": [90.0, 100.0, 120.0],
        "MODEL__PIXEL_STD": [50.0, 60.0, 70.0],
        "MODEL__PROPOSAL_GENERATOR__MIN_SIZE": 4,
    },
}

Run = Callable[[Tensor], tuple[Tensor, ...]]


def assert_same(model: Any, run: Run, image: Tensor) -> int:
    """Compare all outputs of one image; return how many objects there were."""
    boxes, classes, masks, scores, image_size = run(image)
    eager = detect_eagerly(model, image)
    size_hw = (image.shape[1], image.shape[2])
    parity = compare_detections(size_hw, eager, Detections(boxes, classes, masks, scores))
    assert parity.num_matched == parity.num_eager == parity.num_file
    assert (parity.box_difference, parity.score_difference) < (2e-3, 1e-4)
    assert parity.mask_difference < 1e-3
    assert torch.equal(scores, scores.sort(descending=True).values)
    assert image_size.tolist() == list(size_hw)
    return parity.num_eager


@pytest.mark.parametrize("name", VARIANTS)
def test_file_finds_what_the_eager_model_finds(name: str, tmp_path: Path) -> None:
    model = thin_model(thin_config(**VARIANTS[name]))
    save_torchscript(DeployableRCNN(model), tmp_path / "model.ptl", {})
    run = load_lite(tmp_path / "model.ptl")
    counts = [assert_same(model, run, image) for image in pictures()]
    assert sum(counts) >= 20
    assert max(counts) > 0


@pytest.mark.parametrize("aten_only", [True, False])
def test_module_finds_what_the_eager_model_finds(aten_only: bool) -> None:
    model = thin_model()
    deployable = DeployableRCNN(model, aten_only=aten_only)
    for image in pictures():
        assert assert_same(model, deployable, image) > 0


@pytest.mark.filterwarnings("ignore:.torch.jit.load. is deprecated")
def test_torch_jit_load_reads_the_file_too(tmp_path: Path) -> None:
    model = thin_model()
    save_torchscript(DeployableRCNN(model), tmp_path / "model.ptl", {})
    loaded = torch.jit.load(os.fspath(tmp_path / "model.ptl"))
    for image in pictures():
        assert_same(model, loaded, image)


def test_types_and_shapes_with_nothing_found(tmp_path: Path) -> None:
    model = thin_model(thin_config(MODEL__ROI_HEADS__SCORE_THRESH_TEST=1.0))
    save_torchscript(DeployableRCNN(model), tmp_path / "model.ptl", {})
    outputs = load_lite(tmp_path / "model.ptl")(pictures()[0])
    assert [tuple(output.shape) for output in outputs] == [(0, 4), (0,), (0, 1, 28, 28), (0,), (2,)]
    types = [torch.float32, torch.int64, torch.float32, torch.float32, torch.int64]
    assert [output.dtype for output in outputs] == types


def test_types_and_shapes_with_one_detection(tmp_path: Path) -> None:
    model = thin_model(thin_config(TEST__DETECTIONS_PER_IMAGE=1))
    save_torchscript(DeployableRCNN(model), tmp_path / "model.ptl", {})
    run = load_lite(tmp_path / "model.ptl")
    assert assert_same(model, run, pictures()[0]) == 1
    assert run(pictures()[0])[2].shape == (1, 1, 28, 28)


def test_other_input_order_reverses_the_channels() -> None:
    model = thin_model()
    assert model.input_format == "BGR"
    image = pictures()[0]
    own = DeployableRCNN(model, input_order="BGR")(image)
    other = DeployableRCNN(model, input_order="RGB")
    assert all(torch.equal(a, b) for a, b in zip(own, other(image.flip(0)), strict=True))
    assert not torch.equal(own[3], other(image)[3])


def test_weights_are_a_copy() -> None:
    model = thin_model()
    deployable = DeployableRCNN(model)
    image = pictures()[0]
    before = deployable(image)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(deployable(image)[0], before[0])


def test_integer_images_are_accepted() -> None:
    deployable = DeployableRCNN(thin_model())
    image = pictures()[0]
    assert torch.equal(deployable(image.to(torch.uint8))[0], deployable(image)[0])


@pytest.mark.parametrize("shape", [(1, 3, 64, 96), (1, 64, 96), (64, 96)])
def test_wrong_shapes_are_named(shape: tuple[int, ...], tmp_path: Path) -> None:
    deployable = DeployableRCNN(thin_model())
    with pytest.raises(ValueError, match=r"must be one \(3, H, W\) tensor, but is "):
        deployable(torch.zeros(shape))
    save_torchscript(deployable, tmp_path / "model.ptl", {})
    with pytest.raises(Exception, match=r"must be one \(3, H, W\) tensor, but is "):
        load_lite(tmp_path / "model.ptl")(torch.zeros(shape))


def test_unknown_order_is_refused() -> None:
    with pytest.raises(ValueError, match="input_order is 'GBR', but a file takes images in RGB"):
        DeployableRCNN(thin_model(), input_order="GBR")


def replace(model: Any, path: str, name: str) -> Any:
    """Put a module of a class of this name in the place of a part."""
    parent, _, attribute = path.rpartition(".")
    setattr(model.get_submodule(parent), attribute, type(name, (torch.nn.Module,), {})())
    return model


@pytest.mark.parametrize(
    ("path", "name", "what"),
    [
        ("backbone", "SwinTransformer", "the backbone"),
        ("backbone.bottom_up.stem", "DeepLabStem", "the stem"),
        ("backbone.bottom_up.res3.1", "DeformBottleneckBlock", "a block of res3"),
        ("backbone.top_block", "LastLevelP6", "the top block of the pyramid"),
        ("proposal_generator.rpn_head", "MyHead", "the head of the RPN"),
        ("proposal_generator.anchor_generator", "RotatedAnchorGenerator", "the anchor generator"),
        ("roi_heads", "PointRendROIHeads", "the ROI heads"),
        ("roi_heads.box_predictor", "MyPredictor", "the box predictor"),
        ("roi_heads.mask_head", "CoarseMaskHead", "the mask head"),
    ],
)
def test_other_parts_are_named(path: str, name: str, what: str) -> None:
    model = replace(thin_model(), path, name)
    with pytest.raises(ValueError, match=rf"can be exported, but {what} is a {name}, not a "):
        DeployableRCNN(model)


def test_other_models_are_refused() -> None:
    with pytest.raises(ValueError, match="the model is a Conv2d, not a GeneralizedRCNN"):
        DeployableRCNN(Conv2d(3, 4, 1))
