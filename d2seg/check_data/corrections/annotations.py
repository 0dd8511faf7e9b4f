"""Annotations corrected, one after another."""

import json
from collections.abc import Iterator, Mapping
from itertools import count

from d2seg.check_data import geometry
from d2seg.check_data.checks.boxes import area_fits, expected_area
from d2seg.check_data.checks.keypoints import VISIBILITIES, count_labelled, keypoint_numbers
from d2seg.check_data.corrections.changes import WHOLE, Changes, DroppedError, Entry, has_fractions
from d2seg.check_data.corrections.images import KeptImage
from d2seg.check_data.corrections.masks import correct_segmentation
from d2seg.check_data.corrections.orientation import turn_annotation
from d2seg.check_data.fields import is_whole
from d2seg.check_data.findings import Id
from d2seg.check_data.outlines import measure_outline
from d2seg.check_data.records import AnnotationRecord, Dataset


def correct_annotations(
    data: Dataset,
    entries: list[Entry],
    fates: Mapping[Id, KeptImage],
    changes: Changes,
) -> list[Entry]:
    """Correct what can be corrected, and drop what cannot.

    Args:
        data: The data set as it was read.
        entries: ``annotations`` of the file; not modified.
        fates: What becomes of the annotations of each image.
        changes: Gets what was done.
    """
    numbers = keypoint_numbers(data)
    kept: list[Entry] = []
    seen: set[str] = set()
    for record in data.annotations:
        name = f"annotation {record.id}"
        try:
            fate = _fate_of(data, record, fates)
            ids = {"id": record.id, "image_id": fate.id, "category_id": record.category_id}
            entry = {**entries[record.position], **ids}
            done = list(_correct(entry, record, fate, numbers.get(record.category_id, 0)))
            if fate.turned is not None:
                entry = turn_annotation(entry, fate.turned.orientation, fate.turned.stored_hw)
            _drop_if_seen(entry, seen)
        except DroppedError as error:
            changes.add(f"annotations dropped: {error}", name)
            continue
        if has_fractions(entries[record.position]):
            done.append(WHOLE)
        for what in done:
            changes.add(what, name)
        kept.append(entry)
    _renumber(kept, changes)
    return kept


def _fate_of(data: Dataset, record: AnnotationRecord, fates: Mapping[Id, KeptImage]) -> KeptImage:
    if record.category_id not in data.categories_by_id:
        raise DroppedError("of a category that is not listed")
    if record.image_id not in fates:
        raise DroppedError("of an image that is dropped or not listed")
    return fates[record.image_id]


def _correct(
    entry: Entry, record: AnnotationRecord, fate: KeptImage, num_keypoints: int
) -> Iterator[str]:
    """Correct an entry in place, in the pixels it was made for; yield what was done."""
    size_hw = fate.turned.stored_hw if fate.turned else fate.size_hw
    if entry.get("segmentation") not in (None, []):
        entry["segmentation"], done = correct_segmentation(entry["segmentation"], size_hw)
        yield from done
    yield from _correct_box(entry, record, size_hw)
    yield from _correct_area(entry, record, size_hw)
    if record.iscrowd is None:
        entry["iscrowd"] = 0
        yield "iscrowd set to 0"
    if num_keypoints == 0 and record.keypoints is None and entry.pop("keypoints", None) is not None:
        yield "unusable keypoints dropped"
    if num_keypoints:
        yield from _correct_keypoints(entry, record, num_keypoints)


def _correct_box(entry: Entry, record: AnnotationRecord, size_hw: tuple[int, int]) -> Iterator[str]:
    outline = measure_outline(entry.get("segmentation") or None)
    box = geometry.corners(record.bbox) if record.bbox else None
    if outline is not None and (
        box is None or geometry.area(box) == 0 or not geometry.same_extent(box, outline.extent_xyxy)
    ):
        box = outline.extent_xyxy
        entry["bbox"] = geometry.to_xywh(box)
        yield "boxes taken from the mask"
    if box is None:
        raise DroppedError("neither box nor mask")
    if geometry.area(box) == 0 or geometry.is_outside(box, size_hw):
        raise DroppedError("box without area, or outside the image")
    if geometry.excess(box, size_hw) > geometry.EDGE_PIXELS:
        entry["bbox"] = geometry.to_xywh(geometry.clip(box, size_hw))
        yield "boxes clipped to the image"


def _correct_area(
    entry: Entry, record: AnnotationRecord, size_hw: tuple[int, int]
) -> Iterator[str]:
    if record.iscrowd and record.area:
        return
    bbox, segmentation = entry["bbox"], entry.get("segmentation") or None
    wanted = expected_area(record.area, segmentation, bbox, size_hw)
    if not area_fits(record.area, wanted, segmentation is None):
        entry["area"] = wanted
        yield "areas computed"


def _correct_keypoints(entry: Entry, record: AnnotationRecord, number: int) -> Iterator[str]:
    keypoints = record.keypoints
    if keypoints is None or len(keypoints) != 3 * number:
        keypoints = [0] * (3 * number)
        yield "keypoints replaced by unlabelled ones"
    elif not set(keypoints[2::3]) <= set(VISIBILITIES):
        keypoints = list(keypoints)
        keypoints[2::3] = [flag if flag in VISIBILITIES else 2 for flag in keypoints[2::3]]
        yield "visibilities of keypoints set to 2"
    labelled = count_labelled(keypoints)
    if labelled != record.num_keypoints:
        yield "num_keypoints counted"
    entry.update(keypoints=keypoints, num_keypoints=labelled)


def _drop_if_seen(entry: Entry, seen: set[str]) -> None:
    fields = ("image_id", "category_id", "bbox", "segmentation", "keypoints")
    content = json.dumps([entry.get(field) for field in fields])
    if content in seen:
        raise DroppedError("the same as another")
    seen.add(content)


def _renumber(entries: list[Entry], changes: Changes) -> None:
    """Give an id of its own to each entry that has none, 0, or that of an earlier one."""
    own_ids = {entry["id"] for entry in entries if _is_usable_id(entry.get("id"))}
    free, taken = count(max(own_ids, default=0) + 1), set()
    for entry in entries:
        if entry.get("id") not in own_ids or entry["id"] in taken:
            old, entry["id"] = entry.get("id"), next(free)
            changes.add("annotation ids renumbered", f"{old}, now {entry['id']}")
        taken.add(entry["id"])


def _is_usable_id(value: object) -> bool:
    """Tell whether evaluation can work with an annotation id."""
    return is_whole(value) and value != 0
