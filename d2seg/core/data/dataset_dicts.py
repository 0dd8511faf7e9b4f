"""Loading data sets by name and choosing the images that are used."""

import itertools
import logging
import pickle
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch.utils.data import ConcatDataset, Dataset

from d2seg.core.data.catalog import DatasetCatalog, MetadataCatalog
from d2seg.core.data.detection_utils import check_metadata_consistency
from d2seg.core.data.errors import InvalidArgumentError
from d2seg.core.runtime.files import PathManager
from d2seg.core.runtime.untrusted.arrays import read_plain_pickle
from d2seg.core.runtime.untrusted.parts import explain
from d2seg.core.structures import BoxMode

logger = logging.getLogger(__name__)

_OLD_PROPOSAL_KEYS = {"indexes": "ids", "scores": "objectness_logits"}
_HISTOGRAM_COLUMNS = 3


def get_detection_dataset_dicts(
    names: str | Sequence[str],
    filter_empty: bool = True,
    min_keypoints: int = 0,
    proposal_files: Sequence[str] | None = None,
    check_consistency: bool = True,
) -> Any:
    """Load data sets by name and join them.

    Args:
        names: One or several.
        filter_empty: Leave out images without annotations, or with crowds only.
        min_keypoints: Leave out images with fewer visible keypoints.
        proposal_files: One file of proposals per data set; see
            :func:`load_proposals_into_dataset`.
        check_consistency: Check that all have the same ``thing_classes``.

    Returns:
        One dict per image; or a ``torch.utils.data.Dataset`` if that is what was registered, whose
        images are all used.

    Raises:
        KeyError: A name is unknown.
        ValueError: There is no name, a data set is empty, nothing is left, or classes differ.
    """
    names = [names] if isinstance(names, str) else list(names)
    if not names:
        raise InvalidArgumentError(
            "No data set is named; set DATASETS.TRAIN or DATASETS.TEST in the config."
        )
    datasets = [DatasetCatalog.get(name) for name in names]
    for name, images in zip(names, datasets, strict=True):
        if not isinstance(images, Dataset) and len(images) == 0:
            raise InvalidArgumentError(f"Data set '{name}' is empty.")
    if isinstance(datasets[0], Dataset):
        return datasets[0] if len(datasets) == 1 else ConcatDataset(datasets)
    if proposal_files is not None:
        datasets = _with_proposals(datasets, names, proposal_files)
    joined = list(itertools.chain.from_iterable(datasets))
    if "annotations" in joined[0]:
        if check_consistency:
            _report_classes(joined, names)
        joined = _usable_images(joined, filter_empty, min_keypoints)
    if not joined:
        raise InvalidArgumentError(f"No image of {', '.join(names)} can be used; see the log.")
    return joined


