"""Cutting out a rectangle, which may reach beyond the image, and stretching it to a size."""

import numpy as np
from fvcore.transforms.transform import Transform
from PIL import Image

_PILLOW_TYPES = {"b": np.uint8, "u": np.int32, "i": np.int32, "f": np.float32}
"""By kind of array: what Pillow resamples it as (uint8 stays uint8)."""


class ExtentTransform(Transform):
    """Show a rectangle of the source as an image of a given size."""

    def __init__(
        self,
        src_rect: tuple[float, float, float, float],
        output_size: tuple[int, int],
        interp: int = Image.Resampling.BILINEAR,
        fill: int = 0,
    ) -> None:
        """Describe the rectangle.

        Args:
            src_rect: XYXY pixels of the source; may lie outside of it in part.
            output_size: Height and width after.
            interp: Pillow's nearest, bilinear or bicubic, used for images.
            fill: The value of what lies outside the source.
        """
        super().__init__()
        self.src_rect = src_rect
        self.output_size = output_size
        self.interp = Image.Resampling(interp)
        self.fill = fill

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """Cut the rectangle out of an image.

        Args:
            img: (H, W) or (H, W, C), any number of channels; integers of up to 31 bits. Not
                modified.
            interp: In place of the transform's own.

        Returns:
            The rectangle, of the same type and number of dimensions.
        """
        resampling = self.interp if interp is None else Image.Resampling(interp)
        if img.ndim == 2:
            return self._cut_plane(img, resampling)
        planes = [self._cut_plane(img[..., index], resampling) for index in range(img.shape[2])]
        return np.stack(planes, axis=2)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Map (N, 2) float XY pixel coordinates, out of place."""
        left, top, right, bottom = self.src_rect
        height, width = self.output_size
        scale_xy = np.array([width / (right - left), height / (bottom - top)])
        return (np.asarray(coords) - (left, top)) * scale_xy

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Cut the rectangle out of a label map (H, W) without mixing labels."""
        return self.apply_image(segmentation, interp=Image.Resampling.NEAREST)

    def _cut_plane(self, plane: np.ndarray, resampling: Image.Resampling) -> np.ndarray:
        held = plane if plane.dtype == np.uint8 else plane.astype(_PILLOW_TYPES[plane.dtype.kind])
        cut = Image.fromarray(np.ascontiguousarray(held)).transform(
            size=self.output_size[::-1],
            method=Image.Transform.EXTENT,
            data=tuple(self.src_rect),
            resample=resampling,
            fillcolor=self.fill,
        )
        return np.asarray(cut).astype(plane.dtype)
