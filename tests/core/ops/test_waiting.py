"""What spares a GPU waits, against the plain form; it computes the same on a CPU."""

import pytest
import torch

from d2seg.core.ops import matching, pooling
from d2seg.core.ops.waiting import (
    require_all,
    rows_of_groups,
    rows_of_groups_by_sorting,
    to_numbers,
)


@pytest.mark.parametrize("kind", [torch.int8, torch.int64])
@pytest.mark.parametrize("num_groups", [0, 1, 4])
@pytest.mark.parametrize("num_rows", [0, 1, 50])
def test_rows_of_groups(num_rows: int, num_groups: int, kind: torch.dtype) -> None:
    groups = torch.randint(0, 6, (num_rows,), generator=torch.Generator().manual_seed(0)).to(kind)
    groups[groups == 2] = 3  # a group without rows
    expected = [[i for i, g in enumerate(groups.tolist()) if g == k] for k in range(num_groups)]
    for find in (rows_of_groups, rows_of_groups_by_sorting):
        found = find(groups, num_groups)
        assert [rows.tolist() for rows in found] == expected
        assert all(rows.dtype == torch.int64 for rows in found)


def test_rows_of_groups_in_torchscript() -> None:
    found = torch.jit.script(rows_of_groups)(torch.tensor([1, 0, 1]), 2)
    assert [rows.tolist() for rows in found] == [[1], [0, 2]]


def test_levels_by_sorting_pool_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    features = [torch.randn(2, 3, 60 // 2**i, 100 // 2**i, generator=generator) for i in range(3)]
    for feature in features:
        feature.requires_grad_()
    corners = torch.rand(40, 2, generator=generator) * torch.tensor([200.0, 120.0])
    boxes = torch.cat([corners, corners + torch.rand(40, 2, generator=generator) * 300], dim=1)
    images = torch.randint(0, 2, (40,), generator=generator)
    results = []
    for find in (rows_of_groups, rows_of_groups_by_sorting):
        monkeypatch.setattr(pooling, "rows_of_groups", find)
        pooled = pooling.pool_multilevel(
            features, boxes, images, (5, 3), [1 / 4, 1 / 8, 1 / 16], 0, True, 224.0, 4
        )
        results.append([pooled, *torch.autograd.grad(pooled.square().sum(), features)])
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))


def test_labels_by_sorting_give_the_same_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = torch.tensor([1, 0, 0, -1, 2] * 20)
    drawn = []
    for find in (rows_of_groups, rows_of_groups_by_sorting):
        monkeypatch.setattr(matching, "rows_of_groups", find)
        torch.manual_seed(0)
        drawn.append(matching.sample_labels(labels, 30, 0.5, 0))
    assert all(torch.equal(*pair) for pair in zip(*drawn, strict=True))


def test_require_all() -> None:
    require_all(torch.tensor([[True, True], [True, True]]), "no")
    require_all(torch.zeros(0, 2, dtype=torch.bool), "no")
    with pytest.raises(ValueError, match="One is empty"):
        require_all(torch.tensor([[True, False]]), "One is empty.")


def test_to_numbers_keeps_order_and_digits() -> None:
    number = 0.1
    values = {
        "count": torch.tensor(2**53 - 1),
        "plain": number,
        "double": torch.tensor(number, dtype=torch.float64),
        "single": torch.tensor([0.25], requires_grad=True),
        "other": torch.tensor(3),
    }
    expected = [("count", 2.0**53 - 1), ("plain", number), ("double", number), ("single", 0.25)]
    found = to_numbers(values)
    assert list(found.items()) == [*expected, ("other", 3.0)]
    assert all(type(one) is float for one in found.values())
    assert to_numbers({}) == {}
