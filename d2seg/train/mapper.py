"""The mapper of training images: the framework's, and what INPUT.LSJ and INPUT.COPY_PASTE add."""

from collections.abc import Callable, Sequence
from typing import Any

from d2seg.framework import (
    CfgNode,
    DatasetMapper,
    FixedSizeCrop,
    RandomFlip,
    ResizeScale,
    build_augmentation,
)
from d2seg.train.copy_paste import CopyPasteMapper


def build_train_mapper(
    cfg: CfgNode, images: Sequence[dict[str, Any]]
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Build what turns an entry of a data set into what a model is trained on.

    - Without ``INPUT.LSJ`` and ``INPUT.COPY_PASTE`` it is the framework's ``DatasetMapper``.
    - ``INPUT.LSJ``, large-scale jitter, replaces resizing: flip as ``INPUT.RANDOM_FLIP`` says,
      scale to fit a square of ``SIZE`` times a random factor, then crop and pad to that square.
      Padding is grey, the mean of ``MODEL.PIXEL_MEAN``.
    - ``INPUT.COPY_PASTE`` pastes objects of other images, which are mapped in the same way; see
      :class:`CopyPasteMapper`.

    With either of them boxes are those around the masks, if there are masks. Random numbers come
    from NumPy's global generator, which data loaders seed.

    Args:
        cfg: With the plugin's keys.
        images: The training images, as dicts; objects are copied from them. Worker processes hold
            it, so ``DatasetFromList`` saves memory.

    Raises:
        ValueError: The config asks for what does not go together, a number is out of its range, or
            there are no images to copy from.
    """
    arguments: dict[str, Any] = {}
    if cfg.INPUT.LSJ.ENABLED:
        _check_lsj(cfg)
        arguments["augmentations"] = _large_scale_jitter(cfg, images)
    if cfg.INPUT.COPY_PASTE.ENABLED:
        _check_copy_paste(cfg, images)
    if cfg.INPUT.LSJ.ENABLED or cfg.INPUT.COPY_PASTE.ENABLED:
        arguments["recompute_boxes"] = cfg.MODEL.MASK_ON
    mapper = DatasetMapper(cfg, is_train=True, **arguments)
    if not cfg.INPUT.COPY_PASTE.ENABLED:
        return mapper
    return CopyPasteMapper(
        mapper,
        images,
        cfg.INPUT.COPY_PASTE.PROBABILITY,
        max_objects=cfg.INPUT.COPY_PASTE.MAX_OBJECTS,
        blend_sigma=cfg.INPUT.COPY_PASTE.BLEND,
        ignore_label=cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE,
    )


def _large_scale_jitter(cfg: CfgNode, images: Sequence[dict[str, Any]]) -> list[Any]:
    jitter = cfg.INPUT.LSJ
    flips = [step for step in build_augmentation(cfg, True) if isinstance(step, RandomFlip)]
    scaling = ResizeScale(jitter.MIN_SCALE, jitter.MAX_SCALE, jitter.SIZE, jitter.SIZE)
    # Masks that are RLE are padded like label maps; there, any value but 0 is part of the object.
    has_labels = any("sem_seg_file_name" in image for image in images)
    crop = FixedSizeCrop(
        (jitter.SIZE, jitter.SIZE),
        pad_value=round(sum(cfg.MODEL.PIXEL_MEAN) / len(cfg.MODEL.PIXEL_MEAN)),
        seg_pad_value=cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE if has_labels else 0,
    )
    return [*flips, scaling, crop]


def _check_lsj(cfg: CfgNode) -> None:
    jitter = cfg.INPUT.LSJ
    if jitter.SIZE < 1:
        raise ValueError(f"INPUT.LSJ.SIZE is {jitter.SIZE}; it is the side of a square in pixels.")
    if not 0 < jitter.MIN_SCALE <= jitter.MAX_SCALE:
        raise ValueError(
            "INPUT.LSJ.MIN_SCALE must be above 0 and at most MAX_SCALE; found "
            f"{jitter.MIN_SCALE} and {jitter.MAX_SCALE}."
        )
    if cfg.INPUT.CROP.ENABLED:
        raise ValueError(
            "INPUT.LSJ crops by itself; set INPUT.CROP.ENABLED or INPUT.LSJ.ENABLED to False."
        )


def _check_copy_paste(cfg: CfgNode, images: Sequence[dict[str, Any]]) -> None:
    _check_what_is_trained(cfg)
    paste = cfg.INPUT.COPY_PASTE
    if not 0 <= paste.PROBABILITY <= 1:
        raise ValueError(f"INPUT.COPY_PASTE.PROBABILITY is 0 to 1; found {paste.PROBABILITY}.")
    for name in ("MAX_OBJECTS", "BLEND"):
        if paste[name] < 0:
            raise ValueError(f"INPUT.COPY_PASTE.{name} is 0 or more; found {paste[name]}.")
    if len(images) == 0:
        raise ValueError("INPUT.COPY_PASTE needs images to copy objects from; found none.")


def _check_what_is_trained(cfg: CfgNode) -> None:
    """Refuse ground truth that pasted objects do not have."""
    if not cfg.MODEL.MASK_ON:
        problem = "cuts objects out along their masks, but MODEL.MASK_ON is False"
    elif cfg.INPUT.MASK_FORMAT != "bitmask":
        problem = f"needs INPUT.MASK_FORMAT bitmask; found '{cfg.INPUT.MASK_FORMAT}'"
    elif cfg.MODEL.KEYPOINT_ON:
        problem = "does not know which keypoints it covers, but MODEL.KEYPOINT_ON is True"
    elif cfg.MODEL.LOAD_PROPOSALS:
        problem = "has no proposals for pasted objects, but MODEL.LOAD_PROPOSALS is True"
    else:
        return
    raise ValueError(
        f"INPUT.COPY_PASTE {problem}. Change that, or set INPUT.COPY_PASTE.ENABLED to False."
    )
