"""Every format with its exact names and shapes, against what detectron2's models have."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision import models

from d2seg.convert.model_config import make_config
from d2seg.convert.source import BENCHMARK, DETECTRON, RESNET, TORCHVISION, Source
from d2seg.core.checkpoint.formats import Renamed, find_format
from d2seg.core.checkpoint.formats.detectron import rename_detectron
from d2seg.core.checkpoint.formats.torchvision_detection import to_torchvision_detection
from d2seg.core.checkpoint.formats.torchvision_resnet import to_torchvision_resnet
from d2seg.framework import CfgNode
from tests.convert import names
from tests.convert.detectors import marked
from tests.reference.cases import load_case

FPN = "COCO-InstanceSegmentation__mask_rcnn_R_50_FPN_3x"
C4 = "COCO-InstanceSegmentation__mask_rcnn_R_50_C4_1x"
GN = "Misc__mask_rcnn_R_50_FPN_3x_gn"


def source(renamed: Renamed, name: str, is_backbone: bool = False) -> Source:
    return Source(Path("weights"), name, len(renamed.model), renamed, is_backbone, "")


def config(renamed: Renamed, name: str) -> CfgNode:
    """Make the config, which includes that every name and shape fits the model of it."""
    assert renamed.unknown == ()
    return make_config(source(renamed, name))[0]


def shapes(weights: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}


def recorded(case: str) -> dict[str, tuple[int, ...]]:
    state: dict[str, list[int]] = load_case(case)["state_dict"]
    fixed = ("pixel_mean", "pixel_std")
    return {
        name: tuple(shape)
        for name, shape in state.items()
        if name not in fixed and "cell_anchors" not in name and "num_batches" not in name
    }


def number(tensor: Tensor) -> float:
    return float(tensor.flatten()[0])


def require_marks(renamed: Renamed, weights: dict[str, Tensor]) -> None:
    """Check that every tensor carries the number of the name that it came from."""
    for ours, theirs in renamed.origins.items():
        assert number(renamed.model[ours]) == number(weights[theirs]), ours
    assert len(set(renamed.origins.values())) == len(renamed.origins)


CAFFE2: list[Any] = [
    pytest.param(names.caffe2_mask_rcnn_c4(), C4, {"DEPTH": 50}, id="R50-C4"),
    pytest.param(names.caffe2_mask_rcnn_fpn(50), FPN, {"DEPTH": 50}, id="R50-FPN"),
    pytest.param(names.caffe2_mask_rcnn_fpn(101), None, {"DEPTH": 101}, id="R101-FPN"),
    pytest.param(
        names.caffe2_mask_rcnn_fpn(101, groups=32, width=8),
        None,
        {"DEPTH": 101, "NUM_GROUPS": 32, "WIDTH_PER_GROUP": 8, "STRIDE_IN_1X1": False},
        id="X101-32x8d-FPN",
    ),
    pytest.param(
        names.caffe2_mask_rcnn_fpn(50, norm="gn", box_convs=4), GN, {"NORM": "GN"}, id="R50-FPN-GN"
    ),
]


@pytest.mark.parametrize("theirs, case, keys", CAFFE2)
def test_detectron(theirs: names.Shapes, case: str | None, keys: dict[str, Any]) -> None:
    weights = marked(theirs)
    renamed = rename_detectron(weights)
    cfg = config(renamed, DETECTRON)
    require_marks(renamed, weights)
    assert {key: cfg.MODEL.RESNETS[key] for key in keys} == keys
    assert len(renamed.origins) == len(theirs)
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == 80
    if case is not None:
        assert shapes(renamed.model) == recorded(case)


def test_detectrons_norms_get_statistics_that_change_nothing() -> None:
    renamed = rename_detectron(marked(names.caffe2_mask_rcnn_fpn(50)))
    layer = "backbone.bottom_up.res2.0.conv1.norm"
    assert not renamed.model[f"{layer}.running_mean"].any()
    assert (renamed.model[f"{layer}.running_var"] + 1e-5 == 1).all()


def test_what_detectron_does_not_use_is_dropped_with_a_reason() -> None:
    theirs = names.caffe2_mask_rcnn_fpn(50)
    more = {"conv1_b": (64,), "fc1000_w": (1000, 2048), "kps_score_w": (17, 17, 4, 4)}
    renamed = rename_detectron(marked({**theirs, **more}))
    assert set(renamed.dropped) == set(more)
    assert "bilinear" in renamed.dropped["kps_score_w"]
    config(renamed, DETECTRON)


def test_cells_of_several_sizes_are_put_in_detectron2s_order() -> None:
    weights = dict(marked(names.caffe2_mask_rcnn_c4()))
    # Fifteen anchors, as Detectron lists them: 0.5 with five sizes, then 1 and 2.
    by_ratio = [(ratio, size) for ratio in (0.5, 1, 2) for size in (32, 64, 128, 256, 512)]
    weights["rpn_cls_logits_b"] = torch.tensor([1000 * r + s for r, s in by_ratio])
    weights["rpn_bbox_pred_b"] = torch.tensor(
        [10000 * r + 10 * s + v for r, s in by_ratio for v in range(4)]
    )
    renamed = rename_detectron(weights)
    head = "proposal_generator.rpn_head"
    by_size = [(ratio, size) for size in (32, 64, 128, 256, 512) for ratio in (0.5, 1, 2)]
    logits = renamed.model[f"{head}.objectness_logits.bias"]
    assert logits.tolist() == [1000 * r + s for r, s in by_size]
    deltas = renamed.model[f"{head}.anchor_deltas.bias"]
    assert deltas.tolist() == [10000 * r + 10 * s + v for r, s in by_size for v in range(4)]
    assert f"{head}.anchor_deltas.bias" in renamed.reordered


@pytest.mark.parametrize(
    "theirs, case, depth",
    [
        pytest.param(names.benchmark_mask_rcnn_c4(), C4, 50, id="R50-C4"),
        pytest.param(names.benchmark_mask_rcnn_fpn(50), FPN, 50, id="R50-FPN"),
        pytest.param(names.benchmark_mask_rcnn_fpn(101), None, 101, id="R101-FPN"),
        pytest.param(names.benchmark_mask_rcnn_fpn(101, 32, 8), None, 101, id="X101-32x8d-FPN"),
        pytest.param(names.benchmark_mask_rcnn_gn(), GN, 50, id="R50-FPN-GN"),
    ],
)
def test_maskrcnn_benchmark(theirs: names.Shapes, case: str | None, depth: int) -> None:
    weights = marked(theirs)
    for name in weights:  # the mask head has the very tensors of the box head
        if name.startswith("roi_heads.mask.feature_extractor.head."):
            weights[name] = weights[name.replace(".mask.", ".box.")]
    known = find_format(weights)
    assert known is not None and known.name == BENCHMARK
    renamed = known.rename(weights)
    cfg = config(renamed, BENCHMARK)
    require_marks(renamed, weights)
    assert depth == cfg.MODEL.RESNETS.DEPTH
    sampling = 0 if case == C4 else 2
    head = cfg.MODEL.ROI_BOX_HEAD
    assert ("ROIAlign", sampling) == (head.POOLER_TYPE, head.POOLER_SAMPLING_RATIO)
    assert all("anchors" in why or "shares" in why for why in renamed.dropped.values())
    assert len(renamed.origins) + len(renamed.dropped) == len(theirs)
    if case is not None:
        assert shapes(renamed.model) == recorded(case)


def test_heads_with_a_res5_each_are_refused() -> None:
    known = find_format(weights := marked(names.benchmark_mask_rcnn_c4()))
    assert known is not None
    with pytest.raises(ValueError, match=r"is not that of the box head, but detectron2's C4"):
        known.rename(weights)


def meta_weights(builder: Any, **arguments: Any) -> dict[str, Tensor]:
    """Return a torchvision model's tensors, each with a number of its own and no memory."""
    with torch.device("meta"):
        state = builder(**arguments).state_dict()
    return marked({name: tuple(tensor.shape) for name, tensor in state.items()})


