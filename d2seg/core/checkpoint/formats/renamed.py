"""What becomes of the tensors of another toolbox's file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

LEAVES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
"""What a layer's tensors are called, in every toolbox."""


@dataclass(frozen=True)
class Renamed:
    """The tensors of a file under detectron2's names.

    Attributes:
        model: detectron2's name to tensor.
        origins: detectron2's name to that of the file.
        reordered: detectron2's names of tensors whose rows changed places or number.
        background: detectron2's name to the rows of the background class, which have no place in
            detectron2's models.
        dropped: Names of the file that have no place in a model, each with the reason.
        unknown: Names of the file that its format does not have.
    """

    model: dict[str, Tensor]
    origins: dict[str, str]
    reordered: tuple[str, ...] = ()
    background: dict[str, Tensor] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Format:
    """One toolbox's names.

    Attributes:
        name: What it is called in messages.
        marks: What its names are known by, in words.
        matches: Tells whether names are of this format.
        rename: Gives detectron2's names to the tensors, and moves the background class.
        whole: Whether files are of whole detectors; others are of backbones, whose names are
            matched by their suffix.
    """

    name: str
    marks: str
    matches: Callable[[Mapping[str, Tensor]], bool]
    rename: Callable[[Mapping[str, Tensor]], Renamed]
    whole: bool = True


def rename_by_stem(
    weights: Mapping[str, Tensor],
    stems: Mapping[str, str],
    dropped: Mapping[str, str],
) -> Renamed:
    """Rename tensors by the names of the layers they belong to.

    Args:
        weights: Name to tensor; left as it is.
        stems: Name of a layer in the file to detectron2's.
        dropped: Names of the file to leave out, with the reason.

    Raises:
        ValueError: Two names of the file become one.
    """
    model: dict[str, Tensor] = {}
    origins: dict[str, str] = {}
    unknown = []
    for name, tensor in weights.items():
        stem, _, leaf = name.rpartition(".")
        if name in dropped:
            continue
        if stem not in stems or leaf not in LEAVES:
            unknown.append(name)
            continue
        ours = f"{stems[stem]}.{leaf}"
        if ours in model:
            raise ValueError(
                f"'{origins[ours]}' and '{name}' of the file both stand for '{ours}'; it must hold "
                "one of them."
            )
        model[ours], origins[ours] = tensor, name
    return Renamed(model, origins, dropped=dict(dropped), unknown=tuple(unknown))


def rename_back(
    weights: Mapping[str, Tensor], stems: Mapping[str, str]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Give tensors of detectron2's names those of the file again.

    Args:
        weights: detectron2's name to tensor; left as it is.
        stems: As of `rename_by_stem`.

    Returns:
        The file's name to tensor, and detectron2's name to the file's; a name without a place in
        the file is in neither.
    """
    theirs = {ours: name for name, ours in stems.items()}
    converted, names = {}, {}
    for name, tensor in weights.items():
        stem, _, leaf = name.rpartition(".")
        if stem in theirs:
            names[name] = f"{theirs[stem]}.{leaf}"
            converted[names[name]] = tensor
    return converted, names


def residual_stems(body: str, resnet: str, stages: Mapping[int, str]) -> dict[str, str]:
    """Name the layers of residual stages as torchvision does, and as detectron2 does.

    Args:
        body: What torchvision's names begin with, such as ``backbone.body.``.
        resnet: What detectron2's begin with, such as ``backbone.bottom_up.``.
        stages: Number of each of torchvision's stages, to detectron2's name, such as ``res2``.
    """
    stems = {}
    for stage, ours in stages.items():
        for block in range(MOST_BLOCKS):
            theirs_block, our_block = f"{body}layer{stage}.{block}.", f"{resnet}{ours}.{block}."
            for conv in (1, 2, 3):
                stems[f"{theirs_block}conv{conv}"] = f"{our_block}conv{conv}"
                stems[f"{theirs_block}bn{conv}"] = f"{our_block}conv{conv}.norm"
            stems[f"{theirs_block}downsample.0"] = f"{our_block}shortcut"
            stems[f"{theirs_block}downsample.1"] = f"{our_block}shortcut.norm"
    return stems


MOST_BLOCKS = 36
"""No published network has a stage of more."""
