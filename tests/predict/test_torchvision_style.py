"""Programs written for torchvision's Mask R-CNN go on with our predictions.

The steps and names are those of a common notebook: filter by score, make masks boolean, draw.
"""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms
from torchvision.io import ImageReadMode, read_image
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks, make_grid

from d2seg import Predictor
from d2seg.assets import DEMO_CONFIG_FILE, DEMO_IMAGES
from d2seg.images import find_images

Output = dict[str, Tensor]


def keep_sure(outputs: list[Output], score_threshold: float) -> list[Output]:
    return [
        {key: value[one["scores"] >= score_threshold] for key, value in one.items()}
        for one in outputs
    ]


def with_boolean_masks(outputs: list[Output]) -> list[Output]:
    return [one | {"masks": (one["masks"] > 0.5).squeeze(1)} for one in outputs]


@pytest.fixture(scope="module")
def images() -> list[Tensor]:
    """Two images (3, H, W) uint8 RGB of one size, as a grid needs them."""
    paths = find_images([DEMO_IMAGES])[:2]
    resize = transforms.Resize(size=(200, 260), antialias=True)
    return [resize(read_image(str(path), ImageReadMode.RGB)) for path in paths]


@pytest.fixture(scope="module")
def model() -> Predictor:
    return Predictor(DEMO_CONFIG_FILE, overrides=["INPUT.MIN_SIZE_TEST", 200])


@pytest.mark.parametrize("soft", [True, False])
def test_the_notebook_runs(model: Predictor, images: list[Tensor], soft: bool) -> None:
    assert make_grid(images).shape == (3, 204, 526)
    output = [found.to_torchvision(soft) for found in model(images, "RGB")]
    counts = [len(one["labels"]) for one in output]
    assert min(counts) > 5
    for one, count in zip(output, counts, strict=True):
        assert one["boxes"].shape == (count, 4)
        assert one["scores"].shape == (count,)
        assert one["masks"].shape == ((count, 1, 200, 260) if soft else (count, 200, 260))
        assert set(one["labels"].tolist()) == {1}
    sure = with_boolean_masks(keep_sure(output, 0.8))
    assert all(0 < len(one["scores"]) < count for one, count in zip(sure, counts, strict=True))
    for image, one in zip(images, sure, strict=True):
        assert one["masks"].dtype == torch.bool
        assert one["masks"].shape == (len(one["scores"]), 200, 260)
        drawn = draw_segmentation_masks(image, one["masks"], alpha=0.9)
        changed = ((drawn.int() - image.int()).abs() > 1).any(0)  # it rounds all pixels down
        assert 0 < int(changed.sum()) <= int(one["masks"].any(0).sum())
        assert not (changed & ~one["masks"].any(0)).any()
        assert draw_bounding_boxes(drawn, one["boxes"]).shape == image.shape
        assert Image.fromarray(np.asarray(drawn.permute(1, 2, 0))).size == (260, 200)
