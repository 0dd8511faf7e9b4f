"""Moving weights between detectron2, Detectron, maskrcnn-benchmark, torchvision and timm."""

from typing import TYPE_CHECKING, Any

from d2seg.convert.convert import TARGETS, convert
from d2seg.convert.report import Report

if TYPE_CHECKING:
    from d2seg.convert.torchvision_model import build_torchvision_model

__all__ = ["TARGETS", "Report", "build_torchvision_model", "convert"]


def __getattr__(name: str) -> Any:
    """Import what needs torchvision's detectors only when it is asked for."""
    if name == "build_torchvision_model":
        from d2seg.convert.torchvision_model import build_torchvision_model

        return build_torchvision_model
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
