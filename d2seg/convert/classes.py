"""The class names that go with another toolbox's numbering."""

from d2seg.convert.source import TORCHVISION
from d2seg.framework import CfgNode, MetadataCatalog

_COCO = "coco_2017_val"
_NUM_COCO_LABELS = 90
_GAP = "N/A"


def known_class_names(source_format: str, cfg: CfgNode | None) -> list[str]:
    """Name the classes of a model that was trained on COCO with torchvision's numbering.

    torchvision counts by COCO's category ids, 1 to 90, of which ten are not in use.

    Args:
        source_format: Whose file it is.
        cfg: The model's config, if there is one.

    Returns:
        In the order of the class indices; empty if nothing is known.
    """
    if source_format != TORCHVISION or cfg is None:
        return []
    classes = cfg.MODEL.ROI_HEADS.NUM_CLASSES
    if classes == 1 and cfg.MODEL.KEYPOINT_ON:
        return ["person"]
    if classes != _NUM_COCO_LABELS:
        return []
    coco = MetadataCatalog.get(_COCO)
    positions = coco.thing_dataset_id_to_contiguous_id
    return [
        coco.thing_classes[positions[label]] if label in positions else _GAP
        for label in range(1, _NUM_COCO_LABELS + 1)
    ]
