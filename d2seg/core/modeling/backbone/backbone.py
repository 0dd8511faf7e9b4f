"""What every backbone offers."""

from abc import ABCMeta, abstractmethod
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from d2seg.core.layers import ShapeSpec


class Backbone(nn.Module, metaclass=ABCMeta):
    """Maps images to named feature maps."""

    _out_features: list[str]
    _out_feature_channels: dict[str, int]
    _out_feature_strides: dict[str, int]

    @abstractmethod
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map (B, 3, H, W) float to name -> (B, C, H / stride, W / stride)."""

    @property
    def size_divisibility(self) -> int:
        """What the height and width of the input must be multiples of; 0 for anything."""
        return 0

    @property
    def padding_constraints(self) -> dict[str, int]:
        """Further wishes about padding, for ``ImageList.from_tensors``."""
        return {}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Return channels and stride of every output."""
        return {
            name: ShapeSpec(
                channels=self._out_feature_channels[name], stride=self._out_feature_strides[name]
            )
            for name in self._out_features
        }


def named_shapes(
    key: str, names: Sequence[str], available: Mapping[str, ShapeSpec]
) -> dict[str, ShapeSpec]:
    """Pick the shapes of feature levels.

    Args:
        key: The config key that names the levels.
        names: Which ones.
        available: Those of the backbone.

    Returns:
        Name to shape, in the order of ``names``.

    Raises:
        ValueError: The backbone does not have a level.
    """
    missing = [name for name in names if name not in available]
    if missing:
        raise ValueError(
            f"{key} names '{missing[0]}', but the backbone gives only {', '.join(available)}."
        )
    return {name: available[name] for name in names}
