"""Feature files: named tensors in safetensors with their description, also as JSON beside it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from d2seg.core.runtime.files import remove_unfinished, replace_when_complete
from d2seg.features.store.base import Features, FeatureStore, ImageFeatures
from d2seg.features.store.describe import complete_description

METADATA_KEY = "description"
SUFFIX = ".safetensors"


def save_features(
    path: str | Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any]
) -> dict[str, Any]:
    """Write tensors to a ``.safetensors`` file and their description to a ``.json`` file beside it.

    The description is stored inside the tensor file as well. Both files appear whole or not at all.

    Args:
        path: The file to write, ending in ``.safetensors``.
        tensors: Names to tensors; on any device, not modified.
        description: What JSON can hold. ``description["tensors"][name]`` may say more about a
            tensor; its shape and dtype are filled in.

    Returns:
        The description as it was written.

    Raises:
        ValueError: ``path`` has another suffix, or the description is about a tensor that is not
            there.
        OSError: The files cannot be written, as on a full disk.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise ValueError(f"A feature file ends in .safetensors, got '{path}'.")
    complete = complete_description(tensors, description)
    text = json.dumps(complete, indent=2)
    with (
        replace_when_complete(path.with_suffix(".json")) as json_file,
        replace_when_complete(path) as tensor_file,
    ):
        # Not save_file: it has a temporary file of its own, which a killed run leaves for ever.
        tensor_file.write_bytes(save(_separate(tensors), metadata={METADATA_KEY: text}))
        json_file.write_text(text + "\n", encoding="utf-8")
    return complete


def load_file(path: str | Path) -> ImageFeatures:
    """Read a feature file back.

    Args:
        path: A ``.safetensors`` file that :func:`save_features` wrote; the ``.json`` is not needed.

    Returns:
        The tensors by name, on the CPU, and the description.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a feature file, or is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No feature file at '{path}'.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"'{path}' is not a safetensors file, or is damaged ({error}).") from error
    if METADATA_KEY not in metadata:
        raise ValueError(
            f"'{path}' is a safetensors file without a description; expected one that "
            "d2seg.features.save_features wrote."
        )
    try:
        return tensors, json.loads(metadata[METADATA_KEY])
    except (ValueError, RecursionError) as error:
        raise ValueError(f"The description in '{path}' is not JSON ({error}).") from error


class FileStore(FeatureStore):
    """One ``.safetensors`` file per image, and its description as a ``.json`` file beside it."""

    def __init__(self, folder: str | Path, *, half: bool = False) -> None:
        super().__init__(folder, half=half)
        remove_unfinished(self.folder, r".+\.(safetensors|json)")

    def complete(self) -> set[str]:
        """Return the names that have both files, of the same write, the tensor file whole."""
        return complete_files(self.folder)

    @property
    def summary(self) -> str:
        """Where the files are."""
        return f"{self.folder}/: one .safetensors and one .json per image"

    def _write(self, name: str, tensors: Features, description: dict[str, Any]) -> None:
        save_features(_file_of(self.folder, name), self._precise(tensors, name), description)


class FileFolder(Mapping[str, ImageFeatures]):
    """The complete feature files of a folder by name, in alphabetic order, read when asked for.

    Raises:
        ValueError: There is none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names = dict.fromkeys(sorted(complete_files(folder)))
        if not self._names:
            raise ValueError(
                f"None of the .safetensors files in '{folder}' is whole and has the .json that "
                "d2seg.features.open_store writes beside it."
            )

    def __getitem__(self, name: str) -> ImageFeatures:
        if name not in self._names:
            raise KeyError(name)
        return load_file(_file_of(self.folder, name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def complete_files(folder: Path) -> set[str]:
    """Return the names of the images whose two files in a folder are whole and belong together."""
    return {path.stem for path in folder.glob(f"[!.]*{SUFFIX}") if _is_complete(path)}


def _file_of(folder: Path, name: str) -> Path:
    return folder / f"{name}{SUFFIX}"


def _is_complete(path: Path) -> bool:
    """Compare the description inside with that beside it; the header says the file's size too."""
    try:
        with safe_open(path, framework="pt") as file:
            inside = (file.metadata() or {}).get(METADATA_KEY)
        beside = path.with_suffix(".json").read_text(encoding="utf-8")
        return inside is not None and json.loads(beside) == json.loads(inside)
    except (SafetensorError, OSError, ValueError, RecursionError):
        return False


def _separate(tensors: Mapping[str, Tensor]) -> Features:
    """Move tensors to the CPU, each with memory of its own, as safetensors requires."""
    separate: Features = {}
    taken: set[int] = set()
    for name, tensor in tensors.items():
        stored = tensor.detach().cpu().contiguous()
        place = stored.untyped_storage().data_ptr()
        separate[name] = stored.clone() if place in taken else stored
        taken.add(place)
    return separate
