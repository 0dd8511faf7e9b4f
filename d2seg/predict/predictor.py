"""Run a model on images, whatever the model is stored in."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, overload

import numpy as np
from torchvision.ops import nms

from d2seg.framework import CfgNode
from d2seg.inputs import Sources, find_sources, read_ahead
from d2seg.predict.backend import Backend
from d2seg.predict.file_backend import LOADERS, load_file
from d2seg.predict.images import (
    Fit,
    ImageLike,
    NetworkInput,
    SizeHW,
    as_bytes,
    check_order,
    limit,
    prepare,
    to_array,
)
from d2seg.predict.prediction import Prediction
from d2seg.predict.tiles import Tiles

CONFIG_SUFFIXES = (".yaml", ".yml", "")
"""Suffixes of config files; names of published configs may have none."""


class Predictor:
    """Images in, their objects out, the same for a model and for every file made of it.

    ::

        predictor = Predictor("mobile_optimized.ptl")  # needs neither the config nor the weights
        predictor = Predictor("config.yaml", "model_final.pth")
        found = predictor("photo.jpg")
        found = predictor(frame, "BGR")  # an array, and the order of its channels
        for found in predictor.stream("photos/"): ...

    Images are resized as the model's config says for testing, and results are in pixels of the
    image as it was given.

    Args:
        source: An exported file (``.ptl``, ``.ts``, ``.pte``, ``.onnx``, ``.xml``); or a config: a
            file, the name of a published one, or a ``CfgNode``.
        weights: The checkpoint of a config; by default that of ``MODEL.WEIGHTS``.
        overrides: Keys and values in turn that go over the config.
        device: Where to compute, such as ``cuda``; by default ``MODEL.DEVICE`` of a config, and the
            CPU for a file. The CPU serves, with a warning, where there is no such device. ``.ptl``
            and ``.pte`` run on the CPU.
        score_threshold: Objects below this score are left out. Those below the model's own
            threshold do not come in either way.
        nms_threshold: Of two objects whose boxes have a greater IoU the one with the lower score
            is left out, whatever their classes; by default only objects of one class compete, as
            the model has it.
        resize: Computes the size that an image is given to the network in, instead of what the
            model's config says: :func:`d2seg.predict.fit_shortest_edge`, ``fit_window`` or
            ``stretch``. Padding, to a multiple of 32 for most models, is added by the model.
        class_names: Names to use instead of those that the model or file knows.
        tile_hw: Height and width of tiles; larger images are cut into such, which overlap, and each
            is resized and run like an image. Parts of an object that tiles cut are joined.
        tile_overlap: The share of a tile that it has in common with the next one.
        batch_size: How many images of one size, after resizing, go through a model together;
            images of different sizes never do, because padding would change what is found. Files
            take one image at a time, unless they were exported with ``--batched``.

    Raises:
        FileNotFoundError: There is no such file, or no weights.
        ValueError: A number is out of its range; ``resize`` for a file that resizes images itself,
            or for one of a fixed size, when an image would be larger; a file that d2seg did not
            export or that this torch cannot load; a kind of file that is not known; weights or
            overrides for a file, which has its own.
        TypeError: The source is something else.
        ImportError: The runtime of the file is not installed.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | CfgNode,
        weights: str | os.PathLike[str] = "",
        *,
        overrides: Sequence[Any] = (),
        device: str | None = None,
        score_threshold: float = 0.0,
        nms_threshold: float | None = None,
        resize: Fit | None = None,
        class_names: Sequence[str] | None = None,
        tile_hw: SizeHW | None = None,
        tile_overlap: float = 0.25,
        batch_size: int = 8,
    ) -> None:
        if not 0 <= score_threshold <= 1:
            raise ValueError(
                f"score_threshold (--prob-threshold) is {score_threshold}, but scores lie in 0..1."
            )
        if nms_threshold is not None and not 0 <= nms_threshold <= 1:
            raise ValueError(
                f"nms_threshold (--nms-threshold) is {nms_threshold}, but an IoU lies in 0..1."
            )
        if batch_size < 1:
            raise ValueError(f"batch_size (--batch-size) is {batch_size}, but must be 1 or more.")
        tiles = None if tile_hw is None else Tiles(tile_hw, tile_overlap)
        self._backend = _open(source, os.fspath(weights), list(overrides), device)
        self._fit = _choose_fit(self._backend, resize)
        self._tiles = tiles
        self._class_names = _choose_names(self._backend, class_names)
        self.score_threshold = score_threshold
        self.nms_threshold = nms_threshold
        self.batch_size = batch_size if self._backend.takes_batches else 1

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, in the order of their indices."""
        return self._class_names

    @property
    def input_order(self) -> str:
        """Order of the channels inside, ``RGB`` or ``BGR``; images may come in either."""
        return self._backend.input_order

    @property
    def model(self) -> Any:
        """The framework's model; None for a file."""
        return getattr(self._backend, "model", None)

    @property
    def device(self) -> str:
        """Where the model computes."""
        return str(self._backend.device)

    def count_flops(self, image: ImageLike, channel_order: str | None = None) -> float | None:
        """Count the multiply-adds of an image, by fvcore.

        Args:
            image: As for a call.
            channel_order: Likewise.

        Returns:
            In units of 1e9; None for a file, whose operators fvcore does not see.
        """
        backend = self._backend
        return backend.count_flops(prepare(image, channel_order, self.input_order, self._fit))

    @overload
    def __call__(self, image: ImageLike, channel_order: str | None = None) -> Prediction: ...

    @overload
    def __call__(
        self, image: list[Any] | tuple[Any, ...], channel_order: str | None = None
    ) -> list[Prediction]: ...

    def __call__(
        self, image: ImageLike | list[Any] | tuple[Any, ...], channel_order: str | None = None
    ) -> Prediction | list[Prediction]:
        """Find the objects of an image, or of each image of a list.

        Args:
            image: A path; a Pillow image; an array (H, W, 3) uint8; a tensor (3, H, W), uint8 or
                float in 0..255; or a list of such. EXIF rotation is applied to files and Pillow
                images.
            channel_order: ``RGB`` or ``BGR``; needed for arrays and tensors, and without meaning
                for the others, which know theirs.

        Returns:
            The objects; a list of them for a list.

        Raises:
            TypeError: It is none of these, or of another type of numbers.
            ValueError: It has another shape or range; its order of channels is not known; a file
                is no image.
            FileNotFoundError: There is no such file.
        """
        if isinstance(image, (list, tuple)):
            return list(self.stream(image, channel_order))
        return next(self.stream([image], channel_order))

    def stream(
        self,
        images: Iterable[ImageLike] | str | os.PathLike[str],
        channel_order: str | None = None,
    ) -> Iterator[Prediction]:
        """Find the objects of many images; no more of them are held than one batch and the next.

        While the model works, the next image of a list or of files is read and resized. Any other
        iterable is gone through by the calling thread.

        Args:
            images: As for a call, in any number; a folder, a pattern, a COCO file or a video; what
                :func:`d2seg.inputs.find_sources` finds in several of those; or a
                :class:`d2seg.inputs.Camera`.
            channel_order: Of all arrays and tensors among them.

        Yields:
            The objects of each image, in the order of the images.

        Raises:
            TypeError, ValueError, FileNotFoundError: As for a call, when the image is reached.
        """
        check_order(channel_order)
        if isinstance(images, (str, os.PathLike)):
            images = find_sources([os.fspath(images)])
        if self._tiles is None:
            yield from self._run(images, channel_order)
            return
        arrays = (to_array(as_bytes(one), channel_order, self.input_order) for one in images)
        for array in read_ahead(arrays) if _may_be_read_ahead(images) else arrays:
            yield self._suppress(self._tiles.run(self._run_tiles, array, self.batch_size))

    def _run(self, images: Iterable[ImageLike], order: str | None) -> Iterator[Prediction]:
        backend = self._backend
        inputs: Iterator[NetworkInput] = (
            prepare(one, order, backend.input_order, self._fit, backend.interpolate)
            for one in images
        )
        if _may_be_read_ahead(images):
            inputs = read_ahead(inputs)
        found = (backend.run(batch) for batch in _batches(inputs, self.batch_size))
        for prediction in chain.from_iterable(found):
            named = replace(prediction, class_names=self._class_names)
            yield self._suppress(named[named.scores >= self.score_threshold])

    def _run_tiles(self, tiles: Sequence[np.ndarray]) -> list[Prediction]:
        return list(self._run(tiles, self.input_order))

    def _suppress(self, found: Prediction) -> Prediction:
        if self.nms_threshold is None:
            return found
        return found[nms(found.boxes, found.scores, self.nms_threshold)]


