"""Classification networks of torchvision and timm: ResNet and ResNeXt.

timm's ``resnet*``, ``resnext*`` and ``wide_resnet*`` have torchvision's names. Its variants with
another stem or with attention (``resnet50d``, ``seresnet50``, ...) are other networks.
"""

from collections.abc import Mapping

from torch import Tensor

from d2seg.core.checkpoint.formats.renamed import (
    Renamed,
    rename_back,
    rename_by_stem,
    residual_stems,
)


def matches_torchvision_resnet(weights: Mapping[str, Tensor]) -> bool:
    """Tell whether names are those of a classification ResNet, or of a relative of it."""
    return any(name.startswith("layer1.0.") for name in weights)


def rename_torchvision_resnet(weights: Mapping[str, Tensor]) -> Renamed:
    """Give detectron2's names, as a backbone has them by itself, to the tensors."""
    return rename_by_stem(weights, _layer_names(), {})


def to_torchvision_resnet(
    backbone: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Give torchvision's names to the tensors of a backbone.

    Args:
        backbone: Name within detectron2's ResNet to tensor; left as it is.

    Returns:
        torchvision's name to tensor, and the backbone's name to torchvision's, for those that
        torchvision has a place for.
    """
    return rename_back(backbone, _layer_names())


def _layer_names() -> dict[str, str]:
    """List the layers: torchvision's name to detectron2's."""
    stages = {number: f"res{number + 1}" for number in (1, 2, 3, 4)}
    stems = {"conv1": "stem.conv1", "bn1": "stem.conv1.norm", "fc": "linear"}
    return stems | residual_stems("", "", stages)
