"""RoIAlign of rotated boxes as a module."""

from torch import Tensor, nn

from d2seg.core.ops.rotated import roi_align_rotated


class ROIAlignRotated(nn.Module):
    """RoIAlign for rotated boxes with fixed settings.

    Args:
        output_size: Height and width of the result, or one number for both.
        spatial_scale: Feature cells for each pixel of the boxes.
        sampling_ratio: Samples per bin and axis; 0 adapts to the box size.
    """

    def __init__(
        self, output_size: int | tuple[int, int], spatial_scale: float, sampling_ratio: int
    ) -> None:
        super().__init__()
        self.output_size = (
            (output_size, output_size) if isinstance(output_size, int) else output_size
        )
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        """Pool (B, C, H, W) at rois (R, 6), rows of image index and rotated box: (R, C, h, w)."""
        return roi_align_rotated(
            input, rois, self.output_size, self.spatial_scale, self.sampling_ratio
        )
