"""Keypoints of the objects of one image."""

from typing import Any

import torch
from torch import Tensor

from d2seg.core.ops.keypoints import decode_heatmaps, keypoint_targets
from d2seg.core.structures.script_types import moved


class Keypoints:
    """Labelled points of N objects, K of each.

    Attributes:
        tensor: (N, K, 3) float32: x and y in pixels, and visibility: 0 not labelled, 1 hidden,
            2 visible (COCO's definition).
    """

    def __init__(self, keypoints: Any) -> None:
        """Hold these points.

        Args:
            keypoints: (N, K, 3) tensor, array or nested list.

        Raises:
            ValueError: Another shape.
        """
        device = keypoints.device if isinstance(keypoints, Tensor) else torch.device("cpu")
        tensor = torch.as_tensor(keypoints, dtype=torch.float32, device=device)
        if tensor.ndim != 3 or tensor.shape[2] != 3:
            raise ValueError(
                f"Keypoints has to be given a tensor (N, K, 3); found {tuple(tensor.shape)}."
            )
        self.tensor: Tensor = tensor

    def to(self, *args: Any, **kwargs: Any) -> "Keypoints":
        """Return the keypoints after ``tensor.to(...)``."""
        return Keypoints(moved(self.tensor, *args, **kwargs))

    @property
    def device(self) -> torch.device:
        """Where the keypoints are."""
        return self.tensor.device

    def to_heatmap(self, boxes: Tensor, heatmap_size: int) -> tuple[Tensor, Tensor]:
        """Find the cells of the keypoints; see `d2seg.core.ops.keypoints.keypoint_targets`."""
        return keypoint_targets(self.tensor, boxes, heatmap_size)

    @staticmethod
    def cat(keypoints_list: list["Keypoints"]) -> "Keypoints":
        """Join the keypoints of several lists.

        Raises:
            ValueError: The list is empty: nothing says how many points an object has.
        """
        if not keypoints_list:
            raise ValueError("Keypoints.cat needs at least one Keypoints; found none.")
        return Keypoints(torch.cat([one.tensor for one in keypoints_list]))

    def __getitem__(self, item: int | slice | Tensor) -> "Keypoints":
        """Return the keypoints of the chosen objects; an integer gives those of one."""
        if isinstance(item, int):
            return Keypoints(self.tensor[item][None])
        return Keypoints(self.tensor[item])

    def __len__(self) -> int:
        return self.tensor.shape[0]

    def __repr__(self) -> str:
        return f"Keypoints(num_instances={len(self)})"


def heatmaps_to_keypoints(maps: Tensor, rois: Tensor) -> Tensor:
    """Read keypoints off heat maps; see `d2seg.core.ops.keypoints.decode_heatmaps`."""
    return decode_heatmaps(maps, rois)
