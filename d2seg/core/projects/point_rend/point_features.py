"""Choosing points, and reading maps at them (PointRend, arXiv:1912.08193, section 3.1).

Points are XY in [0, 1] x [0, 1] of a map or a box, where 0 and 1 are its outer edges: the middle of
the first of W columns is at 0.5 / W.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from d2seg.core.layers import shapes_to_tensor
from d2seg.core.structures import BitMasks, Boxes, Instances

__all__ = [
    "generate_regular_grid_point_coords",
    "get_point_coords_wrt_image",
    "get_uncertain_point_coords_on_grid",
    "get_uncertain_point_coords_with_randomness",
    "point_sample",
    "point_sample_fine_grained_features",
    "sample_point_labels",
]


def point_sample(input: Tensor, point_coords: Tensor, **kwargs: Any) -> Tensor:
    """Read maps at points, bilinearly unless asked otherwise.

    Args:
        input: (N, C, H, W) float.
        point_coords: (N, P, 2) or (N, h, w, 2) float, XY in [0, 1].
        **kwargs: As of ``torch.nn.functional.grid_sample``; ``align_corners`` is False.

    Returns:
        (N, C, P) or (N, C, h, w) float.
    """
    kwargs.setdefault("align_corners", False)
    as_list = point_coords.dim() == 3
    grid = 2 * (point_coords.unsqueeze(2) if as_list else point_coords) - 1
    values = F.grid_sample(input, grid, **kwargs)
    return values.squeeze(3) if as_list else values


def generate_regular_grid_point_coords(
    R: int, side_size: int, device: torch.device | str
) -> Tensor:
    """Lay the middles of ``side_size`` x ``side_size`` cells over each of R boxes.

    Returns:
        (R, side_size ** 2, 2) float, XY in [0, 1], row by row.
    """
    middles = (torch.arange(side_size, device=device) + 0.5) / side_size
    y, x = torch.meshgrid(middles, middles, indexing="ij")
    return torch.stack([x, y], dim=2).view(1, side_size**2, 2).expand(R, -1, -1)


def get_uncertain_point_coords_with_randomness(
    coarse_logits: Tensor,
    uncertainty_func: Callable[[Tensor], Tensor],
    num_points: int,
    oversample_ratio: float,
    importance_sample_ratio: float,
) -> Tensor:
    """Draw points to train on: many at random, the most uncertain of which stay, and some more.

    Args:
        coarse_logits: (N, C, H, W) float.
        uncertainty_func: From logits (N, C, P) to (N, 1, P), larger where less certain.
        num_points: P, points of each map.
        oversample_ratio: k >= 1: the uncertain ones are the best of k P.
        importance_sample_ratio: beta in [0, 1]: the share of the P points that are uncertain ones.

    Returns:
        (N, P, 2) float, XY in [0, 1].

    Raises:
        ValueError: A ratio out of its range.
    """
    if oversample_ratio < 1 or not 0 <= importance_sample_ratio <= 1:
        raise ValueError(
            "MODEL.POINT_HEAD.OVERSAMPLE_RATIO must be at least 1 and IMPORTANCE_SAMPLE_RATIO in "
            f"[0, 1]; found {oversample_ratio} and {importance_sample_ratio}."
        )
    count, device = coarse_logits.shape[0], coarse_logits.device
    candidates = torch.rand(count, int(num_points * oversample_ratio), 2, device=device)
    # Logits are read and then judged: halfway between a cell of -1 and one of 1 is as uncertain as
    # can be, though both cells are certain.
    uncertainty = uncertainty_func(point_sample(coarse_logits, candidates))[:, 0]
    num_uncertain = int(importance_sample_ratio * num_points)
    best = uncertainty.topk(num_uncertain, dim=1)[1]
    chosen = candidates.gather(1, best[:, :, None].expand(-1, -1, 2))
    others = torch.rand(count, num_points - num_uncertain, 2, device=device)
    return torch.cat([chosen, others], dim=1)


def get_uncertain_point_coords_on_grid(
    uncertainty_map: Tensor, num_points: int
) -> tuple[Tensor, Tensor]:
    """Find the most uncertain cells.

    Args:
        uncertainty_map: (R, 1, H, W) float.
        num_points: P; all cells where there are fewer.

    Returns:
        (R, P) int64 in [0, H W), the cells row by row, and (R, P, 2) float, the XY of their
        middles in [0, 1].
    """
    height, width = uncertainty_map.shape[2:]
    cells = uncertainty_map.flatten(1).topk(min(int(height * width), num_points), dim=1)[1]
    x = (cells % width + 0.5) / width
    y = (torch.div(cells, width, rounding_mode="floor") + 0.5) / height
    return cells, torch.stack([x, y], dim=2)


def get_point_coords_wrt_image(boxes_coords: Tensor, point_coords: Tensor) -> Tensor:
    """Turn points of boxes into points of the image.

    Args:
        boxes_coords: (R, 4) float, XYXY pixels.
        point_coords: (R, P, 2) float, XY in [0, 1] of each box.

    Returns:
        (R, P, 2) float, XY pixels.
    """
    low, high = boxes_coords.detach()[:, None].split(2, dim=2)
    return low + point_coords * (high - low)


def point_sample_fine_grained_features(
    features_list: Sequence[Tensor],
    feature_scales: Sequence[float],
    boxes: Sequence[Boxes],
    point_coords: Tensor,
) -> tuple[Tensor, Tensor]:
    """Read feature maps at points of boxes.

    Args:
        features_list: Of each level (B, C_l, H_l, W_l) float.
        feature_scales: Cells for each pixel of each level.
        boxes: Those of each image, R in all.
        point_coords: (R, P, 2) float, XY in [0, 1] of each box.

    Returns:
        (R, sum of C_l, P) float, and the points (R, P, 2) as XY pixels of their image.
    """
    in_image = get_point_coords_wrt_image(
        torch.cat([of_image.tensor for of_image in boxes]), point_coords
    )
    by_image = in_image.split([of_image.tensor.shape[0] for of_image in boxes])
    of_images = [
        torch.cat(
            [
                _read_level(level[image : image + 1], points, scale)
                for level, scale in zip(features_list, feature_scales, strict=True)
            ],
            dim=1,
        )
        for image, points in enumerate(by_image)
    ]
    return torch.cat(of_images), in_image


def _read_level(features: Tensor, points_xy: Tensor, scale: float) -> Tensor:
    """Read (1, C, H, W) at the points (R, P, 2) in pixels of the image: (R, C, P)."""
    height, width = features.shape[2:]
    extent = shapes_to_tensor([width, height], device=features.device) / scale
    return point_sample(features, (points_xy / extent)[None])[0].transpose(0, 1)


@torch.no_grad()
def sample_point_labels(instances: Sequence[Instances], point_coords: Tensor) -> Tensor:
    """Tell how far points lie within the masks of their objects.

    Args:
        instances: Of each image, R in all, with ``proposal_boxes`` and ``gt_masks``; polygons are
            drawn first.
        point_coords: (R, P, 2) float, XY in [0, 1] of each box.

    Returns:
        (R, P) float in [0, 1]; between 0 and 1 on the border of a mask.
    """
    by_image = point_coords.split([len(one) for one in instances])
    labels = [
        _labels_of_image(one, points)
        for one, points in zip(instances, by_image, strict=True)
        if len(one)
    ]
    return torch.cat(labels) if labels else point_coords[..., 0]


def _labels_of_image(instances: Instances, point_coords: Tensor) -> Tensor:
    height, width = instances.image_size
    masks = instances.gt_masks
    if not isinstance(masks, BitMasks):
        masks = BitMasks.from_polygon_masks(masks, height, width)
    pixels = masks.tensor.to(point_coords)[:, None]  # [R,1,H,W]
    points = get_point_coords_wrt_image(instances.proposal_boxes.tensor, point_coords)
    extent = torch.tensor([pixels.shape[3], pixels.shape[2]]).to(points)
    return point_sample(pixels, points / extent)[:, 0]
