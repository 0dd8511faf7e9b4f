"""Names that projects import from detectron2's inner modules."""

import math

import pytest
import torch

from d2seg.core.layers.batch_norm import LayerNorm
from d2seg.core.modeling.anchor_generator import DefaultAnchorGenerator, RotatedAnchorGenerator
from d2seg.core.modeling.box_regression import (
    Box2BoxTransform,
    Box2BoxTransformLinear,
    _dense_box_regression_loss,
)
from d2seg.core.modeling.meta_arch import dense_detector
from d2seg.core.modeling.meta_arch.retinanet import permute_to_N_HWA_K
from d2seg.core.modeling.proposal_generator.rpn import RPN_HEAD_REGISTRY, StandardRPNHead
from d2seg.core.solver import LRMultiplier, LRScheduler
from d2seg.core.structures import Boxes
from d2seg.core.utils.logger import _log_api_usage


def test_names_are_those_of_the_same_things() -> None:
    assert RPN_HEAD_REGISTRY.get("StandardRPNHead") is StandardRPNHead
    assert issubclass(LRMultiplier, LRScheduler)
    assert LRScheduler is torch.optim.lr_scheduler.LRScheduler
    _log_api_usage("modeling.test")  # nothing is seen of it, and nothing is returned


def test_layer_norm_has_detectron2s_arguments() -> None:
    norm = LayerNorm(normalized_shape=6, eps=1e-3)
    assert (norm.normalized_shape, norm.eps) == ((6,), 1e-3)
    assert norm(torch.randn(2, 6, 3, 4)).shape == (2, 6, 3, 4)


def test_maps_come_into_anchor_order() -> None:
    maps = torch.arange(2 * 6 * 2 * 3).view(2, 6, 2, 3)  # two anchors of three values
    assert permute_to_N_HWA_K is dense_detector.permute_to_N_HWA_K
    rows = permute_to_N_HWA_K(maps, 3)
    assert rows.shape == (2, 12, 3)
    for y, x, anchor in ((0, 0, 1), (1, 2, 0)):
        expected = maps[1, anchor * 3 : anchor * 3 + 3, y, x]
        assert torch.equal(rows[1, (y * 3 + x) * 2 + anchor], expected)


def test_generators_lay_the_anchors_that_a_subclass_generates() -> None:
    class Tall(DefaultAnchorGenerator):
        def generate_cell_anchors(self, sizes: object, aspect_ratios: object) -> torch.Tensor:
            return torch.tensor([[-1.0, -8.0, 1.0, 8.0]])

    generator = Tall(sizes=[[32]], aspect_ratios=[[1.0]], strides=[4], offset=0.0)
    assert generator([torch.zeros(1, 1, 1, 2)])[0].tensor.tolist() == [
        [-1.0, -8.0, 1.0, 8.0],
        [3.0, -8.0, 5.0, 8.0],
    ]
    plain = DefaultAnchorGenerator(sizes=[[32]], aspect_ratios=[[1.0]], strides=[4])
    assert plain.generate_cell_anchors().shape == (15, 4)
    assert plain.generate_cell_anchors((4,), (0.25,)).tolist() == [[-4.0, -1.0, 4.0, 1.0]]
    turned = RotatedAnchorGenerator(
        sizes=[[32]], aspect_ratios=[[1.0]], angles=[[0.0]], strides=[4]
    )
    assert turned.generate_cell_anchors().shape == (105, 5)
    assert turned.generate_cell_anchors((4,), (0.25,), (7,)).tolist() == [[0, 0, 8, 2, 7]]


@pytest.mark.parametrize("as_tensors", [False, True])
def test_the_dense_loss_is_summed_over_the_anchors_that_match(as_tensors: bool) -> None:
    levels = [torch.tensor([[0.0, 0, 4, 4], [4.0, 0, 8, 4]]), torch.tensor([[0.0, 0, 8, 8]])]
    anchors = levels if as_tensors else [Boxes(level) for level in levels]
    deltas = [torch.zeros(2, 2, 4), torch.zeros(2, 1, 4)]
    gt = [torch.cat(levels), torch.cat(levels) + torch.tensor([1.0, 0, 1, 0])]
    mask = torch.tensor([[True, True, False], [True, False, True]])
    transform = Box2BoxTransform((1.0, 1.0, 1.0, 1.0))
    # Image 0 is met exactly; in image 1 boxes are 1 pixel off, a 4th and an 8th of the anchors.
    loss = _dense_box_regression_loss(anchors, transform, deltas, gt, mask)
    assert loss.item() == pytest.approx(1 / 4 + 1 / 8)
    far = Box2BoxTransformLinear()
    centred = [torch.full((2, 2, 4), 0.5), torch.full((2, 1, 4), 0.5)]
    giou = _dense_box_regression_loss(anchors, far, centred, gt, mask, "giou")
    assert giou.item() == pytest.approx((1 - 3 / 5) + (1 - 7 / 9), abs=1e-5)
    nothing = _dense_box_regression_loss(anchors, transform, deltas, gt, mask & False)
    assert nothing.item() == 0 and math.isfinite(nothing.item())
