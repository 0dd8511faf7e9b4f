"""The comparison of detections: blind to order, not to differences."""

import pytest
import torch

from d2seg.export.parity import Detections, ParityReport, compare_detections


def detections(count: int = 60) -> Detections:
    """Return objects of five classes with pairs of near-equal boxes."""
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(count, 2, generator=generator) * 80
    boxes = torch.cat([corner, corner + 15], dim=1)
    boxes[1::2] = boxes[::2] + 0.3
    return Detections(
        boxes,
        torch.arange(count) % 5,
        torch.rand(count, 1, 28, 28, generator=generator),
        torch.linspace(0.95, 0.1, count),
    )


def test_order_does_not_matter() -> None:
    eager = detections()
    shuffled = eager._replace(boxes=eager.boxes[torch.randperm(60)])
    assert not compare_detections((100, 120), eager, shuffled).passed  # boxes in another order
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    parity = compare_detections((100, 120), eager, eager.rows(order))
    assert parity.passed
    assert parity.num_matched == 60
    assert parity.box_difference == parity.score_difference == parity.mask_difference == 0.0


def test_float_noise_is_measured_and_accepted() -> None:
    eager = detections()
    noisy = Detections(
        eager.boxes + 0.01, eager.classes, eager.masks + 0.001, eager.scores + 0.0005
    )
    parity = compare_detections((100, 120), eager, noisy)
    assert parity.passed
    assert parity.box_difference == pytest.approx(0.01, abs=1e-5)
    assert parity.mask_difference == pytest.approx(0.001, abs=1e-5)
    assert parity.score_difference == pytest.approx(0.0005, abs=1e-5)


@pytest.mark.parametrize(
    ("field", "change"), [("boxes", 0.1), ("masks", 0.02), ("scores", 0.005), ("classes", 1)]
)
def test_larger_differences_fail(field: str, change: float) -> None:
    eager = detections()
    changed = getattr(eager, field) + change
    parity = compare_detections((100, 120), eager, eager._replace(**{field: changed}))
    assert not parity.passed
    assert parity.num_matched == 0


def test_one_changed_mask_pixel_of_a_good_detection_fails() -> None:
    eager = detections()
    masks = eager.masks.clone()
    masks[0, 0, 3, 4] += 0.1
    parity = compare_detections((100, 120), eager, eager._replace(masks=masks))
    assert (parity.num_matched, parity.passed) == (59, False)


def test_boxes_of_large_images_may_differ_in_proportion() -> None:
    eager = detections()
    large = eager._replace(boxes=eager.boxes + 900)
    moved = large._replace(boxes=large.boxes + 0.3)
    assert compare_detections((1000, 1200), large, moved).passed
    assert not compare_detections((100, 120), eager, eager._replace(boxes=eager.boxes + 0.3)).passed


def test_a_weak_detection_may_flip_a_strong_one_not() -> None:
    eager = detections()
    without_last = eager.rows(slice(0, -1))
    without_first = eager.rows(slice(1, None))
    assert compare_detections((100, 120), eager, without_last).passed
    assert compare_detections((100, 120), without_last, eager).passed
    parity = compare_detections((100, 120), eager, without_first)
    assert not parity.passed
    assert parity.highest_unmatched == pytest.approx(0.95)
    assert not compare_detections((100, 120), without_first, eager).passed


def test_a_strong_detection_at_the_end_of_a_full_list_may_flip() -> None:
    full = detections()._replace(scores=torch.linspace(0.95, 0.8, 60))
    other_end = full._replace(boxes=full.boxes.clone())
    other_end.boxes[-1] += 20
    assert compare_detections((100, 120), full, other_end).passed
    other_end.boxes[-2] += 20
    assert not compare_detections((100, 120), full, other_end).passed


def test_not_a_number_fails() -> None:
    eager = detections()
    broken = eager._replace(boxes=torch.full_like(eager.boxes, torch.nan))
    assert not compare_detections((100, 120), eager, broken).passed
    broken = eager._replace(masks=torch.full_like(eager.masks, torch.nan))
    assert not compare_detections((100, 120), eager, broken).passed


