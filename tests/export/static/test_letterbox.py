"""Images onto a canvas, and boxes back."""

import pytest
import torch

from d2seg.export.static.letterbox import letterbox, letterbox_size, unletterbox
from tests.reference.cases import picture


@pytest.mark.parametrize(
    ("image_hw", "placed_hw"),
    [
        ((100, 200), (100, 200)),
        ((200, 800), (50, 200)),
        ((300, 300), (120, 120)),
        ((10, 10), (120, 120)),
        ((1, 5000), (1, 200)),
        ((50, 80), (120, 192)),
    ],
)
def test_sizes_keep_the_aspect_ratio_and_fit(
    image_hw: tuple[int, int], placed_hw: tuple[int, int]
) -> None:
    assert letterbox_size(image_hw, (120, 200)) == placed_hw
    assert letterbox_size(placed_hw, (120, 200)) == placed_hw


def test_an_image_is_resized_into_the_top_left() -> None:
    image = picture(1, 90, 60)
    canvas, placed_hw = letterbox(image, (60, 100))
    assert placed_hw == (60, 40)
    assert canvas.shape == (3, 60, 100)
    assert not canvas[:, :, 40:].any()
    assert canvas[:, :, :40].mean() == pytest.approx(float(image.mean()), abs=1.0)
    same, placed_hw = letterbox(image, (96, 60))
    assert placed_hw == (90, 60)
    assert torch.equal(same[:, :90], image)


def test_boxes_return_to_the_image_and_are_clipped() -> None:
    boxes = torch.tensor([[0.0, 0, 40, 60], [10, 30, 20, 45], [39, 10, 50, 20], [40, 0, 45, 9]])
    back, kept = unletterbox(boxes, (60, 40), (90, 60))
    assert back[:3].tolist() == [[0, 0, 60, 90], [15, 45, 30, 67.5], [58.5, 15, 60, 30]]
    assert kept.tolist() == [True, True, True, False]


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"image must be \(3, H, W\), but its shape is \(1, 3, 5"):
        letterbox(torch.zeros(1, 3, 5, 5), (8, 8))
    with pytest.raises(ValueError, match=r"but its shape is \(3, 0, 5\)"):
        letterbox(torch.zeros(3, 0, 5), (8, 8))
    with pytest.raises(TypeError, match="image must be float, but is torch.uint8"):
        letterbox(torch.zeros(3, 5, 5, dtype=torch.uint8), (8, 8))
