"""Policies: what they look at, how they are put together, how they print."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest

from d2seg.core.data import transforms as T


def picture(height: int = 10, width: int = 20) -> np.ndarray:
    return np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)


def test_each_policy_sees_what_the_one_before_made() -> None:
    seen: list[Any] = []

    class Shrink(T.Augmentation):
        def get_transform(self, image: np.ndarray, sem_seg: np.ndarray) -> T.Transform:  # type: ignore[override]
            return T.ResizeTransform(*image.shape[:2], 5, 8)

    class Flip(T.Augmentation):
        input_args = ("image", "boxes")

        def get_transform(self, *args: Any) -> T.Transform:
            seen.extend(args)
            return T.HFlipTransform(args[0].shape[1])

    labels = np.arange(200).reshape(10, 20)
    inputs = T.AugInput(picture(), boxes=np.array([[0.0, 0.0, 10.0, 10.0]]), sem_seg=labels)
    chosen = inputs.apply_augmentations([Shrink(), T.NoOpTransform(), Flip()])
    assert [type(t).__name__ for t in chosen.transforms] == [
        "ResizeTransform",
        "NoOpTransform",
        "HFlipTransform",
    ]
    assert seen[0].shape == (5, 8, 3) and seen[1].tolist() == [[0.0, 0.0, 4.0, 5.0]]
    assert inputs.boxes is not None and inputs.boxes.tolist() == [[4.0, 0.0, 8.0, 5.0]]
    expected = T.ResizeTransform(10, 20, 5, 8).apply_segmentation(labels)[:, ::-1]
    assert np.array_equal(inputs.sem_seg, expected)


def test_what_a_policy_wants_and_does_not_get() -> None:
    class Wanting(T.Augmentation):
        def get_transform(self, image: np.ndarray, depth: np.ndarray) -> T.Transform:  # type: ignore[override]
            return T.NoOpTransform()

    with pytest.raises(AttributeError, match="Wanting.get_transform needs 'depth'.*has: image"):
        T.AugInput(picture()).apply_augmentations([Wanting()])
    with pytest.raises(TypeError, match="name them in the attribute 'input_args'"):
        T.Augmentation()(T.AugInput(picture()))
    with pytest.raises(TypeError, match="Augmentation or a Transform is expected; found a str"):
        T.AugmentationList(["flip"])  # type: ignore[list-item]


def test_an_image_is_an_array_of_two_or_three_dimensions() -> None:
    with pytest.raises(TypeError, match="numpy array here; found a list"):
        T.AugInput([[1]])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"found shape \(1, 2, 3, 4\)"):
        T.AugInput(np.zeros((1, 2, 3, 4)))


def test_applying_to_an_image_leaves_it_alone() -> None:
    image = picture()
    flipped, chosen = T.apply_augmentations([T.RandomFlip(1.0)], image)
    assert np.array_equal(flipped, image[:, ::-1]) and np.array_equal(image, picture())
    assert chosen.apply_coords(np.array([[1.0, 2.0]])).tolist() == [[19.0, 2.0]]
    inputs = T.AugInput(image)
    same, _ = T.apply_augmentations([T.RandomFlip(1.0)], inputs)
    assert same is inputs and np.array_equal(inputs.image, flipped)


def test_policies_print_as_they_were_made() -> None:
    given, default = T.RandomFlip(prob=0.5), T.RandomFlip()
    crop = T.RandomCrop("relative", (100, 100))
    assert str(crop) == "RandomCrop(crop_type='relative', crop_size=(100, 100))"
    assert (str(given), str(default)) == ("RandomFlip(prob=0.5)", "RandomFlip()")
    assert str(T.AugmentationList([given, default])) == f"AugmentationList[{given}, {default}]"
    assert repr(pickle.loads(pickle.dumps(crop))) == repr(copy.deepcopy(crop)) == repr(crop)


def test_parameters_become_attributes() -> None:
    class Own(T.TransformGen):
        def __init__(self, size: int, *, _secret: int = 3) -> None:
            super().__init__()
            self._init(locals())

    assert vars(Own(4)) == {"_made_with": ((4,), {}), "size": 4}


def test_a_policy_is_applied_sometimes() -> None:
    np.random.seed(0)
    never, always = T.RandomApply(T.VFlipTransform(10), 0.0), T.RandomApply(T.RandomFlip(1.0), 1.0)
    half = T.RandomApply(T.VFlipTransform(10))
    image = picture()
    assert isinstance(never(T.AugInput(image)), T.NoOpTransform)
    assert isinstance(always(T.AugInput(image)), T.HFlipTransform)
    assert isinstance(always.get_transform(image), T.HFlipTransform)
    applied = sum(isinstance(half(T.AugInput(image)), T.VFlipTransform) for _ in range(200))
    assert 70 < applied < 130
    for error in (ValueError, AssertionError):
        with pytest.raises(error, match="probability, 0 to 1; found 1.01"):
            T.RandomApply(T.NoOpTransform(), 1.01)
