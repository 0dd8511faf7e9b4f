"""Feature pyramid networks (arXiv:1612.03144)."""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from fvcore.nn.weight_init import c2_xavier_fill
from torch import Tensor, nn

from d2seg.core.layers import Conv2d, ShapeSpec, get_norm
from d2seg.core.layers.conv import convolve
from d2seg.core.modeling.backbone.backbone import Backbone
from d2seg.core.modeling.backbone.build import BACKBONE_REGISTRY
from d2seg.core.modeling.backbone.resnet import build_resnet_backbone


class LastLevelMaxPool(nn.Module):
    """One more level of half the size, by taking every second cell of the last."""

    num_levels = 1
    in_feature = "p5"

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (B, C, H, W) to one (B, C, H / 2, W / 2)."""
        return [F.max_pool2d(x, kernel_size=1, stride=2)]


class LastLevelP6P7(nn.Module):
    """Two more levels by convolutions of stride two (RetinaNet, arXiv:1708.02002, section 4).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of both levels.
        in_feature: Name of the input.
    """

    num_levels = 2

    def __init__(self, in_channels: int, out_channels: int, in_feature: str = "res5") -> None:
        super().__init__()
        self.in_feature = in_feature
        self.p6 = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.p7 = nn.Conv2d(out_channels, out_channels, 3, stride=2, padding=1)
        for conv in (self.p6, self.p7):
            c2_xavier_fill(conv)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (B, C_in, H, W) to (B, C, H / 2, W / 2) and (B, C, H / 4, W / 4)."""
        p6 = self.p6(x)
        return [p6, self.p7(F.relu(p6))]


