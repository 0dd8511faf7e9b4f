"""Models compiled with typed instances."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from d2seg.core.checkpoint import DetectionCheckpointer
from d2seg.core.config import get_cfg
from d2seg.core.data.detection_utils import read_image
from d2seg.core.export import TracingAdapter, dump_torchscript_IR, scripting_with_instances
from d2seg.core.export.torchscript_patch import (
    freeze_training_mode,
    patch_builtin_len,
    patch_instances,
    patch_nonscriptable_classes,
)
from d2seg.core.layers import ShapeSpec
from d2seg.core.modeling import build_backbone, build_model, poolers
from d2seg.core.modeling.anchor_generator import DefaultAnchorGenerator
from d2seg.core.modeling.matcher import Matcher
from d2seg.core.modeling.poolers import ROIPooler
from d2seg.core.modeling.postprocessing import detector_postprocess
from d2seg.core.modeling.proposal_generator import build_proposal_generator
from d2seg.core.modeling.roi_heads import KRCNNConvDeconvUpsampleHead, StandardROIHeads
from d2seg.core.structures import Boxes, ImageList, Instances, RotatedBoxes
from d2seg.core.utils.testing import assert_instances_allclose, convert_scripted_instances
from tests.conftest import ROOT

# Checks of the arguments are no part of a trace.
pytestmark = pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")

ASSETS = ROOT / "d2seg" / "assets" / "images"
SHAPE = {"res4": ShapeSpec(channels=8, stride=16)}


class Chooser(nn.Module):
    def forward(self, x: Instances) -> Instances:
        if self.training:
            raise NotImplementedError([name for name in x])  # nothing that TorchScript knows
        chosen = x[x.scores > 0.5]
        chosen.pred_boxes = chosen.pred_boxes.to(torch.device("cpu"))
        return chosen.to(torch.device("cpu"))


FIELDS = {"scores": Tensor, "pred_boxes": "Boxes", "pred_classes": "Tensor"}


def test_compiled_instances_behave_as_the_others() -> None:
    instances = Instances((7, 9), pred_boxes=Boxes(torch.rand(2, 4)))
    instances.scores = torch.tensor([0.2, 0.9])
    model = Chooser().eval()
    with freeze_training_mode(model), patch_instances(FIELDS) as scripted:
        compiled = torch.jit.script(model)
        found = compiled(scripted.from_instances(instances))  # type: ignore[attr-defined]
    assert (len(found), found.has("pred_boxes"), found.has("pred_classes")) == (1, True, False)
    assert found.image_size == (7, 9)
    assert_instances_allclose(model(instances), found, rtol=0)
    assert sorted(convert_scripted_instances(found).get_fields()) == ["pred_boxes", "scores"]
    assert "__constants__" not in vars(Chooser)


def test_fields_are_those_that_were_named() -> None:
    model = Chooser().eval()
    with pytest.raises(RuntimeError, match="scores"):
        scripting_with_instances(model, {"pred_boxes": Boxes})
    with pytest.raises((RuntimeError, TypeError)):
        torch.jit.script(model)
    with patch_instances({"scores": Tensor}) as scripted, pytest.raises(KeyError, match="no field"):
        scripted.from_instances(Instances((1, 1), masks=torch.rand(1)))  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="call model.eval"):
        scripting_with_instances(Chooser(), FIELDS)
    with pytest.raises(ValueError, match="'a b' cannot be the name"):
        scripting_with_instances(model, {"a b": Tensor})
    with pytest.raises(TypeError, match="'masks' has type 'Polygons'"):
        scripting_with_instances(model, {"masks": "Polygons"})


@torch.no_grad()
@pytest.mark.parametrize("rotated", [False, True])
def test_compiled_proposals_are_the_same(rotated: bool) -> None:
    cfg = get_cfg()
    if rotated:
        cfg.MODEL.PROPOSAL_GENERATOR.NAME = "RRPN"
        cfg.MODEL.ANCHOR_GENERATOR.NAME = "RotatedAnchorGenerator"
        cfg.MODEL.RPN.BBOX_REG_WEIGHTS = (1, 1, 1, 1, 1)
    model = build_proposal_generator(cfg, SHAPE).eval()
    images = ImageList(torch.rand(2, 48, 64), [(40, 64), (48, 50)])
    features = {"res4": torch.rand(2, 8, 3, 4)}
    kind = RotatedBoxes if rotated else Boxes
    fields = {"proposal_boxes": kind, "objectness_logits": Tensor}
    found, losses = scripting_with_instances(model, fields)(images, features)
    expected, _ = model(images, features)
    assert losses == {}
    assert len(expected[0]) > 10
    for one, other in zip(expected, found, strict=True):
        assert one.image_size == other.image_size
        assert torch.equal(one.proposal_boxes.tensor, other.proposal_boxes.tensor)
        assert torch.equal(one.objectness_logits, other.objectness_logits)


@torch.no_grad()
def test_compiled_heads_detect_the_same() -> None:
    cfg = get_cfg()
    cfg.MODEL.MASK_ON = cfg.MODEL.KEYPOINT_ON = True
    box, mask = cfg.MODEL.ROI_BOX_HEAD, cfg.MODEL.ROI_MASK_HEAD
    box.NAME, box.NUM_FC, box.FC_DIM = "FastRCNNConvFCHead", 1, 16
    mask.NAME, mask.CONV_DIM = "MaskRCNNConvUpsampleHead", 8
    cfg.MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS = [8]
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    model = StandardROIHeads(cfg, SHAPE).eval()
    images = ImageList(torch.rand(1, 48, 64), [(48, 64)])
    features = {"res4": torch.rand(1, 8, 3, 4)}
    proposals = Instances((48, 64), proposal_boxes=Boxes([[1, 2, 30, 40], [10, 5, 60, 44]]))
    expected = model(images, features, [proposals])[0][0]
    fields = {"proposal_boxes": Boxes, "pred_boxes": Boxes, "scores": Tensor}
    names = ("pred_classes", "pred_masks", "pred_keypoints", "pred_keypoint_heatmaps")
    fields.update(dict.fromkeys(names, Tensor))
    with freeze_training_mode(model), patch_instances(fields) as scripted:
        arguments = [scripted.from_instances(proposals)]  # type: ignore[attr-defined]
        found = torch.jit.script(model)(images, features, arguments)[0][0]
    assert len(expected) == 100
    assert_instances_allclose(expected, found)


def test_small_modules_compile() -> None:
    patch_nonscriptable_classes()
    generator = DefaultAnchorGenerator(sizes=[[8, 16]], aspect_ratios=[[1.0]], strides=[4])
    maps = [torch.rand(1, 2, 3, 5)]
    assert torch.equal(torch.jit.script(generator)(maps)[0].tensor, generator(maps)[0].tensor)
    with pytest.raises(ValueError, match="has 1 levels, but got 2 features"):
        generator(maps * 2)
    torch.jit.script(Matcher)  # its name is all that is known here
    matched = torch.jit.script(_match)(torch.tensor([[0.2, 0.8, 0.5]]))
    assert matched[1].tolist() == [0, 1, -1]
    pooler = ROIPooler(4, [1 / 4, 1 / 8], 0, "ROIAlignV2")
    maps, boxes = [torch.rand(1, 2, 24, 24), torch.rand(1, 2, 12, 12)], [Boxes([[3, 4, 60, 70]])]
    assert torch.equal(torch.jit.script(pooler)(maps, boxes), pooler(maps, boxes))


def _match(iou: Tensor) -> tuple[Tensor, Tensor]:
    return Matcher([0.3, 0.7], [0, -1, 1])(iou)


def test_a_traced_keypoint_head_holds_for_other_counts() -> None:
    head = KRCNNConvDeconvUpsampleHead(ShapeSpec(channels=4), num_keypoints=3, conv_dims=[4])

    class Tracer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = head

        def forward(self, x: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, ...]:
            given = [Instances((64, 64), pred_boxes=Boxes(boxes)) for boxes in (first, second)]
            return tuple(one.pred_keypoints for one in self.head(x, given))

    def arguments(n: int, m: int) -> tuple[Tensor, Tensor, Tensor]:
        boxes = torch.rand(n + m, 2) * 20
        boxes = torch.cat([boxes, boxes + 30], dim=1)
        return torch.rand(n + m, 4, 6, 6), boxes[:n], boxes[n:]

    model = Tracer().eval()
    plain = poolers.__dict__.get("len")
    with torch.no_grad(), patch_builtin_len():
        traced = torch.jit.trace(model, arguments(3, 2), check_trace=False)
    assert poolers.__dict__.get("len") is plain
    others = arguments(1, 4)
    for found, expected in zip(traced(*others), model(*others), strict=True):
        torch.testing.assert_close(found, expected)


def test_what_torchscript_made_can_be_read(tmp_path: Path) -> None:
    cfg = get_cfg()
    cfg.MODEL.RESNETS.merge_from_list(["DEPTH", 18, "RES2_OUT_CHANNELS", 64])
    backbone = build_backbone(cfg).eval()
    with torch.no_grad():
        traced = torch.jit.trace(backbone, torch.rand(1, 3, 64, 64), strict=False)
    dump_torchscript_IR(traced, str(tmp_path))
    files = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert set(files) == {
        f"{name}.txt" for name in ("model", "model_ts_code", "model_ts_IR", "model_ts_IR_inlined")
    }
    assert "aten::_convolution" in files["model_ts_IR_inlined.txt"]
    assert "def forward" in files["model_ts_code.txt"]
    dump_torchscript_IR(torch.jit.trace(torch.sin, torch.rand(2)), str(tmp_path / "function"))
    assert not (tmp_path / "function" / "model.txt").exists()


def test_a_traced_postprocessing_holds_for_other_sizes() -> None:
    def postprocess(
        boxes: Tensor, masks: Tensor, size_hw: Tensor, wanted_hw: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        size = (size_hw[0], size_hw[1])
        found = Instances(size, pred_boxes=Boxes(boxes), pred_masks=masks)  # type: ignore[arg-type]
        result = detector_postprocess(found, wanted_hw[0], wanted_hw[1])  # type: ignore[arg-type]
        size_of_result = torch.stack([torch.as_tensor(length) for length in result.image_size])
        return result.pred_boxes.tensor, result.pred_masks, size_of_result

    def arguments(count: int, size: list[int], wanted: list[int]) -> tuple[Tensor, ...]:
        corners = torch.rand(count, 2) * 10
        boxes = torch.cat([corners, corners + 8], dim=1)
        return boxes, torch.rand(count, 1, 7, 7), torch.tensor(size), torch.tensor(wanted)

    traced = torch.jit.trace(postprocess, arguments(3, [20, 30], [40, 50]))
    others = arguments(5, [24, 18], [37, 61])
    (boxes, masks, size), expected = traced(*others), postprocess(*others)
    torch.testing.assert_close(boxes, expected[0])  # a factor is divided in another precision
    assert (masks != expected[1]).float().mean() < 1e-3
    assert masks.shape == (5, 37, 61)
    assert size.tolist() == expected[2].tolist() == [37, 61]


@pytest.mark.parametrize("postprocess", [False, True])
def test_a_traced_model_holds_for_another_width(postprocess: bool) -> None:
    cfg = get_cfg()
    cfg.merge_from_file("d2seg://nuclei.yaml")
    model = build_model(cfg).eval()
    DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    picture = read_image(sorted(ASSETS.glob("*.png"))[0], "BGR")
    image = torch.as_tensor(picture.copy()).permute(2, 0, 1).float()

    def detect(model: nn.Module, image: Tensor) -> Instances:
        one = {"image": image, "height": image.shape[1], "width": image.shape[2]}
        found = model.inference([one], do_postprocess=postprocess)[0]
        return found["instances"] if postprocess else found

    adapter = TracingAdapter(model, image, detect).eval()
    with torch.no_grad():
        traced = torch.jit.trace(adapter, (image[:, :, :160],), check_trace=False)
        found = adapter.outputs_schema(traced(image))
        expected = detect(model, image)
    assert len(expected) > 10
    assert_instances_allclose(expected, found, size_as_tensor=True)
