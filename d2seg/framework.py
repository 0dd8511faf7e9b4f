"""The one place where the plugin gets its framework from.

``D2SEG_FRAMEWORK`` decides, once, when this module is first imported: ``core`` is the embedded
framework, ``detectron2`` the installed one, ``auto`` (the default) the installed one where there is
one that works, else the embedded one.

Attributes:
    FRAMEWORK: Who serves the names below, ``core`` or ``detectron2``.
    REASON: Why, in half a sentence.
"""

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2seg import compat
from d2seg.core.runtime.files import CONFIG_FOLDER, PrefixHandler

VARIABLE = "D2SEG_FRAMEWORK"
CHOICES = ("auto", "core", "detectron2")


def choose_framework(wanted: str) -> tuple[str, str]:
    """Return who serves and why.

    Args:
        wanted: The value of ``D2SEG_FRAMEWORK``.

    Raises:
        ValueError: The value is none of ``CHOICES``.
        ImportError: detectron2 is asked for and cannot be used.
    """
    if wanted not in CHOICES:
        raise ValueError(f"{VARIABLE} is '{wanted}'; use one of {', '.join(CHOICES)}.")
    if wanted == "core":
        return "core", f"{VARIABLE}=core asks for it"
    obstacle = _why_not_detectron2()
    if wanted == "auto":
        if obstacle is None:
            return "detectron2", "it is installed"
        return "core", obstacle
    if obstacle is not None:
        raise ImportError(
            f"{VARIABLE}=detectron2, but {obstacle}; install detectron2, or set {VARIABLE}=core."
        )
    return "detectron2", f"{VARIABLE}=detectron2 asks for it"


def _why_not_detectron2() -> str | None:
    """Return what keeps the real detectron2 from serving, or None."""
    if compat.installed():
        return "d2seg.compat serves the name detectron2 from the embedded framework"
    if compat.find_real_detectron2() is None:
        return "detectron2 is not installed"
    try:
        for name in ("engine", "evaluation", "model_zoo"):
            import_module(f"detectron2.{name}")
    # Old releases break on new libraries in many ways: ImportError, AttributeError, RuntimeError.
    except Exception as error:
        return f"the installed detectron2 cannot be imported ({type(error).__name__}: {error})"
    return None


FRAMEWORK, REASON = choose_framework(os.environ.get(VARIABLE, "auto"))

if TYPE_CHECKING:
    from d2seg.core import model_zoo
    from d2seg.core.checkpoint import DetectionCheckpointer, PeriodicCheckpointer
    from d2seg.core.config import CfgNode, get_cfg
    from d2seg.core.data import (
        DatasetCatalog,
        DatasetFromList,
        DatasetMapper,
        MetadataCatalog,
        build_detection_test_loader,
        build_detection_train_loader,
        get_detection_dataset_dicts,
    )
    from d2seg.core.data.datasets import (
        register_coco_instances,
        register_coco_panoptic_separated,
        register_lvis_instances,
    )
    from d2seg.core.data.detection_utils import (
        annotations_to_instances,
        build_augmentation,
        convert_PIL_to_numpy,
        read_image,
        transform_instance_annotations,
    )
    from d2seg.core.data.samplers import RepeatFactorTrainingSampler
    from d2seg.core.data.transforms import (
        FixedSizeCrop,
        RandomFlip,
        ResizeScale,
        ResizeShortestEdge,
        ResizeTransform,
    )
    from d2seg.core.engine import (
        DefaultPredictor,
        DefaultTrainer,
        HookBase,
        SimpleTrainer,
        default_setup,
        default_writers,
        hooks,
        launch,
    )
    from d2seg.core.evaluation import (
        CityscapesInstanceEvaluator,
        CityscapesSemSegEvaluator,
        COCOEvaluator,
        COCOPanopticEvaluator,
        DatasetEvaluators,
        LVISEvaluator,
        PascalVOCDetectionEvaluator,
        RotatedCOCOEvaluator,
        SemSegEvaluator,
        inference_on_dataset,
        print_csv_format,
        verify_results,
    )
    from d2seg.core.evaluation.testing import flatten_results_dict
    from d2seg.core.layers import Linear
    from d2seg.core.modeling import GeneralizedRCNNWithTTA, build_model
    from d2seg.core.modeling.poolers import ROIPooler
    from d2seg.core.modeling.postprocessing import detector_postprocess
    from d2seg.core.modeling.roi_heads.fast_rcnn import fast_rcnn_inference
    from d2seg.core.solver import build_lr_scheduler, build_optimizer
    from d2seg.core.structures import BitMasks, Boxes, BoxMode, ImageList, Instances
    from d2seg.core.utils import comm
    from d2seg.core.utils.analysis import FlopCountAnalysis
    from d2seg.core.utils.events import EventStorage
    from d2seg.core.utils.file_io import PathManager
    from d2seg.core.utils.visualizer import GenericMask

