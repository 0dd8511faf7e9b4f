"""Images corrected: which are kept, with which size, and where their annotations go."""

from collections import defaultdict
from typing import NamedTuple

from d2seg.check_data import geometry
from d2seg.check_data.corrections.changes import WHOLE, Changes, Entry, has_fractions
from d2seg.check_data.findings import Id
from d2seg.check_data.image_files import SWAPPING_ORIENTATIONS, FileFacts
from d2seg.check_data.records import AnnotationRecord, Dataset, ImageRecord

MERGED = "listed twice (their annotations went to the first)"
TWIN = "same content as one with no fewer annotations"
OTHER_SIZE = "file of another size, which the annotations do not fit"
TURNED = "sizes and annotations turned by the EXIF orientation"
RESIZED = "sizes set to those of the upright file"


class KeptImage(NamedTuple):
    """What becomes of the annotations of an image that is kept.

    Attributes:
        id: The image they belong to from now on.
        size_hw: Its height and width.
        turned: The file as it is, if the annotations have to be turned with it.
    """

    id: Id
    size_hw: tuple[int, int]
    turned: FileFacts | None = None


def correct_images(
    data: Dataset, entries: list[Entry], changes: Changes
) -> tuple[list[Entry], dict[Id, KeptImage]]:
    """Drop images that cannot be used, and give the others the sizes of their files.

    Args:
        data: The data set as it was read, with what its files are.
        entries: ``images`` of the file; not modified.
        changes: Gets what was done.

    Returns:
        The images kept, and for each old id that has a place in the new file what becomes of its
        annotations.
    """
    kept: list[Entry] = []
    fates: dict[Id, KeptImage] = {}
    first_of: dict[str, KeptImage] = {}
    ambiguous, twins = _ambiguous_ids(data), _superfluous_twins(data)
    for image in data.images:
        name, fate = f"'{image.file_name}'", _fit_to_file(data, image)
        reason = _why_dropped(data, image, ambiguous, twins)
        if reason is None and image.file_name in first_of:
            fates[image.id], reason = first_of[image.file_name], MERGED
        elif reason is None and fate is None:
            reason = OTHER_SIZE
        if reason is not None or fate is None:
            changes.add(f"images dropped: {reason}", name)
            continue
        fates[image.id] = first_of[image.file_name] = fate
        kept.append(_correct_entry(entries[image.position], image, fate, changes))
    return kept, fates


def _correct_entry(entry: Entry, image: ImageRecord, fate: KeptImage, changes: Changes) -> Entry:
    name, (height, width) = f"'{image.file_name}'", fate.size_hw
    if has_fractions(entry):
        changes.add(WHOLE, name)
    if fate.turned:
        changes.add(TURNED, f"{name}, now {width} x {height}")
    elif image.size_hw != fate.size_hw:
        changes.add(RESIZED, f"{name}, now {width} x {height}")
    return {**entry, "id": image.id, "width": width, "height": height}


def _why_dropped(
    data: Dataset, image: ImageRecord, ambiguous: set[Id], twins: set[str]
) -> str | None:
    facts = data.files[image.file_name]
    if not facts.is_there:
        return "file missing"
    if facts.fault:
        return "file unreadable"
    if image.id in ambiguous:
        return "several files have this id"
    return TWIN if image.file_name in twins else None


def _ambiguous_ids(data: Dataset) -> set[Id]:
    names: dict[Id, set[str]] = defaultdict(set)
    for image in data.images:
        names[image.id].add(image.file_name)
    return {image_id for image_id, group in names.items() if len(group) > 1}


def _superfluous_twins(data: Dataset) -> set[str]:
    """Return the files of equal content, but for the one with the most annotations."""
    numbers: dict[str, int] = defaultdict(int)
    for image in data.images:
        numbers[image.file_name] += len(data.annotations_by_image.get(image.id, ()))
    groups: dict[str, list[str]] = defaultdict(list)
    for name, digest in data.digests.items():
        groups[digest].append(name)
    return {
        name
        for group in groups.values()
        for name in group
        if name != max(group, key=lambda name: numbers[name])
    }


def _fit_to_file(data: Dataset, image: ImageRecord) -> KeptImage | None:
    """Decide what a size that differs from the file's means for the annotations; None: drop it."""
    facts = data.files[image.file_name]
    if image.size_hw in (facts.upright_hw, None):
        return KeptImage(image.id, facts.upright_hw)
    annotations = data.annotations_by_image.get(image.id, [])
    is_turned = facts.orientation in SWAPPING_ORIENTATIONS and image.size_hw == facts.stored_hw
    # The size before rotation says that the annotations are of the pixels before rotation, unless
    # they cannot be.
    if is_turned and _all_fit(data, annotations, facts.stored_hw):
        return KeptImage(image.id, facts.upright_hw, facts)
    if _all_fit(data, annotations, facts.upright_hw):
        return KeptImage(image.id, facts.upright_hw)
    return None


def _all_fit(data: Dataset, annotations: list[AnnotationRecord], size_hw: tuple[int, int]) -> bool:
    extents = [geometry.corners(a.bbox) for a in annotations if a.bbox]
    extents += [
        data.outlines[a.position].extent_xyxy for a in annotations if a.position in data.outlines
    ]
    sizes = [tuple(a.segmentation["size"]) for a in annotations if isinstance(a.segmentation, dict)]
    return all(geometry.excess(box, size_hw) <= geometry.EDGE_PIXELS for box in extents) and all(
        size == size_hw for size in sizes
    )