def _may_be_read_ahead(images: Iterable[ImageLike]) -> bool:
    """Tell whether it does no harm when another thread reads images before they are needed."""
    return isinstance(images, Sources) or (isinstance(images, (list, tuple)) and len(images) > 1)


def _choose_names(backend: Backend, wanted: Sequence[str] | None) -> tuple[str, ...]:
    if wanted is None:
        return backend.class_names
    if len(wanted) != len(backend.class_names):
        raise ValueError(
            f"class_names has {len(wanted)} entries, but the model has "
            f"{len(backend.class_names)} classes."
        )
    return tuple(wanted)


def _choose_fit(backend: Backend, resize: Fit | None) -> Fit:
    """Return what computes the size of images for a backend."""
    if resize is None:
        return backend.fit
    if backend.resizes_inside:
        raise ValueError("This file resizes images itself; leave resize out, or export another.")
    return resize if backend.limit_hw is None else limit(resize, backend.limit_hw)


def _batches(inputs: Iterable[NetworkInput], limit: int) -> Iterator[list[NetworkInput]]:
    """Put neighbours of one size together."""
    batch: list[NetworkInput] = []
    for one in inputs:
        if batch and batch[0].tensor.shape != one.tensor.shape:
            yield batch
            batch = []
        batch.append(one)
        if len(batch) == limit:
            yield batch
            batch = []
    if batch:
        yield batch


