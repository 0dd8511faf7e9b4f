"""Checks of ground truth: one sentence instead of an error deep inside a loss."""

from collections.abc import Sequence

import torch

from d2seg.core.structures import Instances


def check_boxes(targets: Sequence[Instances]) -> None:
    """Raise ValueError when images have no ``gt_boxes``, or boxes that are Inf or NaN.

    Args:
        targets: For each image.
    """
    for one in targets:
        if not one.has("gt_boxes"):
            found = ", ".join(sorted(one.get_fields())) or "nothing"
            raise ValueError(
                "Training needs gt_boxes in the 'instances' of every image, with length 0 where "
                f"there are no objects, but one has {found}."
            )
    boxes = [one.gt_boxes.tensor for one in targets]
    if boxes and not bool(torch.isfinite(torch.cat(boxes)).all()):
        index, row = next(
            (image, row)
            for image, of_image in enumerate(boxes)
            for row in of_image.tolist()
            if not torch.tensor(row).isfinite().all()
        )
        raise ValueError(
            f"The gt_boxes of image {index} of a batch hold {row}, which is not a box; look for "
            "broken annotations or augmentations."
        )


def check_classes(targets: Sequence[Instances], num_classes: int, key: str) -> None:
    """Raise ValueError when objects are of classes that the model does not have.

    Args:
        targets: For each image, with ``gt_classes``.
        num_classes: K; classes are 0 to K - 1.
        key: The config key of K.
    """
    classes = [one.gt_classes for one in targets if len(one)]
    highest = int(torch.cat(classes).max()) if classes else -1
    if highest >= num_classes:
        raise ValueError(
            f"An object is of class {highest}, but {key} is {num_classes}: classes count from 0."
        )
