"""From an image to the transform that shall be applied to it."""

import inspect
import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from fvcore.transforms.transform import Transform, TransformList


class Augmentation:
    """A policy, random or not, that looks at an image and chooses a transform for it.

    A policy of one's own overrides ``get_transform``. The names of its parameters say what it looks
    at: ``get_transform(self, image, sem_seg)`` gets these attributes of the :class:`AugInput`.

    Attributes:
        input_args: The names, where a subclass wants to give them instead of having them read from
            the parameters of ``get_transform``.
    """

    input_args: tuple[str, ...] | None = None
    _made_with: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> "Augmentation":
        """Remember how the policy was made, for ``repr``."""
        self = super().__new__(cls)
        self._made_with = (args, kwargs)
        return self

    def __init__(self) -> None:
        """Make a policy without parameters."""

    def _init(self, params: dict[str, Any] | None = None) -> None:
        """Make an attribute of each parameter, but ``self`` and those that start with ``_``."""
        for name, value in (params or {}).items():
            if name != "self" and not name.startswith("_"):
                setattr(self, name, value)

    def get_transform(self, *args: Any) -> Transform:
        """Choose a transform.

        Args:
            *args: What the policy looks at, first of all the image: (H, W) or (H, W, C).
        """
        raise NotImplementedError(f"{type(self).__name__} has to define get_transform.")

    def __call__(self, aug_input: "AugInput") -> Transform:
        """Choose a transform and apply it.

        Args:
            aug_input: Is changed.

        Returns:
            The transform, to be applied to everything else that belongs to the image.

        Raises:
            AttributeError: ``aug_input`` lacks something that ``get_transform`` wants to look at.
        """
        transform = self.get_transform(*self._inputs(aug_input))
        if not isinstance(transform, Transform):
            raise TypeError(
                f"{type(self).__name__}.get_transform has to return a Transform; found a "
                f"{type(transform).__name__}."
            )
        aug_input.transform(transform)
        return transform

    def _inputs(self, aug_input: "AugInput") -> list[Any]:
        names = self.input_args if self.input_args is not None else self._parameter_names()
        missing = [name for name in names if not hasattr(aug_input, name)]
        if missing:
            raise AttributeError(
                f"{type(self).__name__}.get_transform needs '{missing[0]}', which the "
                f"{type(aug_input).__name__} does not have; it has: {', '.join(vars(aug_input))}."
            )
        return [getattr(aug_input, name) for name in names]

    def _parameter_names(self) -> tuple[str, ...]:
        parameters = inspect.signature(self.get_transform).parameters.values()
        if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
            raise TypeError(
                f"{type(self).__name__}.get_transform takes any arguments; name them in the "
                "attribute 'input_args'."
            )
        return tuple(p.name for p in parameters)

    def _rand_range(
        self, low: float = 1.0, high: float | None = None, size: int | tuple[int, ...] | None = None
    ) -> Any:
        """Draw from [low, high), or from [0, low) without ``high``."""
        if high is None:
            low, high = 0.0, low
        return np.random.uniform(low, high, size)

    def __repr__(self) -> str:
        args, kwargs = self._made_with
        given = inspect.signature(type(self)).bind_partial(*args, **kwargs).arguments
        listed = ", ".join(f"{name}={_short.repr(value)}" for name, value in given.items())
        return f"{type(self).__name__}({listed})"

    __str__ = __repr__


class FixedTransform(Augmentation):
    """The policy that always chooses the same transform."""

    input_args = ("image",)

    def __init__(self, tfm: Transform) -> None:
        """Hold the transform."""
        self.tfm = tfm

    def get_transform(self, *args: Any) -> Transform:
        """Return the transform, whatever the image."""
        return self.tfm


class AugmentationList(Augmentation):
    """Policies one after the other; each looks at what the one before made of the image."""

    def __init__(self, augs: Sequence[Augmentation | Transform]) -> None:
        """Hold the policies.

        Args:
            augs: In order; a transform is always applied.

        Raises:
            TypeError: One of them is neither.
        """
        self.augs = [as_augmentation(aug) for aug in augs]

    def __call__(self, aug_input: "AugInput") -> TransformList:
        """Apply all of them; return what they chose. ``aug_input`` is changed."""
        return TransformList([aug(aug_input) for aug in self.augs])

    def __repr__(self) -> str:
        return f"AugmentationList[{', '.join(map(str, self.augs))}]"

    __str__ = __repr__


class AugInput:
    """What policies look at and what is changed with the image.

    Attributes:
        image: (H, W) or (H, W, C), uint8 in 0..255 or float.
        boxes: (N, 4) float, XYXY pixels, or None.
        sem_seg: (H, W) integer labels, or None.
    """

    def __init__(
        self,
        image: np.ndarray,
        *,
        boxes: np.ndarray | None = None,
        sem_seg: np.ndarray | None = None,
    ) -> None:
        """Hold an image and what belongs to it.

        Raises:
            TypeError: The image is not an array.
            ValueError: It has neither two nor three dimensions.
        """
        if not isinstance(image, np.ndarray):
            raise TypeError(f"An image is a numpy array here; found a {type(image).__name__}.")
        if image.ndim not in (2, 3):
            raise ValueError(f"An image is (H, W) or (H, W, C); found shape {image.shape}.")
        self.image = image
        self.boxes = boxes
        self.sem_seg = sem_seg

    def transform(self, tfm: Transform) -> None:
        """Apply a transform to everything that is held."""
        self.image = tfm.apply_image(self.image)
        if self.boxes is not None:
            self.boxes = tfm.apply_box(self.boxes)
        if self.sem_seg is not None:
            self.sem_seg = tfm.apply_segmentation(self.sem_seg)

    def apply_augmentations(
        self, augmentations: Sequence[Augmentation | Transform]
    ) -> TransformList:
        """Apply policies in order; return what they chose."""
        return AugmentationList(augmentations)(self)


def apply_augmentations(
    augmentations: Sequence[Augmentation | Transform], inputs: np.ndarray | AugInput
) -> tuple[Any, TransformList]:
    """Apply policies to an image.

    Args:
        augmentations: In order; a transform is always applied.
        inputs: An image, (H, W) or (H, W, C), which is not modified; or an ``AugInput``, which is.

    Returns:
        The new image or the same ``AugInput``, and the transforms that were chosen.
    """
    if isinstance(inputs, np.ndarray):
        held = AugInput(inputs)
        transforms = held.apply_augmentations(augmentations)
        return held.image, transforms
    return inputs, inputs.apply_augmentations(augmentations)


def as_augmentation(tfm_or_aug: Augmentation | Transform) -> Augmentation:
    """Return a policy as it is, and a transform as the policy that always chooses it.

    Raises:
        TypeError: It is neither.
    """
    if isinstance(tfm_or_aug, Augmentation):
        return tfm_or_aug
    if isinstance(tfm_or_aug, Transform):
        return FixedTransform(tfm_or_aug)
    raise TypeError(
        f"An Augmentation or a Transform is expected; found a {type(tfm_or_aug).__name__}."
    )


_short = reprlib.Repr()
_short.maxother = _short.maxstring = _short.maxtuple = _short.maxlist = 60

TransformGen = Augmentation
StandardAugInput = AugInput
apply_transform_gens = apply_augmentations
"""Earlier names of the same things, which scripts still use."""