def test_masks_of_the_image_may_differ_in_few_pixels() -> None:
    eager = detections()
    full = torch.zeros(60, 100, 120, dtype=torch.bool)
    full[:, 20:60, 30:70] = True  # 1600 pixels
    noisy = full.clone()
    noisy[:, 20, 30:46] = False  # 1 %
    eager = eager._replace(masks=full)
    parity = compare_detections((100, 120), eager, eager._replace(masks=noisy))
    assert (parity.num_matched, parity.mask_difference) == (60, pytest.approx(0.01))
    noisy[3, 20, 46] = False
    parity = compare_detections((100, 120), eager, eager._replace(masks=noisy))
    assert (parity.num_matched, parity.passed) == (59, False)
    assert not compare_detections((100, 120), eager, eager._replace(masks=full.mT)).passed


def test_keypoints_are_compared_one_by_one() -> None:
    points = torch.rand(60, 10, 3, generator=torch.Generator().manual_seed(2))
    points[:, :, :2] *= 100
    eager = detections()._replace(masks=None, keypoints=points)
    parity = compare_detections((100, 120), eager, eager)
    assert (parity.num_matched, parity.keypoint_difference) == (60, 0.0)
    moved = points.clone()
    moved[:, 4, 1] += 7  # another peak of the same heat map
    parity = compare_detections((100, 120), eager, eager._replace(keypoints=moved))
    assert parity.passed
    assert parity.keypoint_difference == pytest.approx(7, abs=1e-4)
    for column, change in ((0, 0.2), (1, 0.2), (2, 0.01)):
        moved = points.clone()
        moved[:, :2, column] += change
        parity = compare_detections((100, 120), eager, eager._replace(keypoints=moved))
        assert parity.num_matched == 0
    high = points * torch.tensor([1.0, 1.0, 100.0])
    moved = high * torch.tensor([1.0, 1.0, 1.001])
    eager_high = eager._replace(keypoints=high)
    assert compare_detections((100, 120), eager_high, eager._replace(keypoints=moved)).passed
    flipped = points[:, :, [1, 0, 2]]
    assert not compare_detections((100, 120), eager, eager._replace(keypoints=flipped)).passed
    table = ParityReport([parity]).table().splitlines()
    assert table[0].split()[-2:] == ["px", "objects"]
    assert len(table[1].split()) == 9


@pytest.mark.parametrize("field", ["masks", "keypoints"])
def test_an_output_on_one_side_only_fails(field: str) -> None:
    eager = detections()._replace(keypoints=torch.zeros(60, 3, 3))
    without = eager._replace(**{field: None})
    assert not compare_detections((100, 120), eager, without).passed
    assert not compare_detections((100, 120), without, eager).passed
    assert compare_detections((100, 120), without, without).passed


def test_nothing_on_both_sides_passes_and_is_noted() -> None:
    nothing = detections(0)
    report = ParityReport([compare_detections((100, 120), nothing, nothing)])
    assert report.passed
    assert report.found_nothing
    one_side = ParityReport([compare_detections((100, 120), detections(), nothing)])
    assert not one_side.passed
    assert not one_side.found_nothing


def test_table_has_a_line_for_each_image() -> None:
    eager = detections()
    good = compare_detections((100, 120), eager, eager)
    bad = compare_detections((30, 40), eager, detections(0))
    lines = ParityReport([good, bad]).table().splitlines()
    titles = ["image", "eager", "file", "matched", "box", "px", "score", "mask", "objects"]
    assert lines[0].split() == titles
    assert lines[1].split() == ["100x120", "60", "60", "60", *["0.0e+00"] * 3, "same"]
    assert lines[2].split() == ["30x40", "60", "0", "0", *["0.0e+00"] * 3, "DIFFERS"]
    assert " ".join(lines[3:]) == (
        "matched: within 0.05 px (in proportion beyond 100 px), 0.002 of the score, 0.005 of a "
        "mask's probability or 1% of a mask of the image's size; same: 98% or more of the objects "
        "match, and all that score 0.5 or more"
    )