DETECTORS: list[Any] = [
    pytest.param("maskrcnn_resnet50_fpn", id="mask"),
    pytest.param("fasterrcnn_resnet50_fpn", id="faster"),
    pytest.param("keypointrcnn_resnet50_fpn", id="keypoint"),
    pytest.param("maskrcnn_resnet50_fpn_v2", id="mask-v2"),
    pytest.param("fasterrcnn_resnet50_fpn_v2", id="faster-v2"),
]


@pytest.mark.parametrize("builder", DETECTORS)
def test_torchvision_detection_there_and_back(builder: str) -> None:
    weights = meta_weights(getattr(models.detection, builder), weights=None, weights_backbone=None)
    known = find_format(weights)
    assert known is not None and known.name == TORCHVISION
    renamed = known.rename(weights)
    config(renamed, TORCHVISION)
    require_marks(renamed, weights)
    back, places = to_torchvision_detection(renamed.model, renamed.background)
    assert len(places) == len(renamed.model)
    assert shapes(back) == shapes(weights)
    assert all(number(back[name]) == number(weights[name]) for name in weights)


def earlier_name(name: str) -> str:
    name = re.sub(r"(_blocks\.\d)\.0\.", r"\1.", name).replace("head.conv.0.0.", "head.conv.")
    mask = re.fullmatch(r"roi_heads\.mask_head\.(\d)\.0\.(\w+)", name)
    return f"roi_heads.mask_head.mask_fcn{int(mask[1]) + 1}.{mask[2]}" if mask else name


