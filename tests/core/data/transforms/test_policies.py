"""What each random policy chooses."""

import sys

import numpy as np
import pytest
import torch

from d2seg.core.data import transforms as T


@pytest.fixture(autouse=True)
def seeded() -> None:
    np.random.seed(125)


def picture(height: int = 20, width: int = 30) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_detectron2s_random_numbers_give_its_boxes() -> None:
    policies = [T.ResizeScale(0.2, 2.0, 1100, 1000), T.FixedSizeCrop((1100, 1000)), T.RandomFlip()]
    image, chosen = T.apply_augmentations(policies, np.random.rand(900, 800))
    assert image.shape == (1100, 1000)
    boxes = np.array([[91.0, 46.0, 144.0, 111.0], [523.0, 251.0, 614.0, 295.0]])
    expected = [  # recorded with detectron2
        [895.42, 33.42666667, 933.91125, 80.66],
        [554.0825, 182.39333333, 620.17125, 214.36666667],
    ]
    np.testing.assert_allclose(chosen.apply_box(boxes), expected)


def test_detectron2s_random_numbers_give_its_rotated_boxes() -> None:
    policies = [T.ResizeShortestEdge((800,), 1333, "choice"), T.RandomFlip()]
    image, chosen = T.apply_augmentations(policies, np.random.rand(200, 300))
    assert image.shape == (800, 1200)
    moved = chosen.apply_rotated_box(np.array([[179.0, 97.0, 62.0, 40.0, -56.0]]))
    np.testing.assert_allclose(moved, [[484, 388, 248, 160, 56]])


def test_the_output_shape_can_be_scripted() -> None:
    def shape(image: torch.Tensor) -> tuple[int, int]:
        return T.ResizeShortestEdge.get_output_shape(image.shape[-2], image.shape[-1], 80, 133)

    scripted = torch.jit.script(shape)
    for image in (torch.zeros(3, 10, 10), torch.zeros(3, 8, 100)):
        assert scripted(image) == shape(image)


def test_flips_are_of_one_kind() -> None:
    image = picture()
    vertical = T.RandomFlip(1.0, horizontal=False, vertical=True).get_transform(image)
    assert np.array_equal(vertical.apply_image(image), image[::-1])
    assert isinstance(T.RandomFlip(0.0).get_transform(image), T.NoOpTransform)
    with pytest.raises(ValueError, match="either horizontal or vertical; found both"):
        T.RandomFlip(vertical=True)
    with pytest.raises(ValueError, match="found neither"):
        T.RandomFlip(horizontal=False)


def test_sizes() -> None:
    image = picture()
    assert T.Resize((7, 9)).get_transform(image).apply_image(image).shape == (7, 9, 3)
    assert T.Resize(7).get_transform(image).apply_image(image).shape == (7, 7, 3)
    random = T.RandomResize([(7, 9), (8, 4)])
    sizes = {random.get_transform(image).apply_image(image).shape for _ in range(20)}
    assert sizes == {(7, 9, 3), (8, 4, 3)}
    scaled = T.ResizeScale(1.0, 1.0, 40, 33).get_transform(image)
    assert (scaled.new_h, scaled.new_w) == (22, 33)
    thread = T.ResizeScale(0.1, 0.1, 100, 100).get_transform(np.zeros((2, 90)))
    assert (thread.new_h, thread.new_w) == (1, 10)


def test_rotations_by_range_and_by_choice() -> None:
    image = picture()
    ranged = [T.RandomRotation([10, 40]).get_transform(image).angle for _ in range(50)]
    assert 10 <= min(ranged) < 15 and 35 < max(ranged) < 40
    chosen = T.RandomRotation([90, 180], sample_style="choice")
    assert {chosen.get_transform(image).angle for _ in range(20)} == {90, 180}
    assert isinstance(T.RandomRotation(360).get_transform(image), T.NoOpTransform)
    about = T.RandomRotation(30, expand=False, center=[[0.1, 0.5], [0.1, 0.5]])
    assert about.get_transform(image).center == (3.0, 10.0)
    corner = T.RandomRotation(30, False, [(0.0, 0.0)], "choice").get_transform(image)
    assert corner.center == (0.0, 0.0)
    with pytest.raises(ValueError, match="'range' or 'choice'; found 'random'"):
        T.RandomRotation(30, sample_style="random")


def test_extents_stay_within_scale_and_shift() -> None:
    image = picture()
    for _ in range(50):
        extent = T.RandomExtent((0.5, 2.0), (0.2, 0.4)).get_transform(image)
        left, top, right, bottom = extent.src_rect
        assert 0.5 <= (right - left) / 30 <= 2.0
        assert (right - left) / 30 == pytest.approx((bottom - top) / 20)
        assert abs((left + right) / 2 - 15) <= 0.2 * 15
        assert abs((top + bottom) / 2 - 10) <= 0.4 * 10
        assert extent.output_size == (int(bottom - top), int(right - left))
    (same,) = [T.RandomExtent((1.0, 1.0), (0.0, 0.0)).get_transform(image)]
    assert np.array_equal(same.apply_image(image), image)