def filter_images_with_only_crowd_annotations(
    dataset_dicts: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Return the images with at least one annotation that is not a crowd.

    Args:
        dataset_dicts: Images with ``annotations``. Not modified.
    """
    kept = [
        image
        for image in dataset_dicts
        if any(annotation.get("iscrowd", 0) == 0 for annotation in image["annotations"])
    ]
    _log_filter(len(dataset_dicts), len(kept), "without usable annotations")
    return kept


def filter_images_with_few_keypoints(
    dataset_dicts: list[dict[str, Any]], min_keypoints_per_image: int
) -> list[dict[str, Any]]:
    """Return the images with so many visible keypoints.

    Args:
        dataset_dicts: Images with ``annotations``. Not modified.
        min_keypoints_per_image: Over all objects; hidden but labelled ones (visibility 1) count.
    """
    kept = [
        image for image in dataset_dicts if _visible_keypoints(image) >= min_keypoints_per_image
    ]
    _log_filter(
        len(dataset_dicts), len(kept), f"with fewer than {min_keypoints_per_image} keypoints"
    )
    return kept


def load_proposals_into_dataset(
    dataset_dicts: list[dict[str, Any]], proposal_file: str
) -> list[dict[str, Any]]:
    """Add precomputed proposals to images.

    Args:
        dataset_dicts: Images with ``image_id``; ``proposal_boxes``, ``proposal_bbox_mode`` and
            ``proposal_objectness_logits``, best first, are added to them.
        proposal_file: A pickle with the lists ``ids``, ``boxes`` (each (N, 4)) and
            ``objectness_logits`` (each (N,)), and the number of a ``BoxMode`` as ``bbox_mode``
            (XYXY without it). It is read without running anything it might hold.

    Returns:
        The same list.

    Raises:
        ValueError: It is no such file, or lacks an image.
    """
    logger.info("Loading proposals from %s", proposal_file)
    proposals = _read_proposals(proposal_file)
    mode = BoxMode(proposals.get("bbox_mode", BoxMode.XYXY_ABS))
    position = {str(image_id): index for index, image_id in enumerate(proposals["ids"])}
    image_ids = [image["image_id"] for image in dataset_dicts]
    missing = [image_id for image_id in image_ids if str(image_id) not in position]
    if missing:
        raise ValueError(
            f"'{proposal_file}' has no proposals for {len(missing)} of {len(dataset_dicts)} "
            f"images, such as image id {missing[0]}; it belongs to another data set."
        )
    for image in dataset_dicts:
        index = position[str(image["image_id"])]
        logits = np.asarray(proposals["objectness_logits"][index])
        best_first = np.argsort(-logits, kind="stable")
        image["proposal_boxes"] = np.asarray(proposals["boxes"][index])[best_first]
        image["proposal_objectness_logits"] = logits[best_first]
        image["proposal_bbox_mode"] = mode
    return dataset_dicts


def print_instances_class_histogram(
    dataset_dicts: Sequence[dict[str, Any]], class_names: Sequence[str]
) -> None:
    """Log how many objects of each class there are; crowds do not count.

    Args:
        dataset_dicts: Images with ``annotations``.
        class_names: By ``category_id``.

    Raises:
        ValueError: A ``category_id`` is beyond the class names.
    """
    counts = Counter(
        annotation["category_id"]
        for image in dataset_dicts
        for annotation in image["annotations"]
        if not annotation.get("iscrowd", 0)
    )
    beyond = [category for category in counts if not 0 <= category < len(class_names)]
    if beyond:
        raise InvalidArgumentError(
            f"An annotation has category_id {beyond[0]}, but the data set has {len(class_names)} "
            f"classes; ids are 0 to {len(class_names) - 1} here."
        )
    entries = [f"{name}: {counts[index]}" for index, name in enumerate(class_names)]
    width = max(map(len, entries), default=0) + 2
    rows = [
        "".join(entry.ljust(width) for entry in entries[start : start + _HISTOGRAM_COLUMNS])
        for start in range(0, len(entries), _HISTOGRAM_COLUMNS)
    ]
    logger.info("%d objects, by class:\n%s", counts.total(), "\n".join(rows))


def _with_proposals(
    datasets: list[list[dict[str, Any]]], names: list[str], proposal_files: Sequence[str]
) -> list[list[dict[str, Any]]]:
    if len(names) != len(proposal_files):
        raise InvalidArgumentError(
            f"Each data set needs its file of proposals: {len(names)} data sets, "
            f"{len(proposal_files)} files (DATASETS.PROPOSAL_FILES_TRAIN or _TEST)."
        )
    return [
        load_proposals_into_dataset(images, file)
        for images, file in zip(datasets, proposal_files, strict=True)
    ]


def _report_classes(images: list[dict[str, Any]], names: list[str]) -> None:
    check_metadata_consistency("thing_classes", names)
    class_names = MetadataCatalog.get(names[0]).get("thing_classes")
    if class_names is not None:  # data sets of one's own may not say
        print_instances_class_histogram(images, class_names)


def _usable_images(
    images: list[dict[str, Any]], filter_empty: bool, min_keypoints: int
) -> list[dict[str, Any]]:
    if filter_empty:
        images = filter_images_with_only_crowd_annotations(images)
    if min_keypoints > 0:
        images = filter_images_with_few_keypoints(images, min_keypoints)
    return images


def _visible_keypoints(image: dict[str, Any]) -> int:
    visibilities = (
        np.asarray(annotation["keypoints"]).reshape(-1, 3)[:, 2]
        for annotation in image["annotations"]
        if "keypoints" in annotation
    )
    return sum(int((visibility > 0).sum()) for visibility in visibilities)


def _log_filter(before: int, after: int, reason: str) -> None:
    logger.info("Left out %d images %s; %d of %d remain.", before - after, reason, after, before)


def _read_proposals(proposal_file: str) -> dict[str, Any]:
    try:
        proposals = read_plain_pickle(PathManager.get_local_path(proposal_file))
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"'{proposal_file}' is not a file of proposals: it {explain(error)}."
        ) from error
    if isinstance(proposals, dict):
        proposals = {_OLD_PROPOSAL_KEYS.get(key, key): value for key, value in proposals.items()}
    for key in ("ids", "boxes", "objectness_logits"):
        if not isinstance(proposals, dict) or key not in proposals:
            raise ValueError(f"'{proposal_file}' is not a file of proposals: it has no '{key}'.")
    return proposals
