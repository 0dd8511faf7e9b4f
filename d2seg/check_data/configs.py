"""What a config says about data sets: which ones, and what the model asks of them."""

from typing import NamedTuple

from d2seg.check_data.findings import Expectations
from d2seg.datasets import CLASS_SECTIONS
from d2seg.framework import CfgNode, DatasetCatalog, MetadataCatalog

UNKNOWN_NUMBER = -1
"""This NUM_CLASSES means: as many as the JSON file has."""


class DatasetFiles(NamedTuple):
    """A data set and its files; ``json_file`` is empty if it is not in COCO's format."""

    name: str
    json_file: str
    image_root: str


def expectations(cfg: CfgNode, is_trained: bool = True, is_tested: bool = False) -> Expectations:
    """Return what a config's model asks of its data.

    Args:
        cfg: The config.
        is_trained: Whether the model is trained on the data; else it is only evaluated, for which
            masks may have any form.
        is_tested: Whether it is evaluated on the data.
    """
    model = cfg.MODEL
    mask_format = cfg.INPUT.MASK_FORMAT if is_trained else "bitmask"
    number = {
        "RetinaNet": model.RETINANET.NUM_CLASSES,
        "SemanticSegmentor": UNKNOWN_NUMBER,
        "ProposalNetwork": UNKNOWN_NUMBER,
    }.get(model.META_ARCHITECTURE, model.ROI_HEADS.NUM_CLASSES)
    return Expectations(
        num_classes=None if number == UNKNOWN_NUMBER else number,
        mask_format=mask_format if model.MASK_ON else "none",
        num_keypoints=model.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS if model.KEYPOINT_ON else None,
        is_tested=is_tested and model.META_ARCHITECTURE in CLASS_SECTIONS,
    )


def datasets_of(cfg: CfgNode) -> list[DatasetFiles]:
    """Return the data sets of ``DATASETS.TRAIN`` and ``DATASETS.TEST``, each once.

    Raises:
        KeyError: One is not registered.
        ValueError: There is none.
    """
    names = list(dict.fromkeys([*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST]))
    if not names:
        raise ValueError("DATASETS.TRAIN and DATASETS.TEST name no data set; set one of them.")
    return [_files_of(name) for name in names]


def _files_of(name: str) -> DatasetFiles:
    if name not in DatasetCatalog.list():
        DatasetCatalog.get(name)  # raises, and says which names there are
    metadata = MetadataCatalog.get(name)
    files = (metadata.get("json_file", None), metadata.get("image_root", None))
    if None in files:
        return DatasetFiles(name, "", "")
    return DatasetFiles(name, str(files[0]), str(files[1]))
