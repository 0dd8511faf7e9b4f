"""Rotating, cutting out, flipping, and rotated boxes."""

import math

import numpy as np
import pytest

from d2seg.core.data import transforms as T


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64, np.bool_])
@pytest.mark.parametrize("shape", [(5, 8), (5, 8, 1), (5, 8, 3), (5, 8, 4)])
def test_a_quarter_turn_is_exact(shape: tuple[int, ...], dtype: type) -> None:
    image = (np.arange(math.prod(shape)) % 251).reshape(shape).astype(dtype)
    turned = T.RotationTransform(5, 8, 90).apply_image(image)
    assert turned.dtype == dtype
    np.testing.assert_allclose(turned, np.rot90(image), rtol=1e-6)


@pytest.mark.parametrize("angle", [10, 65, 133, -300])
def test_a_rotated_image_shows_points_where_coordinates_say(angle: float) -> None:
    image = np.zeros((60, 90), np.float64)
    image[18:23, 61:66] = 1.0  # around (63.5, 20.5)
    for rotation in (
        T.RotationTransform(60, 90, angle),
        T.RotationTransform(60, 90, angle / 10, expand=False, center=(50.0, 20.0)),
    ):
        rotated = rotation.apply_image(image)
        assert rotated.shape == (rotation.bound_h, rotation.bound_w)
        rows, columns = np.nonzero(rotated > 0.5)
        centre = [columns.mean() + 0.5, rows.mean() + 0.5]
        np.testing.assert_allclose(
            rotation.apply_coords(np.array([[63.5, 20.5]]))[0], centre, atol=0.3
        )


@pytest.mark.parametrize("expand", [True, False])
def test_turning_back(expand: bool) -> None:
    points = np.array([[0.0, 0.0], [8.0, 5.0], [3.0, 1.0]])
    rotation = T.RotationTransform(5, 8, 33, expand=expand, center=(2.0, 1.0))
    back = rotation.inverse()
    np.testing.assert_allclose(back.apply_coords(rotation.apply_coords(points)), points, atol=1e-9)
    assert back.apply_image(rotation.apply_image(np.ones((5, 8)))).shape == (5, 8)


def test_the_centre_stays_unless_the_image_expands() -> None:
    point = np.array([[2.0, 1.0]])
    kept = T.RotationTransform(5, 8, 33, expand=False, center=(2.0, 1.0))
    np.testing.assert_allclose(kept.apply_coords(point), point)
    expanded = [T.RotationTransform(5, 8, 33, center=c).apply_coords(point) for c in (None, (0, 0))]
    np.testing.assert_allclose(*expanded)
    with pytest.raises(ValueError, match="0 .nearest., 1 .linear. or 2 .cubic.*found 7"):
        T.RotationTransform(5, 8, 33, interp=7)


def test_labels_are_not_mixed_by_turning() -> None:
    labels = np.array([[1, 200, 1], [200, 1, 200]] * 6)
    turned = T.RotationTransform(12, 3, 30).apply_segmentation(labels)
    assert set(np.unique(turned)) == {0, 1, 200}


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32])
@pytest.mark.parametrize("channels", [(), (1,), (3,), (5,)])
def test_cutting_out_reaches_beyond_the_image(channels: tuple[int, ...], dtype: type) -> None:
    image = np.arange(1, 5, dtype=dtype).reshape(2, 2, *[1] * len(channels)) * np.ones(
        channels, dtype
    )
    cut = T.ExtentTransform((-1, 0, 3, 2), (2, 4)).apply_image(image)
    assert cut.dtype == dtype and cut.shape == (2, 4, *channels)
    plane = cut if not channels else cut[..., -1]
    assert plane.tolist() == [[0, 1, 2, 0], [0, 3, 4, 0]]


def test_cutting_out_maps_coordinates_by_axis() -> None:
    transform = T.ExtentTransform((20, 10, 80, 40), (60, 240))
    mapped = transform.apply_coords(np.array([[20, 10], [80, 40], [50, 40]]))
    assert mapped.tolist() == [[0.0, 0.0], [240.0, 60.0], [120.0, 60.0]]
    labels = np.array([[7, 90], [90, 7]])
    assert (
        T.ExtentTransform((0, 0, 2, 2), (4, 6)).apply_segmentation(labels).tolist()
        == np.kron(labels, np.ones((2, 3))).tolist()
    )


def test_colour_functions_change_values_only() -> None:
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    double = T.ColorTransform(lambda img: img * 2)
    assert np.array_equal(double.apply_image(image), image * 2)
    pillow = T.PILColorTransform(lambda img: img.point(lambda value: 255 - value))
    assert np.array_equal(pillow.apply_image(image), 255 - image)
    points = np.array([[1.0, 2.0]])
    for transform in (double, pillow):
        assert np.array_equal(transform.apply_coords(points), points)
        assert np.array_equal(transform.apply_segmentation(image[..., 0]), image[..., 0])
        assert isinstance(transform.inverse(), T.NoOpTransform)
    with pytest.raises(ValueError, match="op has to be a function; found a int"):
        T.ColorTransform(3)  # type: ignore[arg-type]


def corners(box: np.ndarray) -> np.ndarray:
    """Corners of (cx, cy, w, h, degrees counter-clockwise, y pointing down)."""
    theta = math.radians(box[4])
    turn = np.array([[math.cos(theta), math.sin(theta)], [-math.sin(theta), math.cos(theta)]])
    half = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * box[2:4] / 2
    return half @ turn.T + box[:2]


def same_points(first: np.ndarray, second: np.ndarray) -> bool:
    distances = np.linalg.norm(first[:, None] - second[None], axis=-1)
    return bool((distances.min(axis=1) < 1e-6).all() and (distances.min(axis=0) < 1e-6).all())


@pytest.mark.parametrize(
    "transform",
    [
        T.NoOpTransform(),
        T.HFlipTransform(300),
        T.VFlipTransform(200),
        T.CropTransform(10, 20, 200, 150),
        T.PadTransform(3, 4, 5, 6),
        T.ResizeTransform(200, 300, 600, 900),
        T.RotationTransform(200, 300, 25),
        T.TransformList([T.HFlipTransform(300), T.RotationTransform(200, 300, -100)]),
    ],
)
def test_rotated_boxes_move_with_their_corners(transform: T.Transform) -> None:
    box = np.array([179.0, 97.0, 62.0, 40.0, -56.0])
    (moved,) = transform.apply_rotated_box(box[None])  # type: ignore[attr-defined]
    assert same_points(corners(moved), transform.apply_coords(corners(box)))
    assert box.tolist() == [179.0, 97.0, 62.0, 40.0, -56.0]


def test_unequal_stretching_of_rotated_boxes() -> None:
    stretched = T.ResizeTransform(400, 200, 800, 800).apply_rotated_box(  # type: ignore[attr-defined]
        np.array([[150, 100, 40, 20, angle] for angle in (0, 30, 90, -90)])
    )
    expected = [
        [600, 200, 160, 40, 0],
        [600, 200, 40 * math.sqrt(13), 20 * math.sqrt(7), math.degrees(math.atan2(2, 12**0.5 / 2))],
        [600, 200, 80, 80, 90],
        [600, 200, 80, 80, -90],
    ]
    np.testing.assert_allclose(stretched, expected, atol=1e-9)
