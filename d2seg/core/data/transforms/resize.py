"""Resizing an image and what is annotated on it."""

import numpy as np
import torch.nn.functional as F
from fvcore.transforms.transform import Transform
from PIL import Image

from d2seg.core.data.transforms.arrays import from_planes, to_planes

_TORCH_MODES = {
    Image.Resampling.NEAREST: "nearest",
    Image.Resampling.BILINEAR: "bilinear",
    Image.Resampling.BICUBIC: "bicubic",
}


class ResizeTransform(Transform):
    """Stretch to a given height and width."""

    def __init__(self, h: int, w: int, new_h: int, new_w: int, interp: int | None = None) -> None:
        """Describe the change of size.

        Args:
            h: Height before, in pixels.
            w: Width before.
            new_h: Height after.
            new_w: Width after.
            interp: A Pillow resampling filter, used for images; None for bilinear.
        """
        super().__init__()
        self.h, self.w = h, w
        self.new_h, self.new_w = new_h, new_w
        self.interp = Image.Resampling(Image.Resampling.BILINEAR if interp is None else interp)

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """Resize an image.

        uint8 goes through Pillow, which smooths when shrinking. Any other type goes through torch,
        which does not; integers are then rounded.

        Args:
            img: (H, W) or (H, W, C), any number of channels. Not modified.
            interp: A Pillow resampling filter in place of the transform's own.

        Returns:
            The resized array, of the same type and number of dimensions.

        Raises:
            ValueError: The image is not of the size that this transform starts from.
        """
        if img.shape[:2] != (self.h, self.w) or img.ndim > 3:
            raise ValueError(
                f"This transform resizes images of height {self.h} and width {self.w}, (H, W) or "
                f"(H, W, C); found shape {img.shape}."
            )
        resampling = self.interp if interp is None else Image.Resampling(interp)
        if img.dtype == np.uint8:
            return self._resize_bytes(img, resampling)
        if img.dtype == np.bool_:
            return self._resize_bytes(img.view(np.uint8), resampling).view(np.bool_)
        return self._resize_numbers(img, resampling)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Scale (N, 2) XY pixel coordinates, out of place; integers stay integers, cut off."""
        scaled = coords * np.array([self.new_w / self.w, self.new_h / self.h])
        return scaled.astype(coords.dtype)

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Resize a label map (H, W) without mixing labels."""
        return self.apply_image(segmentation, interp=Image.Resampling.NEAREST)

    def inverse(self) -> "ResizeTransform":
        """Return the transform back to the size before."""
        return ResizeTransform(self.new_h, self.new_w, self.h, self.w, self.interp)

    def _resize_bytes(self, img: np.ndarray, resampling: Image.Resampling) -> np.ndarray:
        size_wh = (self.new_w, self.new_h)
        if img.ndim == 2 or img.shape[2] == 3:
            return np.array(Image.fromarray(img).resize(size_wh, resampling))
        # One by one: as a whole, Pillow takes a fourth channel for transparency, and no fifth.
        channels = [np.ascontiguousarray(img[..., index]) for index in range(img.shape[2])]
        return np.stack([self._resize_bytes(channel, resampling) for channel in channels], axis=2)

    def _resize_numbers(self, img: np.ndarray, resampling: Image.Resampling) -> np.ndarray:
        if resampling not in _TORCH_MODES:
            raise ValueError(
                f"Images of type {img.dtype} can be resized with "
                f"{', '.join(mode.name for mode in _TORCH_MODES)}; found {resampling.name}."
            )
        mode = _TORCH_MODES[resampling]
        resized = F.interpolate(
            to_planes(img),
            (self.new_h, self.new_w),
            mode=mode,
            align_corners=None if mode == "nearest" else False,
        )
        return from_planes(resized, img)
