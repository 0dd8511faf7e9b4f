"""What a model is worth on annotated images, whatever it is stored in: one evaluator for all."""

import contextlib
import io
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d2seg.datasets import thing_classes
from d2seg.framework import COCOEvaluator, DatasetCatalog, PathManager
from d2seg.images import load_image
from d2seg.predict.predictor import Predictor

ORDER = "RGB"


@dataclass(frozen=True)
class Evaluation:
    """What a model is worth.

    Attributes:
        name: Of the model.
        precision: ``AP``, ``AP50`` and the others in percent, by ``bbox`` and, if the model has
            them, ``segm`` and ``keypoints``.
        images: How many images were looked at.
        objects: How many objects were found in them.
        seconds: Mean time for an image, from the pixels to the prediction; without the first
            images that ran together, which pay for warming up, if there are others.
        megabytes: Size of the file, or of the weights of a config, in units of 10^6 bytes; None if
            that is not known.
    """

    name: str
    precision: dict[str, dict[str, float]]
    images: int
    objects: int
    seconds: float
    megabytes: float | None = None


class PredictionEvaluator(COCOEvaluator):
    """The evaluator that judges trainings, for COCO results: masks stay run lengths."""

    def process(self, inputs: Sequence[dict[str, Any]], outputs: Sequence[Any]) -> None:
        """Take the results of some images.

        Args:
            inputs: One dict per image, with its ``image_id``.
            outputs: Of each image the COCO results, with indices of classes as categories.
        """
        for image, results in zip(inputs, outputs, strict=True):
            self._predictions.append({"image_id": image["image_id"], "instances": results})


def evaluate(
    predictor: Predictor,
    dataset: str,
    *,
    name: str = "",
    output_dir: str | os.PathLike[str] | None = None,
    advance: Callable[[int], None] = lambda steps: None,
) -> Evaluation:
    """Run a model on a data set and measure how well and how fast it finds the objects.

    Args:
        predictor: The model; so many images run together as it takes.
        dataset: Name of a registered data set in COCO's format.
        name: Of the model, for tables.
        output_dir: Folder for ``coco_instances_results.json``; None to write nothing.
        advance: Is told how many more images are done.

    Raises:
        KeyError: There is no data set of this name.
        ValueError: It has another number of classes than the model, or an image cannot be read.
    """
    _check_classes(predictor, dataset)
    entries = DatasetCatalog.get(dataset)
    found = _Found()
    for start in range(0, len(entries), predictor.batch_size):
        batch = entries[start : start + predictor.batch_size]
        found.add(batch, predictor)
        advance(len(batch))
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        evaluator = PredictionEvaluator(
            dataset,
            found.tasks,
            distributed=False,
            output_dir=None if output_dir is None else str(output_dir),
        )
        evaluator.reset()
        evaluator.process(entries, found.results)
        precision: dict[str, dict[str, float]] = evaluator.evaluate()
    return Evaluation(name, dict(precision), len(entries), found.objects, found.seconds)


class _Found:
    """Detections as they come in, and how long they took.

    Attributes:
        tasks: What the detections can be judged by.
        results: COCO results of each image, with indices of classes.
    """

    def __init__(self) -> None:
        self.tasks: tuple[str, ...] = ("bbox",)
        self.results: list[list[dict[str, Any]]] = []
        self._times: list[tuple[float, int]] = []

    @property
    def objects(self) -> int:
        """How many objects there are."""
        return sum(map(len, self.results))

    @property
    def seconds(self) -> float:
        """The mean for an image, see :class:`Evaluation`."""
        times = self._times[1:] or self._times
        return sum(seconds for seconds, _ in times) / max(sum(images for _, images in times), 1)

    def add(self, batch: Sequence[dict[str, Any]], predictor: Predictor) -> None:
        """Find the objects of some images of the data set."""
        pixels = [load_image(entry["file_name"], ORDER) for entry in batch]
        start = time.perf_counter()
        finds = predictor(pixels, ORDER)
        self._times.append((time.perf_counter() - start, len(batch)))
        for entry, found in zip(batch, finds, strict=True):
            classes = range(len(found.class_names))
            self.results.append(found.to_coco(entry["image_id"], classes))
        has = {"segm": finds[0].has_masks, "keypoints": finds[0].keypoints is not None}
        self.tasks = ("bbox", *(task for task, there in has.items() if there))


def stored_megabytes(source: str | os.PathLike[str], weights: str) -> float | None:
    """Return how large an exported file is with what belongs to it, or the weights of a config.

    Args:
        source: The file, or the config.
        weights: Path or address of the weights of a config; empty for a file.
    """
    path = Path(PathManager.get_local_path(weights) if weights else source)
    # Weights that are stored beside a graph.
    parts = [path, path.with_suffix(".bin"), path.with_name(f"{path.name}.data")]
    parts = parts[:1] if weights else parts
    sizes = [part.stat().st_size for part in parts if part.is_file()]
    return sum(sizes) / 1e6 if sizes else None


def _check_classes(predictor: Predictor, dataset: str) -> None:
    names = thing_classes(dataset)
    if len(names) != len(predictor.class_names):
        raise ValueError(
            f"The model has {len(predictor.class_names)} classes, but data set '{dataset}' has "
            f"{len(names)} ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''})."
        )
