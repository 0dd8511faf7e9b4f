"""The checkpointer of detection models."""

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from fvcore.common.checkpoint import (
    Checkpointer,
    _IncompatibleKeys,
    _strip_prefix_if_present,
)
from torch import Tensor, nn

from d2seg.core.checkpoint.c2_model_loading import align_and_update_state_dicts
from d2seg.core.checkpoint.files import find_checkpoint, read_checkpoint
from d2seg.core.checkpoint.fit import require_fit
from d2seg.core.checkpoint.formats import Format, find_format
from d2seg.core.checkpoint.last import explain_last_checkpoint, find_last_checkpoint
from d2seg.core.runtime.files import PathManager, remove_unfinished, replace_when_complete

# Constants that a config or the code gives anyway; older checkpoints lack or have them.
_OPTIONAL_IN_FILE = ("pixel_mean", "pixel_std")
_OPTIONAL_IN_MODEL = "anchor_generator.cell_anchors"

_SAVED_NAMES = r"model_.*\.pth|last_checkpoint"

_HEURISTICS_QUERY = "?matching_heuristics=True"


class DetectionCheckpointer(Checkpointer):
    """Loads checkpoints of detectron2 and other toolboxes into a model, and saves detectron2's.

    The names of torchvision's, timm's and maskrcnn-benchmark's files are recognised, see
    `d2seg.core.checkpoint.formats`.

    Args:
        model: The model; one wrapped for parallel training is unwrapped.
        save_dir: Folder to save to and to find the last checkpoint in.
        save_to_disk: Whether to save at all; by default only the main process does.
        checkpointables: Other objects with ``state_dict`` and ``load_state_dict``, by name.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str | os.PathLike[str] = "",
        *,
        save_to_disk: bool | None = None,
        **checkpointables: Any,
    ) -> None:
        if save_to_disk is None:
            save_to_disk = _is_main_process()
        super().__init__(model, os.fspath(save_dir), save_to_disk=save_to_disk, **checkpointables)
        self.path_manager = PathManager
        self.logger = logging.getLogger(__name__)

    def load(
        self, path: str | os.PathLike[str] | None, checkpointables: list[str] | None = None
    ) -> dict[str, Any]:
        """Load a checkpoint into the model and the checkpointables.

        Args:
            path: A file or address; empty: nothing is loaded. ``?matching_heuristics=True`` after
                it matches names by their longest suffix.
            checkpointables: Which of the other objects to load; None: all that the file has.

        Returns:
            What the file holds beyond the model and the checkpointables loaded.

        Raises:
            FileNotFoundError: No such file, or it cannot be fetched.
            ValueError: The file is not a checkpoint, or one of another model. The model is left as
                it was.
        """
        address = os.fspath(path or "")
        if not address:
            self.logger.info("No checkpoint given; the model keeps its initial weights.")
            return {}
        self.logger.info("Loading %s ...", address)
        plain = address.removesuffix(_HEURISTICS_QUERY)
        checkpoint = self._load_file(find_checkpoint(plain, self.path_manager))
        if address.endswith(_HEURISTICS_QUERY):
            checkpoint["matching_heuristics"] = True
        checkpoint["model"] = self._match_names(checkpoint)
        require_fit(checkpoint["model"], self.model.state_dict(), address)
        self._log_incompatible_keys(self._load_model(checkpoint))
        for name in self.checkpointables if checkpointables is None else checkpointables:
            if name in checkpoint:
                self.checkpointables[name].load_state_dict(checkpoint.pop(name))
        return checkpoint

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """Load the last checkpoint of the folder if there is one, or else only a model.

        What an earlier run left in the folder when it was killed while saving is removed.

        Args:
            path: The checkpoint that the model is loaded from when nothing is resumed.
            resume: Look for the last checkpoint, and load the checkpointables too.

        Returns:
            As of `load`.

        Raises:
            FileNotFoundError: ``last_checkpoint`` is empty, or names a file that is not there; or
                as of `load`.
            ValueError: As of `load`.
        """
        if self.save_dir and self.save_to_disk:
            for left in remove_unfinished(self.save_dir, _SAVED_NAMES):
                self.logger.info("Removed %s, which an earlier run did not complete.", left)
        if not (resume and self.has_checkpoint()):
            return self.load(path, checkpointables=[])
        last = find_last_checkpoint(self.save_dir)
        try:
            return self.load(last)
        except ValueError as error:
            raise ValueError(f"{error} {explain_last_checkpoint(last)}") from error

    def save(self, name: str, **kwargs: Any) -> None:
        """Write ``name.pth`` with the model and the checkpointables, and tag it as the last one.

        Args:
            name: File name without suffix.
            kwargs: More entries of the file.

        Raises:
            ValueError: ``name`` is a path.
            OSError: The file cannot be written; one of this name stays as it was.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        if os.path.basename(name) != name or not name:
            raise ValueError(f"A checkpoint is saved by a plain file name, found '{name}'.")
        states = {key: item.state_dict() for key, item in self.checkpointables.items()}
        target = os.path.join(self.save_dir, f"{name}.pth")
        self.logger.info("Saving %s", target)
        with replace_when_complete(target) as temporary:
            _write({"model": self.model.state_dict(), **states, **kwargs}, temporary, target)
        self.tag_last_checkpoint(f"{name}.pth")

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Write to ``last_checkpoint`` which file of the folder is the last one."""
        with replace_when_complete(os.path.join(self.save_dir, "last_checkpoint")) as temporary:
            temporary.write_text(last_filename_basename)

    def _load_file(self, f: str) -> dict[str, Any]:
        return read_checkpoint(f)

    def _match_names(self, checkpoint: dict[str, Any]) -> dict[str, Tensor]:
        """Return the checkpoint's tensors under the names of the model."""
        state_dict: dict[str, Tensor] = checkpoint["model"]
        _strip_prefix_if_present(state_dict, "module.")
        self._convert_ndarray_to_tensor(state_dict)
        if not checkpoint.get("matching_heuristics", False):
            other = find_format(state_dict)
            if other is not None:
                return self._rename(state_dict, other)
            return state_dict  # its metadata tells modules which version wrote it
        return align_and_update_state_dicts(
            self.model.state_dict(), state_dict, checkpoint.get("__author__") == "Caffe2"
        )

    def _rename(self, state_dict: dict[str, Tensor], other: Format) -> dict[str, Tensor]:
        """Give another toolbox's tensors the names of the model, if more of them fit it then."""
        own = self.model.state_dict()
        renamed = other.rename(state_dict)
        matched = renamed.model
        if not other.whole:
            matched = align_and_update_state_dicts(own, matched, c2_conversion=False)
        if len(own.keys() & matched.keys()) <= len(own.keys() & state_dict.keys()):
            return state_dict  # a model with such names of its own
        self.logger.info(
            "These are weights of %s; their names were changed. d2seg convert writes the config "
            "that goes with them.",
            other.name,
        )
        return {**{name: state_dict[name] for name in renamed.unknown}, **matched}

    def _load_model(self, checkpoint: Any) -> _IncompatibleKeys:
        incompatible = super()._load_model(checkpoint)
        missing = [key for key in incompatible.missing_keys if key not in _OPTIONAL_IN_FILE]
        unexpected = [key for key in incompatible.unexpected_keys if _OPTIONAL_IN_MODEL not in key]
        return _IncompatibleKeys(missing, unexpected, incompatible.incorrect_shapes)

    def _log_incompatible_keys(self, incompatible: _IncompatibleKeys) -> None:
        counts = [len(keys) for keys in incompatible]
        if any(counts):
            self.logger.warning(
                "The checkpoint lacks %d keys of the model, has %d others; %d differ in shape.",
                *counts,
            )
        super()._log_incompatible_keys(incompatible)


def _write(checkpoint: dict[str, Any], temporary: Path, target: str) -> None:
    try:
        torch.save(checkpoint, temporary)
    except (OSError, RuntimeError) as error:  # torch tells of a full disk by a RuntimeError
        free = shutil.disk_usage(temporary.parent).free / 2**20
        reason = error.strerror if isinstance(error, OSError) else "not everything was written"
        raise OSError(
            f"Checkpoint '{target}' cannot be written: {reason}. {free:.0f} MB are free there; "
            "make room, or choose another OUTPUT_DIR. The earlier checkpoints are as they were."
        ) from error


def _is_main_process() -> bool:
    return not (dist.is_available() and dist.is_initialized()) or dist.get_rank() == 0
