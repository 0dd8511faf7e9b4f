"""A pyramid from one map of a plain transformer (ViTDet, arXiv:2203.16527, section 3)."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from d2seg.core.layers import Conv2d, get_norm
from d2seg.core.modeling.backbone.backbone import Backbone


class SimpleFeaturePyramid(Backbone):
    """Levels ``p2``, ``p3``, ... made of one map by deconvolutions and pooling.

    Args:
        net: Backbone with the map.
        in_feature: Its name.
        out_channels: Channels of every level.
        scale_factors: Size of each level relative to the map: 4, 2, 1 or 0.5, largest first.
        top_block: Adds coarser levels: has ``num_levels`` and ``in_feature``, and returns a list.
        norm: As of `d2seg.core.layers.get_norm`; with one the convolutions have no bias.
        square_pad: Pad images to squares of this side; 0 for no.

    Raises:
        ValueError: Another scale factor, or the network has no such map.
    """

    def __init__(
        self,
        net: Backbone,
        in_feature: str,
        out_channels: int,
        scale_factors: Sequence[float],
        top_block: nn.Module | None = None,
        norm: Any = "LN",
        square_pad: int = 0,
    ) -> None:
        super().__init__()
        shapes = net.output_shape()
        if in_feature not in shapes:
            raise ValueError(f"in_feature is '{in_feature}', but the network gives {list(shapes)}.")
        self.net = net
        self.in_feature = in_feature
        self.scale_factors = scale_factors
        self.top_block = top_block
        self._square_pad = square_pad
        channels, stride = shapes[in_feature].channels or 0, shapes[in_feature].stride or 1
        stages = []
        for scale in scale_factors:
            stages.append(int(stride / scale).bit_length() - 1)
            self.add_module(
                f"simfp_{stages[-1]}", _level(channels, out_channels, float(scale), norm)
            )
        self._level_names = [f"simfp_{stage}" for stage in stages]
        self._size_divisibility = 2 ** stages[-1]
        if top_block is not None:
            stages += [stages[-1] + 1 + index for index in range(int(top_block.num_levels))]  # type: ignore[arg-type]
        self._out_features = [f"p{stage}" for stage in stages]
        self._out_feature_strides = {f"p{stage}": 2**stage for stage in stages}
        self._out_feature_channels = dict.fromkeys(self._out_features, out_channels)

    @property
    def size_divisibility(self) -> int:
        """The stride of the coarsest level made of the map."""
        return self._size_divisibility

    @property
    def padding_constraints(self) -> dict[str, int]:
        """What sizes must be multiples of, and the side of the padded square; 0 for none."""
        return {"size_divisibility": self._size_divisibility, "square_size": self._square_pad}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map (B, 3, H, W), H and W multiples of ``size_divisibility``, to its pyramid."""
        bottom_up = self.net(x)
        results = [getattr(self, name)(bottom_up[self.in_feature]) for name in self._level_names]
        outputs = dict(zip(self._out_features, results, strict=False))
        if self.top_block is not None:
            source = str(self.top_block.in_feature)
            top = self.top_block(bottom_up[source] if source in bottom_up else outputs[source])
            outputs.update(zip(self._out_features[len(results) :], top, strict=True))
        return outputs


def _level(channels: int, out_channels: int, scale: float, norm: Any) -> nn.Sequential:
    """Build the layers of one level: the change of size, and two convolutions."""
    layers, channels = _resize(channels, scale, norm)
    for kernel in (1, 3):
        layers.append(
            Conv2d(
                channels,
                out_channels,
                kernel,
                padding=kernel // 2,
                bias=not norm,
                norm=get_norm(norm, out_channels),
            )
        )
        channels = out_channels
    return nn.Sequential(*layers)


def _resize(channels: int, scale: float, norm: Any) -> tuple[list[nn.Module], int]:
    """Return the layers that change the size, and the channels after them."""
    if scale == 1.0:
        return [], channels
    if scale == 0.5:
        return [nn.MaxPool2d(2, stride=2)], channels
    half = channels // 2
    double = nn.ConvTranspose2d(channels, half, 2, stride=2)
    if scale == 2.0:
        return [double], half
    if scale == 4.0:
        between = [get_norm(norm, half) or nn.Identity(), nn.GELU()]
        return [double, *between, nn.ConvTranspose2d(half, half // 2, 2, stride=2)], half // 2
    raise ValueError(f"scale_factors may be 4, 2, 1 and 0.5; found {scale}.")