@pytest.mark.parametrize(
    ("crop_type", "crop_size", "heights", "widths"),
    [
        ("relative", (0.5, 0.1), {10}, {3}),
        ("relative_range", (0.9, 0.9), {18, 19, 20}, {27, 28, 29, 30}),
        ("absolute", (8, 40), {8}, {30}),
        ("absolute_range", (19, 21), {19, 20}, {19, 20, 21}),
    ],
)
def test_crop_sizes(
    crop_type: str, crop_size: tuple[float, float], heights: set[int], widths: set[int]
) -> None:
    image = picture()
    crops = [T.RandomCrop(crop_type, crop_size).get_transform(image) for _ in range(150)]
    assert {crop.h for crop in crops} == heights and {crop.w for crop in crops} == widths
    assert all(crop.apply_image(image).shape == (crop.h, crop.w, 3) for crop in crops)
    assert max(crop.y0 + crop.h for crop in crops) == 20
    assert max(crop.x0 + crop.w for crop in crops) == 30


def test_crops_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="relative_range.*found 'square'"):
        T.RandomCrop("square", (1, 1))
    with pytest.raises(ValueError, match=r"least and the greatest length; found \(9, 3\)"):
        T.RandomCrop("absolute_range", (9, 3))
    with pytest.raises(ValueError, match="height 2000 and width 60 does not fit"):
        T.RandomCrop("relative", (100, 2)).get_transform(picture())


def test_no_category_takes_up_too_much() -> None:
    labels = np.full((20, 30), 255)
    labels[:, 10:12], labels[:, 12:14] = 1, 2
    policy = T.RandomCrop_CategoryAreaConstraint("absolute", (20, 8), 0.7, 255)
    balanced = 0
    for _ in range(40):
        crop = policy.get_transform(picture(), labels)
        counts = np.bincount(crop.apply_segmentation(labels).ravel(), minlength=256)
        balanced += counts[1] > 0 and counts[2] > 0
    assert balanced >= 38  # a single crop shows both in 9 of 23 places
    unlimited = T.RandomCrop_CategoryAreaConstraint("absolute", (20, 8))
    assert unlimited.get_transform(picture(), labels).w == 8


def test_a_fixed_size_by_cropping_and_padding() -> None:
    image = picture()
    transform = T.FixedSizeCrop((25, 12), pad_value=9, seg_pad_value=3).get_transform(image)
    fixed = transform.apply_image(image)
    assert fixed.shape == (25, 12, 3) and (fixed[20:] == 9).all()
    left = transform.transforms[0].x0
    assert np.array_equal(fixed[:20], image[:, left : left + 12])
    assert (transform.apply_segmentation(image[..., 0])[20:] == 3).all()
    unpadded = T.FixedSizeCrop((25, 12), pad=False).get_transform(image)
    assert unpadded.apply_image(image).shape == (20, 12, 3)


def test_crops_overlap_every_box() -> None:
    boxes = np.array([[10.0, 4.0, 26.0, 18.0]])
    policy = T.MinIoURandomCrop(min_ious=(0.5,), crop_trials=30)
    kinds = set()
    for _ in range(60):
        crop = policy.get_transform(picture(), boxes)
        kinds.add(type(crop).__name__)
        if isinstance(crop, T.CropTransform):
            assert crop.x0 < 18 < crop.x0 + crop.w and crop.y0 < 11 < crop.y0 + crop.h
            assert 0.5 <= crop.apply_image(picture()).shape[0] / crop.w <= 2.5
    assert kinds == {"CropTransform", "NoOpTransform"}
    assert isinstance(policy.get_transform(picture(), None), T.NoOpTransform)


def test_blends() -> None:
    image = picture().astype(np.float64)
    grey = image @ [0.299, 0.587, 0.114]
    for policy, other in (
        (T.RandomBrightness(1.5, 1.5), 0.0),
        (T.RandomContrast(1.5, 1.5), image.mean()),
        (T.RandomSaturation(1.5, 1.5), grey[..., None]),
    ):
        blended = policy.get_transform(image).apply_image(image)
        np.testing.assert_allclose(blended, image * 1.5 - other * 0.5)
    with pytest.raises(ValueError, match=r"RandomSaturation needs an RGB image.*\(20, 30\)"):
        T.RandomSaturation(1, 1).get_transform(grey)


def test_lighting_adds_one_colour() -> None:
    image = picture().astype(np.float64)
    added = [T.RandomLighting(10.0).get_transform(image).apply_image(image) - image for _ in "abc"]
    for colour in added:
        np.testing.assert_allclose(colour, np.broadcast_to(colour[0, 0], colour.shape), atol=1e-9)
    # By far the strongest direction is that of grey.
    spread = np.stack([T.RandomLighting(1.0).get_transform(image).src_image for _ in range(500)])
    strongest = np.linalg.svd(spread, full_matrices=False)[2][0]
    np.testing.assert_allclose(np.abs(strongest), [0.5675, 0.5808, 0.5836], atol=0.02)


def test_the_longer_edge_is_unlimited_by_default() -> None:
    assert T.ResizeShortestEdge(800).max_size == sys.maxsize
