import numpy as np
import pytest

from d2seg.core.data.transforms import (
    CropTransform,
    HFlipTransform,
    NoOpTransform,
    PadTransform,
    ResizeTransform,
    RotationTransform,
    Transform,
    TransformList,
    VFlipTransform,
)
from d2seg.core.data.transforms.pixel_sources import pixel_sources

LABELS = np.random.default_rng(0).integers(0, 256, (37, 61), dtype=np.uint8)


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [NoOpTransform(), HFlipTransform(61)],
        [VFlipTransform(37), CropTransform(3, 5, 40, 20)],
        [CropTransform(30, 20, 40, 30)],
        [CropTransform(3, 5, 40, 20), ResizeTransform(20, 40, 31, 77), HFlipTransform(77)],
        *(
            [ResizeTransform(37, 61, height, width)]
            for height in (1, 23, 36, 37, 38, 74, 211)
            for width in (2, 60, 61, 100, 333)
        ),
    ],
)
def test_labels_come_from_where_it_says(steps: list[Transform]) -> None:
    transform = TransformList(steps)
    sources = pixel_sources(transform, LABELS.shape)
    assert sources is not None
    rows, columns = sources
    assert np.array_equal(LABELS[rows][:, columns], transform.apply_segmentation(LABELS))


class Mirror(HFlipTransform):
    """Whose work is not known."""


@pytest.mark.parametrize(
    "step",
    [
        PadTransform(1, 1, 1, 1),
        RotationTransform(37, 61, 30),
        Mirror(61),
        ResizeTransform(36, 61, 10, 10),
    ],
)
def test_other_transforms_are_not_explained(step: Transform) -> None:
    assert pixel_sources(TransformList([HFlipTransform(61), step]), LABELS.shape) is None