class FPN(Backbone):
    """A pyramid of equal channels, from fine to coarse ``p2``, ``p3``, ...

    Args:
        bottom_up: Backbone whose outputs are refined.
        in_features: Its outputs to use, finest first; each has twice the stride of the one before.
        out_channels: Channels of every level.
        norm: As of `d2seg.core.layers.get_norm`; with one the convolutions have no bias.
        top_block: Adds coarser levels: has ``num_levels`` and ``in_feature``, and returns a list.
        fuse_type: ``sum`` or ``avg`` of the lateral and the upsampled map.
        square_pad: Pad images to squares of this side; 0 for no.
    """

    def __init__(
        self,
        bottom_up: Backbone,
        in_features: Sequence[str],
        out_channels: int,
        norm: Any = "",
        top_block: nn.Module | None = None,
        fuse_type: str = "sum",
        square_pad: int = 0,
    ) -> None:
        super().__init__()
        if fuse_type not in ("sum", "avg"):
            raise ValueError(f"MODEL.FPN.FUSE_TYPE is '{fuse_type}', but must be 'sum' or 'avg'.")
        shapes = bottom_up.output_shape()
        missing = [name for name in in_features if name not in shapes]
        if missing or not in_features:
            raise ValueError(
                f"MODEL.FPN.IN_FEATURES is {list(in_features)}, but the backbone gives only "
                f"{', '.join(shapes)}."
            )
        self.in_features = tuple(in_features)
        self.fuse_type = fuse_type
        self._square_pad = square_pad
        self._stages: list[int] = []
        for name in in_features:
            stride = shapes[name].stride or 0
            self._add_level(stride, shapes[name].channels or 0, out_channels, norm)
        self.top_block = top_block
        self.bottom_up = bottom_up

        stages = list(self._stages)
        if top_block is not None:
            stages += [stages[-1] + 1 + index for index in range(int(top_block.num_levels))]  # type: ignore[arg-type]
        self._out_features = [f"p{stage}" for stage in stages]
        self._out_feature_strides = {f"p{stage}": 2**stage for stage in stages}
        self._out_feature_channels = dict.fromkeys(self._out_features, out_channels)
        self._size_divisibility = 2 ** self._stages[-1]

    def _add_level(self, stride: int, in_channels: int, out_channels: int, norm: Any) -> None:
        stage = stride.bit_length() - 1
        if self._stages and stage != self._stages[-1] + 1:
            raise ValueError(
                f"FPN needs strides that double from level to level, but {2 ** self._stages[-1]} "
                f"is followed by {stride}."
            )
        self._stages.append(stage)
        lateral = Conv2d(
            in_channels, out_channels, 1, bias=not norm, norm=get_norm(norm, out_channels)
        )
        output = Conv2d(
            out_channels,
            out_channels,
            3,
            padding=1,
            bias=not norm,
            norm=get_norm(norm, out_channels),
        )
        for conv in (lateral, output):
            c2_xavier_fill(conv)
        self.add_module(f"fpn_lateral{stage}", lateral)
        self.add_module(f"fpn_output{stage}", output)

    @property
    def lateral_convs(self) -> list[nn.Module]:
        """The 1x1 convolutions, coarsest level first."""
        return [getattr(self, f"fpn_lateral{stage}") for stage in reversed(self._stages)]

    @property
    def output_convs(self) -> list[nn.Module]:
        """The 3x3 convolutions, coarsest level first."""
        return [getattr(self, f"fpn_output{stage}") for stage in reversed(self._stages)]

    @property
    def size_divisibility(self) -> int:
        """The stride of the coarsest level that is upsampled."""
        return self._size_divisibility

    @property
    def padding_constraints(self) -> dict[str, int]:
        """The side of the padded square, if there is one."""
        return {"square_size": self._square_pad} if self._square_pad else {}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map (B, 3, H, W), H and W multiples of ``size_divisibility``, to its pyramid."""
        if x.shape[-2] % self._size_divisibility or x.shape[-1] % self._size_divisibility:
            raise ValueError(
                f"FPN needs height and width that are multiples of {self._size_divisibility}, but "
                f"the input is {x.shape[-2]}x{x.shape[-1]}; pad it with ImageList.from_tensors("
                "images, backbone.size_divisibility)."
            )
        bottom_up = self.bottom_up(x)
        features = _select(bottom_up, self.in_features)
        source = "" if self.top_block is None else str(self.top_block.in_feature)
        top_input = bottom_up.get(source)
        del bottom_up  # the list is all that holds the features, and lets go of them
        results = merge_top_down(
            features,
            self.lateral_convs,
            self.output_convs,
            average=self.fuse_type == "avg",
        )
        outputs = dict(zip(self._out_features, results, strict=False))
        if self.top_block is not None:
            top = self.top_block(outputs[source] if top_input is None else top_input)
            outputs.update(zip(self._out_features[len(results) :], top, strict=True))
        return outputs


def _select(maps: dict[str, Tensor], names: Sequence[str]) -> list[Tensor]:
    # Within `forward` this would keep the maps in a closure, of which a compiler deletes nothing.
    return [maps[name] for name in names]


def merge_top_down(
    features: list[Tensor],
    lateral_convs: Sequence[nn.Module],
    output_convs: Sequence[nn.Module],
    average: bool,
) -> list[Tensor]:
    """Run the top-down path (section 3): upsample, add the lateral map, smooth.

    Args:
        features: (B, C_l, H_l, W_l) float, finest first; each has half the size of the one before.
            Emptied, so that each is gone from memory when it is merged.
        lateral_convs: One for each level, coarsest first, to equal channels.
        output_convs: One for each level, coarsest first.
        average: Divide the sum of the two maps by two.

    Returns:
        (B, C, H_l, W_l) for each level, finest first.
    """
    merged = lateral_convs[0](features.pop())
    results = [output_convs[0](merged)]
    for lateral, output in zip(lateral_convs[1:], output_convs[1:], strict=True):
        upsampled = F.interpolate(merged, scale_factor=2.0, mode="nearest")
        merged = convolve(lateral, features.pop(), residual=upsampled, owned=True)
        del upsampled
        if average:
            merged = merged / 2
        results.append(output(merged))
    return results[::-1]


@BACKBONE_REGISTRY.register()
def build_resnet_fpn_backbone(cfg: Any, input_shape: ShapeSpec) -> FPN:
    """Build a ResNet with the pyramid that ``MODEL.FPN`` describes and a max-pooled last level."""
    return _build_fpn(cfg, build_resnet_backbone(cfg, input_shape), LastLevelMaxPool())


@BACKBONE_REGISTRY.register()
def build_retinanet_resnet_fpn_backbone(cfg: Any, input_shape: ShapeSpec) -> FPN:
    """Build a ResNet with the pyramid that ``MODEL.FPN`` describes, extended by P6 and P7."""
    bottom_up = build_resnet_backbone(cfg, input_shape)
    shapes = bottom_up.output_shape()
    if "res5" not in shapes:
        raise ValueError(
            "MODEL.BACKBONE.NAME 'build_retinanet_resnet_fpn_backbone' computes P6 from res5, but "
            f"MODEL.RESNETS.OUT_FEATURES is {list(shapes)}; add res5."
        )
    top_block = LastLevelP6P7(shapes["res5"].channels or 0, cfg.MODEL.FPN.OUT_CHANNELS)
    return _build_fpn(cfg, bottom_up, top_block)


def _build_fpn(cfg: Any, bottom_up: Backbone, top_block: nn.Module) -> FPN:
    return FPN(
        bottom_up=bottom_up,
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=top_block,
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )
