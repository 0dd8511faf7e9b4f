"""Converting a weight file, with the config that goes with it and a report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from d2seg.config import load_config
from d2seg.convert.classes import known_class_names
from d2seg.convert.conventions import Conventions
from d2seg.convert.files import SUFFIXES, check_suffix, write_checkpoint
from d2seg.convert.model_config import (
    config_text,
    conventions_of,
    make_config,
    own_keys_of,
    require_complete,
)
from d2seg.convert.report import Report
from d2seg.convert.source import (
    BACKGROUND_KEY,
    BENCHMARK,
    DETECTRON,
    DETECTRON2,
    TORCHVISION,
    Source,
    read_source,
)
from d2seg.core.checkpoint.formats.background import ROWS_OF_BACKGROUND
from d2seg.core.runtime.files import replace_when_complete
from d2seg.framework import CfgNode

TARGETS = ("detectron2", "torchvision")
_BACKGROUND_FIRST = (TORCHVISION, BENCHMARK, DETECTRON)


def convert(
    input_file: str | Path,
    output: Path,
    *,
    to: str = "detectron2",
    config_file: str | None = None,
    overrides: Sequence[str] = (),
    norm_eps: float | None = None,
) -> Report:
    """Convert a weight file.

    Args:
        input_file: ``.pth``, ``.pkl`` or ``.safetensors`` of detectron2, Detectron, Caffe2,
            maskrcnn-benchmark, torchvision or timm; a file or an address.
        output: File to write; its suffix says which kind. The config gets its name with ``.yaml``.
        to: Whose names the output has, ``detectron2`` or ``torchvision``.
        config_file: The model's config, in place of one made from the file; needed to write a
            detectron2 model for torchvision.
        overrides: Full config keys and values in turn.
        norm_eps: See `d2seg.convert.model_config.make_config`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is of no known format, not of the model that it seems to be of, or the
            target cannot express the model. Nothing is written.
    """
    if to not in TARGETS:
        raise ValueError(f"The target is '{to}'; use one of {', '.join(TARGETS)}.")
    check_suffix(output, SUFFIXES if to == "detectron2" else (".pth", ".safetensors"))
    if Path(input_file).resolve() == output.resolve():
        raise ValueError(f"The output '{output}' is the input; name another file.")
    source = read_source(input_file)
    cfg, conventions = _config(source, config_file, overrides, norm_eps)
    if to == "torchvision":
        from d2seg.convert.torchvision_target import write_torchvision

        return write_torchvision(source, cfg, output)
    return _write_detectron2(source, cfg, conventions, output)


def _config(
    source: Source, config_file: str | None, overrides: Sequence[str], norm_eps: float | None
) -> tuple[CfgNode | None, Conventions]:
    if config_file is not None:
        cfg = load_config(config_file, overrides)
        if not source.is_backbone:
            require_complete(source.renamed.model, cfg, str(source.path))
            return cfg, conventions_of(source, cfg.MODEL.RESNETS.NUM_GROUPS > 1)
        return cfg, Conventions({})
    if source.format == DETECTRON2:
        return None, Conventions({})
    cfg, conventions = make_config(source, norm_eps)
    cfg.merge_from_list(list(overrides))
    return cfg, conventions


def _write_detectron2(
    source: Source, cfg: CfgNode | None, conventions: Conventions, output: Path
) -> Report:
    report = start_report(source, f"detectron2 {output.suffix}", cfg)
    report.not_exact = list(conventions.not_exact)
    rows = source.renamed.background
    keeps_rows = output.suffix == ".pth" and bool(rows)
    entries: dict[str, Any] = {BACKGROUND_KEY: _copies(rows)} if keeps_rows else {}
    names = list(source.classes) or known_class_names(source.format, cfg)
    write_checkpoint(output, source.renamed.model, entries, source.is_backbone, names)
    report.files.append(str(output))
    if rows and not keeps_rows:
        report.notes.append(
            "The rows of the background are left out for good; a .pth keeps them beside the "
            "model, for the way back."
        )
    if cfg is None:
        report.notes.append("No config is written: that of the model goes with it as before.")
    else:
        report.files.append(_write_config(source, cfg, output))
        report.notes += _config_notes(source, cfg)
    return report


def start_report(source: Source, target: str, cfg: CfgNode | None) -> Report:
    """Begin a report with what reading a file did.

    Args:
        source: What was read.
        target: What is to be written.
        cfg: The model's config, if there is one.
    """
    renamed = source.renamed
    reordered = {name: _what_was_done(name) for name in renamed.reordered}
    return Report(
        source=f"{source.path}: {source.format}, {source.count} tensors",
        target=target,
        model="" if cfg is None else describe(cfg, source.is_backbone),
        matched=[ours for ours, theirs in renamed.origins.items() if ours == theirs],
        renamed=[
            f"{theirs} -> {ours}" for ours, theirs in renamed.origins.items() if ours != theirs
        ],
        reordered=reordered,
        dropped=dict(renamed.dropped),
    )


def describe(cfg: CfgNode, is_backbone: bool = False) -> str:
    """Describe a model in a few words: ``Mask R-CNN, ResNet-50 FPN, 80 classes``."""
    keys = cfg.MODEL.RESNETS
    resnet = f"ResNet-{keys.DEPTH}"
    if keys.NUM_GROUPS > 1:
        resnet = f"ResNeXt-{keys.DEPTH} {keys.NUM_GROUPS}x{keys.WIDTH_PER_GROUP}d"
    if is_backbone:
        return f"{resnet}, the backbone alone"
    kind = "Mask" if cfg.MODEL.MASK_ON else "Keypoint" if cfg.MODEL.KEYPOINT_ON else "Faster"
    pyramid = " FPN" if "fpn" in cfg.MODEL.BACKBONE.NAME else " C4"
    if cfg.MODEL.META_ARCHITECTURE == "ProposalNetwork":
        return f"Proposal network, {resnet}{pyramid}"
    return f"{kind} R-CNN, {resnet}{pyramid}, {cfg.MODEL.ROI_HEADS.NUM_CLASSES} classes"


def _what_was_done(name: str) -> str:
    if name.startswith("proposal_generator."):
        return "the anchors of a cell are ordered by size, not by ratio"
    rows = next((n for start, n in ROWS_OF_BACKGROUND.items() if name.startswith(start)), 0)
    if rows:
        return "the first rows, of the background, are left out: nothing uses them"
    return "the background moves from the first class to the last"


def _write_config(source: Source, cfg: CfgNode, output: Path) -> str:
    cfg.MODEL.WEIGHTS = str(output)
    comments = [f"The model of {source.path.name} ({source.format}), written by d2seg convert."]
    if own_keys_of(cfg):
        comments.append("For d2seg.load_config, or get_cfg() followed by add_d2seg_config(cfg).")
    path = output.with_suffix(".yaml")
    with replace_when_complete(path) as temporary:
        temporary.write_text(config_text(cfg, comments), encoding="utf-8")
    return str(path)


def _config_notes(source: Source, cfg: CfgNode) -> list[str]:
    notes = []
    if source.format in _BACKGROUND_FIRST and cfg.MODEL.META_ARCHITECTURE == "GeneralizedRCNN":
        notes.append("Class k is label k + 1 of there, where label 0 is the background.")
    if source.is_backbone:
        notes.append(
            "The config is that of a Faster R-CNN to be trained from this backbone; its keys for "
            "images and strides belong into any other."
        )
    own = own_keys_of(cfg)
    if own:
        notes.append(
            f"The weights load in detectron2; the config does not: {', '.join(own)} are of d2seg."
        )
    return notes


def _copies(rows: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in rows.items()}
