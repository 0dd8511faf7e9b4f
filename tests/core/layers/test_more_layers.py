"""The layers that configs do not name, but scripts import."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from d2seg.core import layers
from d2seg.core.layers.mask_ops import pad_masks, paste_mask_in_image_old, scale_boxes


def test_separable_convolution_is_depthwise_then_pointwise() -> None:
    layer = layers.DepthwiseSeparableConv2d(3, 10, norm1="BN", activation1=nn.PReLU()).eval()
    assert layer.depthwise.groups == 3
    assert layer.depthwise.bias is None
    assert layer.pointwise.bias is not None
    x = torch.randn(2, 3, 8, 9)
    expected = layer.pointwise(layer.depthwise(x))
    torch.testing.assert_close(layer(x), expected)
    assert expected.shape == (2, 10, 8, 9)


@pytest.mark.parametrize("separable", [False, True])
def test_aspp_keeps_the_size_and_shares_no_activation(separable: bool) -> None:
    layer = layers.ASPP(
        3, 10, [2, 3, 4], norm="", activation=nn.PReLU(), use_depthwise_separable_conv=separable
    )
    assert layer(torch.randn(2, 3, 12, 16)).shape == (2, 10, 12, 16)
    assert layer.convs[0].activation.weight is not layer.project.activation.weight
    with pytest.raises(ValueError, match="needs 3 dilations; found 1"):
        layers.ASPP(3, 10, [2], norm="", activation=None)
    pooled = layers.ASPP(3, 10, [2, 3, 4], norm="BN", activation=F.relu, pool_kernel_size=(4, 4))
    with pytest.raises(ValueError, match="into which a map of 10x8 does not divide"):
        pooled.train()(torch.randn(2, 3, 10, 8))


def test_box_losses_are_zero_for_equal_boxes() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [5.0, 5, 20, 30]])
    for loss in (layers.diou_loss, layers.ciou_loss):
        torch.testing.assert_close(loss(boxes, boxes), torch.zeros(2), atol=1e-5, rtol=0)
        assert loss(boxes[:1], boxes[1:], reduction="sum") > 0.5


def test_small_helpers() -> None:
    loss = layers.empty_input_loss_func_wrapper(F.mse_loss)
    empty = torch.zeros(0, 3, requires_grad=True)
    loss(empty, torch.zeros(0, 3)).backward()
    assert loss(torch.ones(2), torch.zeros(2)) == 1
    assert layers.shapes_to_tensor([2, 3]).tolist() == [2, 3]
    assert layers.shapes_to_tensor([torch.tensor(2), 3]).tolist() == [2, 3]
    assert layers.move_device_like(torch.ones(1), torch.zeros(1)).device.type == "cpu"
    assert not layers.check_if_dynamo_compiling()
    norm = layers.get_norm("naiveSyncBN_N", 4)
    assert isinstance(norm, layers.NaiveSyncBatchNorm)
    assert set(norm.state_dict()) == set(nn.BatchNorm2d(4).state_dict())
    with pytest.raises(ValueError, match="stats_mode is 'M'"):
        layers.NaiveSyncBatchNorm(4, stats_mode="M")


def test_pasting_compiles_and_takes_any_boxes() -> None:
    masks, boxes = torch.rand(5, 28, 28), torch.rand(5, 4) * 50
    boxes[:, 2:] += boxes[:, :2] + 1
    expected = layers.paste_masks_in_image(masks, boxes, (90, 120))
    scripted = torch.jit.script(layers.paste_masks_in_image)(masks, boxes, (90, 120))
    assert torch.equal(scripted, expected)


def test_the_older_pasting_fills_whole_pixels() -> None:
    pasted = paste_mask_in_image_old(torch.ones(4, 4), torch.tensor([2.0, 3, 5, 8]), 10, 12, 0.5)
    rows, columns = np.nonzero(pasted.numpy())
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (3, 8, 2, 5)
    outside = torch.tensor([-9.0, -9, -5, -5])
    assert paste_mask_in_image_old(torch.ones(4, 4), outside, 10, 12, 0.5).sum() == 0
    padded, scale = pad_masks(torch.ones(1, 4, 4), 1)
    assert padded.shape == (1, 6, 6)
    assert scale == 1.5
    assert padded.sum() == 16
    assert scale_boxes(torch.tensor([[0.0, 0, 10, 20]]), 2.0).tolist() == [[-5, -10, 15, 30]]


def normalise_a_share(rank: int, folder: str, stats_mode: str) -> None:
    """Normalise two of four images, with the other process, and keep what comes out."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    torch.manual_seed(0)
    everything = torch.randn(4, 3, 5, 6)
    x = everything[rank * 2 : rank * 2 + 2].requires_grad_()
    norm = layers.NaiveSyncBatchNorm(3, stats_mode=stats_mode).train()
    out = norm(x)
    (out**3).sum().backward()
    torch.save((out.detach(), x.grad, norm.running_mean), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("stats_mode", ["", "N"])
def test_two_processes_normalise_as_one(stats_mode: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(normalise_a_share, (folder, stats_mode), nprocs=2)
        parts = [torch.load(Path(folder) / f"{rank}.pt") for rank in range(2)]
    torch.manual_seed(0)
    x = torch.randn(4, 3, 5, 6).requires_grad_()
    norm = nn.BatchNorm2d(3).train()
    out = norm(x)
    (out**3).sum().backward()
    torch.testing.assert_close(torch.cat([part[0] for part in parts]), out.detach())
    torch.testing.assert_close(torch.cat([part[1] for part in parts]), x.grad, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(parts[0][2], norm.running_mean)
