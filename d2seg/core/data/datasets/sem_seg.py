"""Semantic segmentation as two folders: images, and label maps of the same names."""

import logging
import os
from typing import Any

from d2seg.core.runtime.files import PathManager

logger = logging.getLogger(__name__)


def load_sem_seg(
    gt_root: str, image_root: str, gt_ext: str = "png", image_ext: str = "jpg"
) -> list[dict[str, Any]]:
    """Pair images with label maps by their names.

    Args:
        gt_root: Folder of the label maps: images whose values are labels.
        image_root: Folder of the images.
        gt_ext: How the label maps' names end.
        image_ext: How the images' names end.

    Returns:
        One dict per pair, by name: ``file_name`` and ``sem_seg_file_name``. What has no partner is
        left out, with a warning.

    Raises:
        FileNotFoundError: A folder does not exist.
        ValueError: There is not one pair.
    """
    images = _files_by_stem(image_root, image_ext)
    label_maps = _files_by_stem(gt_root, gt_ext)
    paired = sorted(images.keys() & label_maps.keys())
    if not paired:
        raise ValueError(
            f"No .{image_ext} file in '{image_root}' has the name of a .{gt_ext} file in "
            f"'{gt_root}'."
        )
    alone = len(images.keys() ^ label_maps.keys())
    if alone:
        logger.warning(
            "%d files in '%s' and '%s' have no partner and are left out.",
            alone,
            image_root,
            gt_root,
        )
    return [{"file_name": images[stem], "sem_seg_file_name": label_maps[stem]} for stem in paired]


def _files_by_stem(folder: str, extension: str) -> dict[str, str]:
    if not PathManager.isdir(folder):
        raise FileNotFoundError(f"There is no folder '{folder}'.")
    names = (name for name in PathManager.ls(folder) if name.endswith(extension))
    return {os.path.splitext(name)[0]: os.path.join(folder, name) for name in names}
