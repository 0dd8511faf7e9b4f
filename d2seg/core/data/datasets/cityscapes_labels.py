"""The labels of Cityscapes: ids in its files, ids for training, colours."""

from typing import NamedTuple


class CityscapesLabel(NamedTuple):
    """One label.

    Attributes:
        name: As in the annotation files.
        id: In ``labelIds`` and, times 1000, in ``instanceIds`` images.
        train_id: In ``labelTrainIds`` images.
        has_instances: Whether single objects are annotated.
        color: Red, green, blue.
    """

    name: str
    id: int
    train_id: int
    has_instances: bool
    color: tuple[int, int, int]


CITYSCAPES_LABELS = (
    CityscapesLabel("road", 7, 0, False, (128, 64, 128)),
    CityscapesLabel("sidewalk", 8, 1, False, (244, 35, 232)),
    CityscapesLabel("building", 11, 2, False, (70, 70, 70)),
    CityscapesLabel("wall", 12, 3, False, (102, 102, 156)),
    CityscapesLabel("fence", 13, 4, False, (190, 153, 153)),
    CityscapesLabel("pole", 17, 5, False, (153, 153, 153)),
    CityscapesLabel("traffic light", 19, 6, False, (250, 170, 30)),
    CityscapesLabel("traffic sign", 20, 7, False, (220, 220, 0)),
    CityscapesLabel("vegetation", 21, 8, False, (107, 142, 35)),
    CityscapesLabel("terrain", 22, 9, False, (152, 251, 152)),
    CityscapesLabel("sky", 23, 10, False, (70, 130, 180)),
    CityscapesLabel("person", 24, 11, True, (220, 20, 60)),
    CityscapesLabel("rider", 25, 12, True, (255, 0, 0)),
    CityscapesLabel("car", 26, 13, True, (0, 0, 142)),
    CityscapesLabel("truck", 27, 14, True, (0, 0, 70)),
    CityscapesLabel("bus", 28, 15, True, (0, 60, 100)),
    CityscapesLabel("train", 31, 16, True, (0, 80, 100)),
    CityscapesLabel("motorcycle", 32, 17, True, (0, 0, 230)),
    CityscapesLabel("bicycle", 33, 18, True, (119, 11, 32)),
)
"""Those that count, by train id; everything else is void."""

OFF_IMAGE_LABELS = frozenset({"license plate"})
"""Labels whose polygons take nothing away from the objects under them."""

INSTANCE_LABELS = tuple(label for label in CITYSCAPES_LABELS if label.has_instances)
"""Those whose objects are annotated one by one; their positions are the category ids."""
