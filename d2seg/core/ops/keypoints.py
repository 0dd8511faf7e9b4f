"""Keypoints as cells of a heat map over their box (Mask R-CNN, arXiv:1703.06870, section 5)."""

import torch
from torch import Tensor


def keypoint_targets(keypoints: Tensor, boxes: Tensor, heatmap_size: int) -> tuple[Tensor, Tensor]:
    """Find the cell of each keypoint in the heat map of its box.

    Args:
        keypoints: (N, K, 3) float: x, y in pixels, and a visibility above 0 for labelled ones.
        boxes: (N, 4) float, XYXY pixels.
        heatmap_size: S, cells of the heat map along each side of the box.

    Returns:
        cells (N, K) int64 in [0, S * S), row by row, 0 where not valid; and valid (N, K) int64, 1
        for labelled keypoints inside the box, its right and bottom edge included.
    """
    if keypoints.shape[0] == 0:
        empty = torch.zeros(keypoints.shape[:2], dtype=torch.int64, device=keypoints.device)
        return empty, empty.clone()
    start = boxes[:, None, :2]  # [N,1,2]
    size = boxes[:, None, 2:] - start
    points = keypoints[:, :, :2]
    cell = torch.floor((points - start) * (heatmap_size / size)).to(torch.int64)  # [N,K,2]
    # A point on the far edge belongs to the last cell.
    cell = torch.where(points == boxes[:, None, 2:], heatmap_size - 1, cell)
    inside = ((cell >= 0) & (cell < heatmap_size)).all(dim=2)
    valid = (inside & (keypoints[:, :, 2] > 0)).to(torch.int64)
    return (cell[:, :, 1] * heatmap_size + cell[:, :, 0]) * valid, valid


@torch.jit.script_if_tracing  # a trace would keep the number of objects and their sizes
def decode_heatmaps(heatmaps: Tensor, boxes: Tensor) -> Tensor:
    """Read keypoints off their heat maps, enlarged to the pixels of each box.

    Args:
        heatmaps: (N, K, S, S) float logits.
        boxes: (N, 4) float, XYXY pixels; narrower than a pixel counts as one.

    Returns:
        (N, K, 4) float: x and y in pixels, the logit there, and a score: the softmax over the
        pixels, but with the sum over the cells of the heat map before enlargement.
    """
    heatmaps = heatmaps.detach()
    result = heatmaps.new_zeros([heatmaps.shape[0], heatmaps.shape[1], 4])
    size = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1)  # [N,2] width, height
    pixels = size.ceil()
    pixels_wh: list[list[int]] = pixels.to(torch.int64).tolist()
    for index in range(len(pixels_wh)):
        width, height = pixels_wh[index][0], pixels_wh[index][1]
        maps = heatmaps[index]
        # The operator itself: F.interpolate would bring every other kind of resizing along.
        enlarged = torch.ops.aten.upsample_bicubic2d(
            maps[None], [height, width], False, None, None
        )[0]
        logit, position = enlarged.flatten(1).max(dim=1)  # [K]
        column = position % width
        row = torch.div(position, width, rounding_mode="floor")
        scale = size[index] / pixels[index]
        result[index, :, 0] = (column + 0.5) * scale[0] + boxes[index, 0]
        result[index, :, 1] = (row + 0.5) * scale[1] + boxes[index, 1]
        result[index, :, 2] = logit
        # With the logarithm of the sum no exponential is 0 or infinite, however low a map lies.
        result[index, :, 3] = (logit - maps.flatten(1).logsumexp(dim=1)).exp()
    return result
