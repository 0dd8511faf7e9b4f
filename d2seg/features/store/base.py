"""What every format of features offers to those who write them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor

from d2seg.features.store.describe import complete_description
from d2seg.features.store.half import halve

Features = dict[str, Tensor]
"""The tensors of one image by name."""

ImageFeatures = tuple[Features, dict[str, Any]]
"""The tensors of one image and their description."""


class FeatureStore(ABC):
    """Features of many images in a folder, written image by image.

    What an image has is there whole or not at all, also after the program was killed or the disk
    was full. As a context manager it is closed at the end, also when the block raises: what was
    written until then is kept.

    Args:
        folder: Made if need be. What killed programs left there is removed.
        half: Store floating point values as float16, except those that it is too coarse for:
            boxes, scores, keypoints (see :func:`~d2seg.features.store.half.halve`).
    """

    def __init__(self, folder: str | Path, *, half: bool = False) -> None:
        self.folder = Path(folder)
        self.half = half
        self.folder.mkdir(parents=True, exist_ok=True)

    def write(
        self, name: str, tensors: Mapping[str, Tensor], description: Mapping[str, Any]
    ) -> None:
        """Write the features of one image; earlier ones of the same name are replaced.

        Args:
            name: Names the image in the folder, such as the stem of its file.
            tensors: On any device, not modified.
            description: What JSON can hold. ``description["tensors"][name]`` may say more about a
                tensor; its shape and dtype are filled in.

        Raises:
            ValueError: The name cannot be one of a file, the description is about a tensor that is
                not there, or the format does not take a tensor.
            OSError: It cannot be written; what was there before is still there.
        """
        check_name(name)
        on_cpu = {key: tensor.detach().cpu() for key, tensor in tensors.items()}
        self._write(name, on_cpu, complete_description(on_cpu, description))

    def check(self, tensors: Mapping[str, Mapping[str, Any]]) -> None:  # noqa: B027
        """Make sure, before anything is extracted, that the format takes these tensors.

        Args:
            tensors: Tensor names to what ``FeatureExtractor.describe()`` says about them.

        Raises:
            ValueError: It does not take one of them.
        """

    @abstractmethod
    def complete(self) -> set[str]:
        """Return the names of the images whose features are whole in the folder."""

    @property
    @abstractmethod
    def summary(self) -> str:
        """One line for people: where the features are, and in what form."""

    @abstractmethod
    def _write(self, name: str, tensors: Features, description: dict[str, Any]) -> None: ...

    def _precise(self, tensors: Features, name: str) -> Features:
        """Return tensors in the precision to be stored."""
        return halve(tensors, name) if self.half else tensors

    def flush(self) -> None:  # noqa: B027
        """Bring to the disk what was written; images written before it survive a kill."""

    def close(self) -> None:
        """Finish writing."""
        self.flush()

    def __enter__(self) -> "FeatureStore":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        if error is not None and not any(self.folder.iterdir()):
            self.folder.rmdir()


def check_name(name: str) -> None:
    """Make sure that an image's name can be one of a file and of a group.

    Raises:
        ValueError: It cannot.
    """
    if not name or name.startswith((".", "__")) or any(sign in name for sign in "/\\\0"):
        raise ValueError(
            "Features are stored under a name without slashes that does not start with '.' or "
            f"'__', got '{name}'."
        )
