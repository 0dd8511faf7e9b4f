"""Checks of ids and of what refers to what."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from d2seg.check_data.findings import Expectations, Finding, Id, counted
from d2seg.check_data.records import CategoryRecord, Dataset, ImageRecord


def check_image_ids(data: Dataset, expected: Expectations) -> Iterator[Finding]:
    """Find image ids that several images have."""
    groups: dict[Id, list[ImageRecord]] = defaultdict(list)
    for image in data.images:
        groups[image.id].append(image)
    for image_id, group in groups.items():
        if len(group) > 1:
            names = ", ".join(f"'{image.file_name}'" for image in group[:3])
            yield Finding(
                "error",
                "image id used twice",
                f"Image id {image_id} stands for {len(group)} images ({names}), so it is unclear "
                "which one its annotations belong to.",
                group[0].file_name,
                image_id,
            )


def check_annotation_ids(data: Dataset, expected: Expectations) -> Iterator[Finding]:
    """Find annotation ids that are used twice, and the id 0."""
    uses = Counter(annotation.id for annotation in data.annotations if annotation.id is not None)
    for annotation in data.annotations:
        if annotation.id is not None and uses[annotation.id] > 1:
            sentence = (
                f"shares its id with {uses[annotation.id] - 1} other(s); evaluation keeps one."
            )
            yield data.about(annotation, "error", "annotation id used twice", sentence)
            uses[annotation.id] = 0  # one finding for each id
        elif annotation.id == 0:
            sentence = "has the id 0, which COCO's evaluation takes for 'not found'; count from 1."
            yield data.about(annotation, "warning", "annotation id 0", sentence)


def check_category_ids(data: Dataset, expected: Expectations) -> Iterator[Finding]:
    """Find category ids that are used twice, and gaps between them."""
    groups: dict[int, list[CategoryRecord]] = defaultdict(list)
    for category in data.categories:
        groups[category.id].append(category)
    for category_id, group in groups.items():
        if len(group) > 1:
            names = ", ".join(f"'{category.name}'" for category in group)
            sentence = f"Category id {category_id} stands for {len(group)} categories: {names}."
            yield Finding("error", "category id used twice", sentence)
    ids = sorted(groups)
    if ids and ids[-1] - ids[0] + 1 != len(ids):
        yield Finding(
            "note",
            "category ids with gaps",
            f"The {len(ids)} category ids lie between {ids[0]} and {ids[-1]}; models number them 0 "
            f"to {len(ids) - 1} in this order, and evaluation turns them back.",
        )


def check_category_names(data: Dataset, expected: Expectations) -> Iterator[Finding]:
    """Find categories of one name, and categories that nothing belongs to."""
    names = Counter(category.name for category in data.categories_by_id.values() if category.name)
    for name, count in names.items():
        if count > 1:
            sentence = f"{count} categories are named '{name}'; results cannot tell them apart."
            yield Finding("warning", "category name used twice", sentence)
    used = {annotation.category_id for annotation in data.annotations}
    unused = [c.name for id_, c in data.categories_by_id.items() if id_ not in used]
    if unused and data.annotations:
        listed = ", ".join(f"'{name}'" for name in unused[:5]) + (", ..." if unused[5:] else "")
        sentence = (
            f"{len(unused)} of {len(data.categories)} categories have no annotation: {listed}."
        )
        yield Finding("note", "category without annotations", sentence)


def check_number_of_categories(data: Dataset, expected: Expectations) -> Iterator[Finding]:
    """Compare the number of categories with NUM_CLASSES."""
    number, wanted = len(data.categories_by_id), expected.num_classes
    if number == 0:
        sentence = "There is no usable category; a model needs at least one."
        yield Finding("error", "categories and NUM_CLASSES", sentence)
    elif wanted is not None and number != wanted:
        yield Finding(
            "error" if number > wanted or expected.is_tested else "warning",
            "categories and NUM_CLASSES",
            f"The file has {counted(number, 'category', 'categories')}, the model NUM_CLASSES "
            f"{wanted}; set NUM_CLASSES to {number}, or to -1 to take it from the file.",
        )


def check_references(data: Dataset, expected: Expectations) -> Iterator[Finding]:
    """Find annotations of images or categories that the file does not list."""
    for annotation in data.annotations:
        if annotation.image_id not in data.images_by_id:
            sentence = f"belongs to image id {annotation.image_id}, which the file does not list."
            yield data.about(annotation, "error", "unknown image", sentence)
        if annotation.category_id not in data.categories_by_id:
            sentence = f"has category id {annotation.category_id}, which the file does not list."
            yield data.about(annotation, "error", "unknown category", sentence)
