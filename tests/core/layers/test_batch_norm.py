"""Batch norms: what they load, how they are converted, and batches of other processes."""

import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from d2seg.core.checkpoint import DetectionCheckpointer
from d2seg.core.layers import FrozenBatchNorm2d, NaiveSyncBatchNorm, batch_norm


def scale_and_shift() -> dict[str, torch.Tensor]:
    return {"0.weight": torch.tensor([2.0, 3.0]), "0.bias": torch.tensor([5.0, 7.0])}


def test_weights_without_statistics_only_scale_and_shift(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = nn.Sequential(FrozenBatchNorm2d(2))
    model[0].running_mean.fill_(9.0)
    torch.save({"model": scale_and_shift()}, tmp_path / "caffe2.pth")
    with caplog.at_level(logging.WARNING):
        DetectionCheckpointer(model).load(tmp_path / "caffe2.pth")
    assert caplog.records == []
    x = torch.randn(2, 2, 3, 4)
    expected = x * torch.tensor([2.0, 3.0])[:, None, None] + torch.tensor([5.0, 7.0])[:, None, None]
    torch.testing.assert_close(model(x), expected)


def test_statistics_that_a_current_state_lacks_are_missing() -> None:
    model = nn.Sequential(FrozenBatchNorm2d(2))
    state = model.state_dict()
    del state["0.running_mean"]
    assert model.load_state_dict(state, strict=False).missing_keys == ["0.running_mean"]


def test_a_norm_without_scale_and_shift_is_frozen() -> None:
    norm = nn.BatchNorm2d(3, affine=False)
    norm(torch.randn(4, 3, 5, 6) * 3 + 1)
    frozen = FrozenBatchNorm2d.convert_frozen_batchnorm(norm.eval())
    x = torch.randn(2, 3, 5, 6)
    torch.testing.assert_close(frozen(x), norm(x))
    with pytest.raises(ValueError, match="has no statistics to freeze"):
        FrozenBatchNorm2d.convert_frozen_batchnorm(nn.BatchNorm2d(3, track_running_stats=False))


def two_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Act as one of two processes that have the same batch."""
    monkeypatch.setattr(batch_norm, "get_world_size", lambda: 2)
    monkeypatch.setattr(batch_norm, "all_reduce", lambda x: 2 * x)


def test_statistics_stay_when_no_process_has_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    two_alike(monkeypatch)
    norm = NaiveSyncBatchNorm(2, stats_mode="N").train()
    norm.running_mean.fill_(4.0)
    x = torch.zeros(0, 2, 3, 4, requires_grad=True)
    norm(x).sum().backward()
    assert norm.running_mean.tolist() == [4.0, 4.0]
    assert norm.running_var.tolist() == [1.0, 1.0]
    assert x.grad.shape == (0, 2, 3, 4)
    norm(torch.full((1, 2, 3, 4), 14.0))
    torch.testing.assert_close(norm.running_mean, torch.tensor([5.0, 5.0]))


def test_processes_that_count_alike_refuse_an_empty_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    two_alike(monkeypatch)
    with pytest.raises(ValueError, match="batch of 0 images.*use NORM 'naiveSyncBN_N'"):
        NaiveSyncBatchNorm(2).train()(torch.zeros(0, 2, 3, 4))
