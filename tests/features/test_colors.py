import numpy as np
import pytest
import torch
from torch import Tensor

from d2seg.features import colors
from d2seg.features.colors import PrincipalColors


def random_maps(*shapes: tuple[int, int, int], seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def test_equal_features_have_equal_colours_in_two_maps() -> None:
    first, second = random_maps((8, 5, 7), (8, 4, 9))
    second[:, 2, 3] = first[:, 1, 6]
    painted = PrincipalColors([first, second])
    assert (painted.paint(first)[1, 6] == painted.paint(second)[2, 3]).all()
    alone = PrincipalColors([first]).paint(first), PrincipalColors([second]).paint(second)
    assert (alone[0][1, 6] != alone[1][2, 3]).any()  # why they are fitted together


def test_the_axes_are_those_of_a_singular_value_decomposition() -> None:
    maps = [item * torch.tensor([9.0, 4, 2, 1])[:, None, None] for item in random_maps((4, 6, 5))]
    rows = maps[0].double().flatten(1).T
    centred = rows - rows.mean(dim=0)
    _, strengths, axes = torch.linalg.svd(centred, full_matrices=False)
    axes = axes[:3] * axes[:3].gather(1, axes[:3].abs().argmax(dim=1, keepdim=True)).sign()
    components = centred @ axes.T
    low, high = np.quantile(components.numpy(), [0.01, 0.99], axis=0)
    expected = ((components.numpy() - low) / (high - low)).clip(0, 1) * 255
    painted = PrincipalColors(maps)
    assert np.abs(painted.paint(maps[0]).reshape(-1, 3) - expected).max() <= 0.51
    shares = strengths.square() / strengths.square().sum()
    assert painted.share == pytest.approx(float(shares[:3].sum()))


def test_the_order_of_the_cells_does_not_matter_and_the_random_state_stays() -> None:
    (features,) = random_maps((6, 4, 10))
    state = torch.get_rng_state()
    picture = PrincipalColors([features]).paint(features)
    mirrored = features.flip(2)
    assert np.array_equal(PrincipalColors([mirrored]).paint(mirrored), picture[:, ::-1])
    assert torch.equal(torch.get_rng_state(), state)


def test_large_maps_are_sampled_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    ramp = torch.linspace(0, 1, 4000).reshape(1, 40, 100)
    whole = PrincipalColors([ramp]).paint(ramp).astype(int)
    monkeypatch.setattr(colors, "SAMPLED_CELLS", 200)
    sampled = PrincipalColors([ramp]).paint(ramp).astype(int)
    assert 0 < np.abs(whole - sampled).max() <= 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("value", [0.0, 0.1, 30000.0])
def test_constant_maps_are_grey(dtype: torch.dtype, value: float) -> None:
    maps = [torch.full((5, 3, 4), value, dtype=dtype), torch.full((5, 2, 2), value, dtype=dtype)]
    painted = PrincipalColors(maps)
    assert (painted.paint(maps[1]) == 128).all()
    assert painted.share == 1


def test_rounding_is_not_shown_where_few_cells_differ() -> None:
    features = torch.full((3, 50, 50), 0.1)
    features[:, 7, 9] = 0.2
    picture = PrincipalColors([features]).paint(features)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) == 2


def test_what_cannot_be_fitted_is_named() -> None:
    with pytest.raises(ValueError, match="at least one map .* found none"):
        PrincipalColors([])
    with pytest.raises(ValueError, match=r"same number of channels; found \[\(2, .*\(3, "):
        PrincipalColors([torch.zeros(2, 4, 4), torch.zeros(3, 4, 4)])
    with pytest.raises(ValueError, match=r"\(C, h, w\).* found \[\(4, 4\)\]"):
        PrincipalColors([torch.zeros(4, 4)])
