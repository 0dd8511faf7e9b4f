"""Weights that a config names by ``catalog://NAME`` instead of by an address."""

import difflib
from typing import Any

from d2seg.core.runtime.files import PathManager, PrefixHandler

_DETECTRON_ADDRESS = "https://dl.fbaipublicfiles.com/detectron/"
_IMAGENET = "ImageNetPretrained/"

# Backbones trained on ImageNet that the first Detectron published, below the address of its files.
_BACKBONES = {
    "MSRA/R-50": "MSRA/R-50.pkl",
    "MSRA/R-101": "MSRA/R-101.pkl",
    "FAIR/R-50-GN": "47261647/R-50-GN.pkl",
    "FAIR/R-101-GN": "47592356/R-101-GN.pkl",
    "FAIR/X-101-32x8d": "20171220/X-101-32x8d.pkl",
    "FAIR/X-101-64x4d": "FBResNeXt/X-101-64x4d.pkl",
    "FAIR/X-152-32x8d-IN5k": "25093814/X-152-32x8d-IN5k.pkl",
}


class ModelCatalog:
    """Names of published weights, to their addresses."""

    @staticmethod
    def get(name: str) -> str:
        """Return the address of the weights of a name such as ``ImageNetPretrained/FAIR/R-50-GN``.

        Raises:
            ValueError: There are none of this name.
        """
        file = _BACKBONES.get(name.removeprefix(_IMAGENET)) if name.startswith(_IMAGENET) else None
        if file is None:
            known = [_IMAGENET + backbone for backbone in _BACKBONES]
            nearest = difflib.get_close_matches(name, known, n=3, cutoff=0.3) or known
            raise ValueError(
                f"There are no weights 'catalog://{name}'; nearest: {', '.join(nearest)}. Of other "
                "published weights, write the https address (MODEL.WEIGHTS)."
            )
        return _DETECTRON_ADDRESS + _IMAGENET + file


class ModelCatalogHandler(PrefixHandler):
    """Serves ``catalog://NAME`` from the address that `ModelCatalog` has for the name."""

    def __init__(self) -> None:
        super().__init__("catalog://", _DETECTRON_ADDRESS)

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        address = ModelCatalog.get(path.removeprefix(self.prefix))
        return str(PathManager.get_local_path(address, force=force, **kwargs))


PathManager.register_handler(ModelCatalogHandler())
