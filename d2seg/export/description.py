"""What a file says about itself: how to feed it, what comes out, and where it came from."""

import hashlib
import json
import os
import zipfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from d2seg import __version__
from d2seg.class_names import class_names
from d2seg.core.runtime.untrusted.parts import OversizedError
from d2seg.core.runtime.untrusted.programs import UnreadableFileError, open_archive, why_unreadable
from d2seg.export.plausible import require_types
from d2seg.export.schema import TensorSchema, is_dense, output_schema
from d2seg.framework import CfgNode

DESCRIPTION_NAME = "description.json"
"""Name of the text inside the file; ``torch.jit.load(..., _extra_files=...)`` finds it by that."""


@dataclass(frozen=True)
class ModelDescription:
    """What a user of a file needs to know.

    Attributes:
        format: Kind of the file, such as ``ptl``.
        operators: ``aten``, ``torchvision``, ``executorch`` or ``onnx``: whose operators a runtime
            must have.
        class_names: Names in the order of the class indices.
        input_order: Order of the channels, ``RGB`` or ``BGR``.
        value_range: Lowest and highest value of the input; normalisation is in the file.
        resize_short: Length of the shorter edge, in pixels, that the model was tested with.
        resize_longest: Limit of the longer edge.
        score_threshold: Detections score above this.
        nms_threshold: IoU above which the lower-scored detection of a class was dropped.
        max_detections: At most this many detections.
        mask_threshold: Probability from which a pixel belongs to the object.
        inputs: Schema of the inputs.
        outputs: Schema of the outputs.
        config: The model's whole config, as YAML.
        d2seg_version: Version that wrote the file.
        torch_version: Likewise.
        resize_inside: Whether the file resizes images itself, by ``resize_short`` and
            ``resize_longest``; it then takes whole grey values of an image of any size.
        weights: How the file stores them: ``fp32``, ``half`` or ``int8``.
        optimized_for: Library whose prepacked weights the file holds, such as ``xnnpack``; empty
            for a file that every runtime can load.
        num_parameters: Trained numbers in the model, whatever their storage; 0 if not known.
        checksum: Of the model's weights, see :func:`weights_checksum`; empty if not known.
        interpolate: Whether images are resized before the file by plain interpolation, without
            smoothing, to sizes that are rounded down.
        whole_pixel_masks: Whether masks in boxes are pasted into whole pixels, see
            :func:`d2seg.core.ops.masks.paste_masks_whole_pixels`.
    """

    format: str
    operators: str
    class_names: list[str]
    input_order: str
    value_range: list[float]
    resize_short: int
    resize_longest: int
    score_threshold: float
    nms_threshold: float
    max_detections: int
    mask_threshold: float
    inputs: list[TensorSchema]
    outputs: list[TensorSchema]
    config: str
    d2seg_version: str
    torch_version: str
    resize_inside: bool = False
    weights: str = "fp32"
    optimized_for: str = ""
    num_parameters: int = 0
    checksum: str = ""
    interpolate: bool = False
    whole_pixel_masks: bool = False

    def to_json(self) -> str:
        """Return the description as indented JSON."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> "ModelDescription":
        """Read what :meth:`to_json` wrote; what a newer version added is passed over.

        Raises:
            ValueError: The text is no description, lacks something, or has impossible sizes.
        """
        try:
            known = {field.name for field in fields(cls)}
            values: dict[str, Any] = {k: v for k, v in json.loads(text).items() if k in known}
            for name in ("inputs", "outputs"):
                values[name] = [TensorSchema(**schema) for schema in values[name]]
            description = cls(**values)
            require_types(description)
            return description
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(
                f"{DESCRIPTION_NAME} is not a description that d2seg wrote ({error})."
            ) from error


def describe(
    cfg: CfgNode,
    format: str,
    aten_only: bool,
    input_order: str,
    *,
    resize_inside: bool = False,
    full_masks: bool = False,
    weights: str = "fp32",
    optimized_for: str = "",
    model: nn.Module | None = None,
) -> ModelDescription:
    """Describe the file that a model with this config becomes.

    Args:
        cfg: The model's config, with the limits of the file.
        format: Kind of the file.
        aten_only: Whether it holds no torchvision operator.
        input_order: Order of its input's channels.
        resize_inside: Whether it resizes images itself.
        full_masks: Whether its masks have the size of the image.
        weights: How it stores the weights.
        optimized_for: Library that its weights were prepacked for, if any.
        model: The trained model, to count its parameters and to tell its weights from others.
    """
    thresholds = _thresholds(cfg)
    return ModelDescription(
        format=format,
        operators="aten" if aten_only else "torchvision",
        class_names=class_names(cfg),
        input_order=input_order,
        value_range=[0.0, 255.0],
        resize_short=cfg.INPUT.MIN_SIZE_TEST,
        resize_longest=cfg.INPUT.MAX_SIZE_TEST,
        score_threshold=thresholds.SCORE_THRESH_TEST,
        nms_threshold=thresholds.NMS_THRESH_TEST,
        max_detections=cfg.TEST.DETECTIONS_PER_IMAGE,
        mask_threshold=0.5,
        inputs=[TensorSchema("image", [3, "H", "W"], "float32", f"raw pixels, {input_order}")],
        outputs=output_schema(cfg, full_masks),
        config=cfg.dump(),
        d2seg_version=__version__,
        torch_version=torch.__version__,
        resize_inside=resize_inside,
        weights=weights,
        optimized_for=optimized_for,
        num_parameters=sum(p.numel() for p in model.parameters()) if model else 0,
        checksum=weights_checksum(model) if model else "",
        interpolate=not resize_inside and cfg.INPUT.get("RESIZE_TEST") == "interpolate",
        whole_pixel_masks=cfg.MODEL.ROI_MASK_HEAD.get("WHOLE_PIXELS", False),
    )


def _thresholds(cfg: CfgNode) -> CfgNode:
    return cfg.MODEL.RETINANET if is_dense(cfg) else cfg.MODEL.ROI_HEADS


def weights_checksum(model: nn.Module) -> str:
    """Compute a checksum of names, types, shapes and values of a model's weights.

    It is that of the trained model, before anything was folded or rounded: files of all kinds that
    were made from one checkpoint have the same.

    Returns:
        ``sha256:`` and 64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().flatten().view(torch.uint8).numpy())
    return f"sha256:{digest.hexdigest()}"


def read_description(path: str | os.PathLike[str]) -> ModelDescription:
    """Read the description in a file, without loading its weights.

    Args:
        path: A file that d2seg exported.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It has no description, or is truncated or damaged.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".onnx":
        from d2seg.export.onnx.file import read_onnx_description

        return read_onnx_description(path)
    if suffix == ".xml":
        from d2seg.export.openvino.file import read_openvino_description

        return read_openvino_description(path)
    if suffix == ".pte":
        from d2seg.export.executorch import read_pte_description

        return read_pte_description(path)
    try:
        with open_archive(path) as archive:
            names = archive.namelist()
            name = next((one for one in names if one.endswith(f"/extra/{DESCRIPTION_NAME}")), None)
            text = archive.read(name).decode() if name else None
    except zipfile.BadZipFile as error:
        raise UnreadableFileError(why_unreadable(path)) from error
    except OversizedError:
        text = None
    if text is None:
        raise ValueError(f"'{os.fspath(path)}' has no {DESCRIPTION_NAME}: d2seg did not export it.")
    return ModelDescription.from_json(text)
