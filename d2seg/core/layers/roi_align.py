"""RoIAlign as a module."""

from torch import Tensor, nn

from d2seg.core.ops.roi_align import roi_align


class ROIAlign(nn.Module):
    """RoIAlign (Mask R-CNN, arXiv:1703.06870, section 3) with fixed settings.

    Args:
        output_size: Height and width of the result, or one number for both.
        spatial_scale: Feature cells for each pixel of the boxes.
        sampling_ratio: Samples per bin and axis; 0 adapts to the box size.
        aligned: Whether pixel centres are at half coordinates.
    """

    def __init__(
        self,
        output_size: int | tuple[int, int],
        spatial_scale: float,
        sampling_ratio: int,
        aligned: bool = True,
    ) -> None:
        super().__init__()
        height, width = (output_size, output_size) if isinstance(output_size, int) else output_size
        self.output_size = (height, width)
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned

    def forward(self, features: Tensor, rois: Tensor) -> Tensor:
        """Pool (B, C, H, W) at rois (R, 5), rows of image index and XYXY: (R, C, h, w)."""
        return roi_align(
            features,
            rois,
            self.output_size,
            self.spatial_scale,
            self.sampling_ratio,
            self.aligned,
        )