def is_config(source: str | os.PathLike[str]) -> bool:
    """Whether a source is a config, by its name; else it is an exported file."""
    return Path(source).suffix.lower() in CONFIG_SUFFIXES


def _open(source: Any, weights: str, overrides: list[Any], device: str | None) -> Backend:
    if isinstance(source, CfgNode):
        return _open_config(source.clone(), weights, overrides, device)
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(
            f"A Predictor takes a file, the name of a config or a CfgNode, not a "
            f"{type(source).__name__}."
        )
    path = Path(source).expanduser()
    suffix = path.suffix.lower()
    if suffix in LOADERS:
        if weights or overrides:
            raise ValueError(f"'{path}' has its own weights and config; give no others.")
        return load_file(path, device or "cpu")
    if not is_config(path):
        raise ValueError(
            f"'{path}' is no kind of model file that is known; use {', '.join(LOADERS)}, or a "
            "config (.yaml)."
        )
    from d2seg.config import load_config

    return _open_config(load_config(source), weights, overrides, device)


def _open_config(cfg: CfgNode, weights: str, overrides: list[Any], device: str | None) -> Backend:
    # Not above: who runs a file has no use for what builds and trains models.
    from d2seg.predict.model_backend import ModelBackend

    cfg.defrost()
    cfg.merge_from_list(overrides)
    if weights:
        cfg.MODEL.WEIGHTS = weights
    if device:
        cfg.MODEL.DEVICE = device
    return ModelBackend(cfg)