def test_names_of_torchvision_before_0_13() -> None:
    weights = meta_weights(
        models.detection.maskrcnn_resnet50_fpn, weights=None, weights_backbone=None
    )
    earlier = {
        earlier_name(name): tensor
        for name, tensor in weights.items()
        if not name.endswith("num_batches_tracked")
    }
    assert "backbone.fpn.inner_blocks.3.weight" in earlier
    assert "roi_heads.mask_head.mask_fcn4.bias" in earlier and "rpn.head.conv.bias" in earlier
    known = find_format(earlier)
    assert known is not None
    renamed = known.rename(earlier)
    require_marks(renamed, earlier)
    cfg = config(renamed, TORCHVISION)
    assert cfg.MODEL.RESNETS.NORM == "FrozenBN"


@pytest.mark.parametrize(
    "builder, keys",
    [
        ("resnet18", {"DEPTH": 18, "RES2_OUT_CHANNELS": 64}),
        ("resnet50", {"DEPTH": 50, "NUM_GROUPS": 1, "WIDTH_PER_GROUP": 64}),
        ("resnet101", {"DEPTH": 101}),
        ("resnext101_32x8d", {"DEPTH": 101, "NUM_GROUPS": 32, "WIDTH_PER_GROUP": 8}),
        ("resnext50_32x4d", {"DEPTH": 50, "NUM_GROUPS": 32, "WIDTH_PER_GROUP": 4}),
        ("wide_resnet50_2", {"DEPTH": 50, "NUM_GROUPS": 1, "WIDTH_PER_GROUP": 128}),
    ],
)
def test_classifiers_of_torchvision_and_timm(builder: str, keys: dict[str, int]) -> None:
    weights = meta_weights(getattr(models, builder))
    known = find_format(weights)
    assert known is not None and known.name == RESNET and not known.whole
    renamed = known.rename(weights)
    assert renamed.unknown == ()
    require_marks(renamed, weights)
    cfg, _ = make_config(source(renamed, RESNET, is_backbone=True))
    assert {key: cfg.MODEL.RESNETS[key] for key in keys} == keys
    assert (cfg.INPUT.FORMAT, cfg.MODEL.RESNETS.STRIDE_IN_1X1) == ("RGB", False)
    assert cfg.MODEL.PIXEL_MEAN == [123.675, 116.28, 103.53]
    back, _ = to_torchvision_resnet(renamed.model)
    assert shapes(back) == shapes(weights)


def test_published_backbones_of_caffe2() -> None:
    theirs = {**names.caffe2_resnet(50), "fc1000_w": (1000, 2048), "fc1000_b": (1000,)}
    renamed = rename_detectron(marked({**theirs, "conv1_b": (64,)}))
    assert "stem.conv1.weight" in renamed.model and "res5.2.conv3.norm.bias" in renamed.model
    assert set(renamed.dropped) == {"fc1000_w", "fc1000_b", "conv1_b"}


@pytest.mark.parametrize("seed", range(12))
def test_damaged_files_are_refused_in_a_sentence(seed: int) -> None:
    """One tensor of a detector is missing, or has another shape."""
    random = np.random.RandomState(seed)
    theirs = names.benchmark_mask_rcnn_fpn(50)
    name = sorted(n for n in theirs if "cell_anchors" not in n)[random.randint(len(theirs) - 5)]
    damages: list[tuple[int, ...] | None] = [None, (), (0,), (7,), (5, 3), (2, 3, 1, 1)]
    shape = damages[seed % len(damages)]
    damaged = {**theirs, name: shape} if shape is not None else theirs
    weights = marked({n: s for n, s in damaged.items() if n != name or shape is not None})  # type: ignore[arg-type]
    known = find_format(weights)
    if known is None:  # the stem's convolution itself is gone
        return
    with pytest.raises(ValueError, match=r"missing|shape|no .*weight|blocks|ResNet"):
        make_config(source(known.rename(weights), BENCHMARK))
