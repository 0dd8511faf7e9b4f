"""Folding of norms into convolutions."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from d2seg.core.layers import Conv2d, FrozenBatchNorm2d
from d2seg.core.modeling.poolers import ROIPooler
from d2seg.export.layers import Pooler, fold_convolution


def randomise(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            sample = torch.rand(value.shape, generator=generator)
            value.copy_(sample + 0.5 if name.endswith("running_var") else sample - 0.4)
    return module.eval()


@pytest.mark.parametrize("norm", [FrozenBatchNorm2d, nn.BatchNorm2d, nn.SyncBatchNorm])
@pytest.mark.parametrize("bias", [False, True])
def test_batch_norm_disappears_into_the_convolution(norm: type[nn.Module], bias: bool) -> None:
    conv = Conv2d(
        4, 6, (3, 5), stride=2, padding=(1, 2), groups=2, bias=bias, norm=norm(6), activation=F.relu
    )
    randomise(conv)
    before = {name: value.clone() for name, value in conv.state_dict().items()}
    folded = fold_convolution(conv)
    x = torch.randn(1, 4, 9, 14, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(folded(x), conv(x), atol=1e-5, rtol=1e-5)
    assert [type(module) for module in folded.children()] == [nn.Conv2d, nn.ReLU]
    assert all(torch.equal(before[name], value) for name, value in conv.state_dict().items())


def test_other_norms_stay() -> None:
    conv = randomise(Conv2d(4, 6, 3, dilation=2, bias=False, norm=nn.GroupNorm(3, 6)))
    assert isinstance(conv, nn.Conv2d)
    folded = fold_convolution(conv)
    x = torch.randn(1, 4, 9, 14, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(folded(x), conv(x))
    assert [type(module) for module in folded.children()] == [nn.Conv2d, nn.GroupNorm]


def test_copy_is_independent_of_the_model() -> None:
    conv = nn.Conv2d(3, 4, 1)
    folded = fold_convolution(conv)
    with torch.no_grad():
        conv.weight.zero_()
    assert folded(torch.ones(1, 3, 2, 3)).abs().sum() > 0


def test_other_activations_are_refused() -> None:
    with pytest.raises(ValueError, match="activation 'gelu', but only ReLU can be exported"):
        fold_convolution(Conv2d(3, 4, 1, activation=F.gelu))


def test_other_pooling_is_refused() -> None:
    pooler = ROIPooler(7, [1 / 4], 0, "ROIPool")
    with pytest.raises(ValueError, match="pools with 'ROIPool', but only ROIAlign and ROIAlignV2"):
        Pooler(pooler, [0], aten_only=True)
