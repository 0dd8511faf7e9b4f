"""A corrected copy of a data set."""

import json
import os
from pathlib import Path
from typing import Any

from d2seg.check_data.check import NOTHING_EXPECTED, Report, run_checks
from d2seg.check_data.checks.boxes import check_box_format
from d2seg.check_data.corrections.annotations import correct_annotations
from d2seg.check_data.corrections.categories import correct_categories
from d2seg.check_data.corrections.changes import Changes
from d2seg.check_data.corrections.images import correct_images
from d2seg.check_data.findings import Expectations
from d2seg.check_data.reading import read_content, read_dataset
from d2seg.check_data.records import Dataset
from d2seg.core.runtime.files import replace_when_complete


def write_corrected(report: Report, path: str | os.PathLike[str]) -> tuple[Report, list[str]]:
    """Write a corrected copy of a data set that was checked, and check the copy.

    Boxes and polygons are clipped to the image; polygons and annotations without area, missing and
    unreadable images, and exact duplicates are dropped; boxes and areas are taken from the masks
    where they differ; sizes are those of the files, turned upright, and annotations are turned
    with them; annotation ids that are missing, 0 or taken become new ones.

    Args:
        report: Of the check. Its annotation file is read again, and never written.
        path: The file to write.

    Returns:
        The report of the copy, and lines that say what was changed.

    Raises:
        ValueError: The file is not in COCO's format, ``path`` is the annotation file itself, or
            what is wrong can only be decided by a person.
    """
    if report.data is None:
        raise ValueError(f"'{report.name}' is not a COCO file, so it cannot be corrected.")
    _require_other_file(report.data.json_file, path)
    content, _ = read_content(report.data.json_file)
    if content is None:
        raise ValueError(f"'{report.data.json_file}' has changed and is no COCO file any more.")
    corrected, changes = correct(content, report.data)
    with replace_when_complete(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        json.dump(corrected, file)
    return _check_again(corrected, report.data, str(path), report.expected), changes.lines()


def correct(content: dict[str, Any], data: Dataset) -> tuple[dict[str, Any], Changes]:
    """Correct the content of an annotation file.

    Args:
        content: As it was read; not modified.
        data: The same as records, with what the image files are.

    Returns:
        The corrected content, and what was changed.

    Raises:
        ValueError: What is wrong can only be decided by a person, or nothing is left.
    """
    for finding in check_box_format(data, NOTHING_EXPECTED):
        raise ValueError(f"{finding.sentence} Convert the boxes first; then correct the rest.")
    changes = Changes()
    _tell_malformed(content, data, changes)
    categories = correct_categories(data, content["categories"], changes)
    images, fates = correct_images(data, content["images"], changes)
    if not images or not categories:
        raise ValueError(
            f"No {'category' if images else 'image'} could be kept, so nothing is written; the "
            f"images were looked for in '{data.image_root}'."
        )
    annotations = correct_annotations(data, content["annotations"], fates, changes)
    corrected = {"images": images, "categories": categories, "annotations": annotations}
    return {**content, **corrected}, changes


def _tell_malformed(content: dict[str, Any], data: Dataset, changes: Changes) -> None:
    """Tell of the entries that could not become records, and so are not in the copy."""
    usable = {
        "images": {image.position for image in data.images},
        "categories": {category.position for category in data.categories},
        "annotations": {annotation.position for annotation in data.annotations},
    }
    for section, positions in usable.items():
        for position in sorted(set(range(len(content[section]))) - positions):
            changes.add(f"{section} dropped: malformed", f"number {position + 1} of the file")


def _require_other_file(json_file: str, path: str | os.PathLike[str]) -> None:
    target = Path(path)
    if target.exists() and os.path.exists(json_file) and target.samefile(json_file):
        raise ValueError(f"'{path}' is the annotation file itself, which is never overwritten.")


def _check_again(
    corrected: dict[str, Any], before: Dataset, name: str, expected: Expectations
) -> Report:
    """Check content that was corrected; the image files are still what they were."""
    data, findings = read_dataset(corrected, name, before.image_root)
    data.files, data.digests = before.files, before.digests
    return Report(name, data, [*findings, *run_checks(data, expected)], expected)
