"""Instance segmentation with detectron2's configs, checkpoints and names.

The names below are imported when first used, so ``import d2seg`` is quick and does not load torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from d2seg.config import add_d2seg_config, load_config
    from d2seg.export import export_model
    from d2seg.features import FeatureExtractor
    from d2seg.framework import DefaultPredictor, DetectionCheckpointer, build_model, get_cfg
    from d2seg.predict import Prediction, Predictor

__version__ = "0.1.0"

__all__ = [
    "DefaultPredictor",
    "DetectionCheckpointer",
    "FeatureExtractor",
    "Prediction",
    "Predictor",
    "__version__",
    "add_d2seg_config",
    "build_model",
    "export_model",
    "get_cfg",
    "load_config",
]

_HOMES = {
    "DefaultPredictor": "d2seg.framework",
    "DetectionCheckpointer": "d2seg.framework",
    "FeatureExtractor": "d2seg.features",
    "Prediction": "d2seg.predict",
    "Predictor": "d2seg.predict",
    "add_d2seg_config": "d2seg.config",
    "build_model": "d2seg.framework",
    "export_model": "d2seg.export",
    "get_cfg": "d2seg.framework",
    "load_config": "d2seg.config",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its home and keep it (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'd2seg' has no attribute '{name}'")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the lazy names too, so that completion finds them."""
    return sorted({*globals(), *_HOMES})
