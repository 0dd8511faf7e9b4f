"""What the page says about the model, the files written and the next commands."""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from d2seg.assets import DEMO_CONFIG_FILE
from d2seg.framework import FRAMEWORK, CfgNode
from d2seg.report.page import ListedFile

FILE_GROUPS = (
    ("overlays/*.png", "input and instances side by side"),
    ("instances.json", "all detections as COCO results, masks as RLE"),
    ("images.json", "the COCO data set they refer to: images and categories"),
    ("features/*.safetensors", "named tensors, one file per image"),
    ("features/*.json", "what is in each of them"),
    ("features/*.png", "pictures of backbone levels and of mask features"),
    ("mobile_optimized.ptl", "the model for phones: TorchScript, ATen operators"),
)


def model_facts(
    cfg: CfgNode, config_name: str, model: nn.Module, class_names: Sequence[str]
) -> list[tuple[str, str]]:
    """Return label and value of what matters about a model."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    classes = ", ".join(class_names[:12]) + (", ..." if len(class_names) > 12 else "")
    served_by = {"core": "d2seg.core, the embedded framework"}.get(FRAMEWORK, FRAMEWORK)
    return [
        ("Config", config_name),
        ("Weights", cfg.MODEL.WEIGHTS or "none: random weights"),
        ("Architecture", f"{cfg.MODEL.META_ARCHITECTURE}, {cfg.MODEL.BACKBONE.NAME}"),
        ("Parameters", f"{parameters / 1e6:.1f} million"),
        ("Classes", f"{len(class_names)}: {classes}"),
        (
            "Input",
            f"{cfg.INPUT.FORMAT}; shorter side scaled to {cfg.INPUT.MIN_SIZE_TEST} pixels, "
            f"longer side at most {cfg.INPUT.MAX_SIZE_TEST}",
        ),
        ("Run by", f"{served_by}, torch {torch.__version__}, on {cfg.MODEL.DEVICE}"),
    ]


def config_name(config_file: str | Path) -> str:
    """Return what to type after ``--config-file``; the shipped config has a short address."""
    is_demo = Path(config_file) == DEMO_CONFIG_FILE
    return f"d2seg://{DEMO_CONFIG_FILE.name}" if is_demo else str(config_file)


def list_files(folder: Path, files: Sequence[Path]) -> list[ListedFile]:
    """List what the demo wrote, files of one kind in one row.

    Args:
        folder: The output folder.
        files: The files in it.
    """
    listed = []
    for pattern, what in FILE_GROUPS:
        group = [file for file in files if file.relative_to(folder).match(pattern)]
        if group:
            number = f"{len(group)} files: " if len(group) > 1 else ""
            size = size_text(sum(file.stat().st_size for file in group))
            listed.append(ListedFile(pattern, size, number + what))
    return listed


def size_text(size: float) -> str:
    """Return a number of bytes in words, ``11.2 MB``."""
    for unit in ("bytes", "kB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} MB"


def next_commands(
    config: str, overrides: Sequence[str], output: Path, mobile_file: Path
) -> list[tuple[str, str]]:
    """Return what to type next: what it does, and the command."""
    more = "".join(f" {shlex.quote(word)}" for word in overrides)
    program = _program()
    return [
        (
            "Everything on this page for images of your own (files, folders or patterns):",
            f"{program} demo --config-file {config} --input my_images --output my_output{more}",
        ),
        (
            "Only the features, and only those you need:",
            f"{program} features --config-file {config} --input my_images "
            f"--stages backbone.p3 mask_pooler --output my_features{more}",
        ),
        (
            "Only the mobile file, of this or of your own trained model:",
            f"{program} export --config-file {config} --format ptl --output my_export{more}",
        ),
        (
            "Use the mobile file from Python:",
            "import torch\n"
            f'model = torch.jit.load("{mobile_file}")\n'
            "# image: float32 (3, H, W), 0..255\n"
            "boxes, classes, masks, scores, image_size = model(image)",
        ),
        (
            "Read a feature file:",
            "from d2seg.features import load\n"
            f'tensors, description = load("{output}/features/NAME.safetensors")\n'
            'tensors["mask_pooler"].shape, description["tensors"]["mask_pooler"]',
        ),
    ]


def _program() -> str:
    """Return how this program was called, if as ``d2seg``: it may not be on the PATH."""
    called = Path(sys.argv[0])
    if called.name != "d2seg" or not called.is_absolute():
        return str(called) if called.name == "d2seg" else "d2seg"
    relative = os.path.relpath(called)
    return relative if not relative.startswith("..") else str(called)
