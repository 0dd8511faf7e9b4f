"""Costs of models, against counts by hand."""

import pytest
import torch
from torch import nn

from d2seg.core.layers import DeformConv
from d2seg.core.utils.analysis import (
    FlopCountAnalysis,
    activation_count_operators,
    flop_count_operators,
    parameter_count,
    parameter_count_table,
)
from tests.core.modeling.thin import thin_architecture


class Toy(nn.Module):
    """One convolution and one deformable one of equal cost, on the first image."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.deformable = DeformConv(3, 8, 3, padding=1)

    def forward(self, inputs: list[dict[str, torch.Tensor]]) -> list[dict[str, torch.Tensor]]:
        image = inputs[0]["image"][None]
        offset = torch.zeros(1, 18, *image.shape[2:])
        return [{"plain": self.plain(image), "deformable": self.deformable(image, offset)}]


INPUT = [{"image": torch.rand(3, 10, 20)}]
MULTIPLY_ADDS = 8 * 3 * 9 * 10 * 20


def test_convolutions_count_alike_plain_or_deformable() -> None:
    counted = FlopCountAnalysis(Toy().eval(), INPUT).by_operator()
    assert counted["conv"] == counted["deform_conv2d"] == MULTIPLY_ADDS


def test_units_are_those_of_the_names() -> None:
    model = Toy().train()
    flops = flop_count_operators(model, INPUT)
    assert flops["conv"] == pytest.approx(MULTIPLY_ADDS / 1e9)
    assert flops["nothing of the kind"] == 0
    assert activation_count_operators(model, INPUT)["conv"] == pytest.approx(8 * 200 / 1e6)
    assert model.training


def test_parameters_are_counted_by_module() -> None:
    model = Toy()
    assert parameter_count(model)["plain"] == 8 * 3 * 9
    assert parameter_count(model)[""] == 2 * 8 * 3 * 9
    assert "deformable" in parameter_count_table(model)


@pytest.mark.parametrize("name", ["fpn", "retinanet", "panoptic", "proposals", "semantic"])
def test_every_kind_of_result_can_be_counted(name: str) -> None:
    model = thin_architecture(name)
    small = flop_count_operators(model, [{"image": torch.rand(3, 64, 96) * 255}])
    large = flop_count_operators(model, [{"image": torch.rand(3, 128, 192) * 255}])
    assert 0 < small["conv"] < large["conv"]
