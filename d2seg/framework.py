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
from typing import TYPE_CHECKING

from d2seg import compat
from d2seg.core.checkpoint.files import require_data
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

if TYPE_CHECKING or FRAMEWORK == "core":
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
        build_augmentation,
        convert_PIL_to_numpy,
        read_image,
    )
    from d2seg.core.data.samplers import RepeatFactorTrainingSampler
    from d2seg.core.data.transforms import (
        FixedSizeCrop,
        RandomFlip,
        ResizeScale,
        ResizeShortestEdge,
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
    from d2seg.core.modeling import GeneralizedRCNNWithTTA, build_model
    from d2seg.core.modeling.poolers import ROIPooler
    from d2seg.core.modeling.postprocessing import detector_postprocess
    from d2seg.core.modeling.roi_heads.fast_rcnn import fast_rcnn_inference
    from d2seg.core.solver import build_lr_scheduler, build_optimizer
    from d2seg.core.structures import BitMasks, Boxes, ImageList, Instances
    from d2seg.core.utils import comm
    from d2seg.core.utils.analysis import FlopCountAnalysis
    from d2seg.core.utils.events import EventStorage
    from d2seg.core.utils.file_io import PathManager
    from d2seg.core.utils.visualizer import GenericMask
else:
    from detectron2 import model_zoo
    from detectron2.checkpoint import DetectionCheckpointer, PeriodicCheckpointer
    from detectron2.config import CfgNode, get_cfg
    from detectron2.data import (
        DatasetCatalog,
        DatasetFromList,
        DatasetMapper,
        MetadataCatalog,
        build_detection_test_loader,
        build_detection_train_loader,
        get_detection_dataset_dicts,
    )
    from detectron2.data.datasets import (
        register_coco_instances,
        register_coco_panoptic_separated,
        register_lvis_instances,
    )
    from detectron2.data.detection_utils import (
        build_augmentation,
        convert_PIL_to_numpy,
        read_image,
    )
    from detectron2.data.samplers import RepeatFactorTrainingSampler
    from detectron2.data.transforms import (
        FixedSizeCrop,
        RandomFlip,
        ResizeScale,
        ResizeShortestEdge,
    )
    from detectron2.engine import (
        DefaultPredictor,
        DefaultTrainer,
        HookBase,
        SimpleTrainer,
        default_setup,
        default_writers,
        hooks,
        launch,
    )
    from detectron2.evaluation import (
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
    from detectron2.evaluation.testing import flatten_results_dict
    from detectron2.modeling import GeneralizedRCNNWithTTA, build_model
    from detectron2.modeling.poolers import ROIPooler
    from detectron2.modeling.postprocessing import detector_postprocess
    from detectron2.modeling.roi_heads.fast_rcnn import fast_rcnn_inference
    from detectron2.solver import build_lr_scheduler, build_optimizer
    from detectron2.structures import BitMasks, Boxes, ImageList, Instances
    from detectron2.utils import comm
    from detectron2.utils.analysis import FlopCountAnalysis
    from detectron2.utils.events import EventStorage
    from detectron2.utils.file_io import PathManager
    from detectron2.utils.visualizer import GenericMask

    _load_unchecked = DetectionCheckpointer._load_file

    def _load_checked(self: DetectionCheckpointer, filename: str) -> object:
        """Read a file as detectron2 does, which runs what is in a pickle, unless it is refused."""
        require_data(filename)
        return _load_unchecked(self, filename)

    DetectionCheckpointer._load_file = _load_checked

    PathManager.register_handler(
        PrefixHandler("d2seg://", f"{Path(__file__).parent / 'assets'}{os.sep}"),
        allow_override=True,
    )
    PathManager.register_handler(
        PrefixHandler("configs://", f"{CONFIG_FOLDER}{os.sep}"), allow_override=True
    )

__all__ = [
    "FRAMEWORK",
    "REASON",
    "BitMasks",
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
    "MetadataCatalog",
    "PascalVOCDetectionEvaluator",
    "PathManager",
    "PeriodicCheckpointer",
    "ROIPooler",
    "RandomFlip",
    "RepeatFactorTrainingSampler",
    "ResizeScale",
    "ResizeShortestEdge",
    "RotatedCOCOEvaluator",
    "SemSegEvaluator",
    "SimpleTrainer",
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
    "verify_results",
]