_NAMES = {
    "": ("model_zoo",),
    "checkpoint": ("DetectionCheckpointer", "PeriodicCheckpointer"),
    "config": ("CfgNode", "get_cfg"),
    "data": (
        "DatasetCatalog",
        "DatasetFromList",
        "DatasetMapper",
        "MetadataCatalog",
        "build_detection_test_loader",
        "build_detection_train_loader",
        "get_detection_dataset_dicts",
    ),
    "data.datasets": (
        "register_coco_instances",
        "register_coco_panoptic_separated",
        "register_lvis_instances",
    ),
    "data.detection_utils": (
        "annotations_to_instances",
        "build_augmentation",
        "convert_PIL_to_numpy",
        "read_image",
        "transform_instance_annotations",
    ),
    "data.samplers": ("RepeatFactorTrainingSampler",),
    "data.transforms": (
        "FixedSizeCrop",
        "RandomFlip",
        "ResizeScale",
        "ResizeShortestEdge",
        "ResizeTransform",
    ),
    "engine": (
        "DefaultPredictor",
        "DefaultTrainer",
        "HookBase",
        "SimpleTrainer",
        "default_setup",
        "default_writers",
        "hooks",
        "launch",
    ),
    "evaluation": (
        "COCOEvaluator",
        "COCOPanopticEvaluator",
        "CityscapesInstanceEvaluator",
        "CityscapesSemSegEvaluator",
        "DatasetEvaluators",
        "LVISEvaluator",
        "PascalVOCDetectionEvaluator",
        "RotatedCOCOEvaluator",
        "SemSegEvaluator",
        "inference_on_dataset",
        "print_csv_format",
        "verify_results",
    ),
    "evaluation.testing": ("flatten_results_dict",),
    "layers": ("Linear",),
    "modeling": ("GeneralizedRCNNWithTTA", "build_model"),
    "modeling.poolers": ("ROIPooler",),
    "modeling.postprocessing": ("detector_postprocess",),
    "modeling.roi_heads.fast_rcnn": ("fast_rcnn_inference",),
    "solver": ("build_lr_scheduler", "build_optimizer"),
    "structures": ("BitMasks", "BoxMode", "Boxes", "ImageList", "Instances"),
    "utils": ("comm",),
    "utils.analysis": ("FlopCountAnalysis",),
    "utils.events": ("EventStorage",),
    "utils.file_io": ("PathManager",),
    "utils.visualizer": ("GenericMask",),
}
"""Modules of both frameworks and the names that are taken from them, each when it is asked for: who
runs an exported file has no use for what trains a model. The imports above tell type checkers."""

_HOMES = {name: module for module, names in _NAMES.items() for name in names}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import a name from its home and keep it (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module 'd2seg.framework' has no attribute '{name}'")
        root = "d2seg.core" if FRAMEWORK == "core" else "detectron2"
        home = ".".join(filter(None, (root, _HOMES[name])))
        try:
            value = getattr(import_module(home), name)
        except AttributeError:  # a module that its package does not import
            value = import_module(f"{home}.{name}")
        globals()[name] = value
        return value


def _prepare_detectron2() -> None:
    """Tell the installed detectron2 our addresses, and let it read no file that is refused."""
    from d2seg.core.checkpoint.files import read_checkpoint, require_data

    checkpointer: Any = import_module("detectron2.checkpoint").DetectionCheckpointer
    load_unchecked = checkpointer._load_file

    def load_checked(self: Any, filename: str) -> object:
        """Read a file as detectron2 does, which runs what is in a pickle, unless it is refused."""
        if filename.endswith(".safetensors"):  # which it does not know, and would unpickle
            return read_checkpoint(filename)
        require_data(filename)
        return load_unchecked(self, filename)

    checkpointer._load_file = load_checked
    manager = import_module("detectron2.utils.file_io").PathManager
    for prefix, folder in (("d2seg", Path(__file__).parent / "assets"), ("configs", CONFIG_FOLDER)):
        handler = PrefixHandler(f"{prefix}://", f"{folder}{os.sep}")
        manager.register_handler(handler, allow_override=True)


if FRAMEWORK == "detectron2":
    _prepare_detectron2()

__all__ = [
    "FRAMEWORK",
    "REASON",
    "BitMasks",
    "BoxMode",
    "Boxes",
    "COCOEvaluator",
    "COCOPanopticEvaluator",
    "CfgNode",
    "CityscapesInstanceEvaluator",
    "CityscapesSemSegEvaluator",
    "DatasetCatalog",
    "DatasetEvaluators",
    "DatasetFromList",
    "DatasetMapper",
    "DefaultPredictor",
    "DefaultTrainer",
    "DetectionCheckpointer",
    "EventStorage",
    "FixedSizeCrop",
    "FlopCountAnalysis",
    "GeneralizedRCNNWithTTA",
    "GenericMask",
    "HookBase",
    "ImageList",
    "Instances",
    "LVISEvaluator",
    "Linear",
    "MetadataCatalog",
    "PascalVOCDetectionEvaluator",
    "PathManager",
    "PeriodicCheckpointer",
    "ROIPooler",
    "RandomFlip",
    "RepeatFactorTrainingSampler",
    "ResizeScale",
    "ResizeShortestEdge",
    "ResizeTransform",
    "RotatedCOCOEvaluator",
    "SemSegEvaluator",
    "SimpleTrainer",
    "annotations_to_instances",
    "build_augmentation",
    "build_detection_test_loader",
    "build_detection_train_loader",
    "build_lr_scheduler",
    "build_model",
    "build_optimizer",
    "comm",
    "convert_PIL_to_numpy",
    "default_setup",
    "default_writers",
    "detector_postprocess",
    "fast_rcnn_inference",
    "flatten_results_dict",
    "get_cfg",
    "get_detection_dataset_dicts",
    "hooks",
    "inference_on_dataset",
    "launch",
    "model_zoo",
    "print_csv_format",
    "read_image",
    "register_coco_instances",
    "register_coco_panoptic_separated",
    "register_lvis_instances",
    "transform_instance_annotations",
    "verify_results",
]
